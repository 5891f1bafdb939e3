"""Images with captions: the readers of Karpathy's JSON and of CSV files, valid and invalid, and the bundled set."""

import json
from pathlib import Path

import pytest
import torch

from assets import train_micro_clip
from datasets import glyph_captions, retrieval
from datasets.retrieval import Captions, choose, load
from tests.datasets import mini
from tests.user_errors import raises_user_error
from trainers.common.prompts import tokenize

EXPECTED = Captions(["a.jpg", "b.jpg"], ["a dog", "a dog, on grass", "a cat"], [0, 0, 1])


@pytest.fixture
def root(tmp_path):
    mini.write_images(tmp_path / "images", ["a.jpg", "b.jpg"])
    return tmp_path


def names(captions):
    """The same captions with the names of the images instead of their paths."""
    return captions._replace(images=[Path(path).name for path in captions.images])


def karpathy(**splits):
    """The content of a JSON file: one image per keyword, its split and its captions."""
    return {"images": [
        {"filename": f"{name}.jpg", "split": split, "sentences": [{"raw": text} for text in captions]}
        for name, (split, captions) in splits.items()
    ]}  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        'image,caption\na.jpg,a dog\na.jpg,"a dog, on grass"\nb.jpg,a cat\n',
        '\ufeffa.jpg,a dog\nb.jpg," a cat"\na.jpg,"a dog, on grass"\n',
        'image,caption\na.jpg,a dog\n./a.jpg,"a dog, on grass"\nb.jpg,a cat\n',
        "image;caption\na.jpg;a dog\na.jpg;a dog, on grass\nb.jpg;a cat\n",
        "a.jpg\ta dog\r\na.jpg\ta dog, on grass\r\n\r\nb.jpg\ta cat\r\n",
        "Caption\tFile Name\na dog\ta.jpg\na dog, on grass\ta.jpg\na cat\tb.jpg\n",
        "image,caption\na.jpg,a dog\na.jpg,a dog, on grass\nb.jpg,a cat\n",  # as in CLIP_benchmark
    ],
)
def test_csv_files(root, text):
    (root / "captions.csv").write_text(text, encoding="utf-8")
    splits = load(str(root / "captions.csv"))
    assert {split: names(captions) for split, captions in splits.items()} == {"all": EXPECTED}
    assert choose(splits, "test", "") is splits["all"]


def test_csv_files_with_splits_and_another_image_folder(root):
    (root / "captions.csv").write_text("split,image,caption\nTraining,images\\a.jpg,a dog\ntest,images/b.jpg,a cat\n")
    splits = load(str(root / "captions.csv"), images=str(root))
    assert {split: names(captions) for split, captions in splits.items()} == {
        "train": Captions(["a.jpg"], ["a dog"], [0]),
        "test": Captions(["b.jpg"], ["a cat"], [0]),
    }
    assert splits["train"].images == [str(root / "images/a.jpg")]


def test_karpathys_files(root):
    mini.write_images(root / "images" / "val2014", ["c.jpg"])
    content = karpathy(a=("restval", ["a dog\n", "a dog, on grass"]), b=("train", ["a cat"]), c=("test", []))
    content["images"][2]["filepath"] = "val2014"
    (root / "dataset_coco.json").write_text(json.dumps(content))
    splits = load(str(root / "dataset_coco.json"))
    assert {split: names(captions) for split, captions in splits.items()} == {
        "train": EXPECTED,
        "test": Captions(["c.jpg"], [], []),
    }
    assert splits["test"].images == [str(root / "images/val2014/c.jpg")]
    with raises_user_error("here.json", "test", "no captions"):
        choose(splits, "test", "here.json")
    with raises_user_error("here.json", "val", "train, test"):
        choose(splits, "val", "here.json")
    with raises_user_error("train", "val", "test", "'holdout'"):
        choose(splits, "holdout", "here.json")


