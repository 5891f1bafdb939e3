"""Runs on different images are never averaged; own datasets are named after their folders."""

import pytest

from tests.tools.reporting.trees import assert_problems, numbers, problems, report, write_log, write_record
from tests.user_errors import assert_facts
from tools.reporting.images import Images, group

BETA = "TRAINER.CLIPFIT.BETA"


def digest(text):
    return (text * 32)[:32]


def content(test, train="a0", number=120):
    """Returns the fields `content` and `data` of a record; images of the same names, unless `test` has a colon."""
    return {
        "content": {
            "train_x": {"images": 96, "digest": digest(train)}, "val": None,
            "test": {"images": number, "digest": digest(test)},
        },
        "data": {"train_x": "names", "test": "names"},
    }  # fmt: skip


def names_only(test, train="names"):
    return {"data": {"train_x": train, "test": test}}


def groups(result, table=0):
    return [group.title for group in result.tables[table].groups]


def test_other_test_images_are_another_dataset(tmp_path):
    for dataset in ("EuroSAT", "UCF101"):
        for seed in (1, 2, 3):
            test = "3f2a9c" if (dataset, seed) != ("EuroSAT", 3) else "77aa11"
            write_record(tmp_path / f"{dataset}{seed}", dataset=dataset, seed=seed, accuracy=70.0 + seed,
                         changes=content(test, f"{seed}a", 120 if test == "3f2a9c" else 119))  # fmt: skip
    result = report(tmp_path)
    usual, other = "EuroSAT, images 3f2a9c (120)", "EuroSAT, images 77aa11 (119)"
    assert groups(result) == [usual, other, "UCF101"]  # and no average
    assert numbers(result.tables[0], usual, "CLIPFit") == {"16": (71.5, 2)}
    assert numbers(result.tables[0], other, "CLIPFit") == {"16": (73, 1)}
    (note,) = result.tables[0].notes
    assert_facts(note, "EuroSAT", "average")
    (message,) = [m for category, _, m in problems(result) if category == "inconsistent"]
    assert_facts(message, "EuroSAT", "tested", "3f2a9c (120) by CLIPFit", "77aa11 (119) by CLIPFit")
    assert not any(
        problem.category == "missing" for problem in report(tmp_path, options=["--dataset", "eurosat"]).problems
    )


def test_names_decide_where_a_record_has_no_digests(tmp_path):
    write_record(tmp_path / "1", seed=1, changes=content("3f", "1a"))
    write_record(tmp_path / "2", seed=2, changes=names_only("names"))
    write_record(tmp_path / "3", seed=3, changes={"data": None})  # records nothing
    assert numbers(report(tmp_path).tables[0], "Digits", "CLIPFit") == {"16": (80, 3)}
    write_record(tmp_path / "2", seed=2, changes=names_only("others"))
    assert groups(report(tmp_path)) == [
        "Digits, images 3f3f3f (120)",
        "Digits, images others",
        "Digits, unknown images",
    ]


def test_other_class_names_are_another_dataset(tmp_path):
    for seed, names in ((1, ["cat", "dog"]), (2, ["cat", "hound"])):
        identity = {"trainer": "CLIPFit", "backbone": "micro", "fingerprint": "f", "precision": "fp32"}
        write_record(tmp_path / f"{seed}", seed=seed,
                     changes={**content("3f", f"{seed}a"), "identity": {**identity, "classnames": names}})  # fmt: skip
    titles = groups(report(tmp_path))
    assert len(titles) == 2 and all(title.startswith("Digits, class names ") for title in titles)


