"""Messages and exit codes after a user error and after the import of a package that is not installed."""

import pytest

from runtime import user_errors
from runtime.user_errors import Terminated, exit_code


def failing(error):
    def run():
        raise error

    return run


@pytest.fixture
def requirements(tmp_path, monkeypatch):
    monkeypatch.setattr(user_errors, "ROOT", tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "requirements.txt").write_text("# import nothing\nPyYAML>=6,<7  # import yaml; configs\n\nnumpy\n")
    (tmp_path / "requirements-tool.txt").write_text("-r requirements.txt\nsome-tool>=1  # plots\n")
    return tmp_path


@pytest.mark.parametrize(
    "name, package, file",
    [("yaml.nodes", "PyYAML", "requirements.txt"), ("some_tool", "some-tool", "requirements-tool.txt")],
)
def test_a_missing_package_names_its_file(requirements, capsys, monkeypatch, name, package, file):
    error = ModuleNotFoundError(f"No module named {name!r}", name=name)
    assert exit_code(failing(error)) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert package in line and line.endswith(f"pip install -r {file}")
    (requirements / "below").mkdir()
    monkeypatch.chdir(requirements / "below")  # the path in the command is relative to the current folder
    assert exit_code(failing(error)) == 1
    assert capsys.readouterr().err.endswith(f"pip install -r ../{file}\n")


@pytest.mark.parametrize("name", ["nothing", "unknown", "yam", "requirements"])
def test_a_module_of_no_listed_package(requirements, capsys, name):
    assert exit_code(failing(ModuleNotFoundError(f"No module named {name!r}", name=name))) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert repr(name) in line and "requirements" not in line.replace(repr(name), "")


def test_without_requirements_files(tmp_path, monkeypatch, capsys):
    """A CoOp checkout has no requirements files."""
    monkeypatch.setattr(user_errors, "ROOT", tmp_path)
    assert exit_code(failing(ModuleNotFoundError("No module named 'yaml'", name="yaml"))) == 1
    assert "'yaml'" in capsys.readouterr().err


def test_user_errors_and_exit_codes(monkeypatch, capsys):
    assert exit_code(lambda: None) == 0 and exit_code(lambda code: code, 3) == 3
    assert exit_code(failing(ValueError("a\n  b"))) == 1 and capsys.readouterr().err == "error: a b\n"
    for stop, code in ((KeyboardInterrupt(), 130), (Terminated(), 143)):
        assert exit_code(failing(stop), resume="Run it again.") == code and "Run it again." in capsys.readouterr().err
    with pytest.raises(TypeError):
        exit_code(failing(TypeError("a bug")))
    monkeypatch.setenv("CLIPFIT_DEBUG", "1")
    with pytest.raises(ValueError):
        exit_code(failing(ValueError("a")))
