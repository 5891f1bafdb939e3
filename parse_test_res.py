"""Prints mean and standard deviation over seeds from the log.txt files of Dassl runs, like CoOp's parse_test_res.py.

EXPERIMENT contains one folder per seed, each with a log.txt:

    python parse_test_res.py EXPERIMENT                  training runs: the results after "Finish training"
    python parse_test_res.py EXPERIMENT --test-log       runs with --eval-only
    python parse_test_res.py EXPERIMENT --ci95           1.96 std / sqrt(n) instead of the standard deviation
    python parse_test_res.py FOLDER --multi-exp          every experiment in FOLDER, and the mean of their means
    python parse_test_res.py EXPERIMENT --keyword macro_f1

The command line, the numbers and the log lines are the same as CoOp's: population standard deviation, and means of the
printed (rounded) values. Seeds without a result are listed and skipped. If log.txt has no result but a later
log.txt-<date> has one, that log is used and the line says so. The exit code is 1 if no result is found. The script
needs no installed packages.

For base, new and H of whole output trees, from unrounded numbers: python tools/report.py OUTPUT
"""

from __future__ import annotations  # CoOp runs on Python 3.8, too

import re
import statistics
import sys
from pathlib import Path

from runtime.arguments import Parser
from trainers.common.runs.log_lines import EPOCH, TESTED, TRAINED, body, metric, read_text
from trainers.common.runs.nearby import LOG, hint, run_above, runs_below


def logs_in(folder) -> list[Path]:
    """Returns log.txt and the log.txt-<date> of later runs in the same folder, oldest first."""
    return sorted(path for path in Path(folder).glob("log.txt*") if LOG.fullmatch(path.name))


def subfolders(directory: Path) -> list[Path]:
    """Returns the subfolders that are not hidden, sorted."""
    return sorted(path for path in directory.iterdir() if path.is_dir() and not path.name.startswith("."))


def read_lines(path) -> list[str]:
    """Returns the lines of a log without its config and its results per class (see `log_lines.body`).

    Raises:
        OSError, ValueError: the file cannot be read.
    """
    return [line.rstrip() for line in body(read_text(path).split("\n"))]


def last_result(lines: list[str], keyword: str, signals: tuple) -> float | None:
    """Returns the number in the last line "* keyword: number%" after a line that is one of the signals."""
    pattern = metric(keyword)
    result = None
    ready = False
    for line in lines:
        ready = ready or line in signals
        match = pattern.match(line) if ready else None
        if match:
            try:
                result = float(match[1])
            except ValueError:  # garbled, such as "-"
                continue
    return result


def why_no_result(lines: list[str], keyword: str, signals: tuple) -> str:
    """Says why a log has no result, e.g. "ends at epoch 3/5"."""
    progress = [match for match in map(EPOCH.match, lines) if match]
    if signals == TRAINED and not progress and last_result(lines, keyword, TESTED) is not None:
        return "is from an evaluation; pass --test-log"
    if any(line in signals for line in lines):
        return f"has no line '* {keyword}: ...%' after '{signals[0]}'"
    if progress:
        return f"ends at epoch {progress[-1][1]}/{progress[-1][2]}"
    return f"has no line '{signals[0]}'" if any(lines) else "is empty"


def read_seed(folder: Path, keyword: str, signals: tuple) -> tuple[Path | None, float | None, str]:
    """Returns (log, result, remark) of one seed's folder.

    The remark says why there is no result, or why an earlier log was not used.
    """
    logs = logs_in(folder)
    if not logs:
        return None, None, "no log.txt"
    remarks = []
    for path in logs:
        try:
            lines = read_lines(path)
        except (OSError, ValueError) as error:
            remarks.append(f"{path.name} cannot be read: {getattr(error, 'strerror', None) or error}")
            continue
        result = last_result(lines, keyword, signals)
        if result is not None:
            return path, result, "; ".join(remarks)
        remarks.append(f"{path.name} {why_no_result(lines, keyword, signals)}")
    return None, None, "; ".join(remarks)


