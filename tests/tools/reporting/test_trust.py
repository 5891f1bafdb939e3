"""The table "Trust": intervals, calibration and zero-shot CLIP, from the records of the runs."""

import csv
import io

import pytest

from tools.reporting import spreadsheet

from .trees import report, write_record

ZERO_SHOT = {"accuracy": 60.0, "balanced_accuracy": 59.0, "ece": 3.0, "nll": 1.25, "brier": 0.5}


def write(folder, accuracy, p=1e-9, zero_shot=True, warnings=(), **more):
    values = {"accuracy": accuracy, "total": 500, "balanced_accuracy": 78.5, "ece": 4.25, "nll": 0.75, "brier": 0.3}
    compared = {"prompt": "{}", "metrics": ZERO_SHOT, "only_run": 1, "only_zero_shot": 2, "p": p} if zero_shot else None
    trust = {"zero_shot": compared, "warnings": list(warnings)}
    return write_record(folder, accuracy=accuracy, changes={"metrics": {"test": values}, "trust": trust}, **more)


def details(*paths):
    (found,) = report(*paths).details
    return [detail for detail in found if detail.title == "Trust"]


def test_means_over_seeds_and_the_interval_from_the_number_of_images(tmp_path):
    write(tmp_path / "a", 80.0, p=0.0123, seed=1, warnings=["at chance: x", "only 7 images"])
    write(tmp_path / "b", 82.0, seed=2, warnings=["at chance: y"])
    (detail,) = details(tmp_path)
    (row,) = detail.blocks[0].rows
    assert detail.blocks[0].title == "Digits" and len(row) == len(detail.columns)
    assert row[:2] == ["CLIPFit", "16 shots"]
    assert row[2] == "81.00 (77.3 to 84.2)"  # Wilson, 405 of 500
    assert row[3:7] == ["78.50", "4.25", "0.750", "0.300"]
    assert row[7:] == ["60.00", "59.00", "3.00", "1.250", "0.500", "<1e-6, 0.012"]
    assert len(detail.notes) == 2
    assert all(fact in detail.notes[0] for fact in ("CLIPFit", "Digits", "16 shots", "seeds 1, 2", "at chance: x"))
    (line,) = csv.DictReader(io.StringIO(spreadsheet.text(spreadsheet.detail_rows(detail))))
    assert (float(line["accuracy"]), float(line["zero_shot_nll"])) == (81.0, 1.25)
    assert (float(line["p_lowest"]), float(line["p_highest"])) == (1e-9, 0.0123)
    assert float(line["accuracy_low"]) == pytest.approx(77.33, abs=0.01)


def test_runs_without_it(tmp_path):
    """Records of earlier versions have no table; a run that was not compared with zero-shot CLIP has no p value."""
    write_record(tmp_path / "old" / "a")
    assert details(tmp_path / "old") == []
    write(tmp_path / "new", 80.0, zero_shot=False)
    (detail,) = details(tmp_path / "new")
    assert detail.blocks[0].rows[0][7:] == ["-"] * 6


def test_many_seeds_have_a_range_of_p_values(tmp_path):
    for seed in range(4):
        write(tmp_path / str(seed), 80.0, p=0.1 * (seed + 1), seed=seed)
    (detail,) = details(tmp_path)
    assert detail.blocks[0].rows[0][-1] == "0.1 to 0.4"


def test_that_few_images_are_evaluated_is_said_once(tmp_path):
    for method, limits in (("CLIPFit", "70 to 80"), ("CoOp", "75 to 85")):
        line = f"only 7 images are evaluated, fewer than 400: the 95 % interval of the accuracy is {limits} %"
        write(tmp_path / method, 80.0, method=method, warnings=[line, "at chance: x"])
    (detail,) = details(tmp_path)
    assert len(detail.notes) == 3
    (note,) = (note for note in detail.notes if "only 7 images are evaluated" in note)
    assert "Digits" in note and "CLIPFit" not in note and "CoOp" not in note
