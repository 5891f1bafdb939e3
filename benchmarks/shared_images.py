"""Measures what the jobs of a sweep save by sharing test images in memory: a sweep with it and without, on JPEGs.

    python benchmarks/shared_images.py                       # 4 methods, 1,000 test images, micro CLIP
    python benchmarks/shared_images.py --images 200 --methods ZeroshotCLIP CoOp

The images are those of loading.py, 500x375 pixels, in two classes. CLIPFIT_SHARED_IMAGES_GB=0 switches sharing off. The
two kinds of sweeps alternate. CPU seconds are those of all processes of a sweep, without its report.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from cases import machine
from loading import make_jpegs

KINDS = {"shared": {}, "not shared": {"CLIPFIT_SHARED_IMAGES_GB": "0"}}
CLASSES = ("bright", "dark")
SHOTS = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1000, help="test images (default: 1000)")
    parser.add_argument("--methods", nargs="+", default=["ZeroshotCLIP", "CLIPFit", "CoOp", "KgCoOp"])
    parser.add_argument("--rounds", type=int, default=2, help="sweeps of each kind (default: 2)")
    args = parser.parse_args()
    times = {kind: [] for kind in KINDS}
    with tempfile.TemporaryDirectory() as folder:
        write_images(Path(folder, "images"), args.images)
        for number in range(-1, args.rounds):  # the first one hashes the images, and is not counted
            for kind in KINDS if number >= 0 else ["not shared"]:
                times[kind].append(seconds_of_sweep(folder, f"{kind} {number}", args.methods, KINDS[kind]))
    times["not shared"].pop(0)
    print(f"\n{args.images:,} test images, {' '.join(args.methods)}; median of {args.rounds}; {machine()}\n")
    print("| test images | seconds | CPU seconds |\n| --- | ---: | ---: |")
    for kind, pairs in times.items():
        wall, cpu = (statistics.median(values) for values in zip(*pairs, strict=True))
        print(f"| {kind} | {wall:.1f} | {cpu:.1f} |")


def write_images(folder: Path, n_test: int) -> None:
    """Writes `n_test` test images, and the training images of both classes."""
    for part, n in (("train", SHOTS * len(CLASSES)), ("test", n_test)):
        for name in CLASSES:
            (folder / part / name).mkdir(parents=True)
        for number, item in enumerate(make_jpegs(str(folder), n)):
            path = Path(item.impath)
            path.rename(folder / part / CLASSES[number % len(CLASSES)] / f"{part}{path.name}")


def seconds_of_sweep(folder: str, name: str, methods: list[str], environment: dict) -> tuple[float, float]:
    """Returns the seconds of a sweep, and the CPU seconds of all its processes."""
    command = [
        sys.executable, "tools/sweep.py", "fewshot", "--datasets", f"folder={folder}/images", "--methods", *methods,
        "--shots", str(SHOTS), "--seeds", "1", "--backbone", "micro", "--jobs", "2", "--output", f"{folder}/{name}",
        "--table", "--", "DATASET.TEMPLATE", "a {} photo", "OPTIM.MAX_EPOCH", "2",
        "DATASET.FOLDER.ALLOW_DUPLICATES", "True",
    ]  # fmt: skip
    started, before = time.perf_counter(), cpu_seconds()
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"The sweep failed:\n{done.stdout}{done.stderr}")
    return time.perf_counter() - started, cpu_seconds() - before


def cpu_seconds() -> float:
    """Returns the CPU seconds of the processes that have ended, and those that they have waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