@pytest.mark.parametrize(
    "name, content, facts",
    [
        ("x.csv", None, []),
        ("x.csv", "", ["no images"]),
        ("x.csv", "a.jpg\n", ["image,caption", "['a.jpg']"]),
        ("x.csv", "a.jpg,a dog, on grass, asleep\nb.jpg,a cat\n", ["quotes", "on grass"]),
        ("x.csv", 'image,caption\na.jpg,a dog, on grass, asleep\nb.jpg,"a cat, asleep"\n', ["quotes", "on grass"]),
        ("x.csv", "a.jpg;a dog, black\nb.jpg;a dog, white\n", ["commas", "semicolons", "image;caption"]),
        (
            "x.json",
            '{"images": [{"filename": "a.jpg", "split": "test", "sentences": [{"raw": "\\ud800"}]}]}',
            ["ud800"],
        ),
        ("x.csv", "a.jpg,\n", ["a.jpg", "''"]),
        ("x.csv", ",a dog\n", ["path", "a dog"]),
        ("x.csv", "a.jpg,a dog,holdout\n", ["a.jpg", "train", "val", "test", "'holdout'"]),
        ("x.csv", "a.jpg,a dog,train\na.jpg,a cat,test\n", ["a.jpg", "train", "test"]),
        ("x.csv", "a.jpg,a dog,train\nb.jpg,a cat\n", ["split"]),
        ("x.csv", "caption,split,image\na dog,train,a.jpg\na cat,b.jpg\n", ["['a cat', 'b.jpg']"]),
        ("x.csv", "a.jpg,a dog\nc.jpg,a cat\nd.jpg,a cat\n", [" 2 ", "c.jpg"]),
        ("x.csv", b"\xff\xfe\x00", ["UTF-8"]),
        ("x.json", "[", ["JSON"]),
        ("x.json", '[["a.jpg", "a dog"]]', ["images", "CSV"]),
        ("x.json", '{"images": [{"filename": "a.jpg", "split": "test"}]}', ["sentences", "a.jpg"]),
        ("x.json", json.dumps(karpathy(a=("test", [3]))), ["a.jpg", "3"]),
        ("x.json", json.dumps(karpathy(a=("holdout", ["a dog"]))), ["a.jpg", "restval", "'holdout'"]),
    ],
)
def test_invalid_files(root, name, content, facts):
    if content is not None:
        (root / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with raises_user_error(name, *facts, error=(ValueError, FileNotFoundError)):
        load(str(root / name))


def test_a_missing_image_folder(root):
    (root / "x.csv").write_text("a.jpg,a dog\n")
    with raises_user_error("nowhere", "x.csv", "--images"):
        load(str(root / "x.csv"), images="nowhere")


def test_the_digest_is_that_of_images_and_captions(root):
    images = [str(root / "images" / name) for name in ("a.jpg", "b.jpg")]
    content = Captions(images, ["a dog", "a dog, on grass", "a cat"], [0, 0, 1]).content()
    assert (content["images"], content["captions"]) == (2, 3)
    assert Captions(images[::-1], ["a cat", "a dog, on grass", "a dog"], [0, 1, 1]).content() == content
    assert Captions(images, ["a dog", "a dog, on grass", "a cat"], [0, 1, 1]).content() != content
    Path(images[0]).write_bytes(Path(images[1]).read_bytes() + b" ")
    assert Captions(images, ["a dog", "a dog, on grass", "a cat"], [0, 0, 1]).content() != content


def test_first_captions_and_description():
    captions = retrieval.build(["a", "b", "c"], [["x", "y", "z"], ["x"], []])
    assert captions.first(2) == (["a", "b", "c"], ["x", "y", "x"], [0, 0, 1])
    assert "3 images, 4 captions (0 to 3 per image)" in captions.describe()
    assert "1 captions repeat" in captions.describe() and "1 images have no caption" in captions.describe()


def test_the_bundled_captions(tmp_path):
    splits = load(glyph_captions.NAME, root=str(tmp_path))
    assert {name: (len(own.images), len(own.captions)) for name, own in splits.items()} == {
        "train": (272, 1360), "val": (102, 510), "test": (170, 850)
    }  # fmt: skip
    prompts = tokenize([caption for own in splits.values() for caption in own.captions])
    assert torch.isin(prompts, train_micro_clip.vocabulary()).all(), "the micro CLIP knows every word"
    assert prompts.argmax(dim=1).max() < 24, "positions that it was trained on"
    first = {own[0] for own in splits["test"].of_images()}
    assert len(first) == 170, "the first caption of an image is true of no other"
    bytes_before = Path(splits["test"].images[7]).read_bytes()
    assert load(glyph_captions.NAME, root=str(tmp_path)) == splits
    images, rows = glyph_captions.make()
    images["two/two_03.png"].save(tmp_path / "again.png")
    assert (tmp_path / "again.png").read_bytes() == (tmp_path / "glyph_captions/images/two/two_03.png").read_bytes()
    assert Path(splits["test"].images[7]).read_bytes() == bytes_before