def test_base_and_new_of_one_model_stay_together(tmp_path):
    """Base was tested on b1 or b2, and New on n1 or n2: the pairs of each model are one dataset each."""
    for seed, version in ((1, "1"), (2, "1"), (3, "2")):
        base, new = f"b{version}", f"c{version}"
        folder = tmp_path / f"out/x/train_base/seed{seed}"
        write_record(folder, classes="base", seed=seed, accuracy=70.0 + seed, changes=content(base, f"{seed}a"))
        write_record(tmp_path / f"out/x/test_new/seed{seed}", classes="new", seed=seed, accuracy=50.0,
                     source={"model_dir": str(folder)}, changes=content(new, f"{seed}b"))  # fmt: skip
    write_record(tmp_path / "zero/base", "ZeroshotCLIP", classes="base", changes=content("b1"))
    write_record(tmp_path / "zero/new", "ZeroshotCLIP", classes="new", changes=content("c1"))
    result = report(tmp_path)
    first = "Digits, images b1b1b1 (120) and c1c1c1 (120)"
    second = "Digits, images b2b2b2 (120) and c2c2c2 (120)"
    assert groups(result) == [first, second]
    table = result.tables[0]
    assert numbers(table, first, "CLIPFit")["Base"] == (71.5, 2) and numbers(table, second, "CLIPFit")["New"] == (50, 1)
    assert numbers(table, first, "ZeroshotCLIP")["H"] == (80, 1)


def test_other_training_images_of_the_same_seed_are_another_row(tmp_path):
    """Between seeds and shots they differ anyway."""
    for seed in (1, 2, 3):
        for shots in (4, 16):
            write_record(
                tmp_path / f"a/{shots}/{seed}", seed=seed, shots=shots, changes=content("3f", f"{seed}{shots}")
            )
    write_record(tmp_path / "b/1", "CoOp", changes=content("3f", "116"))
    write_record(tmp_path / "b/2", "CoOp", seed=2, changes=content("3f", "ee"))
    result = report(tmp_path)
    assert [row.title for row in result.tables[0].rows] == ["CLIPFit", "CoOp"]
    (message,) = [message for category, _, message in problems(result) if category == "inconsistent"]
    assert_facts(message, "Digits", "seed 2", "16 shots", "216216 (96) by CLIPFit", "eeeeee (96) by CoOp")

    write_record(
        tmp_path / "c/1", seed=1, accuracy=10.0, changes={**content("3f", "dd"), "written": "2025-01-01T00:00:00Z"}
    )
    table = report(tmp_path).tables[0]
    assert numbers(table, "Digits", "CLIPFit")["16"] == (80, 3)
    assert numbers(table, "Digits", "CLIPFit (training images dddddd (96))") == {"16": (10, 1)}


def own(folder, root, test, name=None, accuracy=80.0, classes="all", **more):
    fields = {"root": str(root), **content(test)} | ({"name": name} if name else {})
    return write_record(folder, dataset="Folder", classes=classes, accuracy=accuracy, changes=fields, **more)


def test_two_folders_of_one_name(tmp_path):
    own(tmp_path / "1", "/data/A/pets", "aa", accuracy=80.0)
    own(tmp_path / "2", "/data/B/pets", "bb", accuracy=60.0)
    own(tmp_path / "3", "/moved/pets", "aa", seed=2, accuracy=70.0)  # a copy of the first
    result = report(tmp_path)
    assert groups(result) == ["Average (2 datasets)", "Folder: A/pets", "Folder: B/pets"]
    assert numbers(result.tables[0], "Folder: A/pets", "CLIPFit") == {"16": (75, 2)}
    assert numbers(result.tables[0], "Folder: B/pets", "CLIPFit") == {"16": (60, 1)}
    assert not [problem for problem in problems(result) if problem[0] == "inconsistent"]


def test_a_copied_or_renamed_folder_keeps_its_name(tmp_path):
    own(tmp_path / "1", "/data/A/pets", "aa")
    own(tmp_path / "2", "/data/B/pets", "aa", seed=2)
    assert groups(report(tmp_path)) == ["Folder: pets"]
    own(tmp_path / "3", "/data/C/v3", "cc", name="pets")
    assert groups(report(tmp_path))[1:] == ["Folder: A/pets", "Folder: pets (C/v3)"]


def test_folders_in_logs_are_other_images(tmp_path):
    """Logs do not record the images."""
    for name in "AB":
        log = write_log(tmp_path / name, dataset="Folder", classes="all") / "log.txt"
        log.write_text(log.read_text().replace("/path/to/datasets", f"/data/{name}/pets"))
    assert groups(report(tmp_path))[1:] == ["Folder: A/pets", "Folder: B/pets"]


