"""Compares the settings of a run with its method's recipe: configs/recipes.yaml and the YAML named there.

A recipe states the values of its YAML, overridden by its own keys. A setting of a run differs from the recipe if

- the recipe states the key with another value, or
- the recipe does not state the key, and the run's command line or YAML sets it to a value that is not empty. Defaults
  in the code are not known here, so the key is listed even if it was set to the default. No change is hidden.

A value that the backbone expects, such as its image statistics, is no difference: recipes hold for every backbone.

An evaluation has the settings of its training. The training's command line is known if its run directory exists.

A method without a recipe is compared with the run's YAML. Logs of other code are not compared.
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
NOT_IN_RECIPES = ("DATASET.FOLDER",)  # path of the user's own images
TESTED = "tested model"  # stands for TEST.FINAL_MODEL, or for the epoch that an evaluation loaded
YAML = "YAML"
EMPTY = ('""', "null", "[]")  # JSON texts of values that are not set
CAPTIONS = "captions"  # config of images with captions, which have a protocol of their own


class Differences(NamedTuple):
    """The settings of a run that differ from its recipe or YAML."""

    compared_with: str  # "recipe", "YAML", or "" if not compared
    values: dict[str, str]  # key -> the run's value, as JSON text


def differences(run: Run, protocol: str, settings: dict[str, str]) -> Differences:
    """Returns the settings of a run that differ from its method's recipe for a protocol.

    Args:
        settings: the run's settings, each value as JSON text (`rows.comparable`).
    """
    # Example: the recipe states BETA 8.0 and, in its YAML, MAX_EPOCH 100. The run has BETA 8.0 and MAX_EPOCH 5, and
    # its command line sets REG. Result: MAX_EPOCH 5 (another value), REG kd (not stated, but set).
    if run.origin != "ours":
        return Differences("", {})
    run_yaml = yaml_values(option(run.command, "--config-file"))
    config, stated = recipe_values(run, protocol)
    compared_with = "recipe"
    if stated is None:
        compared_with = "YAML"
        config = run.config
        stated = run_yaml
    if stated is None:
        return Differences("", {})
    stated = {TESTED: stated.get(FINAL_MODEL, LAST), **stated}
    command = run.command + (run.source_run.command if run.source_run else [])
    keys = {*stated, *(run_yaml or ()), *command} & settings.keys()
    values = {}
    for key in sorted(keys):
        expected = [source[key] for source in (stated, run.backbone_input) if key in source]
        if not expected and settings[key] in EMPTY:  # such as DATASET.TEMPLATE "": the default
            continue
        if not any(equal(settings[key], value) for value in expected) and not in_groups(key, NOT_IN_RECIPES):
            values[key] = settings[key]
    if run_yaml is None and run.config != config:
        values[YAML] = json.dumps("not found")
    return Differences(compared_with, values)


def recipe_values(run: Run, protocol: str) -> tuple[str, dict | None]:
    """Returns the name of the recipe's YAML, and the values of YAML and recipe. They are None without a recipe."""
    trained = run.training or run.setup
    dataset = registry_name(trained.dataset)
    entry = catalogue.entries().get(dataset)
    dataset_config = entry.config if entry else dataset
    if dataset_config.lower() == CAPTIONS:
        protocol = "retrieval"  # a column per number of training images, in the few-shot table
    try:
        config, keys = recipe(
            run.method, protocol, dataset_config, trained.shots, run.backbone, table=recipe_table(CONFIGS)
        )
        stated = yaml_values(config_file(run.method, config, CONFIGS))
    except ValueError:  # the table has no such method or protocol, or the config file does not exist
        return "", None
    return config, None if stated is None else {**stated, **keys}


@cache
def recipe_table(configs: Path) -> dict:
    return read_table(configs / "recipes.yaml") or {}


def yaml_values(path: str) -> dict | None:
    """Returns the values of a config file, flat ("OPTIM.LR" -> 0.002), or None if it cannot be read.

    Args:
        path: as on the command line, relative to the repository root.
    """
    return flat_values(CONFIGS.parent / path)


@cache
def flat_values(path: Path) -> dict | None:
    try:
        return flatten(read_yaml(str(path)))
    except (ValueError, OSError):  # moved, removed or broken since the run
        return None


def flatten(node: dict, prefix: str = "") -> dict:
    """Returns a nested config as "SECTION.KEY" -> value."""
    flat = {}
    for key, value in node.items():
        flat.update(flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value})
    return flat


def equal(recorded: str, stated) -> bool:
    """Returns whether a recorded value, as JSON text, equals a value from YAML, where (32, 32) and 1e-5 are strings."""
    return plain(json.loads(recorded)) == plain(stated)


def plain(value):
    return literal(value) if isinstance(value, str) else value
