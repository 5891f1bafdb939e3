"""Batches sent through shared memory arrive complete, even if the main process is slower than the workers."""

import time
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from torchvision import transforms as T

from dassl.data import build_data_loader
from dassl.data.datasets import Datum
from dassl.data.fast_loader import shared_batches
from dassl.data.fast_loader.byte_batch import ByteBatch
from tests.reference.loader import MEAN, STD

from .. import toy

SIDE = 8  # INPUT.SIZE of the toy
TFM = T.Compose([T.ToTensor(), T.Normalize(MEAN, STD)])


@pytest.fixture(scope="module")
def items(tmp_path_factory):
    """Forty images of one colour each; the red value is the label."""
    folder = tmp_path_factory.mktemp("colours")
    items = []
    for i in range(40):
        Image.new("RGB", (SIDE, SIDE), (i, 255 - i, 7)).save(folder / f"{i}.png")
        items.append(Datum(str(folder / f"{i}.png"), label=i))
    return items


@pytest.fixture
def used_slots(monkeypatch):
    """Collects the slot of every batch; batches are finished slowly, so that workers are ahead."""
    finish = ByteBatch.finish
    slots = []

    def slowly(batch, pin=False):
        time.sleep(0.02)
        slots.append(batch.slot)
        return finish(batch)

    monkeypatch.setattr(ByteBatch, "finish", slowly)
    return slots


def make(items, tmp_path, workers=2, once=False, tfm=TFM, batch_size=2):
    cfg = toy.make_cfg(tmp_path, tmp_path, DATALOADER__NUM_WORKERS=workers)
    return build_data_loader(cfg, "RandomSampler", items, batch_size, tfm=tfm, once=once)


def complete(batch) -> bool:
    images = [TFM(Image.new("RGB", (SIDE, SIDE), (i, 255 - i, 7))) for i in batch["label"].tolist()]
    return torch.equal(batch["img"], torch.stack(images)) and batch["label"].dtype == torch.int64


@pytest.mark.parametrize("once", [False, True])
@pytest.mark.parametrize("workers", [1, 3])
def test_no_batch_is_overwritten_before_it_is_finished(items, tmp_path, used_slots, workers, once):
    loader = make(items, tmp_path, workers, once)
    for n in (20, 3, 20):  # the second pass is interrupted
        batches = [batch for batch, _ in zip(loader, range(n), strict=False)]
        assert len(batches) == n and all(map(complete, batches))
        assert n < 20 or sorted(torch.cat([batch["label"] for batch in batches]).tolist()) == list(range(40))
    assert None not in used_slots and len({row for _, row, _ in used_slots}) == 3 * workers


@pytest.mark.parametrize("once", [False, True])
def test_passes_at_the_same_time(items, tmp_path, used_slots, once):
    loader = make(items, tmp_path, once=once)
    for pair in zip(loader, loader, strict=True):
        assert all(map(complete, pair))
    assert len({number for number, _, _ in used_slots}) == 2  # each pass has its own memory


def test_batches_that_use_no_slot(items, tmp_path, used_slots, monkeypatch):
    larger = T.Compose([T.Resize(2 * SIDE), *TFM.transforms])
    assert next(iter(make(items, tmp_path, tfm=larger)))["img"].shape == (2, 3, 2 * SIDE, 2 * SIDE)
    assert complete(next(iter(make(items, tmp_path, workers=0))))
    assert used_slots == [None, None]

    def refused(*args):
        raise OSError("Cannot allocate memory")

    monkeypatch.setattr(shared_batches.mmap, "mmap", refused)
    monkeypatch.setattr("dassl.data.data_manager.image_cache", lambda *limit: None)
    assert all(map(complete, make(items, tmp_path))) and used_slots[2:] == [None] * 20


def test_processes_that_are_not_forked_have_no_slots(items, tmp_path, monkeypatch):
    monkeypatch.setattr("dassl.data.fast_loader.loader.start_method", lambda: "spawn")
    assert not hasattr(make(items, tmp_path)._collate(), "keywords")


def test_slots_are_used_in_turn(monkeypatch):
    monkeypatch.setattr(shared_batches, "get_worker_info", lambda: SimpleNamespace(id=1))
    memory = shared_batches.SharedBatches(n_workers=2, n_slots=3, n_bytes=10)
    slots = [memory.take((2, 5)) for _ in range(7)]
    assert slots[:3] == slots[3:6] and [row for _, row, _ in slots[:3]] == [4, 5, 3]
    assert memory.take((11,)) is None
    shared_batches.bytes_at(slots[0])[:] = 7
    assert memory.memory.sum() == 70
