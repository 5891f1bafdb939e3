"""Mean and standard deviation over seeds, from the log.txt files of Dassl runs: CoOp's script of the same name.

EXPERIMENT holds one folder a seed, each with a log.txt:

    python parse_test_res.py EXPERIMENT                  training runs: results after "Finish training"
    python parse_test_res.py EXPERIMENT --test-log       runs with --eval-only
    python parse_test_res.py EXPERIMENT --ci95           1.96 std / sqrt(n) in place of the standard deviation
    python parse_test_res.py FOLDER --multi-exp          every experiment in FOLDER, and the mean of their means
    python parse_test_res.py EXPERIMENT --keyword macro_f1

Command line, numbers and lines are CoOp's (population standard deviation; means of the printed, rounded values). A seed
without a result is named and left out. Where log.txt has none but a later log.txt-<date> does, that one is
read, and the line says so. Exit code 1 if nothing is found. Needs no package but this repository's.

Base, New and their harmonic mean, unrounded, of whole output trees: python tools/report.py OUTPUT
"""

from __future__ import annotations  # CoOp runs on Python 3.8, too

import argparse
import re
import statistics
import sys
from pathlib import Path

from trainers.common.runs.log_lines import EPOCH, TESTED, TRAINED, metric


def logs_in(folder) -> list[Path]:
    """log.txt and the log.txt-<date> of later starts in the same folder, oldest first."""
    return sorted(path for path in Path(folder).glob("log.txt*") if re.fullmatch(r"log\.txt(-[\d-]+)?", path.name))


def read_lines(path) -> list[str]:
    with open(path, encoding="utf-8", errors="replace") as file:
        return [line.strip() for line in file]


def last_result(lines: list[str], keyword: str, signals: tuple) -> float | None:
    """The last "* keyword: number%" after a line that is one of the signals."""
    pattern, result, ready = metric(keyword), None, False
    for line in lines:
        ready = ready or line in signals
        if ready and (match := pattern.search(line)):
            try:
                result = float(match[1])
            except ValueError:  # garbled, such as "-"
                continue
    return result


def why_nothing(lines: list[str], keyword: str, signals: tuple) -> str:
    """What a log without a result has instead, in a few words."""
    if signals == TRAINED and last_result(lines, keyword, TESTED) is not None and not any(map(EPOCH.match, lines)):
        return "is of an evaluation: pass --test-log"
    if any(line in signals for line in lines):
        return f"has no line '* {keyword}: ...%' after '{signals[0]}'"
    progress = [match for match in map(EPOCH.match, lines) if match]
    if progress:
        return f"stops in epoch {progress[-1][1]} of {progress[-1][2]}"
    return f"has no line '{signals[0]}'" if lines else "is empty"


def read_seed(folder: Path, keyword: str, signals: tuple) -> tuple[Path | None, float | None, str]:
    """(log, result, remark) of one seed's folder; without a result the remark says what is lacking."""
    logs = logs_in(folder)
    if not logs:
        return None, None, "no log.txt"
    remarks = []
    for path in logs:
        lines = read_lines(path)
        result = last_result(lines, keyword, signals)
        if result is not None:
            return path, result, "; ".join(remarks)
        remarks.append(f"{path.name} {why_nothing(lines, keyword, signals)}")
    return None, None, "; ".join(remarks)


def parse_experiment(directory: Path, args, signals: tuple) -> float | None:
    """Print the seeds of one experiment and their mean; returns the mean, None if there is none."""
    print(f"Parsing files in {directory}")
    folders = sorted(path for path in directory.iterdir() if path.is_dir() and not path.name.startswith("."))
    if logs_in(directory):  # the folder of a single seed
        folders = [directory]
    values, lacking = [], []
    for folder in folders:
        path, result, remark = read_seed(folder, args.keyword, signals)
        if result is None:
            lacking.append(f"{folder.name}: {remark}")
        else:
            values.append(result)
            print(f"file: {path}. {args.keyword}: {result:.2f}%. " + (f"({remark})" if remark else ""))
    for line in lacking:
        print(f"lacking: {line}")
    if not values:
        print(f"Nothing found in {directory}" + ("" if folders else ": it has no subfolders"))
        return None
    mean, spread = statistics.fmean(values), statistics.pstdev(values)
    if args.ci95:
        spread *= 1.96 / len(values) ** 0.5
    print("===")
    print(f"Summary of directory: {directory}")
    print(f"* {args.keyword}: {mean:.2f}% +- {spread:.2f}%")
    if lacking:
        print(f"{len(values)} of {len(folders)} folders have a result")
    print("===")
    return mean


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", help="folder with one subfolder a seed")
    parser.add_argument("--ci95", action="store_true", help="95%% confidence interval in place of the std")
    parser.add_argument("--test-log", action="store_true", help="logs of runs with --eval-only")
    parser.add_argument("--multi-exp", action="store_true", help="each subfolder is an experiment")
    parser.add_argument("--keyword", default="accuracy", help="what to extract (default: accuracy)")
    return parser.parse_args(argv)


def main(argv=None) -> int:
    args = parse_args(argv)
    directory, signals = Path(args.directory), TESTED if args.test_log else TRAINED
    if not directory.is_dir():
        print(f"error: there is no folder {directory}", file=sys.stderr)
        return 1
    try:
        re.compile(args.keyword)
    except re.error as error:
        print(f"error: --keyword {args.keyword!r} is no regular expression: {error}", file=sys.stderr)
        return 1
    if not args.multi_exp:
        return 0 if parse_experiment(directory, args, signals) is not None else 1
    folders = sorted(path for path in directory.iterdir() if path.is_dir() and not path.name.startswith("."))
    found = {folder.name: parse_experiment(folder, args, signals) for folder in folders}
    means = [mean for mean in found.values() if mean is not None]
    if not means:
        print(f"error: nothing found in any folder of {directory}", file=sys.stderr)
        return 1
    print("Average performance")
    print(f"* {args.keyword}: {statistics.fmean(means):.2f}%")
    without = [name for name, mean in found.items() if mean is None]
    if without:
        print(f"{len(means)} of {len(found)} experiments have results; without: {', '.join(without)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
