"""Loaders: images, batches, and errors of corrupted images and worker processes."""

import os
import random
import signal

import numpy as np
import pytest
import torch
from PIL import Image

from dassl.data import DataManager, DatasetWrapper, build_data_loader
from dassl.data.datasets import Datum
from dassl.data.transforms import build_transform
from dassl.utils import ImageReadError
from tests.user_errors import assert_facts, raises_user_error

from . import toy


class Item:
    impath, label, domain = "", 0, 0


class NoImages(DatasetWrapper):
    """Returns the index only."""

    def __getitem__(self, index):
        return {"index": index}


@pytest.mark.parametrize(
    "n,batch,train,sizes",
    [
        (80, 32, True, [32, 32]),
        (80, 32, False, [32, 32, 16]),
        (32, 32, True, [32]),
        (31, 32, True, [31]),
        (1, 32, True, [1]),
        (1, 32, False, [1]),
        (64, 32, True, [32, 32]),
        (65, 1, True, [1] * 65),
    ],
)
def test_a_training_loader_drops_the_last_batch_unless_it_is_the_only_one(tmp_path, n, batch, train, sizes):
    cfg = toy.make_cfg(tmp_path, tmp_path)
    loader = build_data_loader(
        cfg, data_source=[Item()] * n, batch_size=batch, is_train=train, dataset_wrapper=NoImages
    )
    batches = [b["index"].tolist() for b in loader]
    assert [len(b) for b in batches] == sizes and len(loader) == len(sizes)
    assert sum(batches, []) == list(range(sum(sizes)))


def test_no_images_is_an_error(tmp_path):
    with raises_user_error("ToyColors", "training"):
        build_data_loader(toy.make_cfg(tmp_path, tmp_path), data_source=[])


def test_manager(toy_root, tmp_path, capsys):
    dm = DataManager(toy.make_cfg(toy_root, tmp_path))
    assert (len(dm.train_loader_x), len(dm.val_loader), len(dm.test_loader)) == (2, 1, 1)
    assert dm.train_loader_u is None and dm.num_source_domains == 0
    assert dm.num_classes == 3 and dm.lab2cname == dict(enumerate(toy.COLORS))
    out = capsys.readouterr().out
    assert out.index("Loading dataset") < out.index("Building transform_train") < out.index("Building transform_test")
    rows = [line.split() for line in out.splitlines() if line.startswith(("Dataset", "#"))]
    assert rows == [
        ["Dataset", "ToyColors"],
        ["#", "classes", "3"],
        ["#", "train_x", "21"],
        ["#", "val", "9"],
        ["#", "test", "12"],
    ]
    batch = next(iter(dm.test_loader))
    assert set(batch) == {"img", "label", "domain", "impath", "index"}
    assert batch["img"].shape == (12, 3, 8, 8) and batch["label"].tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert batch["index"].tolist() == list(range(12)) and batch["impath"][0].endswith("test/red/0.png")


def test_custom_transforms_are_used(toy_root, tmp_path, capsys):
    def custom(image):
        return torch.tensor(image.size)

    dm = DataManager(toy.make_cfg(toy_root, tmp_path), custom_tfm_train=custom, custom_tfm_test=custom)
    assert next(iter(dm.train_loader_x))["img"].tolist() == [[16, 16]] * 8
    assert "Building transform" not in capsys.readouterr().out


def test_unlabelled_loader_uses_the_options_of_train_x(toy_root, tmp_path, monkeypatch):
    monkeypatch.setattr(toy.ToyColors, "train_u", property(lambda self: self.val))
    assert next(iter(DataManager(toy.make_cfg(toy_root, tmp_path)).train_loader_u))["img"].shape[0] == 8
    cfg = toy.make_cfg(toy_root, tmp_path, DATALOADER__TRAIN_U__SAME_AS_X=False, DATALOADER__TRAIN_U__BATCH_SIZE=4)
    assert next(iter(DataManager(cfg).train_loader_u))["img"].shape[0] == 4


