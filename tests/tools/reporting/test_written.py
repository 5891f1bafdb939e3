"""The files of a report are written again only if they would differ, or were changed."""

import json
import shutil

import pytest

from tools import report as command
from tools.reporting import written

from .trees import write_record

CHANGES = {
    "edited": lambda root: (root / "report/report.md").write_text("mine"),
    "deleted": lambda root: (root / "report/report.html").unlink(),
    "noted wrongly": lambda root: (root / "report" / written.FILE).write_text("{}"),
    "another accuracy": lambda root: write_record(root / "c", "CoOp", accuracy=81.0),
    "another run": lambda root: write_record(root / "d", "KgCoOp", accuracy=80.0),
    "a page of a run": lambda root: (root / "c/page.html").write_text("a page"),
}


@pytest.fixture
def root(tmp_path):
    """A folder of runs with a report."""
    write_record(tmp_path / "a", seed=1, accuracy=80.0)
    write_record(tmp_path / "b", seed=2, accuracy=82.0)
    write_record(tmp_path / "c", "CoOp", accuracy=79.0)
    assert command.main([str(tmp_path)]) == 0
    return tmp_path


def times(root):
    return {path: path.stat().st_mtime_ns for path in (root / "report").rglob("*") if path.is_file()}


def test_an_unchanged_report_is_not_written_again(root, capsys):
    before, printed = times(root), []
    for _ in range(2):
        assert command.main([str(root)]) == 0
        printed.append(capsys.readouterr().out)
    assert times(root) == before and printed[0] == printed[1] and str(root / "report/report.html") in printed[0]


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_report_is_written_again(root, change):
    CHANGES[change](root)
    before = times(root)
    assert command.main([str(root)]) == 0
    after = times(root)
    assert after[root / "report/report.html"] != before.get(root / "report/report.html")
    assert "mine" not in (root / "report/report.md").read_text()
    assert command.main([str(root)]) == 0 and times(root) == after


def test_other_options_and_other_code_write_it_again(root, monkeypatch):
    before = times(root)
    assert command.main([str(root), "--ranks", "--published"]) in (0, 1)
    after = times(root)
    assert after != before
    assert command.main([str(root), "--ranks", "--published"]) in (0, 1) and times(root) == after
    monkeypatch.setattr(written, "installed", lambda package: "another version")
    assert command.main([str(root), "--ranks", "--published"]) in (0, 1) and times(root) != after


@pytest.mark.parametrize("file", ["runtime/decimals.py", "trainers/common/runs/record_schema.py", "tools/report.py"])
def test_changed_code_writes_it_again(root, file, tmp_path_factory, monkeypatch):
    """Rounding, names of methods and others are outside of tools/, too."""
    report, out = command.build(command.parse_args([str(root)])), root / "report"
    code = tmp_path_factory.mktemp("code")
    for folder in written.CODE:
        shutil.copytree(written.ROOT / folder, code / folder, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(written, "ROOT", code)
    assert written.is_written(report, out)
    with open(code / file, "a") as changed:
        changed.write("# changed")
    assert not written.is_written(report, out)


def test_the_digest_covers_all_that_files_depend_on(root):
    note = json.loads((root / "report" / written.FILE).read_text())
    names = {path.relative_to(root / "report").as_posix() for path in times(root)}
    assert set(note["files"]) == names - {written.FILE}
