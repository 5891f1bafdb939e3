"""Shows the hyper-parameters that configs/recipes.yaml has for a method and a protocol.

    python tools/recipe.py CLIPFit fewshot dtd --shots 4 --backbone ViT-B/16
    python tools/recipe.py --methods

Prints the name of the config file, then the config keys that override it and their values, one per line. The file is
in configs/trainers/METHOD or, if it is missing there, in configs/trainers/_base_. A method without a recipe gets the
default recipe. Methods may have the names of their official codes. --methods prints the methods that have a recipe.
"""

from __future__ import annotations

import argparse
import functools
import sys
from pathlib import Path

import yaml

CONFIGS = Path(__file__).resolve().parent.parent / "configs"
TABLE = CONFIGS / "recipes.yaml"
ALL = "all"  # all training images; the number of shots is then -1
OFFICIAL_NAMES = {  # trainer in the authors' code -> method here
    "ClipFit": "CLIPFit",
    "MultiModalAdapter": "MMA",
    "MMRLpp": "MMRLPP",
}
DEFAULT = "default"  # entry for the methods without a recipe
EVERY = "every"  # rules for all methods and protocols, before those of the method
SHARED = "_base_"  # folder of the config files that all methods share
CONDITIONS = {"backbone": "backbone", "datasets": "dataset", "shots": "shots"}  # key of a rule -> argument of `recipe`


def read_table(path: Path = TABLE) -> dict:
    """Returns the table. It is shared by all callers: do not change it."""
    return parse(path.read_text(encoding="utf-8"))


@functools.lru_cache(maxsize=8)
def parse(text: str) -> dict:
    return yaml.safe_load(text)


def recipe(method: str, protocol: str, dataset: str, shots: int = 16, backbone: str = "ViT-B/16", table=None):
    """Returns (name of the config file, dict of the config keys that override it).

    Rules apply in order and later ones win. Example: the rules
        - {config: vit_b16_ep100, TRAINER.CLIPFIT.BETA: 2.0}
        - {datasets: [imagenet, food101], config: vit_b16_ep10}
    give ("vit_b16_ep10", {"TRAINER.CLIPFIT.BETA": 2.0}) for food101.

    Raises:
        ValueError: If the table has no such protocol, or neither the method nor a default.
    """
    table = read_table() if table is None else table
    own = table.get(DEFAULT) if method == EVERY else table.get(method, table.get(DEFAULT))
    if own is None:
        raise ValueError(f"configs/recipes.yaml has no method {method!r}; available: {', '.join(table)}")
    protocols = {**table.get(DEFAULT, {}), **own}
    if protocol not in protocols:
        available = ", ".join(protocols)
        raise ValueError(f"configs/recipes.yaml has no protocol {protocol!r} for {method}; available: {available}")
    run = {"backbone": backbone, "dataset": dataset, "shots": ALL if shots == -1 else shots}
    settings = {}
    for rule in flatten([table.get(EVERY, []), protocols[protocol]]):
        if all(matches(rule[key], run[name]) for key, name in CONDITIONS.items() if key in rule):
            settings.update({key: value for key, value in rule.items() if key not in CONDITIONS})
    return settings.pop("config"), settings


def config_file(method: str, config: str, configs: Path = CONFIGS) -> str:
    """Returns the path of a config file, relative to the parent of `configs`: the method's own, else the shared one.

    Raises:
        ValueError: If neither folder has the file.
    """
    for folder in (method, SHARED):
        if (configs / "trainers" / folder / f"{config}.yaml").is_file():
            return f"configs/trainers/{folder}/{config}.yaml"
    names = set()
    for folder in (method, SHARED):
        names |= {path.stem for path in (configs / "trainers" / folder).glob("*.yaml")}
    raise ValueError(f"unknown config {config!r} for {method}; available: {', '.join(sorted(names))}")


def shots_number(text: str) -> int:
    """Returns the number of shots for an argument of a command line, an integer or "all"."""
    try:
        return -1 if text == ALL else int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a positive integer or {ALL}, got {text!r}") from None


def flatten(rules: list) -> list[dict]:
    """Replaces nested lists of rules by their rules."""
    result = []
    for rule in rules:
        result += flatten(rule) if isinstance(rule, list) else [rule]
    return result


def matches(condition, value) -> bool:
    return value in condition if isinstance(condition, list) else value == condition


def main(argv=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", action="store_true", help="list the methods that have a recipe")
    parser.add_argument("method", nargs="?", help="CLIPFit, CoOp, ...")
    parser.add_argument("protocol", nargs="?", help="base2new, fewshot, cross_dataset, domain_shift or retrieval")
    parser.add_argument("dataset", nargs="?", help="training dataset: name of a file in configs/datasets")
    parser.add_argument(
        "--shots", type=shots_number, default=16, help="training images per class, or all (default: 16)"
    )
    parser.add_argument("--backbone", default="ViT-B/16", help="micro, or an OpenAI name (default: ViT-B/16)")
    args = parser.parse_args(argv)
    table = read_table()
    if args.methods:
        print(*(name for name in table if name not in (DEFAULT, EVERY)), sep="\n")
        return 0
    if args.dataset is None:
        parser.error("give METHOD PROTOCOL DATASET, or --methods")
    method = OFFICIAL_NAMES.get(args.method, args.method)
    try:
        config, keys = recipe(method, args.protocol, args.dataset, args.shots, args.backbone, table)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if method not in table:
        print(f"configs/recipes.yaml has no recipe for {method}: using the default recipe", file=sys.stderr)
    print(config)
    for key, value in keys.items():
        print(key, value, sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
