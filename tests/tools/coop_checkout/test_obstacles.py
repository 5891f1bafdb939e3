"""What keeps CLIPFit from running in a checkout is found in its source, and is gone once its remedy is followed."""

import pytest

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
    """Those of a train.py with these lines at 8 and below, and a module of its own."""
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
def test_a_statement_is_found_until_it_stands_under_an_if(tmp_path, line, settings, facts):
    (found,) = obstacles(tmp_path, line, settings=settings)
    assert found.startswith("train.py:8: ") and all(fact in found for fact in facts)
    remedy = found.split("put it under: ")[1]
    assert obstacles(tmp_path, remedy, "    " + line, settings=settings) == []


def test_settings_overwritten_after_the_command_line_was_read(tmp_path):
    lines = ["cfg.OPTIM.LR = 0.1", "cfg.merge_from_list(args.opts)", "if cfg.DATASET.NAME == 'SUN397':"]
    (found,) = obstacles(tmp_path, *lines, "    cfg.OPTIM.MAX_EPOCH = 25")
    assert found.startswith("train.py:11: ") and "OPTIM.MAX_EPOCH" in found
    assert obstacles(tmp_path, *lines, "    if args.trainer != 'CLIPFit':", "        cfg.OPTIM.MAX_EPOCH = 25") == []


@pytest.mark.parametrize(
    "line",
    [
        "assert cfg.TRAINER.NAME in ['A', 'B']",
        "assert args.trainer == 'A'",
        "parser.add_argument('--trainer', choices=['A', 'B'])",
    ],
)
def test_lists_of_trainers_are_found_until_clipfit_is_among_them(tmp_path, line):
    (found,) = obstacles(tmp_path, line)
    assert found.startswith("train.py:8: ") and '"CLIPFit"' in found and "A" in found
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
def test_what_is_in_nobodys_way(tmp_path, line):
    settings = ASSERTS.replace("'B'", "'CLIPFit'")
    assert obstacles(tmp_path, line, settings=settings) == []


def test_a_function_that_lets_clipfit_pass_before_its_list(tmp_path):
    settings = RAISES.replace("    if", "    if trainer == 'CLIPFit':\n        return []\n    if", 1)
    assert obstacles(tmp_path, "use(lookup(cfg.DATASET.NAME, args.trainer))", settings=settings) == []


def test_a_train_py_of_another_python_is_left_alone(tmp_path):
    write(tmp_path / "train.py", "print 'Python 2'\nclean_cfg(cfg, 'COOP')\n")
    assert find_obstacles(tmp_path) == []
