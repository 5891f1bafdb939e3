"""The page that follows a training at a terminal. It never makes a run fail."""

import pytest

import train
from runtime import run_page
from tests.trainers.helpers import FAST


@pytest.fixture
def pages(monkeypatch):
    """Folders whose page was asked for."""
    folders = []
    monkeypatch.setattr(run_page, "write", folders.append)
    return folders


@pytest.mark.parametrize("terminal, flags, written", [(True, [], 1), (True, ["--quiet"], 0), (False, [], 0)])
def test_a_training_at_a_terminal_is_followed_by_its_page(
    terminal, flags, written, pages, monkeypatch, tmp_path, digits_root, tiny
):
    monkeypatch.setattr(run_page, "at_terminal", lambda: terminal)
    options = ["--trainer", "CLIPFit", "--root", str(digits_root), "--backbone", tiny, "--output-dir", str(tmp_path)]
    options += ["--dataset-config-file", "configs/datasets/digits.yaml", *flags]
    assert train.main([*options, *FAST, "OPTIM.MAX_EPOCH", "1", "TEST.NO_TEST", "True"]) == 0
    assert pages == [str(tmp_path)] * written
    if flags:
        assert train.main([*options, "--eval-only", "--model-dir", str(tmp_path), *FAST]) == 0
        assert not pages


@pytest.mark.parametrize(
    "program, fact",
    [("print('x'); print('Page: y')", "Page: y"), ("import sys; sys.exit('error: z')", "error: z"),
     ("import os; os._exit(3)", "exit code 3")],
)  # fmt: skip
def test_it_prints_one_line(program, fact, tmp_path, monkeypatch, capsys):
    script = tmp_path / "show.py"
    script.write_text(program)
    monkeypatch.setattr(run_page, "SHOW", script)
    run_page.write("folder")
    (line,) = capsys.readouterr().out.splitlines()
    assert fact in line


def test_a_missing_package_is_one_line(monkeypatch, capsys):
    monkeypatch.setattr(run_page, "NEEDED", ("not_a_package_of_anybody",))
    run_page.write("folder")
    (line,) = capsys.readouterr().out.splitlines()
    assert "not_a_package_of_anybody" in line and "requirements-report.txt" in line