def test_wrapper_views(toy_root, tmp_path):
    item = Datum(str(toy_root / "toy_colors/train/red/0.png"), label=2, domain=1)
    cfg = toy.make_cfg(toy_root, tmp_path, DATALOADER__K_TRANSFORMS=3, DATALOADER__RETURN_IMG0=True)
    tfm = build_transform(cfg, is_train=True)
    torch.manual_seed(0)
    out = DatasetWrapper(cfg, [item], transform=tfm, is_train=True)[0]
    assert (out["label"], out["domain"], out["index"], out["impath"]) == (2, 1, 0, item.impath)
    torch.manual_seed(0)
    image = Image.open(item.impath).convert("RGB")
    assert all(torch.equal(view, tfm(image)) for view in out["img"]) and len(out["img"]) == 3
    assert out["img0"].shape == (3, 8, 8)
    assert isinstance(DatasetWrapper(cfg, [item], transform=tfm)[0]["img"], torch.Tensor)  # one view without is_train
    both = DatasetWrapper(cfg, [item], transform=[tfm, tfm], is_train=False)[0]
    assert {"img", "img2"} <= set(both)
    with raises_user_error("DATALOADER.K_TRANSFORMS 3"):
        DatasetWrapper(cfg, [item], transform=None, is_train=True)
    assert DatasetWrapper(toy.make_cfg(toy_root, tmp_path), [item])[0]["img"].size == (16, 16)


def error_of(loader):
    """Returns type and message of the error that reading a loader raises."""
    try:
        list(loader)
    except Exception as error:
        result = type(error), str(error)
        while error is not None:  # tracebacks would keep the worker processes alive into later tests
            error.__traceback__ = None
            error = error.__cause__
        return result


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("defect", ["missing", "truncated", "text"])
def test_a_corrupted_image_is_named_in_one_line(tmp_path, workers, defect):
    path = tmp_path / "corrupted.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(path)
    item = Datum(str(path))
    if defect == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:500] if defect == "truncated" else b"not an image")
    cfg = toy.make_cfg(tmp_path, tmp_path, DATALOADER__NUM_WORKERS=workers)
    loader = build_data_loader(cfg, data_source=[item], tfm=build_transform(cfg, False), is_train=False)
    error, message = error_of(loader)
    assert_facts(message, path)
    assert error is ImageReadError and issubclass(error, ValueError) and issubclass(error, OSError)


class Dies(DatasetWrapper):
    """Kills the process that reads it, as the system does if memory runs out."""

    def __getitem__(self, index):
        os.kill(os.getpid(), signal.SIGKILL)


class NoSharedMemory(DatasetWrapper):
    def __getitem__(self, index):
        raise RuntimeError("unable to write to file </torch_1_2_0>: No space left on device (28)")


class Fails(DatasetWrapper):
    def __getitem__(self, index):
        raise RuntimeError("a mistake in a transform")


@pytest.mark.parametrize("wrapper", [Dies, NoSharedMemory])
def test_worker_processes_without_memory(tmp_path, wrapper):
    cfg = toy.make_cfg(tmp_path, tmp_path, DATALOADER__NUM_WORKERS=1)
    error, message = error_of(build_data_loader(cfg, data_source=[Item()], dataset_wrapper=wrapper))
    assert error is ValueError
    assert_facts(message, "DATALOADER.NUM_WORKERS 1", "memory", "--shm-size", "DATALOADER.NUM_WORKERS 0")


def test_other_errors_of_workers_are_not_changed(tmp_path):
    cfg = toy.make_cfg(tmp_path, tmp_path, DATALOADER__NUM_WORKERS=1)
    error, message = error_of(build_data_loader(cfg, data_source=[Item()], dataset_wrapper=Fails))
    assert error is RuntimeError and "a mistake in a transform" in message


def test_system_without_worker_processes(tmp_path, monkeypatch):
    def no_semaphores(*args, **kwargs):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("multiprocessing.synchronize.SemLock.__init__", no_semaphores)
    cfg = toy.make_cfg(tmp_path, tmp_path, DATALOADER__NUM_WORKERS=2)
    with raises_user_error("DATALOADER.NUM_WORKERS 2", "Function not implemented", "DATALOADER.NUM_WORKERS 0"):
        iter(build_data_loader(cfg, data_source=[Item()]))


