"""Packages and their bounds, modules of the same name, the code, environment variables, and errors in a check."""

import sys
import types
import warnings

import pytest

from tests.test_requirements import FILES, LISTED
from tools.diagnosing import software
from tools.diagnosing.findings import ERROR, NOTE, OK, Finding, findings_of
from tools.diagnosing.software import Package

PILLOW = Package("pillow", "PIL", "pillow>=10.3,<14", "")


def test_every_listed_package_is_read_with_its_module_and_use():
    files = sorted(software.ROOT.glob("requirements*.txt"))
    read = {package.module: package for file in files for package in software.packages(file)}
    assert read.keys() == FILES.keys() and len(read) == len(LISTED)
    assert read["PIL"].line == PILLOW.line and read["open_clip"].name == "open_clip_torch"
    assert "--to open_clip" in read["open_clip"].use and "import" not in read["open_clip"].use
    unlisted = ("requirements.txt", *software.NOT_LISTED)
    assert all(package.use for module, package in read.items() if FILES[module] not in unlisted)


@pytest.mark.parametrize(
    "version, old, new",
    [("10.2.9", True, False), ("10.3", False, False), ("14.0", False, True), ("dev", False, False)],
)  # fmt: skip
def test_bounds(version, old, new):
    assert (PILLOW.too_old(version), PILLOW.untested(version)) == (old, new)
    assert software.numbers("2.14.1+cu130") == (2, 14, 1) and software.numbers("2.0rc1") == (2, 0)


def requirement(monkeypatch, tmp_path, line):
    (tmp_path / "requirements.txt").write_text(f"{line}\n")
    monkeypatch.setattr(software, "ROOT", tmp_path)
    return [(finding.state, finding.text) for finding in software.required()]


@pytest.mark.parametrize(
    "line, state, fact",
    [
        ("no-such-package>=1,<2", ERROR, "no-such-package is missing"),
        ("pyyaml>=99,<100  # import yaml", ERROR, "pyyaml>=99,<100 is needed"),
        ("pyyaml>=1,<2  # import yaml", NOTE, "newer"),
        ("pyyaml>=1,<99  # import yaml", OK, "pyyaml"),
        ("not-installed-as>=1,<2  # import yaml", OK, "version unknown"),
    ],
)
def test_a_package(monkeypatch, tmp_path, line, state, fact):
    ((found, text),) = requirement(monkeypatch, tmp_path, line)
    assert found == state and fact in text


def test_an_optional_package_that_is_missing_is_named_with_its_use_and_command(monkeypatch, tmp_path):
    (tmp_path / "requirements-extra.txt").write_text("# Plots. More.\npyyaml>=6,<7  # import yaml\nno-such>=1,<2\n")
    monkeypatch.setattr(software, "ROOT", tmp_path)
    present, missing = software.optional()
    assert present.state == OK and "pyyaml" in present.text
    assert missing.state == NOTE and "no-such" in missing.text and "Plots" in missing.text
    assert "requirements-extra.txt" in missing.remedy


def test_another_module_of_the_name_clip(monkeypatch):
    assert list(software.imports()) == []
    other = types.ModuleType("clip")
    other.__file__ = "/elsewhere/clip.py"
    other.__spec__ = sys.modules["clip"].__spec__
    monkeypatch.setitem(sys.modules, "clip", other)
    (finding,) = software.imports()
    assert finding.state == ERROR and "/elsewhere/clip.py" in finding.text and "pip" in finding.remedy


def test_variables(monkeypatch, tmp_path):
    for name in [*software.VARIABLES, *software.OTHERS]:
        monkeypatch.delenv(name, raising=False)
    assert list(software.variables()) == []
    monkeypatch.setenv("CLIPFIT_DEBUGG", "1")
    monkeypatch.setenv("CLIPFIT_PLUGINS", "no/such.py:some_module")
    monkeypatch.setenv("CLIPFIT_CPU_PRODUCTS", "mlk")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    found = {finding.text.partition("=")[0]: finding for finding in software.variables() if "=" in finding.text}
    assert found["CLIPFIT_DEBUGG"].state == NOTE and "CLIPFIT_DEBUG" in found["CLIPFIT_DEBUGG"].remedy
    assert found["CUDA_VISIBLE_DEVICES"].state == OK
    errors = [finding.text for finding in software.variables() if finding.state == ERROR]
    assert len(errors) == 2 and any("no/such.py" in text for text in errors) and any("mlk" in text for text in errors)


def test_the_code_and_python(monkeypatch):
    texts = " ".join(finding.text for finding in software.code())
    assert str(software.ROOT) in texts and "Dassl" in texts
    (python,) = software.python()
    assert python.state == OK and sys.executable in python.text
    monkeypatch.setattr(software, "PYTHON", (99, 1))
    (python,) = software.python()
    assert python.state == ERROR and "99.1" in python.remedy


def test_an_error_in_a_check_is_a_note_and_keeps_what_was_found(capsys):
    def check():
        print("hidden")
        warnings.warn("hidden", stacklevel=1)
        yield Finding("first")
        raise OSError("libx.so: cannot open\nshared object")

    first, second = findings_of("libraries", check)
    assert first == Finding("first")
    assert second.state == NOTE and "libraries" in second.text and "libx.so: cannot open shared object" in second.text
    assert capsys.readouterr() == ("", "")
    (odd,) = findings_of("x", lambda: 1 / 0)
    assert "ZeroDivisionError" in odd.text
    (end,) = findings_of("y", lambda: sys.exit(3))
    assert end.state == NOTE and "SystemExit" in end.text


def test_a_package_that_ends_python_when_it_is_imported(monkeypatch):
    monkeypatch.setattr(software.importlib, "import_module", lambda name: sys.exit(3))
    (finding,) = software.imports()
    assert finding.state == ERROR and "torch" in finding.text and "SystemExit" in finding.text
