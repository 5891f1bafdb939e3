"""In which settings a run differs from its method's recipe: configs/recipes.yaml and the YAML that it names.

A recipe states the values of its YAML and, over these, its own keys. A run differs in

- each of these keys that has another value in its settings,
- each other key that its command line or its own YAML sets. What the recipe has for it is a default of the code, which
  is not known here, so the key is shown even if it was set to that default: nothing that was changed is hidden.

The settings of an evaluation are those of its training. The training's command line is known if its folder is there.

A method without a recipe is compared with the YAML of the run. Logs of other code are compared with nothing.
"""

import json
from functools import cache
from pathlib import Path
from typing import NamedTuple

from datasets import catalogue
from runtime.config_files import read_yaml
from tools.recipe import config_file, read_table, recipe
from trainers.common.runs.record_schema import FINAL_MODEL, in_groups

from .logs import literal
from .run import LAST, Run, option, registry_name

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
NOT_OF_RECIPES = ("DATASET.FOLDER",)  # says where one's own images lie
TESTED = "tested model"  # stands for TEST.FINAL_MODEL, or the epoch that an evaluation loaded
YAML = "YAML"


class Differences(NamedTuple):
    """The settings of a run that are not those of what it is compared with."""

    compared_with: str  # "recipe", "YAML" or, of other code, nothing
    values: dict[str, str]  # key -> the run's value, as JSON text


def differences(run: Run, protocol: str, settings: dict[str, str]) -> Differences:
    """In which settings a run differs from its method's recipe for a protocol.

    Args:
        settings: of the run, each value as JSON text (`rows.comparable`).
    """
    if run.origin != "ours":
        return Differences("", {})
    own = of_yaml(option(run.command, "--config-file"))
    config, stated = of_recipe(run, protocol)
    compared_with = "YAML" if stated is None else "recipe"
    if stated is None:
        config, stated = run.config, own
    if stated is None:
        return Differences("", {})
    stated = {TESTED: stated.get(FINAL_MODEL, LAST), **stated}
    named = run.command + (run.source_run.command if run.source_run else [])
    keys = {*stated, *(own or ()), *named} & settings.keys()
    found = {key: settings[key] for key in sorted(keys) if key not in stated or not equal(settings[key], stated[key])}
    found = {key: value for key, value in found.items() if not in_groups(key, NOT_OF_RECIPES)}
    if own is None and run.config != config:
        found[YAML] = json.dumps("not found")
    return Differences(compared_with, found)


def of_recipe(run: Run, protocol: str) -> tuple[str, dict | None]:
    """Name of the recipe's YAML and the values that YAML and recipe state; None if there is no recipe."""
    trained = run.training or run.own
    dataset = registry_name(trained.dataset)
    entry = catalogue.entries().get(dataset)
    try:
        where = (run.method, protocol, entry.config if entry else dataset, trained.shots, run.backbone)
        config, keys = recipe(*where, table=table(CONFIGS))
        stated = of_yaml(config_file(run.method, config, CONFIGS))
    except ValueError:  # the table has no such method or protocol, or there is no such config file
        return "", None
    return config, None if stated is None else {**stated, **keys}


@cache
def table(configs: Path) -> dict:
    return read_table(configs / "recipes.yaml") or {}


def of_yaml(path: str) -> dict | None:
    """Values that a config file states, flat ("OPTIM.LR" -> 0.002); None if it cannot be read.

    Args:
        path: as a command line has it, from the repository's folder.
    """
    return values_in(CONFIGS.parent / path)


@cache
def values_in(path: Path) -> dict | None:
    try:
        return flatten(read_yaml(str(path)))
    except (ValueError, OSError):  # moved, removed or broken since the run
        return None


def flatten(node: dict, prefix: str = "") -> dict:
    flat = {}
    for key, value in node.items():
        flat.update(flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value})
    return flat


def equal(recorded: str, stated) -> bool:
    """Whether a recorded value, as JSON text, is what a YAML states: there, (32, 32) and 1e-5 are strings."""
    return plain(json.loads(recorded)) == plain(stated)


def plain(value):
    return literal(value) if isinstance(value, str) else value
