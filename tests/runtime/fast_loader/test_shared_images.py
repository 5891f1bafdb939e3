"""Test images from shared memory equal those of their files."""

import os

import numpy as np
import pytest
import torch
from PIL import Image

from dassl.data import DataManager
from dassl.data.fast_loader import shared_images as module
from runtime.fork_server import IS_POSSIBLE, ForkServer
from tests.user_errors import raises_user_error
from tools.sweeping import launch

from .. import toy


@pytest.fixture
def reserve(monkeypatch):
    """reserve(GB) reserves memory for shared images, which is released after the test."""
    monkeypatch.setattr(module, "_store", None)

    def function(gigabytes="0.01"):
        monkeypatch.setenv(module.VARIABLE, gigabytes)
        module.reserve()
        return module._store

    return function


def test_images(toy_root, tmp_path, **options):
    """Batches of the test images of the toy dataset."""
    return [batch["img"] for batch in DataManager(toy.make_cfg(toy_root, tmp_path, **options)).test_loader]


test_images.__test__ = False


def equal(ones, others) -> bool:
    return len(ones) == len(others) and all(torch.equal(a, b) for a, b in zip(ones, others, strict=True))


@pytest.mark.parametrize("workers", [0, 2])
def test_each_image_is_decoded_once(toy_root, tmp_path, reserve, monkeypatch, workers):
    options = {"DATALOADER__NUM_WORKERS": workers}
    plain = test_images(toy_root, tmp_path, **options)
    store = reserve()
    assert equal(test_images(toy_root, tmp_path, **options), plain)
    n_images = sum(len(batch) for batch in plain)
    assert store.state[1] == n_images
    monkeypatch.setattr("dassl.data.dataset_wrapper.read_image", None)
    assert equal(test_images(toy_root, tmp_path, **options), plain)
    assert store.state.tolist()[1:] == [n_images, 0]


OTHERS = {
    "INPUT__SIZE": (24, 20),
    "INPUT__INTERPOLATION": "nearest",
    "INPUT__RESIZE_MODE": "squash",
    "INPUT__EXIF_ORIENTATION": "apply",
    "INPUT__CROP_BORDER": 1,
}


@pytest.mark.parametrize("key", OTHERS)
def test_other_images_with_other_settings(toy_root, tmp_path, reserve, key):
    plain = test_images(toy_root, tmp_path, **{key: OTHERS[key]})
    store = reserve()
    test_images(toy_root, tmp_path)
    n_images = store.state[1]
    assert equal(test_images(toy_root, tmp_path, **{key: OTHERS[key]}), plain)
    assert store.state[1] == 2 * n_images


def test_pixel_statistics_are_applied_later(toy_root, tmp_path, reserve):
    options = {"INPUT__PIXEL_MEAN": [0.1, 0.2, 0.3]}
    plain = test_images(toy_root, tmp_path, **options)
    store = reserve()
    test_images(toy_root, tmp_path)
    n_images = store.state[1]
    assert equal(test_images(toy_root, tmp_path, **options), plain) and store.state[1] == n_images


def test_a_changed_file_is_another_image(tmp_path, reserve):
    shared = module.SharedImages(reserve(), "no transform", ())
    path = tmp_path / "image.png"
    for value in (10, 20):
        Image.fromarray(np.full((4, 4, 3), value, np.uint8)).save(path)
        for _ in range(2):
            assert np.asarray(shared.image(str(path), lambda: Image.open(path)))[0, 0, 0] == value


def test_what_is_no_rgb_image_is_not_kept(tmp_path, reserve):
    shared = module.SharedImages(reserve(), "no transform", ())
    path = tmp_path / "image.png"
    gray = Image.new("L", (4, 4))
    gray.save(path)
    assert shared.image(str(path), lambda: gray) is gray and shared.store.state[1] == 0
    os.remove(path)
    with pytest.raises(FileNotFoundError):
        shared.image(str(path), lambda: Image.open(path))


def test_custom_transforms_share_nothing(toy_root, tmp_path, reserve):
    reserve()
    cfg = toy.make_cfg(toy_root, tmp_path)
    transform = DataManager(cfg).test_loader.dataset.transform
    assert DataManager(cfg).test_loader.dataset.shared is not None
    assert DataManager(cfg, custom_tfm_test=transform).test_loader.dataset.shared is None
    assert DataManager(cfg).train_loader_x.dataset.shared is None


@pytest.mark.parametrize("value", ["much", "-1", "nan", "inf"])
def test_a_limit_that_is_none(reserve, value):
    with raises_user_error(module.VARIABLE, value):
        reserve(value)


def test_limits(reserve, monkeypatch):
    assert reserve("0") is None
    assert reserve("0.002").n_bytes == 2_000_000
    monkeypatch.setattr(module, "free_memory", lambda: 8e6)
    assert reserve("").n_bytes == 2_000_000  # a quarter
    assert reserve("1e9") is None  # the system refuses


PROGRAM = """
import runtime
from dassl.data.fast_loader import shared_images
store = shared_images._store
print(store.get(b"k" * 16) and bytes(store.get(b"k" * 16)), flush=True)
store.put(b"k" * 16, b"value")
"""


@pytest.mark.skipif(not IS_POSSIBLE, reason="no server on this system")
def test_programs_of_a_fork_server_share_images(tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    environment = {**os.environ, module.VARIABLE: "0.001", "PYTHONPATH": os.getcwd()}
    functions = [name for name in launch.modules([]) if name.endswith(":reserve")]
    with ForkServer(["runtime", *functions], environment, os.getcwd()) as server:
        for expected in ("None", "b'value'"):
            with open(tmp_path / "out", "w+") as out:
                program = server.start([str(tmp_path / "program.py")], environment, {1: out.fileno(), 2: out.fileno()})
                assert program.wait() == 0, (tmp_path / "out").read_text()
            assert (tmp_path / "out").read_text().strip() == expected


def test_a_sweep_refuses_a_wrong_limit(monkeypatch):
    monkeypatch.setenv(module.VARIABLE, "4GB")
    with raises_user_error(module.VARIABLE, "4GB"):
        launch.modules([])
