"""The compiled loops give the same bytes as Pillow and torchvision, and the loader also works without them.

Without Numba, tests of the loops are skipped; the others compare the Pillow fallback with the plain loader.
"""

import os
import pickle
import shutil
import subprocess
import sys

import numpy as np
import PIL
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision import transforms as T

from dassl.data import build_data_loader
from dassl.data.datasets import Datum
from dassl.data.fast_loader import fast_pixels
from dassl.data.fast_loader.byte_batch import ByteBatch, Images, collate
from dassl.data.fast_loader.stored_image import StoredImage, stored
from dassl.data.transforms import AVAI_CHOICES, build_transform
from dassl.utils import read_image, set_random_seed
from tests.reference.loader import MEAN, STD, plain_loader, plain_transform
from tests.user_errors import assert_facts

from .. import toy

try:
    import numba
except ImportError:
    numba = None
compiled = pytest.mark.skipif(numba is None, reason="needs requirements-fast.txt")


@pytest.fixture(autouse=True)
def loaded():
    """Loads the loops, which also resize small images; unloads them after the test."""
    fast_pixels.prepare((224, 224))
    assert (fast_pixels.loops is None) == (numba is None)
    yield
    fast_pixels.loops, fast_pixels._tried = None, False


def random_image(height, width, seed=0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8))


def equal(a, b) -> bool:
    return a.mode == b.mode and a.size == b.size and a.info == b.info and a.tobytes() == b.tobytes()


@st.composite
def crops(draw):
    """((width, height) of an image, box in it)"""
    sizes = st.one_of(st.integers(1, 40), st.integers(1, 700))
    size = draw(sizes), draw(sizes)
    left, top = (draw(st.integers(0, side - 1)) for side in size)
    right, bottom = (draw(st.integers(start + 1, side)) for start, side in zip((left, top), size, strict=True))
    return size, (left, top, right, bottom)


@compiled
@given(crops(), st.tuples(*[st.integers(1, 300)] * 2), st.sampled_from([2, 3]), st.booleans(), st.integers(0, 9))
@settings(max_examples=300)
def test_resized_crops_equal_pillows(crop, new_size, resample, flip, seed):
    size, box = crop
    image = random_image(*size[::-1], seed)
    image.info["dpi"] = 70
    results = []
    for start in (image, stored(image)):
        result = start.crop(box).resize(new_size, resample)
        results.append(result.transpose(Image.FLIP_LEFT_RIGHT) if flip else result)
    assert equal(*results[::-1])


@compiled
@pytest.mark.parametrize("resample", [Image.BILINEAR, Image.BICUBIC])
@pytest.mark.parametrize(
    "size,new_size",
    [((1, 1), (224, 224)), ((3, 900), (50, 60)), ((900, 3), (60, 50)), ((1, 101), (7, 9)), ((4000, 3000), (224, 224)),
     ((200, 300), (300, 200)), ((300, 200), (200, 300)), ((224, 224), (224, 224)), ((224, 300), (224, 100)),
     ((17, 9), (17, 40)), ((640, 480), (1, 1))],
)  # fmt: skip
def test_unusual_sizes(size, new_size, resample):
    for image in (random_image(*size[::-1]), Image.new("RGB", size, "white"), Image.new("RGB", size)):
        assert equal(stored(image).resize(new_size, resample), image.resize(new_size, resample))


@compiled
def test_overshoot_at_edges_is_clipped():
    """At black and white stripes the cubic filter gives values below 0 and above 255."""
    stripes = Image.fromarray(np.tile(np.array([0, 255] * 20, np.uint8).repeat(3)[None, :, None], (90, 1, 3)))
    for size in ((50, 70), (200, 31), (400, 400)):
        assert equal(stored(stripes).resize(size, Image.BICUBIC), stripes.resize(size, Image.BICUBIC))


OTHER_RESIZES = {
    "default": lambda i: i.resize((30, 20)),
    "nearest": lambda i: i.resize((30, 20), Image.NEAREST),
    "lanczos": lambda i: i.resize((30, 20), Image.LANCZOS),
    "box": lambda i: i.resize((30, 20), Image.BICUBIC, box=(2.5, 3, 40, 30)),
    "reducing gap": lambda i: i.resize((5, 4), Image.BICUBIC, reducing_gap=2.0),
    "list": lambda i: i.resize([30, 20], Image.BICUBIC),
    "rotated": lambda i: i.transpose(Image.ROTATE_90),
    "upside down": lambda i: i.transpose(Image.FLIP_TOP_BOTTOM),
    "resized, then hue adjusted": lambda i: T.functional.adjust_hue(i.resize((30, 20), Image.BICUBIC), 0.2),
    "mirrored twice": lambda i: i.transpose(0).transpose(0),
    "pickled": lambda i: pickle.loads(pickle.dumps(i.resize((30, 20), Image.BICUBIC))),
}


