"""tools/retrieve.py: recalls of zero-shot and tuned models from their features, stored features, files and errors."""

import csv
import json
import os
from collections import Counter

import pytest
import torch
import torch.nn.functional as F
from clip import tokenize

from datasets.digits import load_images
from datasets.retrieval import Captions, load
from tests.tools.tuned import trained  # noqa: F401  (fixture)
from tests.user_errors import assert_user_error
from tools import retrieve
from tools.exporting.common import merged_weights
from tools.retrieving import features, models, results
from trainers.common import load_tuned
from trainers.common.inference.captions import caption_features
from trainers.common.models.loading import load_clip, openai_model

LONG = "a number " * 50


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """A CSV file of 20 digits with two captions each, of which one is too long and some are equal."""
    folder = tmp_path_factory.mktemp("pairs")
    rows, counts = [], Counter()
    for item, image in load_images().items():
        number = counts[item.classname]
        counts[item.classname] += 1
        if item.label < 5 and number < 4:
            name = f"{item.classname}{number}.png"
            image.save(folder / name)
            text = LONG if name == "zero0.png" else f"a photo of the number {item.classname}, {number} {item.classname}"
            rows += [(name, text), (name, f"digit {item.classname}" if number < 2 else f"{number} {item.classname}")]
    path = folder / "pairs.csv"
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([("image", "caption"), *rows])
    return str(path)


@pytest.fixture
def call(tmp_path, capsys):
    """call(*arguments) -> (exit code, content of retrieval.json or None, stdout, stderr)."""

    def evaluate(*arguments):
        capsys.readouterr()
        out = tmp_path / "out"
        code = retrieve.main([*map(str, arguments), "--output", str(out), "--workers", "0", "--batch-size", "8"])
        captured = capsys.readouterr()
        record = json.loads((out / "retrieval.json").read_text()) if code == 0 else None
        return code, record, captured.out, captured.err

    return evaluate


def plain_recall(model, classifier, path):
    """Recall at 1 of images with OpenAI's own encoders, one caption at a time; no two images are equal."""
    with open(path, newline="") as file:
        rows = list(csv.reader(file))[1:]
    images = list(dict.fromkeys(os.path.join(os.path.dirname(path), image) for image, _ in rows))
    with torch.no_grad():
        vision = F.normalize(model.encode_image(torch.stack([classifier.prepare(image) for image in images])), dim=-1)
        text = torch.cat([model.encode_text(tokenize([text], truncate=True)) for _, text in rows])
    scores = vision @ F.normalize(text, dim=-1).t()  # (n, m)
    index = torch.arange(20).repeat_interleave(2)
    return 100 * (scores.argmax(dim=0) == index).double().mean().item()


def test_recalls_are_those_of_openais_encoders(call, trained, pairs):  # noqa: F811
    run = trained()
    path = run.cfg.MODEL.BACKBONE.NAME
    code, record, out, err = call("zero-shot", run.output_dir, "--data", pairs, "--backbone", path)
    assert code == 0, err
    assert [model["model"] for model in record["models"]] == ["zero-shot", run.output_dir], "zero-shot CLIP once"
    classifier = load_tuned(run.output_dir)
    frozen = load_clip(path)
    tuned = openai_model(merged_weights(classifier.trainer), "fp32", "cpu", "quick_gelu")
    for model, found in zip((frozen, tuned), record["models"], strict=True):
        assert found["metrics"]["image_recall@1"] == pytest.approx(plain_recall(model, classifier, pairs))
        assert found["cut_captions"] == 1
    zero_shot, other = (model["metrics"] for model in record["models"])
    change = record["models"][1]["change_from_zero_shot"]["mean_recall"]
    assert change["difference"] == pytest.approx(other["mean_recall"] - zero_shot["mean_recall"]) != 0
    assert change["interval_95"][0] < change["difference"] < change["interval_95"][1]
    assert (record["data"]["images"], record["data"]["captions"]) == (20, 40)
    assert "20 images, 40 captions" in out and "1 captions were cut off" in out


