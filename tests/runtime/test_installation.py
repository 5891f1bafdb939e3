"""What differs where the code is an installed package."""

import ast
import sys

import pytest

from clipfit import command
from runtime import installation, user_errors
from runtime.installation import ROOT, as_typed, find_config


def test_a_config_of_the_repository_is_found_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = "configs/datasets/digits.yaml"
    assert find_config(name) == str(ROOT / name)
    assert find_config("configs/datasets/gone.yaml") == "configs/datasets/gone.yaml"
    (tmp_path / "configs" / "datasets").mkdir(parents=True)
    (tmp_path / name).touch()
    assert find_config(name) == name


@pytest.mark.parametrize("installed, command", [(True, 'pip install "clipfit[report]"'), (False, "pip install -r ")])
def test_a_missing_package_is_an_extra_of_the_installed_one(installed, command, monkeypatch):
    monkeypatch.setattr(user_errors, "INSTALLED", installed)
    assert command in user_errors.one_line(ModuleNotFoundError("No module named 'jinja2'", name="jinja2"))


@pytest.mark.parametrize(
    "text, typed",
    [
        ("python tools/sweep.py fewshot, then python train.py -h", "clipfit sweep fewshot, then clipfit train -h"),
        ("`python parse_test_res.py DIR`", "`clipfit parse_test_res DIR`"),
        ("python mine.py and python tools/mine.py", "python mine.py and python tools/mine.py"),
        ("see tools/sweep.py, or torchrun train.py", "see tools/sweep.py, or torchrun train.py"),
    ],
)
def test_programs_have_the_names_that_the_user_types(text, typed, monkeypatch):
    for argv0, installed, expected in (
        ("tools/report.py", False, text),
        ("clipfit report", False, typed),
        ("site/clipfit/_checkout/tools/show.py", True, typed),
    ):
        monkeypatch.setattr(sys, "argv", [argv0])
        monkeypatch.setattr(installation, "INSTALLED", installed)
        assert as_typed(text) == expected


def test_no_help_names_a_file_to_who_typed_the_command(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["clipfit sweep"])
    texts = {name: ast.get_docstring(ast.parse(path.read_text())) for name, path in command.programs().items()}
    assert sum("python tools/" in text for text in texts.values()) > 15
    assert [name for name, text in texts.items() if "python tools/" in as_typed(text)] == []
