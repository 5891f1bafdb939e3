"""Time from starting `python train.py` to its first training step, on the micro CLIP and the digits.

    python benchmarks/startup.py             # median of 7 starts
    python benchmarks/startup.py --imports   # and which imports take longest, by python -X importtime

The clock stops at the first line "epoch [1/", which is printed after that epoch's first batch. `import torch` alone is
timed beside it. One start before the timed ones writes the digits.
"""

import argparse
import re
import statistics
import subprocess
import sys
import tempfile
import time

from cases import machine

TRAIN = ("train.py --trainer CLIPFit --backbone micro --seed 1 --dataset-config-file configs/datasets/digits.yaml "
         "--config-file configs/trainers/CLIPFit/micro_ep100.yaml")  # fmt: skip
OPTIONS = "DATASET.NUM_SHOTS 16 OPTIM.MAX_EPOCH 1 TRAIN.PRINT_FREQ 1"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--imports", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        starts = [first_step(folder, run) for run in range(args.runs + 1)][1:]
        imports = slowest_imports(folder) if args.imports else []
    torch = [seconds([sys.executable, "-c", "import torch"]) for _ in range(args.runs)]
    print(f"\nMedian of {args.runs}; {machine()}\n")
    print("| | seconds | fastest | slowest |\n| --- | ---: | ---: | ---: |")
    for name, times in (("train.py to its first step", starts), ("import torch alone", torch)):
        print(f"| {name} | {statistics.median(times):.2f} | {min(times):.2f} | {max(times):.2f} |")
    if imports:
        print("\n| import, with what it imports | ms |\n| --- | ---: |")
        print("\n".join(f"| {name} | {microseconds / 1000:.0f} |" for name, microseconds in imports))


def command(folder: str, run: int, *flags: str) -> list[str]:
    places = f"--root {folder}/data --output-dir {folder}/run{run}".split()
    return [sys.executable, *flags, *TRAIN.split(), *places, *OPTIONS.split()]


def first_step(folder: str, run: int) -> float:
    """Seconds from starting the process to its first line about a training step."""
    started = time.perf_counter()
    with subprocess.Popen(command(folder, run, "-u"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as it:
        for line in it.stdout:
            if line.startswith("epoch [1/"):
                taken = time.perf_counter() - started
                it.terminate()
                return taken
        sys.exit(f"no training step:\n{it.stderr.read()[-2000:]}")


def seconds(arguments: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run(arguments, check=True)
    return time.perf_counter() - started


def slowest_imports(folder: str, most: int = 12) -> list[tuple[str, int]]:
    """(module, microseconds with what it imports) of the modules at the first two levels, longest first."""
    done = subprocess.run(command(folder, -1, "-X", "importtime"), capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr[-2000:])
    rows = re.findall(r"^import time: +\d+ \| +(\d+) \| (?:  )?(\S+)$", done.stderr, re.M)
    return sorted(((name, int(micro)) for micro, name in rows), key=lambda row: -row[1])[:most]


if __name__ == "__main__":
    main()
