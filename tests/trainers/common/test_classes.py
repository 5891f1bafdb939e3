"""Labels and texts that are refused, names of classes with equal names, and the check of every dataset."""

import numpy as np
import pytest

from dassl.data.datasets import DATASET_REGISTRY, DatasetBase, Datum
from tests.user_errors import raises_user_error
from trainers.common import classes


@pytest.mark.parametrize("value", [0, 3, 3.0, np.uint8(3), np.int64(0), np.float64(2)])
def test_whole_numbers(value):
    number = classes.whole_number(value)
    assert type(number) is int and number == value


@pytest.mark.parametrize("value", [1.5, -1, True, False, "3", None, float("inf"), float("nan"), [1], np.bool_(True)])
def test_other_labels(value):
    with raises_user_error(repr(value), "whole number", error=ValueError):
        classes.whole_number(value)


@pytest.mark.parametrize(
    "char", ["\n", "\t", "\0", "\x1b", "\r", "\x7f", "\x85", "\u2028", "\u202e", "\u2066", "\udcff"]
)
def test_control_characters(char):
    for text in (f"cat{char}", f"{char}cat", char):
        with raises_user_error("x.json", "class name", f"U+{ord(char):04X}", error=ValueError):
            classes.check_text(text, "class name", "x.json")


@pytest.mark.parametrize("text", ["", "cat, tabby", "český pes", "猫", "می\u200cخواهم", "👩\u200d🔬", "no\u00a0break"])
def test_other_texts_are_returned(text):
    assert classes.check_text(text, "class name") == text


def test_equal_names():
    names = ["crane", "fox", "crane", "owl"]
    assert classes.numbered(names) == [("crane", 0), ("fox", 0), ("crane", 1), ("owl", 0)]
    assert classes.distinct(names) == ["crane (class 0)", "fox", "crane (class 2)", "owl"]
    assert classes.distinct(["a", "b"]) == ["a", "b"]


@DATASET_REGISTRY.register()
class OthersDataset(DatasetBase):
    """A dataset on Dassl alone, as the code of others is. `parts` has rows [image, label, class name]."""

    parts = {}

    def __init__(self, cfg):
        lists = {}
        for part, rows in self.parts.items():
            lists[part] = [Datum(impath=path, label=label, classname=name) for path, label, name in rows]
        super().__init__(train_x=lists["train"], val=lists.get("val"), test=lists["test"])


@pytest.fixture
def others(make, monkeypatch, tmp_path):
    """others(method, train=..., val=..., test=..., options=...) builds a trainer on rows (file, label, class name)."""

    def build(method="ZeroshotCLIP", options=(), **parts):
        rows = {}
        for part, items in parts.items():
            rows[part] = [(str(tmp_path / file), *rest) for file, *rest in items]
            for path, *_ in rows[part]:
                open(path, "a").close()
        monkeypatch.setattr(OthersDataset, "parts", rows)
        return make(method, "DATASET.NAME", "OthersDataset", *options)

    return build


TRAIN = [("0.png", 0, "cat"), ("1.png", 1, "dog")]


@pytest.mark.parametrize(
    "parts, facts",
    [
        ({"test": [("2.png", 0, "dog")]}, ["label 0", "'cat' in train", "'dog' in test"]),
        ({"val": [("2.png", 1, "cat")], "test": TRAIN}, ["label 1", "'dog' in train", "'cat' in val"]),
        ({"test": [("2.png", 2, "eel")]}, ["'eel'", "label 2", "test", "no train"]),
        ({"test": [("2.png", 1.5, "dog")]}, ["1.5", "test"]),
        ({"train": [*TRAIN, ("3.png", 3, "fox")], "test": TRAIN}, ["3 classes", "0 to 2", "label 2"]),
        ({"train": [*TRAIN, ("3.png", 2, "fox\n* accuracy: 99.99%")], "test": TRAIN}, ["class name", "U+000A"]),
    ],
)
def test_datasets_of_others_are_checked(others, parts, facts, capsys):
    with raises_user_error("OthersDataset", *facts, error=ValueError):
        others(**{"train": TRAIN, **parts})
    assert "\n* accuracy" not in capsys.readouterr().out


def test_templates_and_contexts_are_checked(make):
    with raises_user_error("DATASET.TEMPLATE", "U+001B", error=ValueError):
        make("ZeroshotCLIP", "DATASET.TEMPLATE", "a photo\x1b[2J of a {}.")
    with raises_user_error("TRAINER.COOP.CTX_INIT", "U+0007", error=ValueError):
        make("CoOp", "TRAINER.COOP.CTX_INIT", "a photo\aof a")
