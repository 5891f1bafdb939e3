"""The loader gives the same batches as torch's, with persistent workers and batches that are sent as uint8."""

import os
import random
import signal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.utils.data._utils.pin_memory import pin_memory
from torchvision import transforms as T

from dassl.data import DatasetWrapper, build_data_loader
from dassl.data.datasets import Datum
from dassl.data.fast_loader.byte_batch import ByteBatch, Images, collate, split_transform
from dassl.data.fast_loader.loader import Batch, Loader
from dassl.utils import ImageReadError, set_random_seed
from tests.reference.loader import MEAN, STD, plain_loader, plain_transform
from tests.user_errors import assert_facts

from .. import toy


@pytest.fixture(scope="module")
def items(tmp_path_factory):
    """Eleven JPEGs of three sizes."""
    folder = tmp_path_factory.mktemp("jpegs")
    rng = np.random.default_rng(0)
    items = []
    for i in range(11):
        side = 40 + 10 * (i % 3)
        path = folder / f"{i}.jpg"
        Image.fromarray(rng.integers(0, 255, (side, 60, 3), np.uint8)).save(path)
        items.append(Datum(str(path), label=i, domain=i % 2))
    return items


def noisy(image):
    """A transform that uses the generators of random, NumPy and torch."""
    image = T.functional.crop(image, 0, 0, 30, random.randint(30, 32))
    return T.functional.to_tensor(image.resize((8, 8))) + np.random.rand() + torch.rand(3, 8, 8)


def make(items, tfm, tmp_path, batch_size=2, workers=0, sampler="RandomSampler", is_train=True, **options):
    cfg = toy.make_cfg(tmp_path, tmp_path, DATALOADER__NUM_WORKERS=workers)
    return build_data_loader(cfg, sampler, items, batch_size, tfm=tfm, is_train=is_train, **options)


def same(ours: dict, plain: dict) -> bool:
    assert set(ours) == set(plain)
    return all(torch.equal(ours[k], plain[k]) if k != "impath" else ours[k] == plain[k] for k in plain)


TRANSFORMS = {
    "coop": plain_transform(16),
    "no normalization": T.Compose(plain_transform(16).transforms[:-1]),
    "noisy": noisy,
    "steps after normalization": T.Compose([*plain_transform(16).transforms, T.RandomErasing(p=0.5)]),
}


@pytest.mark.parametrize("workers", [0, 1, 3])
@pytest.mark.parametrize("name", TRANSFORMS)
def test_passes_equal_those_of_a_plain_loader(items, tmp_path, name, workers):
    """Compares images, their order, augmentations and the next random numbers, for complete and interrupted passes."""
    results = []
    for loader in (
        plain_loader(items, TRANSFORMS[name], 2, workers),
        make(items, TRANSFORMS[name], tmp_path, workers=workers),
    ):
        set_random_seed(5)
        passes = [list(loader), next(iter(loader)), list(loader), list(loader)]
        results.append(([*passes[0], passes[1], *passes[2], *passes[3]], torch.rand(2)))
    (plain, after), (ours, our_after) = results
    assert len(ours) == len(plain) == 16 and all(map(same, ours, plain)) and torch.equal(after, our_after)
    images = torch.cat([batch["img"] for batch in ours])
    assert len({image.numpy().tobytes() for image in images}) > 0.9 * len(images)  # passes differ


@pytest.mark.parametrize("nested", [lambda a: list(zip(a, a, strict=True)), lambda a: [(x, y) for x in a for y in a]])
def test_a_pass_within_a_pass(items, tmp_path, nested):
    results = []
    for loader in (plain_loader(items[:4], noisy, 2, 1), make(items[:4], noisy, tmp_path, workers=1)):
        set_random_seed(5)
        results.append([list(loader), nested(loader), list(loader)])
    for ours, plain in zip(*results[::-1], strict=True):
        flat = [[b for x in part for b in (x if isinstance(x, tuple) else [x])] for part in (ours, plain)]
        assert all(map(same, *flat)) and len(flat[0]) == len(flat[1])


class Process(DatasetWrapper):
    def __getitem__(self, index):
        return os.getpid()


