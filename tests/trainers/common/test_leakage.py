"""Images that occur more than once: in several parts, several times in test, with two labels."""

import shutil

import pytest
from PIL import Image

from tests.user_errors import assert_facts, raises_user_error
from trainers.common import leakage
from trainers.common.leakage import Overlap, find

from .test_classes import TRAIN, others  # noqa: F401  (fixture)


def rows(*paths, label=0):
    return [(path, label, None) for path in paths]


def test_no_overlap():
    assert find({"train": rows("a", "b"), "val": [], "test": rows("c", "d")}) == []
    assert find({"test": rows("c")}) == []


def test_the_same_path():
    parts = {"train": rows("x/a.jpg", "x/b.jpg"), "val": rows("c"), "test": rows("x/./a.jpg", "y/../x/b.jpg", "c", "d")}
    by_parts = {overlap.parts: overlap for overlap in find(parts)}
    assert by_parts == {
        ("train", "test"): Overlap("path", ("train", "test"), 2, ("x/a.jpg", "x/a.jpg")),
        ("val", "test"): Overlap("path", ("val", "test"), 1, ("c", "c")),
    }
    assert_facts(str(by_parts["train", "test"]), "2 image", "train", "test", "x/a.jpg")


def test_repeated_test_images_and_two_labels():
    parts = {"train": [*rows("a", "a"), ("a", 1, None)], "test": rows("b", "b", "b", "c", "c")}
    repeated, labels = sorted(find(parts), key=lambda overlap: -len(overlap.parts))
    assert repeated == Overlap("path", ("test", "test"), 2, ("b", "b"))
    assert labels == Overlap("path", (), 1, ("a", "a"))
    assert_facts(str(repeated), "2 image", "more than once in test")
    assert_facts(str(labels), "1 image", "two labels")


def test_equal_content():
    """Files of other names with equal content; the same file twice is reported once, by its path."""
    parts = {
        "train": [("a", 0, "A"), ("b", 0, "B"), ("n", 0, None)],
        "test": [("c", 1, "A"), ("b", 0, "B"), ("d", 0, "D"), ("e", 0, "D"), ("m", 0, None)],
    }
    assert find(parts) == [
        Overlap("path", ("train", "test"), 1, ("b", "b")),
        Overlap("content", ("train", "test"), 1, ("a", "c")),
        Overlap("content", (), 1, ("a", "c")),
        Overlap("content", ("test", "test"), 1, ("d", "e")),
    ]
    assert_facts(str(find(parts)[1]), "equal content", "a and c")


def test_thousands_of_equal_images_are_fast():
    """Placeholders such as "image not available": comparing all pairs of 100,000 files would take hours."""
    parts = {"train": [(f"{i}", 0, "A") for i in range(50_000)], "test": [(f"{-i}", i % 7, "A") for i in range(50_000)]}
    found = {overlap.parts: (overlap.count, overlap.first) for overlap in find(parts) if overlap.by == "content"}
    assert found == {
        ("train", "test"): (1, ("0", "-1")),
        ("test", "test"): (1, ("0", "-1")),
        (): (1, ("0", "-1")),
    }


LEAKS = {
    "train and test": ({"test": [TRAIN[1], ("2.png", 0, "cat")]}, ("train", "test", "1.png")),
    "val and test": ({"val": [("3.png", 0, "cat")], "test": [("3.png", 0, "cat")]}, ("val", "test", "3.png")),
}
BEST = ("TEST.FINAL_MODEL", "best_val")


@pytest.mark.parametrize("case, options", [("train and test", ()), ("val and test", BEST)])
def test_leakage_ends_a_training(others, case, options):  # noqa: F811
    """Before the first step: the images, which are empty files here, are not read."""
    parts, facts = LEAKS[case]
    trainer = others("CLIPFit", options, **{"train": TRAIN, **parts})
    with raises_user_error("OthersDataset", "1 image", *facts, error=ValueError):
        trainer.train()


def test_a_training_reports_files_of_equal_content(others, tmp_path, capsys):  # noqa: F811
    for i in range(4):
        Image.new("RGB", (8, 8), (50 * i, 0, 0)).save(tmp_path / f"{i}.png")
    shutil.copy(tmp_path / "0.png", tmp_path / "copy.png")
    test = [("2.png", 0, "cat"), ("copy.png", 0, "cat"), ("3.png", 1, "dog")]
    trainer = others("CLIPFit", ("OPTIM.MAX_EPOCH", "1"), train=TRAIN, test=test)
    trainer.train()
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("WARNING: OthersDataset")]
    assert_facts(line, "1 image", "equal content", "train", "test", "0.png", "copy.png")


def test_other_overlaps_are_one_line_each(others, capsys):  # noqa: F811
    image = ("3.png", 0, "cat")
    trainer = others("CLIPFit", train=TRAIN, val=[image], test=[image, image, ("4.png", 0, "cat"), ("4.png", 1, "dog")])
    capsys.readouterr()
    leakage.check_run(trainer.dm.dataset, "X", selects_on_val=False)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 and all(line.startswith("WARNING: X: ") for line in lines)
    assert "1 image(s) are in val and in test" in lines[0] and "2 image(s) occur more than once in test" in lines[1]
    assert_facts(lines[2], "two labels", "4.png")
    with raises_user_error("X", "val", "test", "3.png", "TEST.FINAL_MODEL last_step", error=ValueError):
        leakage.check_run(trainer.dm.dataset, "X", selects_on_val=True)


def test_a_dataset_whose_train_images_are_its_test_images(others, capsys):  # noqa: F811
    """A variant of ImageNet: it can be evaluated, by zero-shot CLIP and by a trained model, but not be trained on."""
    with raises_user_error("2 image", "train", "test", error=ValueError):
        others("TipAdapter", train=TRAIN, test=TRAIN).train()
    zero_shot = others("ZeroshotCLIP", train=TRAIN, test=TRAIN)
    with pytest.raises(OSError, match="0.png"):  # reached the evaluation, which cannot read the empty files
        zero_shot.train()
