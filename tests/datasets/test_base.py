"""`FewShotDataset` on a miniature Caltech101: few-shot sampling, caches, base/new classes, and errors."""

import json
import random
import shutil

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.datasets import mini
from tests.user_errors import raises_user_error

FOLDER = "caltech-101/101_ObjectCategories/"


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    return root, mini.caltech(root)


@pytest.fixture
def root(tmp_path):
    mini.caltech(tmp_path, {"ant": 12, "bear": 14})
    return tmp_path


def plain_selection(splits, shots, seed):
    """Returns CoOp's selection, sampled with Python's global generator."""
    random.seed(seed)
    out = []
    for split, n in (("train", shots), ("val", min(shots, 4))):
        chosen = []
        for label in dict.fromkeys(row[1] for row in splits[split]):
            of_class = [row for row in splits[split] if row[1] == label]
            chosen += random.sample(of_class, n) if len(of_class) >= n else of_class
        out.append([[FOLDER + path, label, name] for path, label, name in chosen])
    return out


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(shots=st.integers(1, 32), seed=st.integers(0, 1000))
def test_selection_is_coops_with_and_without_the_cache(small, shots, seed):
    root, splits = small
    for _ in range(2):  # sampled, then read from the cache
        random.seed(12345)  # the global random state must have no effect
        data = mini.build("Caltech101", root, shots=shots, seed=seed)
        assert [mini.rows(data.train_x, root), mini.rows(data.val, root)] == plain_selection(splits, shots, seed)
        assert mini.rows(data.test, root) == [[FOLDER + path, *rest] for path, *rest in splits["test"]]


def test_shots_come_before_base_and_new(small):
    root, splits = small
    train, val = plain_selection(splits, 3, 7)
    base = mini.build("Caltech101", root, shots=3, seed=7, subsample="base")
    new = mini.build("Caltech101", root, shots=3, seed=7, subsample="new")
    assert mini.rows(base.train_x, root) == [row for row in train if row[1] < 3]
    assert mini.rows(new.val, root) == [[p, label - 3, name] for p, label, name in val if label >= 3]
    assert base.classnames == ["airplane", "barrel", "camera"] and new.classnames == ["dollar bill", "égout"]
    assert (base.num_classes, new.num_classes) == (3, 2) and len(base.test) + len(new.test) == len(splits["test"])
    assert mini.fingerprint(base) != mini.fingerprint(new)


def test_the_global_random_state_is_unchanged(root):
    random.seed(5)
    before = random.getstate()
    mini.build("Caltech101", root, shots=2)
    assert random.getstate() == before


def test_cache_is_small_portable_json(root, capsys):
    mini.build("Caltech101", root, shots=2, seed=0)
    path = root / "caltech-101" / "split_fewshot" / "shot_2-seed_0.json"
    data = json.loads(path.read_text())
    assert [len(data["train"]), len(data["val"])] == [4, 4]
    assert all((root / FOLDER / row[0]).is_file() for row in data["train"] + data["val"])
    moved = root / "elsewhere"
    moved.mkdir()
    shutil.move(root / "caltech-101", moved)
    capsys.readouterr()
    again = mini.build("Caltech101", moved, shots=2, seed=0)
    assert mini.rows(again.train_x, moved) == [[FOLDER + p, *rest] for p, *rest in data["train"]]
    path = moved / path.relative_to(root)
    assert f"Loading preprocessed few-shot data from {path}" in capsys.readouterr().out


def test_without_shots_all_images_are_used(root):
    data = mini.build("Caltech101", root, shots=-1)
    assert [len(data.train_x), len(data.val), len(data.test)] == [13, 4, 9]
    assert not (root / "caltech-101" / "split_fewshot").exists()


def test_without_a_seed_nothing_is_saved(root, capsys):
    random.seed(1)
    first = mini.rows(mini.build("Caltech101", root, shots=2, seed=-1).train_x, root)
    selections = [mini.rows(mini.build("Caltech101", root, shots=2, seed=-1).train_x, root) for _ in range(5)]
    assert any(selection != first for selection in selections)
    assert not (root / "caltech-101" / "split_fewshot").exists()
    assert "SEED" in capsys.readouterr().out


def test_cache_that_cannot_be_written(root, capsys):
    (root / "caltech-101" / "split_fewshot").write_text("a file instead of the folder")
    data = mini.build("Caltech101", root, shots=2)
    assert len(data.train_x) == 4
    (warning,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("WARNING: ")]
    assert str(root / "caltech-101" / "split_fewshot") in warning