def test_workers_are_persistent_unless_images_are_read_once(items, tmp_path):
    for once in (False, True):
        loader = make(items, None, tmp_path, workers=2, dataset_wrapper=Process, once=once)
        first, second = ({pid for batch in loader for pid in batch.tolist()} for _ in range(2))
        assert len(first) == 2 and (second == first) == (not once)
        assert loader.batch_size == 2 and loader.drop_last and len(loader) == 5
        assert loader.batch_sampler.batch_size == 2 and isinstance(loader.dataset, Process)


def test_the_dataset_alone_gives_finished_images(items, tmp_path):
    tfm = TRANSFORMS["coop"]
    dataset = make(items, tfm, tmp_path).dataset
    set_random_seed(0)
    expected = tfm(Image.open(items[3].impath))
    set_random_seed(0)
    assert torch.equal(dataset[3]["img"], expected)
    plain = torch.utils.data.DataLoader(dataset, batch_size=4)  # torch's own loader
    assert next(iter(plain))["img"].dtype == torch.float32


class Doubled(DatasetWrapper):
    def __getitem__(self, index):
        item = super().__getitem__(index)
        return {**item, "img": item["img"] * 2}


def test_wrappers_that_override_getitem_are_used(items, tmp_path):
    results = []
    for wrapper in (DatasetWrapper, Doubled):
        set_random_seed(1)
        results.append([b["img"] for b in make(items, TRANSFORMS["coop"], tmp_path, dataset_wrapper=wrapper)])
    assert all(torch.equal(2 * a, b) for a, b in zip(*results, strict=True))


def test_several_views_and_transforms(items, tmp_path):
    cfg = toy.make_cfg(tmp_path, tmp_path, DATALOADER__K_TRANSFORMS=2, DATALOADER__RETURN_IMG0=True).clone()
    cfg.defrost()
    tfm = TRANSFORMS["coop"]
    for transform, keys in ((tfm, {"img"}), ([tfm, tfm], {"img", "img2"})):
        batch = next(iter(build_data_loader(cfg, "RandomSampler", items, 4, tfm=transform)))
        assert set(batch) == keys | {"label", "domain", "impath", "index", "img0"}
        assert all(len(batch[key]) == 2 and batch[key][0].shape == (4, 3, 16, 16) for key in keys)
    cfg.DATALOADER.K_TRANSFORMS = 1
    batch = next(iter(build_data_loader(cfg, "RandomSampler", items, 4, tfm=tfm)))
    assert batch["img0"].shape == (4, 3, 8, 8) and batch["img0"].is_floating_point()


@given(st.integers(0, 2**32), st.integers(1, 3), st.integers(1, 9), st.integers(1, 9))
@settings(max_examples=30)
def test_finished_bytes_equal_the_transforms(seed, n, height, width):
    rng = np.random.default_rng(seed)
    images = [Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8)) for _ in range(n)]
    tail = [T.ToTensor(), T.Normalize(rng.normal(size=3), np.abs(rng.normal(size=3)) + 0.01)]
    batch = collate(Images([{"img": image, "label": 7} for image in images], tail))
    assert isinstance(batch, ByteBatch)
    batch = batch.finish()
    assert torch.equal(batch["img"], torch.stack([T.Compose(tail)(image) for image in images]))
    assert batch["img"].is_contiguous() and batch["label"].tolist() == [7] * n


@pytest.mark.parametrize(
    "image",
    [Image.new("L", (4, 4)), Image.new("RGBA", (4, 4)), np.ones((4, 4, 3)), np.ones((4, 4, 3), np.uint8)],
    ids=["gray", "alpha", "floats", "array"],
)
def test_other_images_are_collated_as_torch_does(image):
    channels = T.ToTensor()(image).shape[0]
    tail = [T.ToTensor(), T.Normalize([0.5] * channels, [0.1] * channels)]
    batch = collate(Images([{"img": image, "label": 1}] * 2, tail))
    assert torch.equal(batch["img"], torch.stack([T.Compose(tail)(image)] * 2)) and batch["label"].tolist() == [1, 1]


def test_images_of_different_sizes_are_an_error():
    tail = [T.ToTensor(), T.Normalize(MEAN, STD)]
    with pytest.raises(RuntimeError, match="equal size"):
        collate(Images([{"img": Image.new("RGB", (4, 4))}, {"img": Image.new("RGB", (4, 5))}], tail))


