"""Rows and averages: runs with different settings are not averaged, missing runs are listed."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tools.reporting.trees import assert_problems, numbers, problems, report, write_pair, write_record
from tests.user_errors import assert_facts
from tools.reporting.protocols import Entry
from tools.reporting.rows import split_rows
from tools.reporting.run import Run, Training

BETA, EPOCHS = "TRAINER.CLIPFIT.BETA", "OPTIM.MAX_EPOCH"


def entry(dataset="a", column="16", seed=1, method="M", origin="record", **settings):
    setup = Training(dataset, "all", 16, seed, {"SEED": seed, **settings})
    run = Run(None, method, "micro", dataset, "all", seed, setup, setup, 80.0, origin=origin)
    return Entry(dataset, column, run)


def rows(*entries):
    """Returns row title -> number of runs."""
    return {row.title: len(row.entries) for row in split_rows(list(entries))}


def test_settings_that_differ_within_a_dataset_split_rows():
    runs = itertools.product("ab", (1, 2), (2.0, 8.0))
    entries = [entry(dataset, seed=seed, BETA=beta) for dataset, seed, beta in runs]
    assert rows(*entries) == {"M (BETA 2.0)": 4, "M (BETA 8.0)": 4}


def test_settings_that_differ_between_datasets_or_shots_are_one_row_and_a_note():
    (row,) = split_rows([entry("a", E=10), entry("b", E=100), entry("c", E=100)])
    assert_facts(*row.notes, "M: ", " E ", "100", "10 on a.")
    (row,) = split_rows([entry(d, c, E=50 if c == "1" else 200) for d in "ab" for c in ("1", "8", "16")])
    assert_facts(*row.notes, "M: ", " E ", "200", "50 at 1 shot.")
    (row,) = split_rows([entry(d, c, E=50 if (d, c) == ("a", "1") else 200) for d in "ab" for c in ("1", "8")])
    assert_facts(*row.notes, "M: ", " E ", "200", "50 on a at 1 shot.")


def test_prompt_templates_per_dataset_have_no_note():
    (row,) = split_rows([entry(d, **{"DATASET.TEMPLATE": d}) for d in "ab"])
    assert row.notes == [] and row.title == "M"


def test_settings_recorded_by_only_some_runs_are_listed():
    (row,) = split_rows([entry(seed=1, NEW=1, LR=1), entry(seed=2, LR=1)])
    (note,) = row.notes
    assert_facts(note, "M: ", " NEW.")
    assert "LR" not in note


def test_runs_without_a_setting_that_splits_rows_are_a_separate_row():
    assert rows(entry(seed=1, LR=1), entry(seed=2, LR=2), entry(seed=3)) == {
        "M (LR 1)": 1, "M (LR 2)": 1, "M (LR unknown)": 1}  # fmt: skip


def test_many_differences_have_distinct_labels():
    keys = [f"K{i}" for i in range(6)]
    split = split_rows([entry(**dict.fromkeys(keys, 1)), entry(**dict.fromkeys(keys, 1) | {"K5": 2, "K4": 3}),
                        entry(**dict.fromkeys(keys, 2))])  # fmt: skip
    assert [row.label for row in split] == [
        "K0 1, K1 1, K2 1, K3 1 and 2 more #1", "K0 1, K1 1, K2 1, K3 1 and 2 more #2",
        "K0 2, K1 2, K2 2, K3 2 and 2 more",
    ]  # fmt: skip
    assert_facts(split[0].notes[0], "K0, K1, K2, K3, K4, K5")


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 3), st.sampled_from([2.0, 8.0]), st.booleans())))
def test_no_number_mixes_settings(runs):
    """Within a row, all runs of a dataset have the same settings, and every run is in a row."""
    split = split_rows([entry(d, seed=seed, BETA=beta, FAST=fast) for d, seed, beta, fast in runs])
    assert sum(len(row.entries) for row in split) == len(runs)
    assert len({row.title for row in split}) == len(split)
    for row in split:
        for dataset in "ab":
            settings = [e.run.training.settings for e in row.entries if e.dataset == dataset]
            assert len({(s["BETA"], s["FAST"]) for s in settings}) <= 1


def test_zero_shot_does_not_depend_on_training_settings(tmp_path):
    for seed, epochs in ((1, 5), (2, 200)):
        write_record(tmp_path / f"{seed}", "ZeroshotCLIP", seed=seed, shots=seed, **{EPOCHS: epochs})
    (table,) = report(tmp_path).tables
    assert numbers(table, "Digits", "ZeroshotCLIP") == {"0": (80, 2)}


def test_published_zero_shot_results_are_noted(tmp_path):
    for seed in (1, 2):
        write_record(tmp_path / f"{seed}", "ZeroshotCLIP", "ImageNet", backbone="ViT-B/16", accuracy=60.25, seed=seed)
    (table,) = report(tmp_path).tables
    (note,) = [note for note in table.notes if "published" in note]
    assert_facts(note, "ViT-B/16", "ImageNet", "68.34 %", "60.25 %", "MODEL.BACKBONE.ACTIVATION")


def test_a_published_result_is_compared_with_the_datasets_own_metric(tmp_path):
    changes = {"metric": "macro_f1", "metrics": {"test": {"accuracy": 60.25, "macro_f1": 9.5}}}
    write_record(tmp_path, "ZeroshotCLIP", "IWildCamWilds", backbone="ViT-B/16", changes=changes)
    (table,) = report(tmp_path).tables
    (note,) = [note for note in table.notes if "published" in note]
    assert_facts(note, "10.99 %", "9.50 %")
    assert "60.25" not in note


def test_the_record_says_whether_a_method_uses_training_images(tmp_path):
    identity = {"trainer": "Mine", "backbone": "micro", "fingerprint": "f00d", "precision": "fp32"}
    for seed, zero_shot in ((1, True), (2, True), (3, False)):
        write_record(tmp_path / f"{seed}", seed=seed, changes={"identity": {**identity, "zero_shot": zero_shot}})
    (table,) = report(tmp_path).tables
    assert table.columns == ["0", "16"]


def test_averages(tmp_path):
    """CLIPFit has three datasets, CoOp has no UCF101: CoOp is only in the average without UCF101."""
    names = ("DescribableTextures", "EuroSAT", "UCF101")
    for i, name in enumerate(names):
        write_pair(tmp_path / name, "a", 80.0 + i, 60.0 + 3 * i, dataset=name)
        if name != "UCF101":
            write_pair(tmp_path / name, "b", 50.0, 40.0 + i, dataset=name, method="CoOp")
    (table,) = report(tmp_path).tables
    assert [group.title for group in table.groups] == ["Average (3 datasets)", "Average without UCF101", *names]
    base, new = 81, 63
    h = 2 * base * new / (base + new)
    assert numbers(table, "Average (3 datasets)", "CLIPFit") == {"Base": (base, 1), "New": (new, 1), "H": (h, 1)}
    assert "CoOp" not in table.groups[0].cells
    assert numbers(table, "Average without UCF101", "CoOp")["H"] == (2 * 50 * 40.5 / 90.5, 1)
    (note,) = table.notes
    assert_facts(note, "CoOp", "Average", "UCF101")


def test_only_seeds_with_base_and_new_count(tmp_path):
    write_pair(tmp_path, "seed1", 80.0, 60.0, seed=1)
    write_record(tmp_path / "train_base/seed2", classes="base", seed=2, accuracy=10.0)
    write_record(tmp_path / "test_new/seed3", classes="new", seed=3, accuracy=10.0, source={})
    result = report(tmp_path)
    assert numbers(result.tables[0], "Digits", "CLIPFit")["Base"] == (80, 1)
    row = "CLIPFit on Digits (Base to new, 16 shots, micro)"
    assert_problems(result, ("unpaired", row, "seed 2", "Base", "New"), ("unpaired", row, "seed 3", "Base", "New"))
    base_only, new_only = (message for *_, message in problems(result))
    assert new_only != base_only.replace("seed 2", "seed 3")  # says which of the two is missing


def test_runs_that_only_other_methods_have_are_listed(tmp_path):
    for dataset, seed, shots in itertools.product(("EuroSAT", "UCF101"), (1, 2), (1, 2)):
        write_record(tmp_path / f"a/{dataset}/{shots}/{seed}", dataset=dataset, seed=seed, shots=shots)
    write_record(tmp_path / "b/1", "CoOp", "EuroSAT", seed=1, shots=1)
    write_record(tmp_path / "zero", "ZeroshotCLIP", "EuroSAT", seed=5)
    ((category, row, message),) = problems(report(tmp_path))
    assert (category, row) == ("incomplete", "CoOp (Few-shot, micro)")
    dataset, seed, shots = message.split("; ")
    assert_facts(dataset, "UCF101")
    assert_facts(seed, "seed 2", "EuroSAT at 1 shot")
    assert_facts(shots, "EuroSAT at 2 shots")
    assert "seed" not in dataset + shots
    filtered = report(tmp_path, options=["--seed", "1", "2", "--method", "CoOp"])
    assert_problems(filtered, ("missing", "CoOp (Few-shot, micro)", "seed 2", "EuroSAT at 1 shot"))
    assert ";" not in problems(filtered)[0][2]


def test_requested_seeds(tmp_path):
    for seed, dataset in ((1, "EuroSAT"), (2, "EuroSAT"), (1, "UCF101")):
        write_record(tmp_path / f"{dataset}{seed}", dataset=dataset, seed=seed)
    assert [category for category, *_ in problems(report(tmp_path))] == ["incomplete"]
    requested = report(tmp_path, options=["--seed", "1", "2"])
    assert [category for category, *_ in problems(requested)] == ["missing"]


def test_revisions_images_and_mixed_folders(tmp_path):
    write_record(tmp_path / "x/seed1", seed=1, git="aaa", **{BETA: 8.0})
    write_record(tmp_path / "x/seed2", seed=2, git="bbb", **{BETA: 8.0})
    write_record(tmp_path / "x/seed3", seed=3, git="aaa", **{BETA: 2.0})
    other = {"data": {"train_x": "other", "test": "others"}}
    write_record(tmp_path / "x/seed4", seed=4, git="bbb", **{BETA: 8.0})
    write_record(tmp_path / "y/seed1", "CoOp", seed=1, git="aaa", changes=other)
    result = report(tmp_path)
    result.problems = [problem for problem in result.problems if problem.category == "inconsistent"]
    assert_problems(
        result,
        ("inconsistent", "CLIPFit (BETA 8.0) (Few-shot, micro)", "Digits", "aaa (seed 1), bbb (seeds 2, 4)"),
        ("inconsistent", "Few-shot, micro", "Digits", "tested", "images"),
        ("inconsistent", "Few-shot, micro", "Digits", "trained", "images", "seed 1", "16 shots"),
        ("inconsistent", "x", "BETA 2.0 in seed3; BETA 8.0 in seed1, seed2, seed4"),
    )
    assert "seed" not in next(message for *_, message in problems(result) if "tested" in message)


def test_another_backbone_is_another_table(tmp_path):
    write_record(tmp_path / "a", backbone="RN50")
    write_record(tmp_path / "b", backbone="ViT-B/16")
    assert [table.key.title for table in report(tmp_path).tables] == ["Few-shot, RN50", "Few-shot, ViT-B/16"]


@pytest.mark.parametrize("weights", ["f00d", "beef"])
def test_other_weights_under_the_same_name_are_another_row(tmp_path, weights):
    identity = {"trainer": "CLIPFit", "backbone": "micro", "fingerprint": weights, "precision": "fp32"}
    write_record(tmp_path / "1", seed=1)
    write_record(tmp_path / "2", seed=2, changes={"identity": identity})
    assert len(report(tmp_path).tables[0].rows) == (1 if weights == "f00d" else 2)
