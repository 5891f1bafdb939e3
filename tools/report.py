"""Tables of all runs in some output folders: base to new, few-shot, cross-dataset, domain shift.

python tools/report.py OUTPUT                  prints them; Markdown, CSV, LaTeX and a web page go to OUTPUT/report
python tools/report.py OUTPUT OTHER --paper    the paper's numbers beside them
python tools/report.py OUTPUT --method CLIPFit CoOp --dataset dtd --seed 1 2 3

Reads result.json files and, where there is none, log.txt files of CoOp, KgCoOp, ProGrad, MaPLe, PromptSRC and other
code on Dassl. Where runs lie does not matter; their content tells what they are. docs/reports.md tells more.

The exit code is 1 if a run did not finish or is damaged, if a base run lacks its new one or the reverse, or if
something named on the command line is not there.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from runtime.user_errors import exit_code  # noqa: E402
from tools.reporting.build import build  # noqa: E402
from tools.reporting.problems import failed  # noqa: E402
from tools.reporting.protocols import TITLES  # noqa: E402
from tools.reporting.text import print_report  # noqa: E402


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="+", metavar="OUTPUT", help="output folders, or folders of single runs")
    parser.add_argument("--protocol", nargs="+", default=[], choices=TITLES, help="only these")
    parser.add_argument("--paper", action="store_true", help="the CLIPFit paper's numbers beside one's own")
    parser.add_argument("--ci95", action="store_true", help="print half of the 95%% interval in place of the std")
    parser.add_argument("--out", metavar="DIR", type=Path, help="for the files (default: report in the first OUTPUT)")
    parser.add_argument("--no-files", action="store_true", help="print only")
    only = parser.add_argument_group("only these runs", "what is named here and not there makes the exit code 1")
    only.add_argument("--method", nargs="+", default=[])
    only.add_argument("--dataset", nargs="+", default=[], help="dataset tested on, e.g. dtd or DescribableTextures")
    only.add_argument("--shots", nargs="+", default=[], type=int)
    only.add_argument("--seed", nargs="+", default=[], type=int)
    return parser.parse_args(argv)


def default_out(paths: list[str]) -> Path:
    """The folder `report` in the first output folder that is there."""
    first = next(path for path in map(Path, paths) if path.exists())
    return (first.parent if first.is_file() else first) / "report"


def run(args) -> int:
    report = build(args)
    print_report(report, args.ci95)
    if not args.no_files:
        from tools.reporting.files import write_files  # matplotlib takes a second to import

        out = args.out or default_out(args.paths)
        try:
            print(f"Report: {write_files(report, out)}")
        except OSError as error:
            reason = error.__cause__.strerror if error.__cause__ else error
            raise ValueError(f"cannot write into {out} ({reason}): give --out DIR, or --no-files") from error
    return 1 if failed(report.problems) else 0


def main(argv=None) -> int:
    """Report; a mistake of the user's becomes one line on stderr. Returns the exit code."""
    return exit_code(run, parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
