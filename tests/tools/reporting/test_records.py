"""Runs with a result.json: their tables and their problems."""

import json
import os
import time

import pytest

from tests.tools.reporting.trees import (
    assert_problems,
    numbers,
    problems,
    report,
    write_log,
    write_pair,
    write_record,
)


def titles(result):
    return [table.key.title for table in result.tables]


def imagenet(beta, target="DescribableTextures", epoch=100, **more):
    """Returns the `source` of an evaluation of a run trained on ImageNet."""
    settings = {"DATASET.NAME": "ImageNet", "DATASET.NUM_SHOTS": 16, "DATASET.SUBSAMPLE_CLASSES": "all", "SEED": 1}
    settings |= {"OPTIM.MAX_EPOCH": 100, "TRAINER.CLIPFIT.BETA": beta}
    return {"dataset": "ImageNet", "classes": "all", "settings": settings, "epoch": epoch, **more}


def test_every_protocol_is_found_from_the_records(tmp_path):
    beta = "TRAINER.CLIPFIT.BETA"
    write_pair(tmp_path, "a")
    write_record(tmp_path / "b", shots=4)
    write_record(tmp_path / "c", dataset="ImageNet", **{beta: 8.0})
    write_record(tmp_path / "d", dataset="EuroSAT", source=imagenet(8.0), accuracy=40.0)
    write_record(tmp_path / "e", dataset="ImageNet", **{beta: 2.0}, accuracy=71.0)
    write_record(tmp_path / "f", dataset="ImageNetR", source=imagenet(2.0), accuracy=60.0)
    result = report(tmp_path)
    assert titles(result) == [
        "Base to new, 16 shots, micro",
        "Few-shot, micro",
        "Cross-dataset, trained on ImageNet, 16 shots, micro",
        "Distribution shift, trained on ImageNet, 16 shots, micro",
    ]
    _, few_shot, cross, shift = result.tables
    assert [group.title for group in few_shot.groups] == ["Digits"]  # the source runs are only in their own tables
    assert numbers(cross, "ImageNet", "CLIPFit") == {"Accuracy": (80, 1)}
    assert numbers(shift, "ImageNet", "CLIPFit") == {"Accuracy": (71, 1)}
    assert not result.problems


def test_a_source_run_fills_a_gap_in_few_shot_but_splits_no_row(tmp_path):
    for dataset in ("EuroSAT", "ImageNet"):
        write_record(tmp_path / dataset, dataset=dataset, accuracy=70.0, **{"TRAINER.CLIPFIT.BETA": 2.0})
    write_record(tmp_path / "xd/train", dataset="ImageNet", accuracy=50.0)
    write_record(tmp_path / "xd/test", dataset="UCF101", source=imagenet(8.0, model_dir="out/xd/train"))
    few_shot = report(tmp_path).tables[0]
    assert [row.title for row in few_shot.rows] == ["CLIPFit"]
    assert numbers(few_shot, "ImageNet", "CLIPFit") == {"16": (70, 1)}
    (tmp_path / "ImageNet/result.json").unlink()
    assert numbers(report(tmp_path).tables[0], "ImageNet", "CLIPFit") == {"16": (50, 1)}


def test_older_records_without_source(tmp_path):
    write_record(tmp_path / "train_base/x/seed1", classes="base", accuracy=80.0)
    write_record(tmp_path / "test_new/x/seed1", classes="new", accuracy=80.0, eval_only=True)
    for path in tmp_path.rglob("result.json"):
        record = json.loads(path.read_text())
        del record["source"], record["evaluation"]
        path.write_text(json.dumps(record))
    assert numbers(report(tmp_path).tables[0], "Digits", "CLIPFit")["H"] == (80, 1)


def test_runs_of_no_protocol_are_listed(tmp_path):
    write_record(tmp_path / "a", classes="new")
    write_record(tmp_path / "b", eval_only=True)
    write_record(tmp_path / "c", changes={"evaluation": {"split": "val", "final_model": "last_step"},
                                          "metrics": {"val": {"accuracy": 1.0}}})  # fmt: skip
    result = report(tmp_path)
    assert not result.tables
    assert_problems(
        result,
        ("no_protocol", "a", "CLIPFit", "Digits", "new"),
        ("no_protocol", "b", "CLIPFit", "Digits", "all"),
        ("no_protocol", "c", "CLIPFit", "Digits", "all", "val"),
    )