@compiled
@pytest.mark.parametrize("use", OTHER_RESIZES)
def test_other_operations_equal_pillows(use):
    image = random_image(60, 50)
    start = stored(image)
    assert equal(OTHER_RESIZES[use](start), OTHER_RESIZES[use](image)) and equal(start, image)


@compiled
def test_sizes_that_pillow_refuses():
    for size in ((0, 5), (5, -1)):
        with pytest.raises(ValueError) as expected:
            random_image(9, 9).resize(size, Image.BICUBIC)
        with pytest.raises(ValueError, match=str(expected.value)):
            stored(random_image(9, 9)).resize(size, Image.BICUBIC)


@compiled
@given(st.integers(0, 2**32), st.integers(1, 3), st.integers(1, 9), st.integers(1, 9))
@settings(max_examples=50)
def test_finished_bytes_equal_the_transforms(seed, n, height, width):
    rng = np.random.default_rng(seed)
    images = [random_image(height, width, seed + i) for i in range(n)]
    tail = [T.ToTensor(), T.Normalize(rng.normal(size=3), np.abs(rng.normal(size=3)) + 0.01)]
    batch = collate(Images([{"img": stored(image), "label": 7} for image in images], tail))
    assert isinstance(batch, ByteBatch)
    expected = torch.stack([T.Compose(tail)(image) for image in images])
    assert torch.equal(batch.finish()["img"], expected)
    fast_pixels.loops = None
    try:
        assert torch.equal(batch.finish()["img"], expected)
    finally:
        fast_pixels.prepare((224, 224))


@pytest.fixture
def items(tmp_path):
    """Images of several sizes, modes and formats."""
    items = []
    for i, mode in enumerate(["RGB", "RGB", "RGBA", "P", "L", "1", "RGB", "RGB"]):
        path = str(tmp_path / f"{i}.{'jpg' if mode == 'RGB' else 'png'}")
        random_image(60 + 31 * (i % 3), 150 - 20 * i, i).convert(mode).save(path)
        items.append(Datum(path, label=i))
    return items


def make(items, tmp_path, tfm, workers, **options):
    cfg = toy.make_cfg(tmp_path, tmp_path, DATALOADER__NUM_WORKERS=workers, INPUT__SIZE="(96, 96)", **options)
    return build_data_loader(cfg, "RandomSampler", items, 3, tfm=tfm)


@pytest.mark.parametrize("workers,memory", [(0, 4.0), (2, 4.0), (2, 0.0), (1, 1e-4)])
def test_passes_equal_those_of_a_plain_loader(items, tmp_path, workers, memory):
    results = []
    for loader in (
        plain_loader(items, plain_transform(96), 3, workers),
        make(items, tmp_path, plain_transform(96), workers, DATALOADER__CACHE_GB=memory),
    ):
        set_random_seed(5)
        results.append(([batch for _ in range(3) for batch in loader], torch.rand(2)))
    (plain, after), (ours, our_after) = results
    assert torch.equal(after, our_after) and len(ours) == len(plain) == 6
    for a, b in zip(ours, plain, strict=True):
        assert set(a) == set(b) and torch.equal(a["img"], b["img"]) and torch.equal(a["label"], b["label"])
        assert a["img"].is_contiguous() and a["label"].dtype == b["label"].dtype


@pytest.mark.parametrize("is_train", [True, False])
def test_every_transform_gives_the_same(tmp_path, is_train):
    cfg = toy.make_cfg(tmp_path, tmp_path, INPUT__SIZE="(96, 112)", INPUT__GB_K=5, INPUT__INTERPOLATION="bicubic")
    tfm = build_transform(cfg, is_train=is_train, choices=AVAI_CHOICES)
    image = random_image(150, 130)
    results = []
    for start in (image, stored(image)):
        set_random_seed(1)
        results.append(torch.stack([tfm(start.copy() if start is image else stored(image)) for _ in range(20)]))
    assert torch.equal(*results)


