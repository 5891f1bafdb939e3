"""Batches that come through shared memory are whole, however fast or slow either side is."""

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
    """Forty images, each of one colour, whose red is the label."""
    folder = tmp_path_factory.mktemp("colours")
    found = []
    for i in range(40):
        Image.new("RGB", (SIDE, SIDE), (i, 255 - i, 7)).save(folder / f"{i}.png")
        found.append(Datum(str(folder / f"{i}.png"), label=i))
    return found


@pytest.fixture
def places(monkeypatch):
    """Where batches came from; each is finished slowly, while the processes go on."""
    seen, finish = [], ByteBatch.finish

    def slowly(batch, pin=False):
        time.sleep(0.02)
        seen.append(batch.place)
        return finish(batch)

    monkeypatch.setattr(ByteBatch, "finish", slowly)
    return seen


def make(items, tmp_path, workers=2, once=False, tfm=TFM, batch_size=2):
    cfg = toy.make_cfg(tmp_path, tmp_path, DATALOADER__NUM_WORKERS=workers)
    return build_data_loader(cfg, "RandomSampler", items, batch_size, tfm=tfm, once=once)


def whole(batch) -> bool:
    images = [TFM(Image.new("RGB", (SIDE, SIDE), (i, 255 - i, 7))) for i in batch["label"].tolist()]
    return torch.equal(batch["img"], torch.stack(images)) and batch["label"].dtype == torch.int64


@pytest.mark.parametrize("once", [False, True])
@pytest.mark.parametrize("workers", [1, 3])
def test_no_batch_is_overwritten_before_it_is_finished(items, tmp_path, places, workers, once):
    loader = make(items, tmp_path, workers, once)
    for n in (20, 3, 20):  # the second pass is broken off
        batches = [batch for batch, _ in zip(loader, range(n), strict=False)]
        assert len(batches) == n and all(map(whole, batches))
        assert n < 20 or sorted(torch.cat([batch["label"] for batch in batches]).tolist()) == list(range(40))
    assert None not in places and len({slot for _, slot, _ in places}) == 3 * workers


@pytest.mark.parametrize("once", [False, True])
def test_passes_at_the_same_time(items, tmp_path, places, once):
    loader = make(items, tmp_path, once=once)
    for pair in zip(loader, loader, strict=True):
        assert all(map(whole, pair))
    assert len({number for number, _, _ in places}) == 2  # memory of their own


def test_what_needs_no_slot_or_finds_none(items, tmp_path, places, monkeypatch):
    larger = T.Compose([T.Resize(2 * SIDE), *TFM.transforms])
    assert next(iter(make(items, tmp_path, tfm=larger)))["img"].shape == (2, 3, 2 * SIDE, 2 * SIDE)
    assert whole(next(iter(make(items, tmp_path, workers=0))))
    assert places == [None, None]

    def refused(*args):
        raise OSError("Cannot allocate memory")

    monkeypatch.setattr(shared_batches.mmap, "mmap", refused)
    monkeypatch.setattr("dassl.data.data_manager.image_cache", lambda bound: None)
    assert all(map(whole, make(items, tmp_path))) and places[2:] == [None] * 20


def test_processes_that_are_not_forked_have_no_slots(items, tmp_path, monkeypatch):
    monkeypatch.setattr("dassl.data.fast_loader.loader.start_method", lambda: "spawn")
    assert not hasattr(make(items, tmp_path)._collate(), "keywords")


def test_slots_are_used_in_turn(monkeypatch):
    monkeypatch.setattr(shared_batches, "get_worker_info", lambda: SimpleNamespace(id=1))
    memory = shared_batches.SharedBatches(n_workers=2, n_slots=3, n_bytes=10)
    places = [memory.take((2, 5)) for _ in range(7)]
    assert places[:3] == places[3:6] and [slot for _, slot, _ in places[:3]] == [4, 5, 3]
    assert memory.take((11,)) is None
    shared_batches.bytes_at(places[0])[:] = 7
    assert memory.memory.sum() == 70
