"""scripts/setup.sh installs requirements files once. A fake .venv/bin/python logs the calls of pip."""

import subprocess
from pathlib import Path

import pytest

SETUP = Path("scripts/setup.sh").resolve()
PYTHON = """#!/bin/bash
case "$*" in
    "-m pip install"*) printf '%s\\n' "$*" >> pip.log; [ ! -e refused ] ;;
    --version) echo Python 3.x ;;
esac
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    python = tmp_path / ".venv" / "bin" / "python"
    python.write_text(PYTHON)
    python.chmod(0o755)
    for name in ("requirements.txt", "requirements-report.txt", "requirements-test.txt"):
        (tmp_path / name).write_text("torch\n")
    return tmp_path


def setup(folder, *files):
    """Returns (exit code, stdout and stderr, arguments of each pip install of this call)."""
    log = folder / "pip.log"
    log.write_text("")
    command = f"set -euo pipefail; . {SETUP}; setup {' '.join(files)}; echo $PYTHON"
    done = subprocess.run(["bash", "-c", command], cwd=folder, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr, [line.split()[-len(files) :] for line in log.open()]


def test_all_files_are_installed_once(folder):
    files = ["requirements.txt", "requirements-report.txt"]
    code, out, installed = setup(folder, *files)
    assert code == 0 and out.endswith(".venv/bin/python\n")
    assert installed == [[f"--requirement={file}" for file in files]]
    assert setup(folder, *files) == (0, ".venv/bin/python\n", [])
    assert setup(folder, "requirements.txt") == (0, ".venv/bin/python\n", [])


@pytest.mark.parametrize("change", ["requirements.txt", "requirements-report.txt"])
def test_a_changed_or_added_file_is_installed(folder, change):
    setup(folder, "requirements.txt")
    assert setup(folder, "requirements.txt", "requirements-report.txt")[2] != []
    (folder / change).write_text("torch>=2\n")
    assert setup(folder, "requirements.txt", "requirements-report.txt")[2] != []
    assert setup(folder, "requirements.txt", "requirements-report.txt")[2] == []


def test_a_failed_installation_is_retried(folder):
    (folder / "refused").write_text("")
    code, out, _ = setup(folder, "requirements.txt")
    assert code != 0 and "error: " in out and "requirements.txt" in out
    (folder / "refused").unlink()
    assert setup(folder, "requirements.txt")[2] != []
