"""CLIPFit goes into checkouts of CoOp and its relatives and out again, whatever is in the way or interrupts it."""

import ast
import json
import re
import shutil
from pathlib import Path

import pytest

from tools import coop_checkout
from tools import install_into_coop as installer
from tools.install_into_coop import MANIFEST, SOURCE, main

COOP = "import argparse\n\nimport datasets.dtd\n\nimport trainers.coop\nimport trainers.zsclip\n\n\ndef print_args():\n"
TRAIN_PY = {
    "CoOp": COOP,
    "KgCoOp": COOP.replace("import trainers.zsclip\n\n\n", "import trainers.zsclip\nimport trainers.kgcoop\n"),
    "MaPLe": COOP.replace("import trainers.zsclip", "import trainers.maple\nimport trainers.vpt  # both branches"),
    "Windows": COOP.replace("\n", "\r\n"),
    "Latin-1": COOP + "# \xe9\n",
    "no end of line": "import trainers.coop",
}


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def snapshot(folder):
    return {str(p.relative_to(folder)): p.is_dir() or p.read_bytes() for p in Path(folder).rglob("*")}


@pytest.fixture
def checkout(tmp_path):
    """A CoOp checkout as far as the installer looks at it."""
    folder = tmp_path / "CoOp"
    for name in ("trainers/__init__.py", "trainers/coop.py", "datasets/dtd.py", "scripts/coop/main.sh"):
        write(folder / name, f"# {name}\n")
    for name in ("configs/datasets/dtd.yaml", "configs/trainers/CoOp/vit_b16.yaml"):
        write(folder / name, f"# {name}\n")
    write(folder / "train.py", COOP)
    (folder / "train.py").chmod(0o755)
    return folder


