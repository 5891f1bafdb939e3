"""Estimates how long CLIPFit's row of Table 1 takes on this machine, from short runs on made images.

    python benchmarks/table1.py OUT                   # ViT-B/16 with random weights, 1 and 3 jobs at a time
    python benchmarks/table1.py OUT --jobs 1 2 4 --classes 10 100

Runs tools/sweep.py base2new on JPEGs of 500x375 pixels in 10, 100 and 1,000 classes, with everything that a run does:
starting, loading, training, saving, evaluating base and new classes. Each training takes about --steps steps. Then
`tools/reproduce.py table1 --dry-run` adds up their parts for the steps and images of the eleven datasets: once for each
number of jobs at a time, from runs with that many at a time.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from cases import ROOT, machine, random_weights
from loading import make_jpegs

SHOTS, BATCH = 16, 32  # of the recipe
SEEDS = 3
DIFFERENT_JPEGS = 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", metavar="OUT", help="folder for the runs")
    parser.add_argument("--jobs", type=int, nargs="+", default=[1, 3], help="numbers of jobs at a time (default: 1 3)")
    parser.add_argument(
        "--classes", type=int, nargs="+", default=[10, 100, 1000], help="numbers of classes (default: 10 100 1000)"
    )
    parser.add_argument("--steps", type=int, default=200, help="training steps of a run (default: 200)")
    parser.add_argument("--images", type=int, default=2000, help="test images of a data set (default: 2000)")
    parser.add_argument("--size", default="ViT-B/16", help="CLIP architecture (default: ViT-B/16)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, random_weights(args.size) as weights:
        sets = {n: make_classes(Path(folder), n, args.images) for n in args.classes}
        for jobs in args.jobs:
            output = Path(args.out).resolve() / f"jobs_{jobs}"
            for n, images in sets.items():
                run("sweep.py", "base2new", f"--datasets=folder={images}", *common(args, weights, jobs, output),
                    "OPTIM.MAX_EPOCH", epochs(n, args.steps))  # fmt: skip
            plan = run("reproduce.py", "table1", "--dry-run", *common(args, weights, jobs, output))
            print(f"\n{args.size}, {jobs} at a time; {machine()}")
            print("\n".join(line for line in plan.splitlines() if "stimate" in line or "at a time" in line), flush=True)


def common(args, weights: str, jobs: int, output: Path) -> list:
    """Returns the arguments of both programs."""
    from tests.reference.models import SIZES

    side = SIZES[args.size][1]
    options = ["--methods", "CLIPFit", "--backbone", weights, "--jobs", jobs, "--output", output]
    return [*options, "--seeds", *range(1, SEEDS + 1), "--", "INPUT.SIZE", f"({side}, {side})"]


def epochs(n_cls: int, steps: int) -> int:
    """Returns the number of epochs on the base classes that have about this number of steps."""
    per_epoch = max(1, (n_cls + 1) // 2 * SHOTS // BATCH)
    return max(1, round(steps / per_epoch))


def make_classes(folder: Path, n_cls: int, tested: int) -> Path:
    """Writes train/CLASS and test/CLASS with JPEGs, of which no two have the same bytes; returns their folder.

    Few are different images: the others differ in bytes after the end of the image, which no decoder reads.
    """
    originals = folder / "originals"
    if not originals.exists():
        originals.mkdir()
        make_jpegs(str(originals), DIFFERENT_JPEGS)
    contents = [path.read_bytes() for path in sorted(originals.iterdir())]
    root = folder / f"made{n_cls}"
    number = 0
    for split, per_class in (("train", SHOTS), ("test", max(2, tested // n_cls))):
        for i in range(n_cls):
            images = root / split / f"class {i % 10} {i // 10 % 10} {i // 100}"
            images.mkdir(parents=True)
            for _ in range(per_class):
                number += 1
                content = contents[number % len(contents)] + number.to_bytes(4, "big")
                (images / f"{number}.jpg").write_bytes(content)
    return root


def run(program: str, *arguments) -> str:
    """Runs a program of tools/; returns what it prints."""
    command = [sys.executable, str(ROOT / "tools" / program), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{program} failed:\n{done.stdout[-1000:]}\n{done.stderr[-2000:]}")
    return done.stdout


if __name__ == "__main__":
    main()