def test_images_that_changed_in_their_folder(tmp_path):
    own(tmp_path / "1", "/data/pets", "aa")
    own(tmp_path / "2", "/data/pets", "bb", seed=2)
    assert groups(report(tmp_path)) == ["Folder: pets, images aaaaaa (120)", "Folder: pets, images bbbbbb (120)"]


@pytest.mark.parametrize(
    "root", [["--root", "/data/pets"], ["--root=/data/pets"], ["--root=/x", "DATASET.ROOT", "/data/pets"]]
)
def test_the_folder_on_the_command_line_of_older_records(tmp_path, root):
    write_record(tmp_path / "1", dataset="Folder", changes={"command": ["train.py", *root]})
    assert groups(report(tmp_path)) == ["Folder: pets"]


def test_evaluations_in_the_folder_of_their_training(tmp_path):
    folder = write_record(
        tmp_path / "run", classes="base", accuracy=80.0, changes={"weights": {"a/model.pth.tar-100": "w1"}}
    )
    for classes, weights in (("new", "w1"), ("base", "w0")):
        path = write_record(tmp_path / "other", classes=classes, accuracy=60.0,
                            source={"model_dir": str(folder), "weights": weights}) / "result.json"  # fmt: skip
        path.rename(folder / f"evaluation-Digits-{classes}-test.json")
    (tmp_path / "other").rmdir()
    result = report(tmp_path)
    assert len(result.runs) == 3
    assert numbers(result.tables[0], "Digits", "CLIPFit")["New"] == (60, 1)
    stale = "evaluation-Digits-base-test.json"
    found = [(category, subject, message) for category, subject, message in problems(result) if subject == stale]
    assert [category for category, *_ in found] == ["inconsistent"] and str(folder) in found[0][2]


def test_the_training_with_the_evaluated_weights_is_the_source(tmp_path):
    """Two trees with the same folder names: the digest of the weights tells which training was evaluated."""
    for tree, weights, beta in (("one", "w1", 2.0), ("two", "w2", 8.0)):
        write_record(tmp_path / f"{tree}/train_base/x/seed1", classes="base",
                     changes={"weights": {"model.pth.tar-100": weights}}, **{BETA: beta})  # fmt: skip
    source = {"model_dir": "train_base/x/seed1", "weights": "w2"}
    write_record(tmp_path / "one/test_new/x/seed1", classes="new", source=source, **{BETA: 8.0})
    (evaluation,) = [run for run in report(tmp_path).runs if run.eval_only]
    assert evaluation.source_run.folder == tmp_path / "two/train_base/x/seed1"


def test_the_newer_of_two_results_in_other_time_zones(tmp_path):
    write_record(tmp_path / "a", accuracy=50.0, changes={"written": "2026-03-01T09:30:00Z"})
    write_record(tmp_path / "b", accuracy=60.0, changes={"written": "2026-03-01T11:00:00+0200"})  # 09:00 UTC
    result = report(tmp_path)
    assert numbers(result.tables[0], "Digits", "CLIPFit") == {"16": (50, 1)}
    assert_problems(result, ("duplicate", "CLIPFit on Digits (Few-shot, micro)", "using 50.00"))


def images(digest=None, names=None, classnames=None):
    return Images(digest, names, classnames, 1)


def test_groups():
    base1, base2, new1, new2 = (images(name) for name in ("b1", "b2", "n1", "n2"))
    pair1, pair2 = {"base": base1, "new": new1}, {"base": base2, "new": new2}
    assert group([pair1, {"new": new2}, pair2, {"base": images("b3")}, {}]) == [0, 1, 1, 2, 3]
    assert group([{}, pair1, {}, {"new": new1}]) == [0, 0, 0, 0]
    assert group([{}, {}]) == [0, 0] and group([]) == []
    assert group([pair1, {"base": base1, "new": new2}, {"base": base1}]) == [0, 1, 2]  # which of the two is unknown
    named = [{"all": images("a", "x")}, {"all": images(None, "x")}, {"all": images(None, "y")}]
    assert group(named) == [0, 0, 1]
