"""Compares datasets with CoOp's own code, on UPSTREAM_DASSL if it is set, else on the bundled Dassl.

Runs in separate processes, because the package is called `datasets` in both checkouts.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dassl.data.datasets import DATASET_REGISTRY
from tests.datasets import mini, mini_raw

from .checkouts import COOP, DASSL, ROOT, python_path

NOT_COOPS = ("wilds", "mini_imagenet")  # beginnings of modules
BUILDERS = {
    name: build
    for name, build in mini_raw.BUILDERS.items()
    if not DATASET_REGISTRY.get(name).__module__.startswith(tuple(f"datasets.{module}" for module in NOT_COOPS))
}
TEST_ONLY = {"ImageNetV2", "ImageNetSketch", "ImageNetA", "ImageNetR"}
SETTINGS = [(-1, 1, "all"), (1, 1, "base"), (2, 2, "new"), (4, 3, "all"), (16, 1, "base")]

pytestmark = pytest.mark.skipif(not COOP, reason="UPSTREAM_COOP is not set: upstream was not tested")


def dump(checkout, jobs):
    """Builds the datasets of `[module, class, root, shots, seed, subsample]` jobs with a checkout's code, as rows."""
    command = [sys.executable, str(Path(__file__).with_name("dump_dataset.py")), str(checkout)]
    environment = {**os.environ, **python_path(DASSL)} if DASSL else None
    run = subprocess.run(command, input=json.dumps(jobs), capture_output=True, text=True, timeout=300, env=environment)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def jobs_on(root, names, settings=SETTINGS):
    module = {name: DATASET_REGISTRY.get(name).__module__.split(".")[-1] for name in names}
    return [[module[name], name, str(root), *setting] for name in names for setting in settings]


def test_the_same_images_from_the_same_split(tmp_path):
    """All datasets with a published split: both codes sample the same images; ours also reads CoOp's moved pickles."""
    names = [name for name in BUILDERS if DATASET_REGISTRY.get(name).split_file] + ["FGVCAircraft"]
    coop, ours, moved = (tmp_path / name for name in ("coop", "ours", "moved"))
    for name in names:
        BUILDERS[name](coop)
        mini.build(name, coop)  # creates the split file
    mini.caltech(coop, {"ant": 40, "bear": 30, "cat": 14, "dog": 50, "eel": 20})
    shutil.copytree(coop, ours)
    expected = dump(COOP, jobs_on(coop, names))
    assert dump(ROOT, jobs_on(ours, names)) == expected
    shutil.move(coop, moved)
    assert len(list(moved.rglob("*.pkl"))) == 4 * len(names)
    assert dump(ROOT, jobs_on(moved, names)) == expected
    assert not list(moved.rglob("shot_*.json"))


def test_the_same_raw_data(tmp_path):
    """Without split files: images, labels and class names are equal; random splits differ."""
    coop, ours = tmp_path / "coop", tmp_path / "ours"
    for build in BUILDERS.values():
        build(coop)
    folder = coop / "imagenetv2"  # CoOp needs all of its 1,000 folders
    (folder / "classnames.txt").write_text("".join(f"n{i:08d} name {i}\n" for i in range(1000)))
    mini.write_classes(folder / "imagenetv2-matched-frequency-format-val", {str(i): 1 for i in range(1000)})
    (coop / "imagenet-sketch" / "images" / "README.txt").unlink()  # CoOp takes it for a folder
    shutil.copytree(coop, ours)
    setting = [(-1, 1, "all")]
    expected = dump(COOP, jobs_on(coop, BUILDERS, setting))
    actual = dump(ROOT, jobs_on(ours, BUILDERS, setting))
    for name, one, other in zip(BUILDERS, actual, expected, strict=True):
        assert one["classnames"] == other["classnames"], name
        splits = ("train_x", "val", "test")
        groups = [["train_x"], ["test"]] if name in TEST_ONLY | {"ImageNet"} else [splits]
        for group in groups:
            rows = [sorted(row for split in group for row in result[split]) for result in (one, other)]
            assert rows[0] == rows[1], name
        sizes = [[len(result[split]) for split in splits] for result in (one, other)]
        assert sizes[0] == sizes[1] or name == "ImageNet", name
    # CoOp reads the split files that this repository creates.
    names = [name for name in BUILDERS if DATASET_REGISTRY.get(name).split_file]
    coop_result = dump(COOP, jobs_on(ours, names, setting))
    assert coop_result == [result for name, result in zip(BUILDERS, actual, strict=True) if name in names]


def test_imagenet_from_coops_pickles(tmp_path):
    BUILDERS["ImageNet"](tmp_path)
    jobs = jobs_on(tmp_path, ["ImageNet"])
    expected = [{**result, "val": []} for result in dump(COOP, jobs)]  # writes preprocessed.pkl and the few-shot files
    assert dump(ROOT, jobs) == expected
    shutil.rmtree(tmp_path / "imagenet" / "split_fewshot")
    assert dump(ROOT, jobs) == expected