@compiled
def test_loops_are_loaded_for_large_images_only(capsys):
    fast_pixels.loops, fast_pixels._tried = None, False
    fast_pixels.prepare((95, 224))
    assert fast_pixels.loops is None and not fast_pixels._tried
    fast_pixels.prepare((96, 96))
    assert fast_pixels.loops is not None and capsys.readouterr().out == ""


def without_loops(monkeypatch, capsys, items, tmp_path):
    """Checks the batches of a loader without loops; returns the log line about the fallback."""
    fast_pixels.loops, fast_pixels._tried = None, False
    fast_pixels.preload()  # leaves the report to the loader
    tfm = T.Compose([T.Resize((96, 96), T.InterpolationMode.BICUBIC), T.ToTensor(), T.Normalize(MEAN, STD)])
    loader = make(items, tmp_path, tfm, 0)
    make(items, tmp_path, tfm, 0)
    assert fast_pixels.loops is None
    for _ in range(2):
        for batch in loader:
            expected = [tfm(read_image(path)) for path in batch["impath"]]
            assert torch.equal(batch["img"], torch.stack(expected))
    line, *_ = capsys.readouterr().out.splitlines()
    return line


def test_without_numba(monkeypatch, capsys, items, tmp_path):
    monkeypatch.delitem(sys.modules, "dassl.data.fast_loader.pixel_loops", raising=False)
    monkeypatch.delattr("dassl.data.fast_loader.pixel_loops", raising=False)
    monkeypatch.setitem(sys.modules, "numba", None)
    line = without_loops(monkeypatch, capsys, items, tmp_path)
    assert_facts(line, "Pillow", "1.3", "2.4", "pip install -r requirements-fast.txt")


@compiled
def test_fallback_if_pillow_gives_other_bytes(monkeypatch, capsys, items, tmp_path):
    monkeypatch.setattr(fast_pixels, "ORDERS", {"unknown order": lambda h, w, new_h, new_w: h < new_h})
    monkeypatch.setattr(fast_pixels, "seconds_to_resize", lambda module: (4e-4, 2e-4))  # Pillow-SIMD is faster
    line = without_loops(monkeypatch, capsys, items, tmp_path)
    assert_facts(line, f"Pillow {PIL.__version__}", "0.20 ms", "0.40 ms")


@compiled
def test_both_ways_to_resize_are_timed():
    times = fast_pixels.seconds_to_resize(fast_pixels.loops)
    assert len(times) == 2 and 0 <= min(times) <= max(times) < 1


@compiled
def test_exactly_one_order_agrees_with_the_installed_pillow():
    from dassl.data.fast_loader import pixel_loops

    assert sum(fast_pixels._agrees(pixel_loops, order) for order in fast_pixels.ORDERS.values()) == 1


RESIZE = (
    "import numpy as np, pixel_loops as l; out = np.empty((2, 2, 3), np.uint8); "
    "l.resize(np.full(30, 7, np.uint8), 15, 2, 5, True, False, out); "
    "print(out.sum(), sum(l.resize.stats.cache_hits.values()))"
)


def start(folder, **variables) -> subprocess.Popen:
    """Starts a process that imports the copy of pixel_loops in `folder` and resizes."""
    environment = {**{k: v for k, v in os.environ.items() if k != "XDG_CACHE_HOME"}, **variables}
    return subprocess.Popen([sys.executable, "-c", RESIZE], cwd=folder, env=environment, stdout=subprocess.PIPE)


@compiled
def test_compiled_code_is_cached_if_a_folder_is_writable(tmp_path):
    """Two processes at the same time, a third one later, and one without a writable folder."""
    shutil.copy("runtime/dassl/data/fast_loader/pixel_loops.py", tmp_path)
    together = [start(tmp_path) for _ in range(2)]
    assert all(process.communicate()[0].startswith(b"84 ") for process in together)
    assert start(tmp_path).communicate()[0] == b"84 1\n"
    shutil.rmtree(tmp_path / "__pycache__")
    (tmp_path / "__pycache__").write_text("a file, so that there can be no such folder")
    assert start(tmp_path, HOME=str(tmp_path / "pixel_loops.py")).communicate()[0] == b"84 0\n"


@compiled
def test_pixels_of_stored_images_and_crops():
    image = random_image(20, 30)
    part = stored(image).crop((3, 4, 20, 15))
    assert isinstance(part, StoredImage) and np.array_equal(part.pixels, np.asarray(image)[4:15, 3:20])
    again = part.crop((2, 1, 9, 9))
    assert np.array_equal(again.pixels, np.asarray(image)[5:13, 5:12]) and again.copy().tobytes() == again.tobytes()
