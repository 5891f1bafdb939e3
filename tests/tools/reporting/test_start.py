"""Runs that were started from another run (MODEL.START_FROM) are rows of their own."""

import pytest

from .trees import report, write_record

IDENTITY = {"trainer": "CoOp", "backbone": "micro", "fingerprint": "f00d", "precision": "fp32"}


def start(seed, method="LayerNormTuning", dataset="Digits", **settings):
    """identity.start of a run."""
    settings = {"TRAINER.NAME": method, "SEED": seed, "DATASET.NAME": dataset, "OPTIM.LR": 0.002, **settings}
    return {
        "dataset": dataset, "classes": "all", "shots": 16, "seed": seed, "settings": settings, "model_dir": "output/a",
        "epoch": 100, "weights": f"digest {seed}", "content": None,
    }  # fmt: skip


def write(folder, seed, accuracy, source=None):
    identity = {**IDENTITY, "start": source} if source else IDENTITY
    write_record(folder / f"{accuracy}", "CoOp", seed=seed, accuracy=accuracy, changes={"identity": identity})


def rows(folder):
    """Returns label of a row -> (mean, number of seeds)."""
    (table,) = report(folder).tables
    cells = {title: list(row.values()) for group in table.groups for title, row in group.cells.items()}
    return {title: (pytest.approx(stat.mean), stat.n) for title, (stat,) in cells.items()}


def row_of(found, *parts):
    (title,) = [title for title in found if all(part in title for part in parts)]
    return found[title]


def test_started_runs_are_averaged_over_seeds_and_apart_from_others(tmp_path):
    for seed, accuracy in ((1, 60.0), (2, 62.0)):
        write(tmp_path, seed, accuracy)
        write(tmp_path, seed, accuracy + 10, start(seed))
        write(tmp_path, seed, accuracy + 20, start(seed, "BitFit"))
    found = rows(tmp_path)
    assert len(found) == 3 and sorted(n for _, n in found.values()) == [2, 2, 2]
    assert row_of(found, "START_FROM LayerNormTuning") == (71.0, 2) and row_of(found, "START_FROM BitFit") == (81.0, 2)


def test_starts_of_other_settings_or_data_are_other_rows(tmp_path):
    write(tmp_path, 1, 60.0, start(1))
    write(tmp_path, 1, 61.0, start(1, **{"OPTIM.LR": 0.1}))
    write(tmp_path, 1, 62.0, start(1, dataset="ImageNet"))
    found = rows(tmp_path)
    assert len(found) == 3 and row_of(found, "START_FROM LayerNormTuning ImageNet") == (62.0, 1)
