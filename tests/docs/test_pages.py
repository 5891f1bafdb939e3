"""The documentation names only what exists: links, paths, programs, options and config keys."""

from __future__ import annotations

import functools
import importlib
import os
import re
import subprocess

import pytest

import train
from dassl.config import get_cfg_default
from tests.fork_server import python
from trainers import register_all

from .pages import PAGES, ROOT, anchors, commands, config_keys, links, parse, paths

# Files that the pages tell the reader to write, or that only a checkout of other code has.
READERS_FILES = {
    "configs/datasets/shapes.yaml",
    "configs/trainers/TextResidual",
    "datasets/shapes.py",
    "trainers/text_residual.py",
}
OTHER_PROGRAMS = {"my_program.py"}
PASSES_OPTIONS_ON = {"scripts/test.sh"}  # to pytest


def missing_links(page, text: str) -> list[str]:
    missing = []
    for target in links(text):
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        content = text if file == page else file.read_text() if file.suffix == ".md" and file.is_file() else ""
        if not file.exists() or (anchor and anchor not in anchors(content)):
            missing.append(target)
    return missing


def missing_paths(text: str) -> list[str]:
    return [path for path in paths(text) if not (ROOT / path).exists() and path not in READERS_FILES]


@functools.cache
def accepted_options(interpreter: str, program: str) -> frozenset[str]:
    """The options in the program's --help."""
    command = [python() if interpreter == "python" else interpreter, program, "--help"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore", "PYTHON": python()}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"{program} --help: {done.stderr}"
    return frozenset(re.findall(r"(?<![\w-])--[a-z][\w-]*", done.stdout))


def wrong_commands(text: str) -> list[str]:
    """A line per program that does not exist and per option that its --help does not name."""
    wrong = []
    for command in commands(text):
        if command.program.startswith("-") or command.program in OTHER_PROGRAMS:  # python -m, python -c
            continue
        if not (ROOT / command.program).is_file():
            placeholder = re.search(r"[A-Z]{3}|\bX\b|/path/", command.program)
            wrong += [] if placeholder else [f"no program {command.program}: {command.line}"]
            continue
        if command.program in PASSES_OPTIONS_ON or not command.options:
            continue
        accepted = accepted_options(command.interpreter, command.program) | {"--help"}
        wrong += [f"no option {option}: {command.line}" for option in command.options if option not in accepted]
    return wrong


@functools.cache
def known_config_keys() -> frozenset[str]:
    """Every config key and section of this repository, and those of the example methods."""
    importlib.import_module("datasets")
    importlib.import_module("trainers.common.runs.plugins")
    register_all()
    for path in sorted((ROOT / "examples").glob("*.py")):
        importlib.import_module(f"examples.{path.stem}")
    keys = train.flat_keys(get_cfg_default())
    return frozenset(key.rsplit(".", depth)[0] for key in keys for depth in range(key.count(".") + 1))


def unknown_config_keys(text: str) -> list[str]:
    return [key for key in config_keys(text) if key not in known_config_keys()]


@pytest.fixture(params=PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def page(request):
    return request.param


def test_links_lead_somewhere(page):
    assert not missing_links(page, page.read_text())


def test_named_files_exist(page):
    assert not missing_paths(page.read_text())


def test_commands_name_programs_and_options_that_exist(page):
    assert not wrong_commands(page.read_text())


def test_config_keys_exist(page):
    assert not unknown_config_keys(page.read_text())


def test_every_page_is_in_the_index():
    index = (ROOT / "docs" / "README.md").read_text()
    linked = {target.partition("#")[0] for target in links(index)}
    assert {page.name for page in PAGES if page.parent.name == "docs" and page.name != "README.md"} <= linked


def test_figures_are_named_in_a_page():
    named = " ".join(page.read_text() for page in PAGES)
    figures = [path for path in (ROOT / "docs" / "figures").iterdir() if path.suffix in (".svg", ".png")]
    assert figures and all(path.name in named for path in figures)


# The checks above find mistakes


@pytest.mark.parametrize(
    "text, wrong",
    [
        ("See [this](gone.md).", ["gone.md"]),
        ("See [this](docs/methods.md#no-such-heading).", ["docs/methods.md#no-such-heading"]),
        ("See [this](docs/methods.md#the-methods) and [that](https://example.org/x).", []),
        ("## A `key`: b\n[here](#a-key-b), [there](#a-key)", ["#a-key"]),
    ],
)
def test_a_broken_link_is_found(text, wrong):
    assert missing_links(ROOT / "README.md", text) == wrong


@pytest.mark.parametrize(
    "text, wrong",
    [
        ("`trainers/gone.py`", ["trainers/gone.py"]),
        (
            "```\npython train.py --config-file configs/trainers/CLIPFit/gone.yaml\n```",
            ["configs/trainers/CLIPFit/gone.yaml"],
        ),
        ("`trainers/clipfit.py`, `configs/trainers/METHOD/NAME.yaml`, `/path/to/trainers/x.py`", []),
    ],
)
def test_a_missing_file_is_found(text, wrong):
    assert missing_paths(text) == wrong


@pytest.mark.parametrize(
    "text, wrong",
    [
        ("`python tools/gone.py`", 1),
        ("`python tools/recipe.py CLIPFit fewshot dtd --shot 4`", 1),
        ("```\n$ A=1 python tools/recipe.py CLIPFit fewshot \\\n    dtd --epochs 4 --shots 4\n```", 1),
        ("`python tools/recipe.py CLIPFit fewshot dtd --shots 4`", 0),
        ("`cd X && python tools/recipe.py --gone`", 0),  # does not begin with python or bash
    ],
)
def test_a_wrong_command_is_found(text, wrong):
    assert len(wrong_commands(text)) == wrong


def test_an_unknown_config_key_is_found():
    assert unknown_config_keys("`TRAINER.CLIPFIT.BETA`, `TRAINER.CLIPFIT`, OPTIM.EPOCHS 3") == ["OPTIM.EPOCHS"]


def test_options_after_two_dashes_belong_to_the_config():
    (command,) = parse("bash scripts/fewshot.sh CLIPFit dtd --data DATA -- OPTIM.LR --odd")
    assert (command.program, command.options) == ("scripts/fewshot.sh", ("--data",))
