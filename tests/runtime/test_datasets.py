"""Datum, few-shot sampling and class names."""

import pickle
import random

from hypothesis import given, settings
from hypothesis import strategies as st

from dassl.data.datasets import DATASET_REGISTRY, DatasetBase, Datum, build_dataset
from dassl.data.datasets.base_dataset import Datum as DatumOfPickles
from tests.user_errors import raises_user_error

from . import toy


class Item:
    def __init__(self, label, name):
        self.label, self.impath, self.classname, self.domain = label, name, f"class {label}", label % 2


def plain_fewshot(labels, shots):
    """Returns the indices that CoOp samples: Python's random over classes in order of first appearance."""
    sampled = []
    for label in dict.fromkeys(labels):
        positions = [i for i, other in enumerate(labels) if other == label]
        sampled += random.sample(positions, shots) if len(positions) >= shots else positions
    return sampled


@given(st.lists(st.integers(0, 5), min_size=1, max_size=60), st.integers(1, 9), st.integers(0, 99))
@settings(max_examples=50)
def test_fewshot_sampling_equals_coops(labels, shots, seed):
    items = [Item(label, i) for i, label in enumerate(labels)]
    dataset = DatasetBase(train_x=items, test=items)
    random.seed(seed)
    train, val = dataset.generate_fewshot_dataset(items, items, num_shots=shots)
    after = random.random()
    random.seed(seed)
    assert [i.impath for i in train] == plain_fewshot(labels, shots)
    assert [i.impath for i in val] == plain_fewshot(labels, shots)
    assert random.random() == after  # no other random number was used


def test_fewshot_sampling_edge_cases(capsys):
    items = [Item(label, i) for i, label in enumerate([1, 1, 0])]
    dataset = DatasetBase(train_x=items, test=items)
    assert dataset.generate_fewshot_dataset(items, num_shots=0) is items
    assert dataset.generate_fewshot_dataset(items, items) == [items, items]
    assert capsys.readouterr().out == ""
    repeated = dataset.generate_fewshot_dataset(items, num_shots=4, repeat=True)
    assert [i.label for i in repeated] == [1] * 4 + [0] * 4
    assert capsys.readouterr().out == "Creating a 4-shot dataset\n"


def test_groups():
    items = [Item(label, i) for i, label in enumerate([3, 1, 3, 2])]
    dataset = DatasetBase(train_x=items, test=items)
    assert {k: [i.impath for i in v] for k, v in dataset.split_dataset_by_label(items).items()} == {
        3: [0, 2],
        1: [1],
        2: [3],
    }
    assert list(dataset.split_dataset_by_label(items)) == [3, 1, 2]
    assert list(dataset.split_dataset_by_domain(items)) == [1, 0]


def test_classes_come_from_train():
    items = [Item(label, i) for i, label in enumerate([4, 0])]
    dataset = DatasetBase(train_x=items, val=items[:1], test=items)
    assert dataset.num_classes == 5  # the largest label plus one
    assert dataset.lab2cname == {4: "class 4", 0: "class 0"}
    assert dataset.classnames == ["class 0", "class 4"]
    assert (dataset.train_u, dataset.val, dataset.test) == (None, items[:1], items)


def test_two_class_names_of_a_label_are_an_error():
    items = [Item(0, 0), Item(0, 1)]
    items[1].classname = "other"
    with raises_user_error("Label 0", "'class 0'", "'other'"):
        DatasetBase(train_x=items, test=items)


def test_no_training_images():
    with raises_user_error("DatasetBase", "training"):
        DatasetBase(train_x=[], test=[])


def test_datum(tmp_path):
    path = tmp_path / "a.png"
    with raises_user_error("a.png", "DATASET.ROOT", error=FileNotFoundError):
        Datum(impath=str(path))
    path.touch()
    datum = Datum(impath=str(path), label=3, domain=1, classname="cat")
    assert (datum.impath, datum.label, datum.domain, datum.classname) == (str(path), 3, 1, "cat")
    assert vars(datum) == {"_impath": str(path), "_label": 3, "_domain": 1, "_classname": "cat"}


def test_unpickles_datums_pickled_by_dassl():
    """Protocol 0 text of a Datum, as a user's split_fewshot file names it; the image may be missing."""
    text = (
        b"ccopy_reg\n_reconstructor\n(cdassl.data.datasets.base_dataset\nDatum\nc__builtin__\nobject\nNtR"
        b"(dV_impath\nV/old/a.jpg\nsV_label\nI2\nsV_domain\nI0\nsV_classname\nVdog\nsb."
    )
    datum = pickle.loads(text)
    assert isinstance(datum, DatumOfPickles)
    assert (datum.impath, datum.label, datum.domain, datum.classname) == ("/old/a.jpg", 2, 0, "dog")
    again = pickle.loads(pickle.dumps(datum, protocol=pickle.HIGHEST_PROTOCOL))
    assert vars(again) == vars(datum)


def test_domains():
    class WithDomains(DatasetBase):
        domains = ["a", "b"]

    dataset = WithDomains(train_x=[Item(0, 0)], test=[])
    dataset.check_input_domains(["a"], ["b"])
    with raises_user_error("DATASET.TARGET_DOMAINS"):
        dataset.check_input_domains(["a"], [])
    with raises_user_error("'c'", "['a', 'b']"):
        dataset.check_input_domains(["a"], ["c"])


def test_archive_is_unpacked_into_its_folder(tmp_path, monkeypatch):
    import shutil

    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_text("x")
    dataset = DatasetBase(train_x=[Item(0, 0)], test=[])
    for form, suffix in (("zip", ".zip"), ("gztar", ".tar.gz")):
        archive = shutil.make_archive(str(tmp_path / "source"), form, tmp_path / "in")
        target = tmp_path / form / f"data{suffix}"
        dataset.download_data(f"file://{archive}", str(target), from_gdrive=False)
        assert (tmp_path / form / "a.txt").read_text() == "x"


def test_build_dataset(toy_root, tmp_path, capsys):
    assert "ToyColors" in DATASET_REGISTRY.registered_names()
    dataset = build_dataset(toy.make_cfg(toy_root, tmp_path))
    assert len(dataset.train_x) == 21 and dataset.classnames == list(toy.COLORS)
    assert "Loading dataset: ToyColors" in capsys.readouterr().out
    with raises_user_error("DATASET.NAME", "'toycolor'", "'ToyColors'"):
        build_dataset(toy.make_cfg(toy_root, tmp_path, DATASET__NAME="toycolor"))
    with raises_user_error("DATASET.NAME", "''"):
        build_dataset(toy.make_cfg(toy_root, tmp_path, DATASET__NAME=""))
