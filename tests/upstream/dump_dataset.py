"""Prints datasets as JSON, to be run in a separate process: `python dump_dataset.py CHECKOUT < jobs`.

CHECKOUT is CoOp's or this repository. Uses the `dassl` on the path, else the bundled one. Jobs are rows
`[module, class, root, shots, seed, subsample]` in JSON.
"""

import contextlib
import importlib
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
import runtime  # noqa: E402, F401

sys.path[0] = sys.argv[1]

from dassl.config import get_cfg_default  # noqa: E402
from dassl.utils import set_random_seed  # noqa: E402


def dump(module, name, root, shots, seed, subsample):
    dataset_class = getattr(importlib.import_module(f"datasets.{module}"), name)
    cfg = get_cfg_default()
    cfg.DATASET.NAME = name
    cfg.DATASET.ROOT = root
    cfg.DATASET.SUBSAMPLE_CLASSES = subsample
    cfg.DATASET.NUM_SHOTS = shots
    cfg.SEED = seed
    set_random_seed(cfg.SEED)
    data = dataset_class(cfg)
    result = {"classnames": data.classnames}
    for split in ("train_x", "val", "test"):
        items = getattr(data, split) or []
        result[split] = [[str(Path(d.impath).relative_to(root)), d.label, d.classname] for d in items]
    return result


with contextlib.redirect_stdout(sys.stderr):
    results = [dump(*job) for job in json.load(sys.stdin)]
json.dump(results, sys.stdout)
