"""The train.py commands that a script would run, without running them; and one of them, in this process."""

import json
import os
import subprocess
import sys

import train

# Stands in for Python: notes the calls of train.py and of the report, and runs everything else.
NOTING = """#!/bin/bash
case $1 in
    train.py | tools/report.py) printf '%s\\0' "$@" >> "{file}"; printf '\\1' >> "{file}" ;;
    *) exec "{python}" "$@" ;;
esac
"""


def commands(tmp_path, script, *arguments):
    """Argument lists of the script's calls of train.py, and of those of tools/report.py."""
    python, file = tmp_path / "python", tmp_path / "calls"
    python.write_text(NOTING.format(file=file, python=sys.executable))
    python.chmod(0o755)
    file.write_text("")
    environment = {"PATH": os.environ["PATH"], "PYTHON": str(python)}
    subprocess.run(["bash", script, *arguments], env=environment, check=True, capture_output=True)
    calls = [call.split("\0")[:-1] for call in file.read_text().split("\1")[:-1]]
    return [c[1:] for c in calls if c[0] == "train.py"], [c[1:] for c in calls if c[0] != "train.py"]


def run(argv, monkeypatch):
    """Run train.py in this process; its record."""
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", sys.stdout)  # the logger replaces it
        patch.setattr(sys, "argv", ["train.py", *argv])  # the record tells it
        assert train.main(argv) == 0
    return json.loads(open(os.path.join(train.parse_args(argv).output_dir, "result.json")).read())
