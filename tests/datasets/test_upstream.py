"""The same datasets from CoOp's own code.

Set UPSTREAM_COOP to a checkout of CoOp to run this. It runs on an installed Dassl where there is one, else on
the bundled one, in processes of its own because both checkouts call their package `datasets`.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import mini
import pytest

ROOT = Path(__file__).resolve().parents[2]
COOP = os.environ.get("UPSTREAM_COOP", "")

pytestmark = pytest.mark.skipif(not COOP, reason="UPSTREAM_COOP is not set to a checkout of CoOp")


def dump(checkout, module, name, root, shots, seed, subsample):
    command = [sys.executable, str(Path(__file__).with_name("dump_dataset.py")), str(checkout)]
    command += map(str, (module, name, root, shots, seed, subsample))
    run = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


@pytest.mark.parametrize("shots, seed, subsample", [(-1, 1, "all"), (1, 1, "base"), (4, 2, "new"), (16, 3, "all")])
def test_the_same_images(tmp_path, shots, seed, subsample):
    theirs, ours, moved = (tmp_path / name for name in ("theirs", "ours", "moved"))
    for root in (theirs, ours):
        mini.caltech(root)
    arguments = shots, seed, subsample
    expected = dump(COOP, "caltech101", "Caltech101", theirs, *arguments)
    assert dump(ROOT, "caltech101", "Caltech101", ours, *arguments) == expected
    # And from the pickle that CoOp left, after the data moved.
    shutil.move(theirs, moved)
    pickles = list(moved.rglob("*.pkl"))
    assert len(pickles) == (shots > 0)
    assert dump(ROOT, "caltech101", "Caltech101", moved, *arguments) == expected
    assert not list(moved.rglob("shot_*.json"))


def test_coop_reads_a_split_that_is_made_here(tmp_path):
    mini.caltech(tmp_path, split=False)
    ours = dump(ROOT, "caltech101", "Caltech101", tmp_path, -1, 1, "all")
    assert dump(COOP, "caltech101", "Caltech101", tmp_path, -1, 1, "all") == ours
