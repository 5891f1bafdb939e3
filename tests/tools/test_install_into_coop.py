"""Installs CLIPFit into checkouts of CoOp and its relatives and uninstalls it, with conflicts and interruptions."""

import json
import re
import shutil

import pytest

from tests.user_errors import assert_facts, assert_user_error
from tools import install_into_coop as installer
from tools.coop_checkout import contents, files
from tools.coop_checkout.files import MANIFEST
from tools.coop_checkout.train_py import SOURCE
from tools.install_into_coop import main

from .coop_checkout.stand_in import COOP, make_checkout, snapshot, write

TRAIN_PY = {
    "CoOp": COOP,
    "KgCoOp": COOP.replace("import trainers.zsclip\n\n\n", "import trainers.zsclip\nimport trainers.kgcoop\n"),
    "MaPLe": COOP.replace("import trainers.zsclip", "import trainers.maple\nimport trainers.vpt  # both branches"),
    "Windows": COOP.replace("\n", "\r\n"),
    "Latin-1": COOP + "# \xe9\n",
    "no end of line": "import trainers.coop",
    "package": "import datasets\nimport trainers\n\n\ndef print_args():\n",
    "from": "from trainers.constants import get\nfrom trainers.coprompt import CoPrompt\nfrom datasets import dtd\n",
    "inner imports": "import trainers.coop\nfrom trainers.vpt import (\n    VPT\n)\n\n\nif 0:\n    import trainers.x\n",
}
# The line before the import of CLIPFit
AFTER = {
    "package": "import trainers",
    "from": "from trainers.coprompt import CoPrompt",
    "inner imports": "import trainers.coop",
}


@pytest.fixture
def checkout(tmp_path):
    return make_checkout(tmp_path / "CoOp")


def assert_refused(capsys, *argv, facts):
    """The command fails with a one-line error that has all facts."""
    capsys.readouterr()
    code = main([str(a) for a in argv])
    assert_user_error((code, capsys.readouterr().err), *facts)


