"""Cached images equal those in their files, are shared by all processes, and never exceed the memory limit."""

import gc
import multiprocessing
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageEnhance, ImageOps

from dassl.data import DataManager, DatasetWrapper, build_data_loader
from dassl.data.datasets import Datum
from dassl.data.fast_loader import image_cache as module
from dassl.data.fast_loader.image_cache import ImageCache, image_cache
from dassl.data.fast_loader.stored_image import HEADER, StoredImage
from dassl.utils import read_image, set_random_seed
from dassl.utils.memory import free_memory
from tests.reference.loader import plain_loader, plain_transform
from tests.user_errors import assert_facts, raises_user_error

from .. import toy


def write_jpegs(folder, n, size=(60, 40)):
    rng = np.random.default_rng(0)
    paths = [str(folder / f"{i}.jpg") for i in range(n)]
    for path in paths:
        Image.fromarray(rng.integers(0, 255, (*size[::-1], 3), np.uint8)).save(path, dpi=(70, 80))
    return paths


def equal(a, b) -> bool:
    return a.mode == b.mode and a.size == b.size and a.info == b.info and a.tobytes() == b.tobytes()


def twice(path, n_bytes=10**6):
    """Returns an image from its file and the same image from memory."""
    cache = ImageCache(n_bytes)
    return cache.read(path), cache.read(path)


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "CMYK", "1", "I;16"])
def test_a_cached_image_equals_its_file(tmp_path, mode):
    path = str(tmp_path / "image.tif")
    pixels = np.arange(600).reshape(20, 30)
    image = Image.fromarray((100 * pixels).astype(np.uint16) if mode == "I;16" else pixels.astype(np.uint8))
    image.convert(mode).save(path)
    for image in twice(path):
        assert equal(image, read_image(path))
    assert isinstance(twice(path)[1], StoredImage)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """(path, function that reads the image from the cache)"""
    (path,) = write_jpegs(tmp_path_factory.mktemp("one"), 1)
    cache = ImageCache(10**6)
    cache.read(path)
    return path, lambda: cache.read(path)


@given(st.tuples(*[st.integers(-20, 80)] * 4))
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_crop_equals_pillows(pair, box):
    path, stored = pair
    try:
        expected = read_image(path).crop(box)
    except ValueError as error:
        with pytest.raises(ValueError, match=str(error)):
            stored().crop(box)
    else:
        if 0 in expected.size:
            assert stored().crop(box).size == expected.size
        else:
            assert equal(stored().crop(box), expected)


def paste_then_crop(image):
    image.paste((1, 2, 3), (5, 5, 20, 20))
    ImageDraw.Draw(image).line((0, 0, 30, 30), fill="red")
    return image.crop((3, 3, 30, 30))


USES = {
    "copy": lambda i: i.copy(),
    "crop all": lambda i: i.crop((0, 0, 60, 40)),
    "crop nothing": lambda i: i.crop(),
    "crop between pixels": lambda i: i.crop((1.6, 2.2, 30.5, 30)),
    "convert": lambda i: i.convert("L"),
    "resize a box": lambda i: i.resize((9, 8), Image.BICUBIC, box=(1.5, 2, 30, 31)),
    "transpose": ImageOps.mirror,
    "equalize": ImageOps.equalize,
    "enhance": lambda i: ImageEnhance.Color(i).enhance(1.5),
    "split": lambda i: i.split()[1],
    "pickle": lambda i: pickle.loads(pickle.dumps(i)),
    "array": lambda i: Image.fromarray(np.asarray(i)),
    "changed, then cropped": paste_then_crop,
    "cropped twice": lambda i: i.crop((5, 5, 50, 35)).crop((2, 2, 20, 20)),
}


@pytest.mark.parametrize("use", USES)
def test_operations_on_a_cached_image(pair, use):
    path, stored = pair
    assert equal(USES[use](stored()), USES[use](read_image(path)))
    assert equal(stored(), read_image(path))  # the pixels in memory have not changed


