"""`FewShotDataset` on a miniature Caltech101: sampling, caches, base/new and what goes wrong."""

import json
import random
import shutil

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.datasets import mini

FOLDER = "caltech-101/101_ObjectCategories/"


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    return root, mini.caltech(root)


@pytest.fixture
def root(tmp_path):
    mini.caltech(tmp_path, {"ant": 12, "bear": 14})
    return tmp_path


def plain_selection(parts, shots, seed):
    """CoOp's rule with Python's own generator."""
    random.seed(seed)
    out = []
    for part, n in (("train", shots), ("val", min(shots, 4))):
        chosen = []
        for label in dict.fromkeys(row[1] for row in parts[part]):
            of_class = [row for row in parts[part] if row[1] == label]
            chosen += random.sample(of_class, n) if len(of_class) >= n else of_class
        out.append([[FOLDER + path, label, name] for path, label, name in chosen])
    return out


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(shots=st.integers(1, 32), seed=st.integers(0, 1000))
def test_selection_is_coops_with_and_without_the_cache(small, shots, seed):
    root, parts = small
    for _ in range(2):  # drawn, then read from the cache
        random.seed(12345)  # whatever was drawn before must not matter
        data = mini.build("Caltech101", root, shots=shots, seed=seed)
        assert [mini.rows(data.train_x, root), mini.rows(data.val, root)] == plain_selection(parts, shots, seed)
        assert mini.rows(data.test, root) == [[FOLDER + path, *rest] for path, *rest in parts["test"]]


def test_shots_come_before_base_and_new(small):
    root, parts = small
    train, val = plain_selection(parts, 3, 7)
    base = mini.build("Caltech101", root, shots=3, seed=7, subsample="base")
    new = mini.build("Caltech101", root, shots=3, seed=7, subsample="new")
    assert mini.rows(base.train_x, root) == [row for row in train if row[1] < 3]
    assert mini.rows(new.val, root) == [[p, label - 3, name] for p, label, name in val if label >= 3]
    assert base.classnames == ["airplane", "barrel", "camera"] and new.classnames == ["dollar bill", "égout"]
    assert (base.num_classes, new.num_classes) == (3, 2) and len(base.test) + len(new.test) == len(parts["test"])
    assert mini.fingerprint(base) != mini.fingerprint(new)


def test_the_global_random_state_is_left_alone(root):
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
    assert "Loading preprocessed few-shot data from" in capsys.readouterr().out


def test_without_shots_everything_is_taken(root):
    data = mini.build("Caltech101", root, shots=-1)
    assert [len(data.train_x), len(data.val), len(data.test)] == [13, 4, 9]
    assert not (root / "caltech-101" / "split_fewshot").exists()


def test_without_a_seed_nothing_is_kept(root, capsys):
    random.seed(1)
    first = mini.rows(mini.build("Caltech101", root, shots=2, seed=-1).train_x, root)
    selections = [mini.rows(mini.build("Caltech101", root, shots=2, seed=-1).train_x, root) for _ in range(5)]
    assert any(selection != first for selection in selections)
    assert not (root / "caltech-101" / "split_fewshot").exists()
    assert "SEED is not set" in capsys.readouterr().out


def test_cache_that_cannot_be_written(root, capsys):
    (root / "caltech-101" / "split_fewshot").write_text("in the way")
    data = mini.build("Caltech101", root, shots=2)
    assert len(data.train_x) == 4
    assert "WARNING: the few-shot selection could not be saved" in capsys.readouterr().out


@pytest.mark.parametrize(
    "text, word",
    [
        ('{"train": [["ant/ant', "not valid JSON"),
        ("[]", "not a few-shot file"),
        ('{"train": [[1]]}', "row must be"),
    ],
)
def test_broken_cache_is_named(root, text, word):
    path = root / "caltech-101" / "split_fewshot" / "shot_2-seed_1.json"
    path.parent.mkdir()
    path.write_text(text)
    with pytest.raises(ValueError, match=word) as error:
        mini.build("Caltech101", root, shots=2)
    assert str(path) in str(error.value)


def test_cache_of_another_split_is_refused(root):
    mini.build("Caltech101", root, shots=2)
    path = root / "caltech-101" / "split_zhou_Caltech101.json"
    parts = json.loads(path.read_text())
    parts["train"], parts["test"] = parts["test"], parts["train"]
    path.write_text(json.dumps(parts))
    with pytest.raises(ValueError, match="another split: 4 of its 4 train images"):
        mini.build("Caltech101", root, shots=2)


def test_split_is_made_where_there_is_none(root, capsys):
    path = root / "caltech-101" / "split_zhou_Caltech101.json"
    path.unlink()
    mini.write_classes(root / FOLDER, {"BACKGROUND_Google": 9, "Faces": 10, "Faces_easy": 5, "Motorbikes": 10})
    first = mini.build("Caltech101", root, shots=2)
    assert "making one, 50 % train, 20 % val and 30 % test" in capsys.readouterr().out
    assert first.classnames == ["face", "motorbike", "ant", "bear"]
    again = mini.build("Caltech101", root, shots=2, seed=1)
    assert "it is not CoOp's" in capsys.readouterr().out
    assert mini.fingerprint(again) == mini.fingerprint(first)
    shutil.rmtree(root / "caltech-101" / "split_fewshot")
    assert mini.fingerprint(mini.build("Caltech101", root, shots=2, seed=1)) == mini.fingerprint(first)
    for part in ("train", "val", "test"):
        assert all(row[1] < 4 for row in json.loads(path.read_text())[part])


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


def test_missing_data_say_where_and_how(tmp_path):
    with pytest.raises(ValueError, match="DATASET.ROOT is not set: pass --root"):
        mini.build("Caltech101", "")
    for made in (None, "caltech-101"):
        if made:
            (tmp_path / made).mkdir()
        with pytest.raises(FileNotFoundError, match="tools/prepare_data.py Caltech101 --root") as error:
            mini.build("Caltech101", tmp_path)
        assert str(tmp_path / "caltech-101") in str(error.value) and "\n" not in str(error.value)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        mini.build("Caltech101", tmp_path / "nowhere")


def test_missing_image_is_named(root):
    (root / FOLDER / "ant" / "ant_003.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"split_zhou_Caltech101.json names 1 image.*ant_003.jpg"):
        mini.build("Caltech101", root)


def test_unknown_subsample(root):
    with pytest.raises(ValueError, match="SUBSAMPLE_CLASSES"):
        mini.build("Caltech101", root, subsample="novel")
