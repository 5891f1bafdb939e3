"""The timed loaders give the same batches, and the table shows the right ratios."""

import argparse
import sys
from pathlib import Path

import torch
from PIL import Image

from dassl.data.fast_loader import fast_pixels
from tests.benchmarks.tables import numbers, table_rows

sys.path.insert(0, str(Path("benchmarks").resolve()))
import loading  # noqa: E402

ARGS = argparse.Namespace(images=6, batch=3, workers=[1], others=[0], epochs=2)


def test_loaders_give_the_same_batches(tmp_path):
    items = loading.make_jpegs(str(tmp_path), ARGS.images)
    assert all(Image.open(item.impath).size == loading.SIZE for item in items)
    assert len({Path(item.impath).read_bytes() for item in items}) == 6
    loaders = loading.make_loaders(ARGS, items)
    assert list(loaders) == [("Dassl's", 1), ("Dassl's", 0), *((name, 1) for name in loading.OURS)]
    batches = {}
    for (name, workers), loader in loaders.items():
        torch.manual_seed(0)
        batches[name, workers] = [batch["img"] for batch in loader]
    expected = torch.cat(batches["Dassl's", 1])
    assert all(torch.equal(torch.cat(batches[name, 1]), expected) for name in loading.OURS)
    times = loading.measure(loaders, 2)
    assert all(len(seconds) == 2 and min(seconds) > 0 for seconds in times.values())


def test_loops_are_disabled_only_without_numba(monkeypatch):
    monkeypatch.setattr(fast_pixels, "loops", "compiled")
    for name in loading.OURS:
        with loading.compiled_loops(name):
            assert (fast_pixels.loops is None) == ("without Numba" in name)
    assert fast_pixels.loops == "compiled"


def test_table(capsys):
    times = {("Dassl's", 1): [9, 4, 6], ("Dassl's", 0): [9, 2, 3], ("ours", 1): [8, 1, 1]}
    loading.report(ARGS, times)
    rows = [numbers(row) for row in table_rows(capsys.readouterr().out)]
    # workers, first epoch, later epochs, Dassl's with 1 worker / this, Dassl's with its best / this
    assert rows == [[1, 9, 5, 1, 0.5], [0, 9, 2.5, 2, 1], [1, 8, 1, 5, 2.5]]