def error_of(capsys, *argv):
    """The one line on stderr of a call that is refused."""
    assert main([str(a) for a in argv]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    return line.removeprefix("error: ")


@pytest.mark.parametrize("layout", TRAIN_PY)
def test_install_twice_and_uninstall(checkout, layout, capsys):
    (checkout / "train.py").write_bytes(TRAIN_PY[layout].encode("latin-1"))
    before = snapshot(checkout)
    assert main([str(checkout)]) == 0
    assert "+import trainers.clipfit" in capsys.readouterr().out
    lines = (checkout / "train.py").read_bytes().splitlines(keepends=True)
    last = max(i for i, line in enumerate(lines) if line.startswith(b"import trainers."))
    assert lines[last].strip() == b"import trainers.clipfit" and lines.count(lines[last]) == 1
    assert b"".join(line for line in lines if b"clipfit" not in line).strip() == before["train.py"].strip()
    assert (layout == "Windows") == lines[last].endswith(b"\r\n")
    assert (checkout / "train.py").stat().st_mode & 0o777 == 0o755
    assert (checkout / "trainers" / "common" / "trainer.py").read_bytes() == (
        SOURCE / "trainers" / "common" / "trainer.py"
    ).read_bytes()

    installed = snapshot(checkout)
    assert main([str(checkout)]) == 0
    assert snapshot(checkout) == installed and "nothing to do" in capsys.readouterr().out

    assert main([str(checkout), "--uninstall"]) == 0
    after = snapshot(checkout)
    if layout == "no end of line":  # the line before now ends
        before["train.py"] += b"\n"
    assert after == before
    assert "not installed" in error_of(capsys, checkout, "--uninstall")


@pytest.mark.parametrize("flags", [[], ["--uninstall"]])
def test_dry_run_shows_and_does_nothing(checkout, flags, capsys):
    if flags:
        main([str(checkout)])
    before = snapshot(checkout)
    capsys.readouterr()
    assert main([str(checkout), "--dry-run", *flags]) == 0
    printed = capsys.readouterr().out
    assert "import trainers.clipfit" in printed and "clipfit.py" in printed and "Nothing was done" in printed
    assert snapshot(checkout) == before


def test_what_is_no_checkout_is_named(checkout, tmp_path, capsys):
    assert error_of(capsys, tmp_path / "none") == f"{tmp_path / 'none'} is not a folder"
    line = error_of(capsys, tmp_path)
    assert "is not a CoOp checkout, it has no train.py, no trainers, " in line and line.endswith(f"; give {checkout}")
    assert "is CLIPFit itself" in error_of(capsys, SOURCE)
    (checkout / "train.py").write_text("from trainers import coop\n")
    assert "has no line 'import trainers. ...'" in error_of(capsys, checkout)


@pytest.mark.parametrize("name", ["trainers/clipfit.py", "scripts/fewshot.sh", "tools/recipe.py", "trainers/common.py"])
def test_local_files_are_not_overwritten(checkout, name, capsys):
    write(checkout / name, "mine\n")
    before = snapshot(checkout)
    assert f"would be overwritten: {name}; move them away" in error_of(capsys, checkout)
    assert snapshot(checkout) == before


def test_a_file_that_was_there_already_stays(checkout):
    content = (SOURCE / "tools" / "recipe.py").read_text()
    write(checkout / "tools" / "recipe.py", content)
    main([str(checkout)])
    main([str(checkout), "--uninstall"])
    assert (checkout / "tools" / "recipe.py").read_text() == content


def test_an_edited_file_is_kept_by_uninstalling_and_refused_by_updating(checkout, capsys):
    main([str(checkout)])
    edited = checkout / "trainers" / "clipfit.py"
    edited.write_text(edited.read_text() + "# mine\n")
    assert "would be overwritten: trainers/clipfit.py" in error_of(capsys, checkout)
    assert main([str(checkout), "--uninstall"]) == 0
    assert "keeps, because it was changed since, 1 file:\n    trainers: clipfit.py" in capsys.readouterr().out
    assert edited.read_text().endswith("# mine\n") and "clipfit" not in (checkout / "train.py").read_text()
    assert not (checkout / "trainers" / "common").exists()


def test_a_line_that_was_there_already_stays(checkout):
    (checkout / "train.py").write_text(COOP.replace("import trainers.zsclip", "import trainers.clipfit  # mine"))
    before = (checkout / "train.py").read_text()
    main([str(checkout)])
    assert (checkout / "train.py").read_text() == before
    main([str(checkout), "--uninstall"])
    assert (checkout / "train.py").read_text() == before


def test_compiled_modules_go_too(checkout):
    main([str(checkout)])
    for name in ("common/models/__pycache__/text", "__pycache__/clipfit", "__pycache__/coop"):
        write(checkout / "trainers" / f"{name}.cpython-311.pyc", "")
    main([str(checkout), "--uninstall"])
    assert not (checkout / "trainers" / "common").exists()
    assert [p.name for p in (checkout / "trainers" / "__pycache__").iterdir()] == ["coop.cpython-311.pyc"]


class Killed(BaseException):
    """Ends a call as a kill would: nothing catches it."""


def interrupt_after(monkeypatch, calls):
    """Let the installer die at the given write or removal, with a half-written file left behind."""
    count = iter(range(calls))

    def dying(function):
        def call(path, *args, **options):
            if next(count, None) is None:
                if args:
                    installer.temporary_name(path).write_bytes(b"half")
                raise Killed
            return function(path, *args, **options)

        return call

    write, remove = dying(coop_checkout.write), dying(coop_checkout.remove)
    for module in (installer, coop_checkout):
        monkeypatch.setattr(module, "write", write)
        monkeypatch.setattr(module, "remove", remove)


@pytest.mark.parametrize("calls", [0, 1, 2, 9, 25, 1000])
@pytest.mark.parametrize("flags", [[], ["--uninstall"]])
def test_interrupted_at_any_moment_it_is_completed_by_a_second_run(checkout, calls, flags, monkeypatch):
    before = snapshot(checkout)
    if flags:
        main([str(checkout)])
    with monkeypatch.context() as patch:
        interrupt_after(patch, calls)
        try:
            main([str(checkout), *flags])
        except Killed:
            pass
    if b"clipfit" in (checkout / "train.py").read_bytes():  # whatever train.py imports is there
        for path in (SOURCE / "trainers" / "common").rglob("*.py"):
            assert (checkout / path.relative_to(SOURCE)).read_bytes() == path.read_bytes()
    if not flags:
        assert main([str(checkout)]) == 0
        assert json.loads((checkout / MANIFEST).read_text())["files"].keys() == {
            name for name in snapshot(checkout) if name not in before and (checkout / name).is_file()
        } - {MANIFEST}
    main([str(checkout), "--uninstall"])
    assert snapshot(checkout) == before


@pytest.mark.parametrize("calls", [1, 2, 3, 1000])
def test_an_interrupted_update_is_completed_too(checkout, calls, tmp_path, monkeypatch):
    """A later version: one file changed, one new, one gone."""
    before = snapshot(checkout)
    main([str(checkout)])
    later = tmp_path / "later"
    for pattern in installer.FILES:
        for path in SOURCE.glob(pattern):
            (later / path.relative_to(SOURCE)).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, later / path.relative_to(SOURCE))
    write(later / "trainers" / "clipfit.py", "later\n")
    write(later / "trainers" / "common" / "new.py", "new\n")
    (later / "tools" / "recipe.py").unlink()
    monkeypatch.setattr(installer, "SOURCE", later)
    with monkeypatch.context() as patch:
        interrupt_after(patch, calls)
        try:
            main([str(checkout)])
        except Killed:
            pass
    assert main([str(checkout)]) == 0
    assert (checkout / "trainers" / "clipfit.py").read_text() == "later\n"
    assert (checkout / "trainers" / "common" / "new.py").exists() and not (checkout / "tools" / "recipe.py").exists()
    main([str(checkout), "--uninstall"])
    assert snapshot(checkout) == before


