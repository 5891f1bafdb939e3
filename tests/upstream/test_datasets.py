"""The same datasets from CoOp's own code, on UPSTREAM_DASSL where it is set, else on the bundled Dassl.

In processes of its own, because both checkouts call their package `datasets`.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dassl.data.datasets import DATASET_REGISTRY
from tests.datasets import mini
from tests.datasets.mini_raw import BUILDERS

from .checkouts import COOP, DASSL, ROOT, python_path

TEST_ONLY = {"ImageNetV2", "ImageNetSketch", "ImageNetA", "ImageNetR"}
SETTINGS = [(-1, 1, "all"), (1, 1, "base"), (2, 2, "new"), (4, 3, "all"), (16, 1, "base")]

pytestmark = pytest.mark.skipif(not COOP, reason="UPSTREAM_COOP is not set: upstream was not tested")


def dump(checkout, jobs):
    """Datasets of `[module, class, root, shots, seed, subsample]` jobs as plain rows, from a checkout's own code."""
    command = [sys.executable, str(Path(__file__).with_name("dump_dataset.py")), str(checkout)]
    environment = {**os.environ, **python_path(DASSL)} if DASSL else None
    run = subprocess.run(command, input=json.dumps(jobs), capture_output=True, text=True, timeout=300, env=environment)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def jobs_on(root, names, settings=SETTINGS):
    module = {name: DATASET_REGISTRY.get(name).__module__.split(".")[-1] for name in names}
    return [[module[name], name, str(root), *setting] for name in names for setting in settings]


def test_the_same_images_from_the_same_split(tmp_path):
    """All settings of all datasets with a published split: drawn by both, then read from CoOp's pickles, moved."""
    names = [name for name in BUILDERS if DATASET_REGISTRY.get(name).split_file] + ["FGVCAircraft"]
    theirs, ours, moved = (tmp_path / name for name in ("theirs", "ours", "moved"))
    for name in names:
        BUILDERS[name](theirs)
        mini.build(name, theirs)  # makes the split file
    mini.caltech(theirs, {"ant": 40, "bear": 30, "cat": 14, "dog": 50, "eel": 20})
    shutil.copytree(theirs, ours)
    expected = dump(COOP, jobs_on(theirs, names))
    assert dump(ROOT, jobs_on(ours, names)) == expected
    shutil.move(theirs, moved)
    assert len(list(moved.rglob("*.pkl"))) == 4 * len(names)
    assert dump(ROOT, jobs_on(moved, names)) == expected
    assert not list(moved.rglob("shot_*.json"))


def test_the_same_raw_data(tmp_path):
    """Without split files: the same images, labels and names; what is drawn at random differs."""
    for build in BUILDERS.values():
        build(tmp_path / "theirs")
    folder = tmp_path / "theirs" / "imagenetv2"  # CoOp wants all of its 1,000 folders
    (folder / "classnames.txt").write_text("".join(f"n{i:08d} name {i}\n" for i in range(1000)))
    mini.write_classes(folder / "imagenetv2-matched-frequency-format-val", {str(i): 1 for i in range(1000)})
    (tmp_path / "theirs" / "imagenet-sketch" / "images" / "README.txt").unlink()  # and takes this for a folder
    shutil.copytree(tmp_path / "theirs", tmp_path / "ours")
    setting = [(-1, 1, "all")]
    expected = dump(COOP, jobs_on(tmp_path / "theirs", BUILDERS, setting))
    got = dump(ROOT, jobs_on(tmp_path / "ours", BUILDERS, setting))
    for name, theirs, ours in zip(BUILDERS, expected, got, strict=True):
        assert ours["classnames"] == theirs["classnames"], name
        for parts in (["train_x", "val", "test"],) if name not in TEST_ONLY | {"ImageNet"} else (["train_x"], ["test"]):
            rows = [sorted(row for part in parts for row in result[part]) for result in (ours, theirs)]
            assert rows[0] == rows[1], name
        sizes = [[len(result[part]) for part in ("train_x", "val", "test")] for result in (ours, theirs)]
        assert sizes[0] == sizes[1] or name == "ImageNet", name
    # And CoOp reads the split files that were made here.
    names = [name for name in BUILDERS if DATASET_REGISTRY.get(name).split_file]
    again = dump(COOP, jobs_on(tmp_path / "ours", names, setting))
    assert again == [result for name, result in zip(BUILDERS, got, strict=True) if name in names]


def test_imagenet_from_coops_pickles(tmp_path):
    BUILDERS["ImageNet"](tmp_path)
    jobs = jobs_on(tmp_path, ["ImageNet"])
    expected = [{**result, "val": []} for result in dump(COOP, jobs)]  # writes preprocessed.pkl and the selections
    assert dump(ROOT, jobs) == expected
    shutil.rmtree(tmp_path / "imagenet" / "split_fewshot")
    assert dump(ROOT, jobs) == expected
