"""The command `clipfit`."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from clipfit import command
from tests.fork_server import python
from tests.user_errors import assert_user_error

ROOT = Path(__file__).resolve().parents[2]


def test_every_program_is_a_command(capsys):
    listed = {path.stem for path in ROOT.glob("tools/*.py") if "__main__" in path.read_text()}
    assert command.programs().keys() == listed | {"train", "parse_test_res"}
    assert command.main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(f"  {name} " in out and command.summary(file) for name, file in command.programs().items())


@pytest.mark.parametrize(
    "argv, code, fact", [([], 2, "sweep"), (["swep"], 2, "sweep"), (["--version"], 0, "clipfit 0")]
)
def test_without_a_program(argv, code, fact, capsys):
    assert command.main(argv) == code
    assert fact in "".join(capsys.readouterr())


def test_a_program_has_the_name_of_the_command():
    done = subprocess.run(
        [python(), "-m", "clipfit", "prepare-data", "--help"], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0 and "usage: clipfit prepare_data" in done.stdout, done.stderr
    assert "python tools/" not in done.stdout and "\nclipfit prepare_data " in done.stdout


def test_an_error_names_programs_as_the_user_does():
    done = subprocess.run(
        [python(), "-m", "clipfit", "backbones", "--find", "no such"],
        cwd=ROOT, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert_user_error(done, "'no such'", "clipfit backbones")


@pytest.mark.parametrize(
    "line, expected",
    [("clipfit sw", "sweep"), ("clipfit sweep --meth", "--methods"), ("clipfit recipe --s", "--shots")],
)
def test_shell_completion(line, expected, tmp_path):
    pytest.importorskip("argcomplete")
    environment = {
        **os.environ, "COMP_LINE": line, "COMP_POINT": str(len(line)), "_ARGCOMPLETE": "1",
        "_ARGCOMPLETE_STDOUT_FILENAME": str(tmp_path / "out"), "_ARGCOMPLETE_IFS": "\n",
    }  # fmt: skip
    subprocess.run([sys.executable, "-m", "clipfit"], cwd=ROOT, env=environment, timeout=120)
    assert (tmp_path / "out").read_text().split() == [expected]