OUTSIDE = '{"files": {"../x": ["0"]}, "folders": [], "import_line": true}'


@pytest.mark.parametrize("content", ["", "{}", "[]", OUTSIDE, '{"files": 3'])
def test_a_damaged_list_is_named(checkout, content, capsys):
    main([str(checkout)])
    (checkout / MANIFEST).write_text(content)
    installed = snapshot(checkout)
    capsys.readouterr()
    assert re.search(rf"{MANIFEST} is damaged: ", error_of(capsys, checkout, "--uninstall"))
    assert snapshot(checkout) == installed


def test_the_scripts_find_all_they_call(checkout):
    main([str(checkout)])
    for script in (checkout / "scripts").rglob("*.sh"):
        for name in re.findall(r"\b(?:scripts|tools|configs)/[\w/]+\.(?:sh|py|yaml)", script.read_text()):
            assert (checkout / name).exists() or name == "tools/report.py", f"{script} names {name}"


def test_all_of_it_runs_on_the_python_of_coops_users():
    """CoOp and Dassl say to use Python 3.8. Ruff sees to annotations, this to syntax and to what later ones added."""
    later = {"removeprefix", "removesuffix", "batched", "pairwise", "bit_count", "BooleanOptionalAction"}
    patterns = [*installer.FILES, "tools/install_into_coop.py", "tools/coop_checkout.py", "runtime/user_errors.py"]
    for path in [path for pattern in patterns for path in SOURCE.glob(pattern) if path.suffix == ".py"]:
        for node in ast.walk(ast.parse(path.read_text(), feature_version=(3, 8))):
            name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
            assert name not in later, f"{path}:{node.lineno}: {name} needs a later Python than 3.8"
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "zip":
                assert not node.keywords, f"{path}:{node.lineno}: zip(strict=) needs a later Python than 3.8"