@pytest.mark.parametrize(
    "text, fact",
    [
        ('{"train": [["ant/ant', "JSON"),
        ("[]", "'train'"),
        ('{"train": [[1]]}', "[1]"),
    ],
)
def test_corrupted_cache(root, text, fact):
    path = root / "caltech-101" / "split_fewshot" / "shot_2-seed_1.json"
    path.parent.mkdir()
    path.write_text(text)
    with raises_user_error(path, fact, error=ValueError):
        mini.build("Caltech101", root, shots=2)


def test_cache_of_another_split_is_refused(root):
    mini.build("Caltech101", root, shots=2)
    path = root / "caltech-101" / "split_zhou_Caltech101.json"
    splits = json.loads(path.read_text())
    splits["train"], splits["test"] = splits["test"], splits["train"]
    path.write_text(json.dumps(splits))
    cache = path.parent / "split_fewshot" / "shot_2-seed_1.json"
    with raises_user_error(cache, "4 of its 4 train", error=ValueError):
        mini.build("Caltech101", root, shots=2)


def test_split_is_generated_if_it_is_missing(root, capsys):
    path = root / "caltech-101" / "split_zhou_Caltech101.json"
    path.unlink()
    mini.write_classes(root / FOLDER, {"BACKGROUND_Google": 9, "Faces": 10, "Faces_easy": 5, "Motorbikes": 10})
    first = mini.build("Caltech101", root, shots=2)
    out = capsys.readouterr().out
    assert str(path) in out and "50 % train, 20 % val and 30 % test" in out
    assert first.classnames == ["face", "motorbike", "ant", "bear"]
    again = mini.build("Caltech101", root, shots=2, seed=1)
    out = capsys.readouterr().out
    assert f"Reading split from {path}" in out and json.loads(path.read_text())["made"] in out
    assert mini.fingerprint(again) == mini.fingerprint(first)
    shutil.rmtree(root / "caltech-101" / "split_fewshot")
    assert mini.fingerprint(mini.build("Caltech101", root, shots=2, seed=1)) == mini.fingerprint(first)
    for split in ("train", "val", "test"):
        assert all(row[1] < 4 for row in json.loads(path.read_text())[split])


@pytest.mark.parametrize(
    "name, folder, classes",
    [
        ("DescribableTextures", "dtd/images", {"banded": "banded", "polka-dotted": "polka-dotted"}),
        (
            "EuroSAT",
            "eurosat/2750",
            {"AnnualCrop": "Annual Crop Land", "Forest": "Forest", "SeaLake": "Sea or Lake"},
        ),
    ],
)
def test_the_other_first_datasets(tmp_path, name, folder, classes):
    mini.write_classes(tmp_path / folder, {c: 10 for c in classes})
    data = mini.build(name, tmp_path)
    assert data.classnames == list(classes.values())
    assert [len(data.train_x), len(data.val), len(data.test)] == [n * len(classes) for n in (5, 2, 3)]
    assert len(list((tmp_path / folder).parent.glob("split_zhou_*.json"))) == 1


def test_missing_data(tmp_path):
    with raises_user_error("DATASET.ROOT", "--root", "caltech-101", error=ValueError):
        mini.build("Caltech101", "")
    command = f"tools/prepare_data.py Caltech101 --root {tmp_path}"
    with raises_user_error("Caltech101", tmp_path / "caltech-101", command, error=FileNotFoundError):
        mini.build("Caltech101", tmp_path)
    (tmp_path / "caltech-101").mkdir()
    with raises_user_error("Caltech101", tmp_path / FOLDER.rstrip("/"), command, error=FileNotFoundError):
        mini.build("Caltech101", tmp_path)
    with raises_user_error("Caltech101", tmp_path / "nowhere", error=FileNotFoundError):
        mini.build("Caltech101", tmp_path / "nowhere")


def test_missing_image(root):
    path = root / FOLDER / "ant" / "ant_003.jpg"
    path.unlink()
    with raises_user_error("split_zhou_Caltech101.json", " 1 ", path, error=FileNotFoundError):
        mini.build("Caltech101", root)


def test_unknown_subsample(root):
    with raises_user_error("DATASET.SUBSAMPLE_CLASSES", "'novel'", "base", "new", "all", error=ValueError):
        mini.build("Caltech101", root, subsample="novel")
