"""tools/doctor.py as a program: whole, without torch, with a broken torch. The checks: diagnosing/."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tools import doctor
from tools.diagnosing import hardware, software, stored, timing
from tools.diagnosing.findings import ERROR, NOTE, OK, Finding

ROOT = Path(__file__).resolve().parents[2]
SECTIONS = ["Software", "Machine", "Data and weights", "First run"]
WITHOUT_NETWORK = """
import runpy, socket, sys

def refuse(*args):
    raise AssertionError("uses the network")

socket.socket.connect = socket.getaddrinfo = refuse
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture
def only(monkeypatch):
    """only(finding, ...) replaces all checks of a machine but the first ones by findings."""

    def only(*findings):
        checks = {"Software": {"all": lambda: findings}, "First run": {"step": lambda: [Finding("trained")]}}
        monkeypatch.setattr(doctor, "sections", lambda args: checks)

    return only


def call(folder, *argv, path=""):
    """Runs the doctor in an empty folder, which is also the home. Returns its finished process."""
    environment = {**os.environ, "HOME": str(folder), "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", WITHOUT_NETWORK, str(ROOT / "tools" / "doctor.py"), *argv]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


def test_a_run_can_start_here_and_nothing_is_written_or_downloaded(tmp_path):
    done = call(tmp_path, "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["can_start"] is True and result["problem"] is None
    found = result["findings"]
    assert list(dict.fromkeys(finding["section"] for finding in found)) == SECTIONS
    assert not [finding for finding in found if finding["state"] == ERROR or "not checked" in finding["text"]]
    texts = " ".join(finding["text"] for finding in found)
    assert "torch " in texts and "ms per step" in texts and "estimate" in texts and "CPU cores" in texts
    assert list(tmp_path.iterdir()) == []


def test_without_torch_the_other_checks_run():
    request = {"missing": ["torch"], "commands": [["tools/doctor.py"]]}
    done = subprocess.run(
        [sys.executable, "tests/without_packages.py"],
        cwd=ROOT, input=json.dumps(request), capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    (result,) = json.loads(done.stdout)
    assert result["code"] == 1 and "Traceback" not in result["err"]
    assert result["err"].startswith("error: torch is missing") and "requirements.txt" in result["err"]
    assert all(section in result["out"] for section in SECTIONS[:3]) and "ms per step" not in result["out"]
    assert "memory" in result["out"] and "output folder" in result["out"]


def test_a_broken_torch_is_named_with_its_error_and_remedy(tmp_path):
    (tmp_path / "broken" / "torch").mkdir(parents=True)
    (tmp_path / "broken" / "torch" / "__init__.py").write_text("raise OSError('libcudart.so.99: cannot open')\n")
    done = call(tmp_path, "--json", path=str(tmp_path / "broken"))
    result = json.loads(done.stdout)
    errors = [finding for finding in result["findings"] if finding["state"] == ERROR]
    assert done.returncode == 1 and result["can_start"] is False and len(errors) == 1
    assert "torch" in errors[0]["text"] and "libcudart.so.99" in errors[0]["text"] and "pip" in errors[0]["remedy"]
    assert done.stderr.count("\n") == 1 and "libcudart.so.99" in done.stderr and "libcudart.so.99" in result["problem"]


def test_the_first_error_decides_and_nothing_is_trained_after_it(only, capsys):
    only(
        Finding("fine"), Finding("old", NOTE, "update"), Finding("bad", ERROR, "mend it"), Finding("worse", ERROR, "x")
    )
    assert doctor.main([]) == 1
    out, err = capsys.readouterr()
    assert err == "error: bad: mend it\n" and "trained" not in out and "-> update" in out
    only(Finding("old", NOTE, "update"))
    assert doctor.main([]) == 0
    out, err = capsys.readouterr()
    assert err == "" and "trained" in out


def test_remedies_name_programs_as_they_were_typed(only, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["clipfit doctor"])
    only(Finding("no data", NOTE, "python tools/prepare_data.py dtd --root DATA"))
    assert doctor.main([]) == 0
    assert "-> clipfit prepare_data dtd --root DATA\n" in capsys.readouterr().out


def test_every_check_is_in_a_section():
    checks = [check for checks in doctor.sections(doctor.parse_args([])).values() for check in checks.values()]
    functions = {getattr(check, "func", check) for check in checks}
    assert {software.required, software.imports, hardware.disk, stored.weights, timing.first_run} <= functions
    assert {OK, NOTE, ERROR} == {"ok", "note", "error"}
