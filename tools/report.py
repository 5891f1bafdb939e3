"""Prints result tables of the runs in OUTPUT: base to new, few-shot, cross-dataset, distribution shift.

python tools/report.py OUTPUT                  print the tables; write Markdown, CSV, LaTeX, HTML to OUTPUT/report
python tools/report.py OUTPUT --published      compare with the numbers of the papers (configs/published.yaml)
python tools/report.py OUTPUT --method CLIPFit CoOp --dataset dtd --seed 1 2 3

Reads result.json or, if a folder has none, the log.txt of CoOp, KgCoOp, ProGrad, MaPLe, PromptSRC and other code based
on Dassl. Folder names do not matter: each run is classified by what it was trained and tested on. See docs/reports.md.

The exit code is 1 if a run is unfinished or corrupted, if only one of the Base and New results of a model
exists, or if something named on the command line is missing.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from runtime.arguments import Parser  # noqa: E402
from runtime.user_errors import exit_code  # noqa: E402
from tools.reporting.build import build  # noqa: E402
from tools.reporting.problems import failed  # noqa: E402
from tools.reporting.protocols import TITLES  # noqa: E402
from tools.reporting.text import print_report  # noqa: E402
from tools.reporting.written import PAGE, is_written  # noqa: E402


def parse_args(argv=None):
    parser = Parser(description=__doc__)
    parser.add_argument("paths", nargs="+", metavar="OUTPUT", help="output folders or run directories")
    parser.add_argument("--protocol", nargs="+", default=[], choices=TITLES, help="show only these protocols")
    parser.add_argument("--published", "--paper", action="store_true",
                        help="compare with published numbers of each method (configs/published.yaml)")  # fmt: skip
    parser.add_argument("--ranks", action="store_true",
                        help="rank the methods over datasets, with tests, and compare accuracy with cost")  # fmt: skip
    parser.add_argument("--vary", nargs="+", action="append", default=[], metavar="KEY",
                        help="config keys to show results over, also if there are only two values")  # fmt: skip
    parser.add_argument("--ci95", action="store_true",
                        help="print the half-width of the 95 %% confidence interval instead of the std")  # fmt: skip
    parser.add_argument("--out", metavar="DIR", type=Path, help="output folder (default: report in the first OUTPUT)")
    parser.add_argument("--no-files", action="store_true", help="print the tables, but write no files")
    filters = parser.add_argument_group("filters", "The exit code is 1 if a value matches no run.")
    filters.add_argument("--method", nargs="+", default=[], help="trainer names, e.g. CLIPFit")
    filters.add_argument("--dataset", nargs="+", default=[], help="test datasets, e.g. dtd or DescribableTextures")
    filters.add_argument("--shots", nargs="+", default=[], type=int, help="training images per class")
    filters.add_argument("--seed", nargs="+", default=[], type=int, help="random seeds")
    return parser.parse_args(argv)


def default_out(paths: list[str]) -> Path:
    """Returns the folder `report` in the first of the paths that exists."""
    first = next(path for path in map(Path, paths) if path.exists())
    return (first.parent if first.is_file() else first) / "report"


def write_if_changed(report, out: Path) -> Path:
    """Writes the files of a report, unless they are in `out` already. Returns the path of the HTML page."""
    if is_written(report, out):
        return out / PAGE
    from tools.reporting.files import write_files  # importing matplotlib takes a second

    return write_files(report, out)


def run(args) -> int:
    report = build(args)
    print_report(report, args.ci95)
    if not args.no_files:
        out = args.out or default_out(args.paths)
        try:
            print(f"Report: {write_if_changed(report, out)}")
        except OSError as error:
            reason = error.__cause__.strerror if error.__cause__ else error
            raise ValueError(f"cannot write the report to {out}: {reason}; pass --out DIR or --no-files") from error
    return 1 if failed(report.problems) else 0


def main(argv=None) -> int:
    """Prints and writes the report. Returns the exit code; a user error is printed as one line on stderr."""
    return exit_code(run, parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