def test_cached_images_keep_their_exif_data(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    path = str(tmp_path / "turned.jpg")
    Image.new("RGB", (30, 20)).save(path, exif=exif)
    for image in twice(path):
        assert ImageOps.exif_transpose(image).size == (20, 30)


def make(items, tmp_path, workers=0, tfm=None, **options):
    cfg = toy.make_cfg(tmp_path, tmp_path, DATALOADER__NUM_WORKERS=workers, **options)
    return build_data_loader(cfg, "RandomSampler", items, 4, tfm=tfm or plain_transform(16), is_train=False)


@pytest.mark.parametrize("workers", [0, 3])
def test_each_file_is_decoded_by_one_process_only(tmp_path, workers, capsys):
    items = [Datum(path) for path in write_jpegs(tmp_path, 13)]
    set_random_seed(3)
    loader = plain_loader(items, plain_transform(16), 13, workers)
    plain = [batch["img"] for _ in range(3) for batch in loader]
    set_random_seed(3)
    cfg = toy.make_cfg(tmp_path, tmp_path, DATALOADER__NUM_WORKERS=workers)
    loader = build_data_loader(cfg, "RandomSampler", items, 13, tfm=plain_transform(16))
    ours = [batch["img"] for batch in loader]
    for item in items:
        os.remove(item.impath)
    ours += [batch["img"] for _ in range(2) for batch in loader]
    assert all(torch.equal(a, b) for a, b in zip(ours, plain, strict=True))
    (line,) = capsys.readouterr().out.splitlines()  # one report in three passes
    assert_facts(line, "13", "0.1 MB")


def size_of(path) -> int:
    """Returns the bytes that an image takes in the cache."""
    image = read_image(path)
    return HEADER.size + 3 * image.width * image.height + len(pickle.dumps(image.info))


def read_all(cache, paths, sums):
    for i, path in enumerate(paths):
        sums[i] = sum(cache.read(path).tobytes())


def test_processes_that_read_the_same_images_at_the_same_time(tmp_path):
    paths = write_jpegs(tmp_path, 20)
    cache, context = ImageCache(10**6), multiprocessing.get_context("fork")
    sums = [context.Array("q", 20) for _ in range(6)]
    processes = [context.Process(target=read_all, args=(cache, paths, s)) for s in sums]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    expected = [sum(read_image(path).tobytes()) for path in paths]
    assert all(s[:] == expected for s in sums)
    n_bytes = sum(size_of(path) for path in paths)
    assert cache.store.state.tolist() == [n_bytes, 20, 0]  # each image is stored one time
    read_all(cache, paths, sums[0])
    assert sums[0][:] == expected


@pytest.mark.parametrize("n_bytes", [1, 7199, 7500, 36000, 10**6])
def test_memory_never_exceeds_the_limit(tmp_path, n_bytes):
    (tmp_path / "large").mkdir()
    paths = [*write_jpegs(tmp_path / "large", 1, (500, 500)), *write_jpegs(tmp_path, 6)]  # the large one first
    cache = ImageCache(n_bytes)
    for _ in range(2):
        assert all(equal(cache.read(path), read_image(path)) for path in paths)
    n_used, kept, left_out = cache.store.state.tolist()
    assert n_used <= n_bytes and kept == (7 if n_bytes > 800_000 else n_bytes // size_of(paths[1]))
    assert (left_out > 0) == (kept < 7)
    report = cache.report(paths)
    assert_facts(report, f": {kept} ")
    assert ("DATALOADER.CACHE_GB" in report) == (kept < 7)


def shared_memory() -> int:
    """Returns the bytes of shared memory that this process uses."""
    (line,) = [x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith("RssShmem")]
    return 1024 * int(line.split()[1])


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_memory_grows_with_the_images_and_is_released(tmp_path):
    paths = write_jpegs(tmp_path, 12, (1000, 500))  # 1.5 MB each
    before = shared_memory()
    items = [Datum(path) for path in paths]
    loader = make(items, tmp_path, DATALOADER__CACHE_GB=0.0101)
    assert shared_memory() - before < 10**5
    list(loader)
    list(loader)
    assert 8.5e6 < shared_memory() - before < 10.2e6  # six of the twelve
    del loader
    gc.collect()
    assert shared_memory() - before < 10**5


def test_loaders_with_the_same_limit_share_images(tmp_path):
    items = [Datum(path) for path in write_jpegs(tmp_path, 4)]
    first = make(items, tmp_path)
    second = make(items, tmp_path)
    assert first.cache is second.cache
    list(first)
    for item in items:
        os.remove(item.impath)
    assert len(next(iter(second))["img"]) == 4
    assert make(items, tmp_path, DATALOADER__CACHE_GB=0.5).cache is not first.cache


def test_without_memory(tmp_path, monkeypatch, capsys):
    items = [Datum(path) for path in write_jpegs(tmp_path, 4)]
    assert make(items, tmp_path, DATALOADER__CACHE_GB=0.0).cache is None
    with raises_user_error("DATALOADER.CACHE_GB", "-1"):
        make(items, tmp_path, DATALOADER__CACHE_GB=-1.0)
    monkeypatch.setattr(module, "free_memory", lambda: 0)
    loader = make(items, tmp_path, DATALOADER__CACHE_GB=0.25)
    assert loader.cache is None and sum(len(batch["img"]) for batch in loader) == 4
    (line,) = capsys.readouterr().out.splitlines()
    assert_facts(line, "DATALOADER.CACHE_GB 0.25")
    monkeypatch.setattr(module, "free_memory", lambda: 10**6)
    assert image_cache(0.25).store.n_bytes == 500_000  # half of the free memory


class IndexOnly(DatasetWrapper):
    def __getitem__(self, index):
        return {"index": index}


def test_no_report_for_wrappers_that_do_not_use_the_cache(tmp_path, capsys):
    items = [Datum(path) for path in write_jpegs(tmp_path, 4)]
    cfg = toy.make_cfg(tmp_path, tmp_path, DATALOADER__CACHE_GB=0.3)
    loader = build_data_loader(cfg, data_source=items, batch_size=4, dataset_wrapper=IndexOnly)
    assert len(list(loader)) == 1 and capsys.readouterr().out == ""


def test_validation_images_are_cached_if_every_epoch_uses_them(toy_root, tmp_path):
    for final in ("best_val", "last_step"):
        cfg = toy.make_cfg(toy_root, tmp_path, TEST__FINAL_MODEL=final, DATALOADER__NUM_WORKERS=1)
        manager = DataManager(cfg)
        assert manager.train_loader_x.cache is not None and manager.train_loader_x.persistent_workers
        assert manager.val_loader.persistent_workers == (manager.val_loader.cache is not None) == (final == "best_val")
        assert manager.test_loader.cache is None and not manager.test_loader.persistent_workers


def test_processes_that_are_not_forked_have_no_cache(tmp_path, monkeypatch):
    items = [Datum(path) for path in write_jpegs(tmp_path, 4)]
    monkeypatch.setattr("dassl.data.data_manager.start_method", lambda: "spawn")
    loader = make(items, tmp_path, workers=2)
    assert loader.cache is None
    copy = pickle.loads(pickle.dumps(loader.dataset))  # what a spawned process receives
    assert copy[1]["img"].shape == (3, 16, 16)
    assert make(items, tmp_path, workers=0).cache is not None


def test_an_image_with_info_that_cannot_be_pickled_is_not_cached(tmp_path, monkeypatch):
    (path,) = write_jpegs(tmp_path, 1)

    def read_with_function(path, exif, border):
        image = read_image(path, exif, border)
        image.info["function"] = lambda: 0
        return image

    monkeypatch.setattr(module, "read_image", read_with_function)
    first, second = twice(path)
    assert "function" in second.info and not isinstance(second, StoredImage)


@pytest.mark.parametrize(
    "cgroup,files,left",
    [
        ("", {}, 8e9),
        ("0::/job/step\n", {"job/memory.max": 5000, "job/memory.current": 2000, "job/memory.stat": 700}, 3700),
        ("0::/job\n", {"job/memory.max": "max", "job/memory.current": 2000, "job/memory.stat": 700}, 8e9),
        ("0::/\n", {"memory.max": 900, "memory.current": 1000, "memory.stat": 0}, 0),
        (
            "5:cpu:/a\n4:memory:/a\n",
            {"memory/memory.limit_in_bytes": 600, "memory/memory.usage_in_bytes": 500, "memory/memory.stat": 10},
            110,
        ),
    ],
)
def test_free_memory(tmp_path, cgroup, files, left):
    (tmp_path / "self").mkdir()
    (tmp_path / "meminfo").write_text("MemTotal: 16000000 kB\nMemAvailable: 7812500 kB\n")
    (tmp_path / "self" / "cgroup").write_text(cgroup)
    for name, value in files.items():
        file = tmp_path / "groups" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        stat = f"anon 3\ninactive_file {value}\ntotal_inactive_file {value}\n"
        file.write_text(stat if name.endswith("stat") else f"{value}\n")
    assert free_memory(tmp_path, tmp_path / "groups") == left


def test_free_memory_without_linux_files(tmp_path):
    assert free_memory(tmp_path / "nothing", tmp_path) == float("inf")
    assert free_memory() > 0