def test_the_same_command_computes_no_feature_again(call, trained, pairs, monkeypatch):  # noqa: F811
    run = trained()
    first = call(run.output_dir, "--data", pairs)[1]
    assert [model["method"] for model in first["models"]] == ["ZeroshotCLIP", "CLIPFit"]
    monkeypatch.setattr(features, "token_features", None)
    monkeypatch.setattr("trainers.common.cached_features._computed", None)
    assert call(run.output_dir, "--data", pairs)[1]["models"] == first["models"]


def test_files(call, trained, pairs, tmp_path):  # noqa: F811
    run = trained()
    _, record, out, _ = call(run.output_dir, "--data", pairs, "--captions", 1)
    assert record["data"]["captions"] == 20 and record["data"]["captions_per_image"] == 1
    with open(tmp_path / "out" / "retrieval.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["model"] for row in rows] == ["zero-shot", run.output_dir]
    for row, model in zip(rows, record["models"], strict=True):
        assert {name: float(row[name]) for name in results.COLUMNS} == model["metrics"]
        assert float(row["mean_recall_low"]) == model["interval_95"]["mean_recall"][0]
    page = (tmp_path / "out" / "retrieval.md").read_text()
    value = f"{record['models'][1]['metrics']['image_recall@1']:.2f}"
    assert value in page and value in out and f"{run.output_dir} - zero-shot" in page


def test_published_results():
    captions = Captions([""] * 1000, [""] * 5000, [])
    name, found = results.published("ViT-B/16", "x/dataset_flickr30k.json", "test", captions)
    assert name == "Flickr30k" and found["image_recall@1"] == 62.16 and found["text_recall@10"] == 99.0
    assert results.published("ViT-B/16", "dataset_flickr30k.json", "val", captions)[1] == {}
    assert results.published("ViT-B/16", "dataset_coco.json", "test", captions)[1] == {}
    assert results.published("micro", "dataset_flickr30k.json", "test", captions)[1] == {}
    fewer = captions._replace(captions=[""] * 1000)
    assert results.published("ViT-B/16", "dataset_flickr30k.json", "test", fewer)[1] == {}, "not comparable"


@pytest.mark.parametrize(
    "arguments, facts",
    [
        (("zero-shot", "zero-shot", "--data", "{pairs}"), ["zero-shot", "twice"]),
        (("no/run", "no//run/", "--data", "{pairs}"), ["no", "twice"]),
        (("no/run", "--data", "{pairs}"), ["no/run"]),
        (("zero-shot", "--data", "no.csv"), ["no.csv", "glyph_captions"]),
        (("zero-shot", "--data", "{pairs}", "--images", "nowhere"), ["nowhere", "--images"]),
        (("zero-shot", "--data", "{pairs}", "--captions", "-1"), ["--captions", "-1"]),
        (("zero-shot", "--data", "{pairs}", "--backbone", "ViT-B/15"), ["ViT-B/15"]),
    ],
)
def test_user_errors(call, pairs, tmp_path, arguments, facts):
    assert_user_error(call(*(argument.format(pairs=pairs) for argument in arguments)), *facts)
    assert not (tmp_path / "out").exists()


def test_methods_without_features_of_captions(call, trained, pairs):  # noqa: F811
    run = trained("TaskRes", "OPTIM.MAX_EPOCH", "1")
    assert_user_error(call(run.output_dir, "--data", pairs), run.output_dir, "TaskRes", "classes")


def test_captions_stand_in_a_learned_context(call, trained, pairs):  # noqa: F811
    run = trained("CoOp", "TRAINER.COOP.N_CTX", "3", "OPTIM.MAX_EPOCH", "1")
    code, record, out, err = call(run.output_dir, "--data", pairs)
    assert code == 0, err
    zero_shot, tuned = record["models"]
    assert (zero_shot["context_tokens"], tuned["context_tokens"]) == (0, 3)
    assert run.output_dir in out.splitlines()[-3] and "3 tokens" in out
    model, captions = models.tuned(run.output_dir), load(pairs)["all"]
    stored = features.text_features(model, captions)[0]  # by the command above
    assert torch.equal(stored, caption_features(model.trainer, captions.captions)[0])
    assert not torch.allclose(stored, caption_features(load_tuned(trained().output_dir).trainer, captions.captions)[0])