@pytest.mark.parametrize("workers", [0, 2])
def test_order_and_augmentation_follow_from_the_seed(toy_root, tmp_path, workers):
    def run(seed):
        random.seed(0)
        torch.manual_seed(seed)
        manager = DataManager(toy.make_cfg(toy_root, tmp_path, DATALOADER__NUM_WORKERS=workers))
        return torch.cat([batch["img"] for _ in range(2) for batch in manager.train_loader_x])

    first = run(3)
    assert torch.equal(first, run(3)) and not torch.equal(first, run(4))
    assert not torch.equal(first[:16], first[16:])


@pytest.mark.parametrize("cache_gb", [0.0, 0.1])
def test_exif_orientation_of_the_loaders(tmp_path, cache_gb):
    """The cache of a loader that turns images is not that of one which does not."""
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = np.arange(8 * 8 * 3, dtype=np.uint8).reshape(8, 8, 3)
    Image.fromarray(pixels).save(tmp_path / "photo.png", exif=exif)
    loaders = []
    for choice, expected in (("ignore", pixels), ("apply", np.rot90(pixels, -1))):
        cfg = toy.make_cfg(tmp_path, tmp_path, INPUT__EXIF_ORIENTATION=choice, DATALOADER__CACHE_GB=cache_gb)
        loaders.append(build_data_loader(cfg, data_source=[Datum(str(tmp_path / "photo.png"))], tfm=np.array))
        for _ in range(2):
            (batch,) = loaders[-1]
            assert np.array_equal(batch["img"][0], expected)


@pytest.mark.parametrize(
    "key, value, facts",
    [
        ("INPUT__SIZE", "(32,)", ["(height, width)", "(32,)"]),
        ("INPUT__SIZE", "(0, 32)", ["(0, 32)"]),
        ("INPUT__SIZE", "('a', 32)", ["('a', 32)"]),
        ("INPUT__SIZE", "(32, 32.5)", ["(32, 32.5)"]),
        ("INPUT__EXIF_ORIENTATION", "upright", ["'ignore'", "'apply'", "'upright'"]),
    ],
)
def test_invalid_preprocessing_is_reported_before_the_data_are_read(tmp_path, key, value, facts):
    cfg = toy.make_cfg(tmp_path / "no data", tmp_path, **{key: value})
    with raises_user_error(key.replace("__", "."), *facts, error=ValueError):
        DataManager(cfg)
    with raises_user_error(key.replace("__", "."), *facts, error=ValueError):
        build_transform(cfg, is_train=False)


@pytest.mark.parametrize(
    "n, batch, facts",
    [
        (20, 32, ["BATCH_SIZE 32", " 20 "]),
        (47, 32, ["BATCH_SIZE 32", " 15 ", " 47 "]),
        (36, 32, ["BATCH_SIZE 32", " 4 ", " 36 "]),
        (330, 32, []),  # 10 of 330 are dropped
        (64, 32, []),
        (32, 32, []),
    ],
)
def test_unused_training_images_are_reported(tmp_path, capsys, n, batch, facts):
    cfg = toy.make_cfg(tmp_path, tmp_path)
    for is_train in (True, False):
        build_data_loader(cfg, data_source=[Item()] * n, batch_size=batch, is_train=is_train, dataset_wrapper=NoImages)
        out = capsys.readouterr().out
        assert (out != "") == (is_train and bool(facts))
        if out:
            assert_facts(out, *facts)


def test_an_unreadable_image_in_training_names_the_check(tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    loader = build_data_loader(toy.make_cfg(tmp_path, tmp_path), data_source=[Datum(str(tmp_path / "broken.jpg"))])
    error, message = error_of(loader)
    assert error is ImageReadError
    assert_facts(message, tmp_path / "broken.jpg", "prepare_data.py --check")
