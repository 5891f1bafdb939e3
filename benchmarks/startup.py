"""Measures the time from the start of train.py to its first training step, with the micro CLIP on the digits.

    python benchmarks/startup.py             # median of 7 starts
    python benchmarks/startup.py --imports   # also list the slowest imports (python -X importtime)

train.py is started by hand and as a job of a sweep, which is a fork of a process with its imports. The clock stops at
the first line "epoch [1/", which train.py prints after the first batch. `import torch` alone is timed for comparison. A
first start, which writes the digits, is not timed.
"""

import argparse
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time

from cases import machine

from runtime.fork_server import ForkServer
from tools.sweeping.launch import modules

TRAIN = ("train.py --trainer CLIPFit --backbone micro --seed 1 --dataset-config-file configs/datasets/digits.yaml "
         "--config-file configs/trainers/CLIPFit/micro_ep100.yaml")  # fmt: skip
OPTIONS = "DATASET.NUM_SHOTS 16 OPTIM.MAX_EPOCH 1 TRAIN.PRINT_FREQ 1"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=7, help="timed starts (default: 7)")
    parser.add_argument("--imports", action="store_true", help="also list the slowest imports")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        starts = [first_step(folder, run) for run in range(args.runs + 1)][1:]
        with ForkServer(modules([]), os.environ, os.getcwd()) as server:
            server.wait_until_ready()
            forks = [first_step(folder, f"-fork{run}", server) for run in range(args.runs)]
        imports = slowest_imports(folder) if args.imports else []
    torch = [seconds([sys.executable, "-c", "import torch"]) for _ in range(args.runs)]
    print(f"\nMedian of {args.runs}; {machine()}\n")
    print("| | seconds | fastest | slowest |\n| --- | ---: | ---: | ---: |")
    rows = {"train.py to its first step": starts, "as a job of a sweep": forks, "import torch alone": torch}
    for name, times in rows.items():
        print(f"| {name} | {statistics.median(times):.2f} | {min(times):.2f} | {max(times):.2f} |")
    if imports:
        print("\n| module, including its imports | ms |\n| --- | ---: |")
        print("\n".join(f"| {name} | {microseconds / 1000:.0f} |" for name, microseconds in imports))


def command(folder: str, run: int | str, *flags: str) -> list[str]:
    folders = f"--root {folder}/data --output-dir {folder}/run{run}".split()
    return [sys.executable, *flags, *TRAIN.split(), *folders, *OPTIONS.split()]


def first_step(folder: str, run: int | str, server: ForkServer | None = None) -> float:
    """Returns the seconds from the start of train.py, a fork of the server if there is one, to its first line."""
    reader, writer = os.pipe()
    arguments = command(folder, run, *([] if server else ["-u"]))
    started = time.perf_counter()
    if server:
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        process = server.start(arguments[1:], environment, {1: writer, 2: writer})
    else:
        process = subprocess.Popen(arguments, stdout=writer, stderr=subprocess.STDOUT)
    os.close(writer)
    lines = []
    with open(reader) as output:
        for line in output:
            lines.append(line)
            if line.startswith("epoch [1/"):
                elapsed = time.perf_counter() - started
                process.send_signal(signal.SIGTERM)
                process.wait()
                return elapsed
    sys.exit(f"train.py ended without a training step:\n{''.join(lines)[-2000:]}")


def seconds(arguments: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run(arguments, check=True)
    return time.perf_counter() - started


def slowest_imports(folder: str, most: int = 12) -> list[tuple[str, int]]:
    """Returns (module, microseconds including its own imports) of the first two import levels, slowest first."""
    done = subprocess.run(command(folder, -1, "-X", "importtime"), capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr[-2000:])
    rows = re.findall(r"^import time: +\d+ \| +(\d+) \| (?:  )?(\S+)$", done.stderr, re.M)
    return sorted(((name, int(micro)) for micro, name in rows), key=lambda row: -row[1])[:most]


if __name__ == "__main__":
    main()