def parse_experiment(directory: Path, args, signals: tuple) -> float | None:
    """Prints the results of an experiment's seeds and their mean. Returns the mean, or None without a result."""
    print(f"Parsing files in {directory}")
    folders = subfolders(directory)
    if logs_in(directory):  # the folder of a single seed
        folders = [directory]
    values = []
    missing = []
    for folder in folders:
        path, result, remark = read_seed(folder, args.keyword, signals)
        if result is None:
            missing.append(f"{folder.name} ({remark})")
        else:
            values.append(result)
            print(f"file: {path}. {args.keyword}: {result:.2f}%. " + (f"({remark})" if remark else ""))
    for seed in missing:
        print(f"Missing result: {seed}")
    if not values:
        print(f"Nothing found in {directory}" + ("" if folders else ": it has no subfolders"))
        return None
    mean = statistics.fmean(values)
    spread = statistics.pstdev(values)
    if args.ci95:
        spread *= 1.96 / len(values) ** 0.5
    print("===")
    print(f"Summary of directory: {directory}")
    print(f"* {args.keyword}: {mean:.2f}% +- {spread:.2f}%")
    if missing:
        print(f"{len(values)} of {len(folders)} folders have a result")
    print("===")
    return mean


def right_folder(directory: Path, multi_exp: bool) -> str:
    """Returns the arguments with which logs on another level of folders are found; "" if there are none.

    Example: with the log dtd/CoOp/seed1/log.txt, "dtd" needs --multi-exp, and "dtd/CoOp" must not have it.
    """
    above = run_above(directory)
    if above and not logs_in(directory):
        return str(above.parent)
    experiments = list(dict.fromkeys(run.parent for run in runs_below(directory)))
    if logs_in(directory) or directory in experiments:  # of a run, or of an experiment
        return str(directory) if multi_exp else ""
    if directory in [experiment.parent for experiment in experiments]:
        return "" if multi_exp else f"{directory} --multi-exp"
    return f"{experiments[0].parent} --multi-exp" if experiments else ""


def parse_all(directory: Path, args, signals: tuple) -> int:
    """Prints the results of every experiment in a folder and the mean of their means. Returns the exit code."""
    folders = subfolders(directory)
    means = {folder.name: parse_experiment(folder, args, signals) for folder in folders}
    missing = [name for name, mean in means.items() if mean is None]
    if len(missing) == len(means):
        print(f"error: no results in any subfolder of {directory}", file=sys.stderr)
        return 1
    average = statistics.fmean(mean for mean in means.values() if mean is not None)
    print("Average performance")
    print(f"* {args.keyword}: {average:.2f}%")
    if missing:
        print(f"{len(means) - len(missing)} of {len(means)} experiments have results; missing: {', '.join(missing)}")
    return 0


def parse_args(argv=None):
    parser = Parser(description=__doc__)
    parser.add_argument("directory", help="folder with one subfolder per seed")
    parser.add_argument(
        "--ci95",
        action="store_true",
        help="print the half-width of the 95%% confidence interval (1.96 std / sqrt(n)) instead of the std",
    )
    parser.add_argument("--test-log", action="store_true", help="read logs of runs with --eval-only")
    parser.add_argument("--multi-exp", action="store_true", help="treat each subfolder as an experiment")
    parser.add_argument("--keyword", default="accuracy", help="metric to extract (default: accuracy)")
    return parser.parse_args(argv)


def main(argv=None) -> int:
    args = parse_args(argv)
    directory = Path(args.directory)
    signals = TESTED if args.test_log else TRAINED
    if not directory.is_dir():
        print(f"error: {directory} is not a folder{hint(directory)}", file=sys.stderr)
        return 1
    try:
        re.compile(args.keyword)
    except re.error as error:
        print(f"error: --keyword {args.keyword!r} is not a valid regular expression: {error}", file=sys.stderr)
        return 1
    if args.multi_exp:
        code = parse_all(directory, args, signals)
    else:
        code = 0 if parse_experiment(directory, args, signals) is not None else 1
    instead = right_folder(directory, args.multi_exp)
    if instead:
        print(f"The logs are on another level of folders: python parse_test_res.py {instead}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
