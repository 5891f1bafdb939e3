"""Shows the settings that configs/recipes.yaml has for a run.

    python tools/recipe.py CLIPFit fewshot dtd --shots 4 --backbone ViT-B/16
    python tools/recipe.py --methods

Prints the name of the config file, then the config keys that differ from it and their values, each on its own line.
The file is in configs/trainers/METHOD, or else in configs/trainers/_base_. A method that the table does not name gets
the table's default. With --methods: the methods of the table, one per line.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import yaml

CONFIGS = Path(__file__).resolve().parent.parent / "configs"
TABLE = CONFIGS / "recipes.yaml"
DEFAULT = "default"  # row of the methods that the table does not name
SHARED = "_base_"  # folder of the config files that belong to no method
CONDITIONS = {"backbone": "backbone", "datasets": "dataset", "shots": "shots"}


def read_table(path: Path = TABLE) -> dict:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def recipe(method: str, protocol: str, dataset: str, shots: int = 16, backbone: str = "ViT-B/16", table=None):
    """Name of the config file and the config keys beside it, as a dict; the default for a method without an entry.

    Raises:
        ValueError: the table has no such protocol, or neither the method nor a default; names those it has.
    """
    table = read_table() if table is None else table
    row = table.get(method, table.get(DEFAULT))
    if row is None:
        raise ValueError(f"configs/recipes.yaml has no method {method!r}, only {', '.join(table)}")
    if protocol not in row:
        raise ValueError(f"configs/recipes.yaml has no {protocol!r} for {method}, only {', '.join(row)}")
    run = {"backbone": backbone, "dataset": dataset, "shots": shots}
    settings = {}
    for rule in flat(row[protocol]):
        if all(holds(rule[key], run[name]) for key, name in CONDITIONS.items() if key in rule):
            settings.update({key: value for key, value in rule.items() if key not in CONDITIONS})
    return settings.pop("config"), settings


def config_file(method: str, config: str, configs: Path = CONFIGS) -> str:
    """Path of a method's config file, from the folder around `configs`: its own, else the shared one.

    Raises:
        ValueError: there is none; names those there are.
    """
    for folder in (method, SHARED):
        if (configs / "trainers" / folder / f"{config}.yaml").is_file():
            return f"configs/trainers/{folder}/{config}.yaml"
    files = [path for folder in (method, SHARED) for path in (configs / "trainers" / folder).glob("*.yaml")]
    raise ValueError(f"unknown config {config!r} for {method}; there are: {', '.join(sorted({f.stem for f in files}))}")


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
    table = read_table()
    if args.methods:
        print(*(name for name in table if name != DEFAULT), sep="\n")
        return 0
    if args.dataset is None:
        parser.error("METHOD PROTOCOL DATASET are needed, or --methods")
    try:
        config, keys = recipe(args.method, args.protocol, args.dataset, args.shots, args.backbone, table)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if args.method not in table:
        print(f"configs/recipes.yaml does not name {args.method}: its default", file=sys.stderr)
    print(config)
    for key, value in keys.items():
        print(key, value, sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
