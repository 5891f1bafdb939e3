"""Shows the settings that configs/recipes.yaml has for a run, for people and for the scripts.

    python tools/recipe.py CLIPFit fewshot dtd --shots 4 --backbone ViT-B/16
    python tools/recipe.py --methods

Prints the name of the config file in configs/trainers/METHOD, then the config keys that differ from it and their
values, each on a line of its own. With --methods: the methods of the table, one a line.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import yaml

TABLE = Path(__file__).resolve().parent.parent / "configs" / "recipes.yaml"
CONDITIONS = {"backbone": "backbone", "datasets": "dataset", "shots": "shots"}


def read_table(path: Path = TABLE) -> dict:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def recipe(method: str, protocol: str, dataset: str, shots: int = 16, backbone: str = "ViT-B/16", table=None):
    """Name of the config file and the config keys beside it, as a dict.

    Raises:
        ValueError: the table has no such method or protocol; its message names those it has.
    """
    table = read_table() if table is None else table
    if method not in table:
        raise ValueError(f"configs/recipes.yaml has no method {method!r}, only {', '.join(table)}")
    if protocol not in table[method]:
        raise ValueError(f"configs/recipes.yaml has no {protocol!r} for {method}, only {', '.join(table[method])}")
    run = {"backbone": backbone, "dataset": dataset, "shots": shots}
    settings = {}
    for rule in flat(table[method][protocol]):
        if all(holds(rule[key], run[name]) for key, name in CONDITIONS.items() if key in rule):
            settings.update({key: value for key, value in rule.items() if key not in CONDITIONS})
    return settings.pop("config"), settings


def flat(rules: list) -> list[dict]:
    """Rules, with lists of rules among them spelled out."""
    return [r for rule in rules for r in (flat(rule) if isinstance(rule, list) else [rule])]


def holds(wanted, value) -> bool:
    return value in wanted if isinstance(wanted, list) else value == wanted


def main(argv=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", action="store_true", help="list the methods of the table")
    parser.add_argument("method", nargs="?")
    parser.add_argument("protocol", nargs="?", help="base2new, fewshot, cross_dataset or domain_shift")
    parser.add_argument("dataset", nargs="?", help="what is trained on: name of a file under configs/datasets")
    parser.add_argument("--shots", type=int, default=16)
    parser.add_argument("--backbone", default="ViT-B/16")
    args = parser.parse_args(argv)
    if args.methods:
        print(*read_table(), sep="\n")
        return 0
    if args.dataset is None:
        parser.error("METHOD PROTOCOL DATASET are needed, or --methods")
    try:
        config, keys = recipe(args.method, args.protocol, args.dataset, args.shots, args.backbone)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(config)
    for key, value in keys.items():
        print(key, value, sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
