"""Measures the time to load an epoch of training images with our loader and Dassl's, without training.

    python benchmarks/loading.py                 # 1,600 JPEGs of 500x375, batch 32, CoOp's augmentation
    python benchmarks/loading.py --workers 2 4   # 2 and 4 worker processes instead of the 8 in CoOp's configs

Dassl's is tests/reference/loader.py: torch's loader, which starts new workers and decodes all images in every epoch.
Ours is build_data_loader with default settings, without the image cache, and both with Pillow instead of Numba's loops.
All give the same pixels. The JPEGs are random crops of scikit-learn's two sample photographs with changed colours.
Loaders alternate epoch by epoch. Times are medians over the epochs after the first.
"""

import argparse
import random
import statistics
import tempfile
import time
import warnings
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from types import SimpleNamespace

from cases import machine  # makes the project importable

import runtime  # noqa: F401  (makes dassl importable)

SIZE = (500, 375)
OURS = {
    "ours": {},
    "ours, nothing kept in memory": {"DATALOADER.CACHE_GB": 0.0},
    "ours, without Numba": {"DATALOADER.CACHE_GB": 4.001},  # loaders with the same limit would share their images
    "ours, nothing kept, without Numba": {"DATALOADER.CACHE_GB": 0.0},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1600, help="JPEGs per epoch (default: 1600)")
    parser.add_argument("--batch", type=int, default=32, help="batch size (default: 32)")
    parser.add_argument("--workers", type=int, nargs="+", default=[8], help="worker processes (default: 8)")
    parser.add_argument(
        "--others",
        type=int,
        nargs="*",
        default=[0, 1, 2, 4],
        help="additional numbers of worker processes for Dassl's loader (default: 0 1 2 4)",
    )
    parser.add_argument("--epochs", type=int, default=5, help="timed epochs after the first (default: 5)")
    args = parser.parse_args()
    warnings.filterwarnings("ignore", message="This DataLoader will create")  # more processes than cores
    with tempfile.TemporaryDirectory() as folder:
        items = make_jpegs(folder, args.images)
        hashing = [seconds_of_hashing(items) for _ in range(2)]
        times = measure(make_loaders(args, items), 1 + args.epochs)
    report(args, times)
    print(f"\nHashes of their content, for the run record: {hashing[0]:.2f} s, cached {hashing[1]:.2f} s")


def make_jpegs(folder: str, n: int) -> list:
    """Writes `n` photo-like JPEGs of 77 KB on average; returns their Datums."""
    from PIL import Image, ImageEnhance
    from sklearn.datasets import load_sample_images

    from dassl.data.datasets import Datum

    photographs = [Image.fromarray(pixels) for pixels in load_sample_images().images]
    rng = random.Random(0)
    items = []
    for i in range(n):
        photograph = rng.choice(photographs)
        left = rng.randint(0, photograph.width - SIZE[0])
        top = rng.randint(0, photograph.height - SIZE[1])
        image = photograph.crop((left, top, left + SIZE[0], top + SIZE[1]))
        image = ImageEnhance.Brightness(image).enhance(rng.uniform(0.7, 1.3))
        image = ImageEnhance.Color(image).enhance(rng.uniform(0.5, 1.5))
        image.save(f"{folder}/{i}.jpg", quality=95)
        items.append(Datum(f"{folder}/{i}.jpg", label=i % 100))
    return items


def seconds_of_hashing(items) -> float:
    """Returns the seconds to hash the images. The second time the hashes are cached."""
    from trainers.common.runs import image_hashes

    image_hashes.SETTLED = 0  # the images have just been written
    started = time.perf_counter()
    image_hashes.ImageHashes(SimpleNamespace(train_x=items)).content("train_x")
    return time.perf_counter() - started


def make_loaders(args, items) -> dict:
    """Returns {(name, workers): training loader}."""
    from tests.reference.loader import plain_loader, plain_transform

    worker_counts = [*args.workers, *(n for n in args.others if n not in args.workers)]
    loaders = {("Dassl's", n): plain_loader(items, plain_transform(224), args.batch, n) for n in worker_counts}
    for name, options in OURS.items():
        for n in args.workers:
            loaders[name, n] = our_loader(items, args.batch, n, options)
    return loaders


def our_loader(items, batch: int, workers: int, options: dict):
    from dassl.config import get_cfg_default
    from dassl.data import build_data_loader
    from dassl.data.transforms import build_transform
    from tests.reference.loader import MEAN, STD

    cfg = get_cfg_default()
    cfg.USE_CUDA = False
    cfg.DATALOADER.NUM_WORKERS = workers
    cfg.INPUT.INTERPOLATION = "bicubic"
    cfg.INPUT.PIXEL_MEAN = MEAN
    cfg.INPUT.PIXEL_STD = STD
    cfg.INPUT.TRANSFORMS = ("random_resized_crop", "random_flip", "normalize")
    for key, value in options.items():
        cfg.merge_from_list([key, value])
    with redirect_stdout(StringIO()):
        tfm = build_transform(cfg, is_train=True)
    return build_data_loader(cfg, "RandomSampler", items, batch, tfm=tfm, is_train=True)


def measure(loaders: dict, epochs: int) -> dict[tuple[str, int], list[float]]:
    """Returns the seconds of each epoch per loader."""
    times = {key: [] for key in loaders}
    for _ in range(epochs):
        for key, loader in loaders.items():
            with redirect_stdout(StringIO()), compiled_loops(key[0]):
                started = time.perf_counter()
                for _batch in loader:
                    pass
                times[key].append(time.perf_counter() - started)
    return times


@contextmanager
def compiled_loops(name: str):
    """Disables the compiled loops for a loader "without Numba"; its worker processes inherit the setting."""
    from dassl.data.fast_loader import fast_pixels

    loops = fast_pixels.loops
    if "without Numba" in name:
        fast_pixels.loops = None
    try:
        yield
    finally:
        fast_pixels.loops = loops


def report(args, times) -> None:
    images = f"{args.images:,} JPEGs of {SIZE[0]}x{SIZE[1]}, batch {args.batch}"
    print(f"\n{images}, median of {args.epochs} epochs after the first; {machine()}\n")
    median = {key: statistics.median(seconds[1:]) for key, seconds in times.items()}
    base = median["Dassl's", args.workers[0]]
    best = min(seconds for (name, _), seconds in median.items() if name == "Dassl's")
    print(f"| loader | workers | first epoch, s | later epochs, s | Dassl's with {args.workers[0]} / this | ", end="")
    print("Dassl's with its best / this |\n| --- | ---: | ---: | ---: | ---: | ---: |")
    for (name, n), seconds in median.items():
        first = times[name, n][0]
        print(f"| {name} | {n} | {first:.2f} | {seconds:.2f} | {base / seconds:.2f} | {best / seconds:.2f} |")


if __name__ == "__main__":
    main()
