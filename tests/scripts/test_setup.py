"""scripts/setup.sh installs requirements files once. A fake .venv/bin/python logs the calls of pip."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

SETUP = Path("scripts/setup.sh").resolve()
PYTHON = """#!/bin/bash
case "$*" in
    "-m pip install"*)
        printf '%s\\n' "$*" >> pip.log; echo Collecting torch
        if [ -e slow ]; then exec sleep 60; fi
        if [ -e refused ]; then cat refused >&2; exit 1; fi ;;
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


def command(files):
    return ["bash", "-c", f"set -euo pipefail; . {SETUP}; setup {' '.join(files)}; echo $PYTHON"]


def setup(folder, *files):
    """Returns (exit code, stdout and stderr, arguments of each pip install of this call)."""
    log = folder / "pip.log"
    log.write_text("")
    done = subprocess.run(command(files), cwd=folder, capture_output=True, text=True)
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


def test_a_line_per_stage_is_printed_and_the_output_of_pip_is_in_a_file(folder):
    code, out, _ = setup(folder, "requirements.txt")
    started, ended, python = out.splitlines()
    assert code == 0 and "requirements.txt" in started and "GB" in started and ended.endswith(" s")
    assert (folder / ".venv/install.log").read_text() == "Collecting torch\n"


CAUSES = {
    "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device": "disk",
    "WARNING: Retrying after connection broken by 'NewConnectionError(Connection refused)'": "PIP_INDEX_URL",
    "ERROR: Could not find a version that satisfies the requirement torch (from versions: none)": "retry",
}


@pytest.mark.parametrize("cause", CAUSES)
def test_a_failed_installation_names_cause_and_log_and_is_retried(folder, cause):
    (folder / "refused").write_text(f"{cause}\n")
    code, out, _ = setup(folder, "requirements.txt")
    (error,) = [line for line in out.splitlines() if line.startswith("error: ")]
    assert code != 0 and cause in out
    assert all(fact in error for fact in ("requirements.txt", CAUSES[cause], ".venv/install.log"))
    (folder / "refused").unlink()
    assert setup(folder, "requirements.txt")[2] != []


def test_an_environment_that_cannot_be_created(folder):
    (folder / ".venv/bin/python").unlink()
    python = folder / "python3.fake"
    python.write_text('#!/bin/bash\ncase "$1" in -m) echo ensurepip is not available; exit 1 ;; esac\n')
    python.chmod(0o755)
    words = command(["requirements.txt"])
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, env={**os.environ, "PYTHON": str(python)})
    assert done.returncode != 0
    (error,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert ".venv" in error and "python3-venv" in error


def test_ctrl_c_ends_the_installation_with_one_line(folder):
    (folder / "slow").touch()
    process = subprocess.Popen(
        command(["requirements.txt"]), cwd=folder, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    while not (folder / "pip.log").exists():
        time.sleep(0.01)
    time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 130 and len(errors.splitlines()) == 1
    (folder / "slow").unlink()
    assert setup(folder, "requirements.txt")[2] != []
