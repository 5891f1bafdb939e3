"""Code that prevents CLIPFit from running is found in the source of a checkout, and accepted after its remedy."""

import pytest

from tests.user_errors import assert_facts
from tools.coop_checkout.obstacles import find_obstacles

from .stand_in import write

SETUP = """
from dassl.config import clean_cfg, get_cfg_default
from methods.settings import settings_of as lookup


def setup_cfg(args):
    cfg = get_cfg_default()
{}
    cfg.freeze()
    return cfg
"""
ASSERTS = "def settings_of(name, trainer):\n    assert trainer in ['A', 'B']\n    return []\n"
RAISES = "def settings_of(name, trainer):\n    if trainer not in ('A', 'B'):\n        raise ValueError\n    return []\n"


def obstacles(folder, *lines, settings=""):
    """Returns the obstacles in a train.py with these lines from line 8, and a module methods/settings.py."""
    write(folder / "methods" / "settings.py", settings)
    write(folder / "train.py", SETUP.format("\n".join("    " + line for line in lines)))
    return find_obstacles(folder)


@pytest.mark.parametrize(
    "line, settings, facts",
    [
        ("clean_cfg(cfg, 'COOP')", "", ["TRAINER.CLIPFIT", "TRAINER.COOP"]),
        ("cfg.merge_from_list(lookup(cfg.DATASET.NAME, args.trainer))", ASSERTS, ["methods/settings.py:2", "A, B"]),
        ("cfg.merge_from_list(lookup(cfg.DATASET.NAME, args.trainer))", RAISES, ["methods/settings.py:2", "A, B"]),
        ("use(args.opts[args.opts.index('TASK') + 1])", "", ["TASK"]),
    ],
)
def test_a_statement_is_found_until_it_is_under_an_if(tmp_path, line, settings, facts):
    (obstacle,) = obstacles(tmp_path, line, settings=settings)
    assert obstacle.startswith("train.py:8: ")
    assert_facts(obstacle, *facts)
    remedy = obstacle[obstacle.index("if args.trainer") :]
    assert obstacles(tmp_path, remedy, "    " + line, settings=settings) == []


def test_settings_overwritten_after_reading_the_command_line(tmp_path):
    lines = ["cfg.OPTIM.LR = 0.1", "cfg.merge_from_list(args.opts)", "if cfg.DATASET.NAME == 'SUN397':"]
    (obstacle,) = obstacles(tmp_path, *lines, "    cfg.OPTIM.MAX_EPOCH = 25")
    assert obstacle.startswith("train.py:11: ")
    assert_facts(obstacle, "OPTIM.MAX_EPOCH")
    assert obstacles(tmp_path, *lines, "    if args.trainer != 'CLIPFit':", "        cfg.OPTIM.MAX_EPOCH = 25") == []


@pytest.mark.parametrize(
    "line",
    [
        "assert cfg.TRAINER.NAME in ['A', 'B']",
        "assert args.trainer == 'A'",
        "parser.add_argument('--trainer', choices=['A', 'B'])",
    ],
)
def test_lists_of_trainers_are_found_until_they_include_clipfit(tmp_path, line):
    (obstacle,) = obstacles(tmp_path, line)
    assert obstacle.startswith("train.py:8: ")
    assert_facts(obstacle, '"CLIPFit"', " A")
    assert obstacles(tmp_path, line.replace("'A'", "('A', 'CLIPFit')")) == []


@pytest.mark.parametrize(
    "line",
    [
        "clean_cfg(cfg, args.trainer)",
        "clean_cfg(cfg, 'CLIPFit')",
        "assert cfg.TRAINER.COOP.PREC in ['fp16', 'fp32', 'amp']",
        "cfg.merge_from_list(lookup(cfg.DATASET.NAME, 'A'))",
        "parser.add_argument('--trainer', type=str)",
    ],
)
def test_code_that_is_no_obstacle(tmp_path, line):
    settings = ASSERTS.replace("'B'", "'CLIPFit'")
    assert obstacles(tmp_path, line, settings=settings) == []


def test_a_function_that_returns_early_for_clipfit(tmp_path):
    settings = RAISES.replace("    if", "    if trainer == 'CLIPFit':\n        return []\n    if", 1)
    assert obstacles(tmp_path, "use(lookup(cfg.DATASET.NAME, args.trainer))", settings=settings) == []


def test_a_train_py_that_cannot_be_parsed_is_skipped(tmp_path):
    write(tmp_path / "train.py", "print 'Python 2'\nclean_cfg(cfg, 'COOP')\n")
    assert find_obstacles(tmp_path) == []
