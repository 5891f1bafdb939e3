"""Names the user's own images in output paths, so that two folders of images never share a run directory.

The name is DATASET.FOLDER.NAME, or the name of the folder: `pets`. If runs on another folder are already there, the
names of the parents come before it: `B_pets`. A folder that was moved keeps its name if its images are the same.
"""

import os
import re
from pathlib import Path

from datasets import catalogue
from tools.records import read_json

CONFIG = "folder"  # name of the file in configs/datasets; older versions used it in output paths
RUNS = "shots_*/*/*/seed*/result.json"  # records below the folder of a dataset
MAX_LENGTH = 80  # of a name; file systems allow 255 bytes


def output_name(root: str, places: list[Path], args) -> str:
    """Returns the name of a folder of images in output paths.

    Args:
        root: the folder of images.
        places: folders whose subfolders are named after datasets.
        args: arguments of tools/sweep.py.
    """
    root = os.path.abspath(os.path.expanduser(root))
    if root in roots_of(runs_in(places, CONFIG)):
        return CONFIG
    for name in candidates(root, dict(zip(args.opts[::2], args.opts[1::2], strict=False)).get("DATASET.FOLDER.NAME")):
        records = runs_in(places, name)
        if name not in catalogue.by_config() and (not records or is_ours(root, records, args)):
            return name
    raise ValueError(f"all names of {root} in {places[0]} are used by runs on other images: use another --output")


def candidates(root: str, name: str | None) -> list[str]:
    """Returns the possible names, the shortest first.

    Examples: /data/B/pets -> pets, B_pets, data_B_pets; /data/B/pets, named cats -> cats, pets_cats, B_pets_cats, ...
    """
    parts = [sanitized(part) for part in (*Path(root).parts[1:], *([name] if name else []))] or ["images"]
    return ["_".join(parts[-length:])[-MAX_LENGTH:].lstrip(".") for length in range(1, len(parts) + 1)]


def sanitized(name: str) -> str:
    """Returns a name as a part of a path: letters, digits, "_", "." and "-", without a dot at its start."""
    return re.sub(r"[^\w.-]", "_", name).lstrip(".") or "_"


def runs_in(places: list[Path], name: str) -> list[dict]:
    """Returns the records of the runs on a dataset."""
    records = []
    for place in places:
        for path in sorted((place / name).glob(RUNS)):
            try:
                record = read_json(path)
            except (OSError, ValueError):
                continue
            if isinstance(record, dict):
                records.append(record)
    return records


def roots_of(records: list[dict]) -> set:
    return {record.get("root") for record in records if record.get("dataset") == "Folder"}


def is_ours(root: str, records: list[dict], args) -> bool:
    """Returns whether runs in an output folder were made with the images in `root`."""
    if root in roots_of(records):
        return True
    return any(same_images(root, record, args) for record in records if record.get("dataset") == "Folder")


def same_images(root: str, record: dict, args) -> bool:
    """Returns whether the images in `root` are those of a record that names another folder: it was moved or copied."""
    import train

    from .data import data_key, differing_data

    argv = ["--root", root, "--trainer", args.methods[0], "--dataset-config-file", f"configs/datasets/{CONFIG}.yaml"]
    for plugin in args.plugin:
        argv += ["--plugin", plugin]
    argv += ["--seed", str(record.get("seed", 1)), "DATASET.SUBSAMPLE_CLASSES", str(record.get("classes", "all"))]
    argv += ["DATASET.NUM_SHOTS", str(record.get("shots", 16)), *args.opts]
    return differing_data(argv, data_key(train.setup_cfg(train.parse_args(argv))), record) == []