def test_which_transforms_are_split():
    to_tensor, normalize = T.ToTensor(), T.Normalize(MEAN, STD)
    head, tail = split_transform(T.Compose([T.Resize(4), to_tensor, normalize]))
    assert tail == [to_tensor, normalize] and len(head.transforms) == 1
    assert split_transform(T.Compose([to_tensor, normalize]))[0](5) == 5
    for whole in (None, noisy, T.Compose([]), T.Compose([normalize]), T.Compose([to_tensor]), [to_tensor, normalize]):
        assert split_transform(whole) is None


def test_pinned_batches_are_finished(monkeypatch):
    """Calls torch's pin_memory as its thread does; Tensor.pin_memory is replaced, as it needs a GPU."""
    finish, pinned = ByteBatch.finish, []
    monkeypatch.setattr(ByteBatch, "finish", lambda self, pin: finish(self) if pin else pytest.fail("not pinned"))
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self, *args: pinned.append(self) or self)
    tail = [T.ToTensor(), T.Normalize(MEAN, STD)]
    item = {"img": Image.new("RGB", (4, 4), "red"), "label": 1, "impath": "a"}
    batch = pin_memory(collate(Images([item], tail)), None)
    assert batch["img"].shape == (1, 3, 4, 4) and batch["impath"] == ["a"] and len(pinned) == 2


def error_of(loader):
    try:
        list(loader)
    except Exception as error:
        error.__traceback__ = error.__cause__ = error.__context__ = None  # they would keep worker processes alive
        return error


def test_passes_after_a_corrupted_image(tmp_path):
    path = tmp_path / "image.png"
    path.write_bytes(b"corrupted")
    loader = make([Datum(str(path))], TRANSFORMS["coop"], tmp_path, batch_size=1, workers=1)
    assert isinstance(error_of(loader), ImageReadError) and isinstance(error_of(loader), ImageReadError)
    Image.new("RGB", (8, 8)).save(path)
    assert [len(batch["img"]) for batch in loader] == [1]
    path.write_bytes(b"corrupted")  # the image is cached, so the file is not read again
    assert [len(batch["img"]) for batch in loader] == [1]


class DiesOnce(DatasetWrapper):
    def __getitem__(self, index):
        if not os.path.exists(self.cfg.OUTPUT_DIR):
            os.mkdir(self.cfg.OUTPUT_DIR)
            os.kill(os.getpid(), signal.SIGKILL)
        return index


def test_new_workers_after_one_died(items, tmp_path):
    cfg = toy.make_cfg(tmp_path, tmp_path / "died", DATALOADER__NUM_WORKERS=1)
    loader = build_data_loader(cfg, "SequentialSampler", items[:2], 1, dataset_wrapper=DiesOnce)
    error = error_of(loader)
    assert isinstance(error, ValueError)
    assert_facts(str(error), "DATALOADER.NUM_WORKERS 1", "memory", "DATALOADER.NUM_WORKERS 0")
    assert [batch.item() for batch in loader] == [0, 1]


def test_pickled_batches_keep_their_seed():
    import pickle

    batch = Batch([3, 1])
    batch.seed = 17
    copy = pickle.loads(pickle.dumps(batch))
    assert copy == [3, 1] and copy.seed == 17 and type(copy) is Batch


def test_a_loader_can_be_used_without_a_sampler():
    loader = Loader([1, 2, 3], num_workers=0, batch_size=2, shuffle=False, drop_last=False)
    assert [batch.tolist() for batch in loader] == [[1, 2], [3]]


@pytest.mark.parametrize("name", TRANSFORMS)
def test_rows_of_a_batch_are_those_of_the_whole(items, tmp_path, name):
    """Random numbers are those of all images, which the worker processes do not decode."""

    def batches(rows=None):
        set_random_seed(1)
        loader = make(items, TRANSFORMS[name], tmp_path, batch_size=4, workers=2)
        if rows:
            loader.share_rows(lambda n: rows)
        return [batch for _ in range(2) for batch in loader]

    for rows in (slice(0, 1), slice(1, 4)):
        for whole, part in zip(batches(), batches(rows), strict=True):
            assert part.pop("batch_size").tolist() == [4] * (rows.stop - rows.start)
            assert same(part, {key: value[rows] for key, value in whole.items()})


def test_every_second_batch(items, tmp_path):
    loader = make(items, TRANSFORMS["coop"], tmp_path, sampler="SequentialSampler", is_train=False)
    loader.share_batches(1, 2)
    assert [batch["label"].tolist() for batch in loader] == [[2, 3], [6, 7], [10]] and len(loader) == 6