@pytest.mark.parametrize("layout", TRAIN_PY)
def test_install_twice_and_uninstall(checkout, layout, capsys):
    (checkout / "train.py").write_bytes(TRAIN_PY[layout].encode("latin-1"))
    before = snapshot(checkout)
    assert main([str(checkout)]) == 0
    assert "+import trainers.clipfit" in capsys.readouterr().out
    lines = (checkout / "train.py").read_bytes().splitlines(keepends=True)
    (last,) = (i for i, line in enumerate(lines) if line.strip() == b"import trainers.clipfit")
    later_imports = [line for line in lines[last + 1 :] if re.match(rb"import trainers", line)]
    assert not later_imports and lines[last - 1].strip().decode().startswith(AFTER.get(layout, "import trainers."))
    assert b"".join(line for line in lines if b"clipfit" not in line).strip() == before["train.py"].strip()
    assert (layout == "Windows") == lines[last].endswith(b"\r\n")
    assert (checkout / "train.py").stat().st_mode & 0o777 == 0o755
    assert (checkout / "trainers" / "common" / "trainer.py").read_bytes() == (
        SOURCE / "trainers" / "common" / "trainer.py"
    ).read_bytes()

    installed = snapshot(checkout)
    assert main([str(checkout)]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert snapshot(checkout) == installed
    assert_facts(line, checkout, "installed")

    assert main([str(checkout), "--uninstall"]) == 0
    after = snapshot(checkout)
    if layout == "no end of line":  # the line before the import now ends with a newline
        before["train.py"] += b"\n"
    assert after == before
    assert_refused(capsys, checkout, "--uninstall", facts=["not installed", checkout, MANIFEST])


@pytest.mark.parametrize("flags", [[], ["--uninstall"]])
def test_dry_run_shows_the_changes_without_making_them(checkout, flags, capsys):
    if flags:
        main([str(checkout)])
    before = snapshot(checkout)
    capsys.readouterr()
    assert main([str(checkout), "--dry-run", *flags]) == 0
    printed = capsys.readouterr().out
    assert "import trainers.clipfit" in printed and "clipfit.py" in printed and "--dry-run" in printed
    assert snapshot(checkout) == before


def test_folders_that_are_not_a_checkout(checkout, tmp_path, capsys):
    assert_refused(capsys, tmp_path / "none", facts=[tmp_path / "none"])
    assert_refused(capsys, tmp_path, facts=["CoOp checkout", "train.py", "trainers", f" {checkout}"])
    assert_refused(capsys, SOURCE, facts=[SOURCE, "CLIPFit"])
    (checkout / "train.py").write_text("import coop\n")
    assert_refused(capsys, checkout, facts=[checkout / "train.py", "'import trainers.clipfit'"])


@pytest.mark.parametrize("name", ["trainers/clipfit.py", "scripts/fewshot.sh", "tools/recipe.py", "trainers/common.py"])
def test_local_files_are_not_overwritten(checkout, name, capsys):
    write(checkout / name, "mine\n")
    before = snapshot(checkout)
    assert_refused(capsys, checkout, facts=[checkout, f" {name};", "overwrite"])
    assert snapshot(checkout) == before


def test_an_existing_identical_file_is_kept_by_uninstalling(checkout):
    content = (SOURCE / "tools" / "recipe.py").read_text()
    write(checkout / "tools" / "recipe.py", content)
    main([str(checkout)])
    main([str(checkout), "--uninstall"])
    assert (checkout / "tools" / "recipe.py").read_text() == content


def test_an_edited_file_is_kept_by_uninstalling_and_refused_by_updating(checkout, capsys):
    main([str(checkout)])
    edited = checkout / "trainers" / "clipfit.py"
    edited.write_text(edited.read_text() + "# mine\n")
    assert_refused(capsys, checkout, facts=[checkout, " trainers/clipfit.py;", "overwrite"])
    assert main([str(checkout), "--uninstall"]) == 0
    assert "    trainers: clipfit.py\n" in capsys.readouterr().out.partition("keeps ")[2]
    assert edited.read_text().endswith("# mine\n") and "clipfit" not in (checkout / "train.py").read_text()
    assert not (checkout / "trainers" / "common").exists()


def test_an_existing_import_is_kept_and_reported(checkout, capsys):
    (checkout / "train.py").write_text(COOP.replace("import trainers.zsclip", "import trainers.clipfit  # mine"))
    before = (checkout / "train.py").read_text()
    main([str(checkout)])
    assert (checkout / "train.py").read_text() == before
    capsys.readouterr()
    main([str(checkout), "--uninstall"])
    assert (checkout / "train.py").read_text() == before
    assert "train.py:6: import trainers.clipfit  # mine" in capsys.readouterr().out


OBSTACLE = COOP + "    clean_cfg(cfg, 'COOP')\n"
REMOVED = COOP + '    if args.trainer != "CLIPFit":\n        clean_cfg(cfg, "COOP")\n'


@pytest.mark.parametrize("flags", [[], ["--dry-run"]])
def test_obstacles_in_train_py_are_refused_and_their_remedy_is_reported_by_uninstalling(checkout, flags, capsys):
    (checkout / "train.py").write_text(OBSTACLE)
    before = snapshot(checkout)
    assert main([str(checkout), *flags]) == 1
    printed = capsys.readouterr()
    assert "train.py:10: clean_cfg" in printed.out and 'if args.trainer != "CLIPFit":' in printed.out
    assert_facts(printed.err, "error: ", "train.py:10", checkout)
    assert snapshot(checkout) == before

    (checkout / "train.py").write_text(REMOVED)
    assert main([str(checkout)]) == 0
    capsys.readouterr()
    assert main([str(checkout), "--uninstall"]) == 0
    assert 'train.py:10: if args.trainer != "CLIPFit":' in capsys.readouterr().out
    assert (checkout / "train.py").read_text() == REMOVED


def test_compiled_modules_are_removed(checkout):
    main([str(checkout)])
    for name in ("common/models/__pycache__/text", "__pycache__/clipfit", "__pycache__/coop"):
        write(checkout / "trainers" / f"{name}.cpython-311.pyc", "")
    main([str(checkout), "--uninstall"])
    assert not (checkout / "trainers" / "common").exists()
    assert [p.name for p in (checkout / "trainers" / "__pycache__").iterdir()] == ["coop.cpython-311.pyc"]


class Killed(BaseException):
    """Simulates SIGKILL: the installer does not catch it."""


def interrupt_after(monkeypatch, calls):
    """Raises Killed at the given write or removal, and leaves a half-written file."""
    remaining = iter(range(calls))

    def dying(function):
        def call(path, *args, **options):
            if next(remaining, None) is None:
                if args:
                    installer.temporary_name(path).write_bytes(b"half")
                raise Killed
            return function(path, *args, **options)

        return call

    write, remove = dying(files.write), dying(files.remove)
    for module in (installer, files):
        monkeypatch.setattr(module, "write", write)
        monkeypatch.setattr(module, "remove", remove)


@pytest.mark.parametrize("calls", [0, 1, 2, 9, 25, 1000])
@pytest.mark.parametrize("flags", [[], ["--uninstall"]])
def test_a_second_run_completes_an_interrupted_one(checkout, calls, flags, monkeypatch):
    before = snapshot(checkout)
    if flags:
        main([str(checkout)])
    with monkeypatch.context() as patch:
        interrupt_after(patch, calls)
        try:
            main([str(checkout), *flags])
        except Killed:
            pass
    if b"clipfit" in (checkout / "train.py").read_bytes():  # all modules that train.py imports are installed
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
def test_a_second_run_completes_an_interrupted_update(checkout, calls, tmp_path, monkeypatch):
    """The later version has one changed, one new and one removed file."""
    before = snapshot(checkout)
    main([str(checkout)])
    later = tmp_path / "later"
    shutil.copytree(SOURCE / "configs", later / "configs")  # all configs, because YAML files may have bases
    for path in contents.sources().values():
        (later / path.relative_to(SOURCE)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, later / path.relative_to(SOURCE))
    write(later / "trainers" / "clipfit.py", "later\n")
    write(later / "trainers" / "common" / "new.py", "new\n")
    (later / "tools" / "recipe.py").unlink()
    monkeypatch.setattr(contents, "SOURCE", later)
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
def test_a_corrupted_manifest(checkout, content, capsys):
    main([str(checkout)])
    (checkout / MANIFEST).write_text(content)
    installed = snapshot(checkout)
    capsys.readouterr()
    assert_refused(capsys, checkout, "--uninstall", facts=[checkout / MANIFEST, "corrupted"])
    assert snapshot(checkout) == installed
