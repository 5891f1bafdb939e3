"""Usage errors of all programs: one line with an example, exit code 2, no files."""

import argparse
import importlib
import sys
from pathlib import Path

import pytest

from runtime.arguments import Parser, example
from tests.test_requirements import PROGRAMS
from tests.user_errors import assert_user_error

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def call(monkeypatch, tmp_path, capsys):
    """Returns a function that runs a program in an empty folder, and gives (exit code, stderr). It leaves no file."""

    def call(program, *arguments):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", [program, *arguments])
        module = importlib.import_module(program.removesuffix(".py").replace("/", "."))
        try:
            code = module.main()
        except SystemExit as stop:
            code = stop.code
        assert list(tmp_path.iterdir()) == []
        return code, capsys.readouterr().err

    return call


# tools/recipe.py is copied into checkouts of CoOp, without this parser
@pytest.mark.parametrize("program", [program for program in PROGRAMS if program != "tools/recipe.py"])
def test_an_unknown_option_is_one_line_with_an_example(call, program):
    code, err = call(program, "--unknown-option-x")
    assert_user_error((code, err), f"python {program}", "--help", code=2)


def test_train_without_arguments_says_what_is_missing_and_leaves_no_folder(call):
    flags = ("--trainer", "--dataset-config-file", "--config-file")
    assert_user_error(call("train.py"), *flags, "python train.py --trainer CLIPFit", "digits.yaml")
    assert_user_error(call("train.py", "--trainer", "CLIPFit"), *flags[1:])


def test_the_example_is_the_first_command_without_its_explanation(monkeypatch):
    text = "Shows.\n\n    python tools/show.py RUN \\\n        --root DATA    the images\n    python tools/show.py X\n"
    monkeypatch.setattr(sys, "argv", ["tools/show.py"])
    assert example(text) == "; example: python tools/show.py RUN --root DATA"
    monkeypatch.setattr(sys, "argv", ["clipfit show"])
    assert example(text) == "; example: clipfit show RUN --root DATA"
    assert example("No command.") == example(None) == ""


def test_help_shows_the_description_as_it_is_written(capsys):
    with pytest.raises(SystemExit):
        Parser(description="One.\n\npython a.py\n").parse_args(["--help"])
    assert "One.\n\npython a.py\n" in capsys.readouterr().out
    assert issubclass(Parser, argparse.ArgumentParser)