def test_the_epoch_tested(tmp_path):
    write_record(tmp_path / "train_base/a", classes="base", changes={"epochs": 1})  # Tip-Adapter has one epoch
    write_record(tmp_path / "test_new/a", classes="new", source={"epoch": 1})
    assert [row.title for row in report(tmp_path).tables[0].rows] == ["CLIPFit"]
    write_record(tmp_path / "train_base/a", classes="base", changes={"epochs": 100})
    result = report(tmp_path)
    assert [row.title for row in result.tables[0].rows] == ["CLIPFit (epoch 1)", "CLIPFit (last epoch)"]
    best = {"evaluation": {"split": "test", "final_model": "best_val"}}
    write_record(tmp_path / "train_base/a", classes="base", changes=best)
    settings = json.loads((tmp_path / "train_base/a/result.json").read_text())["settings"]
    write_record(tmp_path / "test_new/a", classes="new", source={
        "epoch": 37, "settings": {**settings, "TEST.FINAL_MODEL": "best_val"}})  # fmt: skip
    assert [row.title for row in report(tmp_path).tables[0].rows] == ["CLIPFit"]


@pytest.mark.parametrize(
    "content, facts",
    [
        ('{"finished": tr', ["JSON"]),
        ("", ["JSON"]),
        (b"\xff\xfe\x00", ["JSON"]),
        ("[1, 2]", ["[1, 2]"]),
        ('{"rows": 3}', ["finished", "None"]),
        ({"seed": None}, ["seed", "None"]),
        ({"classes": "old"}, ["classes", "'old'"]),
        ({"metrics": {}}, ["metrics.test.accuracy", "None"]),
        ({"metrics": {"test": {"accuracy": 101}}}, ["metrics.test.accuracy", "101"]),
        ({"metrics": {"test": {"accuracy": float("nan")}}}, ["metrics.test.accuracy", "nan"]),
        ({"metrics": {"test": {"accuracy": "80"}}}, ["metrics.test.accuracy", "'80'"]),
        ({"identity": None}, ["identity", "None"]),
        ({"identity": {"trainer": "CLIPFit", "backbone": 3}}, ["identity.backbone", "3"]),
        ({"settings": [1]}, ["settings", "[1]"]),
        ({"git": 7}, ["git", "7"]),
    ],
)
def test_corrupted_records(tmp_path, content, facts):
    write_record(tmp_path / "good/seed1")
    record = write_record(tmp_path / "bad/seed2", seed=2, changes=content if isinstance(content, dict) else None)
    if not isinstance(content, dict):
        (record / "result.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    result = report(tmp_path)
    assert_problems(result, ("corrupted", "result.json", *facts))
    assert numbers(result.tables[0], "Digits", "CLIPFit") == {"16": (80, 1)}


def test_a_corrupted_record_with_a_valid_log(tmp_path):
    folder = write_log(tmp_path / "seed1", classes="all", correct=77)
    (folder / "result.json").write_text("{")
    result = report(tmp_path)
    assert numbers(result.tables[0], "DescribableTextures", "CoOp") == {"16": (77, 1)}
    assert_problems(result, ("corrupted", "result.json", "JSON"), ("inconsistent", "seed1", "result.json", "log.txt"))


def test_other_files_in_a_run_directory(tmp_path):
    common = {"dataset": "DescribableTextures", "backbone": "ViT-B/16", "method": "CoOp"}
    for seed in range(1, 6):
        write_record(tmp_path / f"seed{seed}", seed=seed, **common, finished=seed not in (4, 5))
    (tmp_path / "seed1/result.json-2025-12-31-10-00-00").write_text("{}")
    log = {"classes": "all", "stop": 3, "OPTIM.MAX_EPOCH": 100}
    write_log(tmp_path / "seed2", seed=2, name="log.txt-2026-02-01-10-00-00", **log)
    write_log(tmp_path / "seed3", seed=3, classes="all", **{"OPTIM.MAX_EPOCH": 7})
    write_log(tmp_path / "seed4", seed=4, tail="ValueError: broken", **log)
    write_log(tmp_path / "seed5", seed=5, **log)
    hour_ago = time.time() - 3600
    for path in tmp_path.glob("seed[234]/log.txt*"):
        os.utime(path, (hour_ago, hour_ago))
    result = report(tmp_path)
    assert numbers(result.tables[0], "DescribableTextures", "CoOp") == {"16": (80, 3)}
    assert_problems(
        result,
        ("inconsistent", "seed1", "result.json-2025-12-31-10-00-00", "settings"),
        ("inconsistent", "seed2", "log.txt-2026-02-01-10-00-00", 3, 100, "result.json"),
        ("inconsistent", "seed3", "log.txt", "(OPTIM.MAX_EPOCH)", "result.json"),
        ("unfinished", "seed4", 3, 100, "ValueError: broken"),
        ("unfinished", "seed5", 3, 100, "0 min"),
    )
    assert [subject for _, subject, message in problems(result) if " min" in message] == ["seed5"]


def test_links_loops_and_overlapping_paths(tmp_path):
    write_record(tmp_path / "runs/seed1")
    (tmp_path / "runs/again").symlink_to(tmp_path)
    (tmp_path / "linked").symlink_to(tmp_path / "runs")
    result = report(tmp_path, tmp_path / "runs/seed1", tmp_path / "runs/seed1/result.json")
    assert len(result.runs) == 1 and not result.problems
    assert len(report(tmp_path / "linked").runs) == 1


def test_duplicate_runs(tmp_path):
    write_record(tmp_path / "a/seed1")
    write_record(tmp_path / "b/seed1")
    write_record(tmp_path / "a/seed2", seed=2, accuracy=50.0)
    write_record(tmp_path / "b/seed2", seed=2, accuracy=60.0, changes={"written": "2026-03-01T00:00:00+0000"})
    result = report(tmp_path)
    assert numbers(result.tables[0], "Digits", "CLIPFit") == {"16": (70, 2)}
    row = "CLIPFit on Digits (Few-shot, micro)"
    assert_problems(
        result,
        ("duplicate", row, "seed 1", tmp_path / "a/seed1", tmp_path / "b/seed1"),
        ("duplicate", row, "seed 2", f"50.00 in {tmp_path}/a/seed2", f"60.00 in {tmp_path}/b/seed2"),
    )


def test_own_images_are_named_after_their_folder(tmp_path):
    """Two folders of images are two datasets, though DATASET.NAME is Folder for both."""
    for root in ("pets", "cars"):
        for part, classes, source in (("train_base", "base", None), ("test_new", "new", {})):
            command = ["train.py", "--root", f"/data/{root}", "--config-file", "x.yaml"]
            accuracy = 80.0 if root == "pets" else 60.0
            write_record(tmp_path / root / part / "seed1", dataset="Folder", classes=classes, accuracy=accuracy,
                         source=source, changes={"command": command})  # fmt: skip
    result = report(tmp_path)
    (table,) = result.tables
    assert [group.title for group in table.groups] == ["Average (2 datasets)", "Folder: cars", "Folder: pets"]
    assert numbers(table, "Folder: pets", "CLIPFit")["H"] == (80, 1) and not result.problems
    assert len(report(tmp_path, options=["--dataset", "folder"]).runs) == 4


def test_all_images(tmp_path):
    for shots in (1, 16, -1):
        write_record(tmp_path / f"{shots}", shots=shots)
    (table,) = report(tmp_path).tables
    assert table.columns == ["1", "16", "all"]
    write_pair(tmp_path, "x", shots=-1)
    assert titles(report(tmp_path))[0] == "Base to new, all images, micro"


def test_unknown_shots(tmp_path):
    write_log(tmp_path / "x/seed1", "MaPLe", "OxfordPets", shots=-1, classes="all", model_dir="w/imagenet/a")
    assert titles(report(tmp_path)) == ["Cross-dataset, trained on ImageNet, unknown shots, ViT-B/16"]
