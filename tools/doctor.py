"""Checks whether a run can start here, and what it will take: for a new machine, and for a bug report.

python tools/doctor.py                  packages, devices, disk, datasets in data/, weights, the time of a first run
python tools/doctor.py --root DATA      datasets in another folder
python tools/doctor.py --json           the same for programs

Each line is ok, a note (with what to do, if anything), or an error, with which no run can start. It takes about ten
seconds, uses no network, writes no file, and works if packages are missing or broken. The exit code is 0 if a run can
start.
"""

import json
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from runtime.arguments import Parser  # noqa: E402
from runtime.installation import as_typed  # noqa: E402
from runtime.user_errors import exit_code  # noqa: E402
from tools.diagnosing import hardware, software, stored, timing  # noqa: E402
from tools.diagnosing.findings import ERROR, Finding, findings_of  # noqa: E402


def parse_args(argv=None):
    parser = Parser(description=__doc__)
    parser.add_argument("--root", default="data", help="folder with the datasets, as for train.py (default: data)")
    parser.add_argument("--output", default="output", metavar="DIR", help="folder for runs (default: output)")
    parser.add_argument("--json", action="store_true", help="print JSON: can_start, problem, and all lines by section")
    return parser.parse_args(argv)


def sections(args) -> dict[str, dict]:
    """Returns the checks: section -> {name of what is checked: function that yields findings}."""
    return {
        "Software": {
            "Python": software.python,
            "packages": software.required,
            "imports": software.imports,
            "optional packages": software.optional,
            "code": software.code,
            "environment variables": software.variables,
        },
        "Machine": {
            "CPU": hardware.processor,
            "memory": hardware.memory,
            "GPU": hardware.gpus,
            "disk": partial(hardware.disk, args.output),
        },
        "Data and weights": {
            "datasets": partial(stored.datasets, args.root),
            "weights": stored.weights,
            "Hugging Face's cache": stored.hugging_face,
        },
        "First run": {
            "micro CLIP": timing.first_run,
            "ViT-B/16": timing.large_run,
        },
    }


def diagnose(args) -> Iterator[tuple[str, Finding]]:
    """Yields (section, finding). After an error nothing is trained: it would fail for the same reason."""
    can_start = True
    for section, checks in sections(args).items():
        if section == "First run" and not can_start:
            return
        for name, check in checks.items():
            for finding in findings_of(name, check):
                can_start = can_start and finding.state != ERROR
                yield section, finding


def run(args) -> int:
    found = []
    for section, finding in diagnose(args):
        if not args.json:
            if not found or found[-1][0] != section:
                print(section)
            remedy = f"\n         -> {finding.remedy}" if finding.remedy else ""
            print(as_typed(f"  {finding.state:<5}  {finding.text}{remedy}"), flush=True)
        found.append((section, finding))
    problem = next((f"{finding.text}: {finding.remedy}" for _, finding in found if finding.state == ERROR), None)
    if args.json:
        lines = [{"section": section, **finding._asdict()} for section, finding in found]
        print(json.dumps({"can_start": problem is None, "problem": problem, "findings": lines}, indent=1))
    elif problem is None:
        print("A run can start.")
    if problem is not None:
        print(f"error: {problem}", file=sys.stderr)
    return 0 if problem is None else 1


def main(argv=None) -> int:
    return exit_code(run, parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
