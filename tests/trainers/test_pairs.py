"""Training on images with captions, against the formulas in tests/reference/pairs.py."""

import csv
import json
from pathlib import Path

import clip
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from datasets import retrieval
from tests.reference.pairs import PlainPairs, choose
from tests.user_errors import assert_facts, raises_user_error
from tools.export import main as export
from tools.interpolate import main as interpolate
from tools.reporting.run import read_record
from tools.retrieving import models
from tools.retrieving.features import image_features, text_features
from trainers import methods
from trainers.common import load_tuned
from trainers.common.inference.captions import caption_features
from trainers.common.inference.retrieval import metrics as recalls
from trainers.common.inference.retrieval import rank_both

from .compare import SGD, move, plain_clip
from .crash import content
from .helpers import cut_off_after, make_trainer, train_step

WORDS = ("a red dog", "a small cat on a mat", "the ship", "two dogs", "an empty street at night")
ON_CAPTIONS = {
    "Adapter", "BitFit", "CLIPFit", "CLIPLoRA", "CLIPSVD", "Compacter", "CompacterPP", "FLYP", "FullFineTuning",
    "LayerNormTuning", "MMA", "ZeroshotCLIP", "ZeroshotCLIP2",
}  # fmt: skip


def write_captions(folder, train=12, val=4, test=6):
    """Writes images of noise, with one to three captions each, and a CSV file. Some captions are of several images."""
    rng = np.random.default_rng(0)
    rows = []
    for split, number in (("train", train), ("val", val), ("test", test)):
        for i in range(number):
            pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).resize((40, 40)).save(folder / f"{split}_{i}.png")
            own = [WORDS[i % 5], f"{WORDS[(i + 1) % 5]} and {i}", WORDS[(2 * i) % 5]][: 1 + i % 3]
            rows += [(f"{split}_{i}.png", text, split) for text in dict.fromkeys(own)]
    with open(folder / "captions.csv", "w", newline="") as file:
        csv.writer(file).writerows([("image", "caption", "split"), *rows])


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("captions")
    write_captions(folder)
    return folder


CAPTIONS = ("DATASET.NAME", "Captions", "DATASET.CAPTIONS.FILE", "captions.csv", "DATASET.NUM_SHOTS", "-1")


@pytest.fixture
def on_captions(root, tiny, tmp_path):
    """on_captions(method, *opts, output=..., root=...) builds a trainer on the captions."""

    def build(method, *opts, output=None, data=root, flags=()):
        opts = ("TRAINER.MMA.ADAPTER_START", "1", "TRAINER.MMA.ADAPTER_END", "2", *opts)  # the tiny CLIP has 2 blocks
        trainer = make_trainer(method, data, tiny, output or tmp_path / "run", *CAPTIONS, *opts, flags=flags)
        if trainer.trainable:
            trainer.read_captions()
        return trainer

    return build


def batch_of(trainer, n=6, seed=0):
    rng = torch.Generator().manual_seed(seed)
    index = torch.randperm(len(trainer.dm.dataset.train_x), generator=rng)[:n]
    return {"img": torch.randn(n, 3, 32, 32, generator=rng), "label": torch.zeros(n, dtype=torch.long), "index": index}


def captions_of(trainer, batch):
    return [trainer.dm.dataset.train_x[i].captions for i in batch["index"]]


def test_twenty_sgd_steps_follow_the_formulas(on_captions):
    trainer = on_captions("CLIPFit")
    plain = PlainPairs(plain_clip(trainer))
    move(trainer, plain)
    optimiser = torch.optim.SGD(plain.parameters.values(), **SGD)
    for group in trainer.optim.param_groups:
        group["lr"] = SGD["lr"]
    masked = 0
    for step in range(20):
        batch = batch_of(trainer, seed=step)
        captions = captions_of(trainer, batch)
        chosen = choose(captions, step)
        masked += sum(text in own for own in captions for text in chosen) - len(chosen)
        torch.manual_seed(step)
        summary = train_step(trainer, batch)
        terms = plain.set_gradients(batch["img"], captions, chosen)
        if step in (1, 19):
            for name, p in plain.parameters.items():
                gradient = trainer.tuned.get_parameter(name).grad
                assert p.grad.norm() > 0 and (gradient - p.grad).norm() <= 1e-4 * p.grad.norm() + 1e-7, name
        optimiser.step()
        for name, term in terms.items():
            assert summary[name] == pytest.approx(term.item(), rel=1e-5, abs=4e-6), (
                step,
                name,
            )  # kd: 8 (1 - cos), cancels
    assert masked > 0, "the batches have pairs that are no negatives"


@pytest.mark.parametrize("method", ["CLIPFit", "FullFineTuning", "CLIPLoRA"])
def test_gradient_caching_gives_the_gradients_of_the_whole_batch(on_captions, tmp_path, method):
    options = ("TRAINER.CLIPLORA.DROPOUT", "0.0") if method == "CLIPLoRA" else ()
    gradients = []
    for size in (0, 4):
        trainer = on_captions(method, "MODEL.GRADIENT_CACHING", str(size), *options, output=tmp_path / f"{size}")
        for p in trainer.tuned.parameters():  # away from the start, where LoRA's gradients vanish
            p.data += 0.01 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel()))
        torch.manual_seed(1)
        trainer.set_model_mode("train")
        trainer.gradients(*trainer.parse_batch_train(batch_of(trainer, 10)))
        gradients.append({name: p.grad for name, p in trainer.tuned.named_parameters()})
    whole, cached = gradients
    total = torch.cat([g.flatten() for g in whole.values()]).norm()
    for name, gradient in whole.items():
        assert gradient.norm() > 0, name
        assert (cached[name] - gradient).norm() <= 1e-6 * total, name


def test_a_resumed_run_equals_an_uninterrupted_one(on_captions, tmp_path):
    options = ("TRAIN.CHECKPOINT_FREQ", "1", "TEST.FINAL_MODEL", "best_val", "DATASET.NUM_SHOTS", "9")
    on_captions("CLIPFit", *options, output=tmp_path / "whole").train()
    cut_off_after(on_captions("CLIPFit", *options, output=tmp_path / "cut"), 2)
    on_captions("CLIPFit", *options, output=tmp_path / "cut").train()
    for name in ("model.pth.tar-3", "model-best.pth.tar"):
        assert content(tmp_path / "cut/clipfit" / name) == content(tmp_path / "whole/clipfit" / name)
    whole, cut = (json.loads((tmp_path / run / "result.json").read_text()) for run in ("whole", "cut"))
    assert whole["metrics"] == cut["metrics"] and whole["metric"] == "mean_recall" and whole["shots"] == 9
    assert whole["identity"]["classnames"] == [] and whole["name"] == "captions"
    run = read_record(tmp_path / "whole/result.json")
    assert run.finished and run.score == whole["metrics"]["test"]["mean_recall"] and run.accuracy is None


def test_which_methods_train_on_captions(root, tiny, tmp_path, monkeypatch):
    own = {name: method for name, method in methods().items() if method.__module__.startswith("trainers.")}
    assert {name for name, method in own.items() if method.takes_captions()} - {"ClipFit"} == ON_CAPTIONS
    monkeypatch.setattr("trainers.common.tuned_clip.load_backbone", None)
    for name in ("CoOp", "TipAdapter", "LinearProbe", "TwoStage"):
        with raises_user_error(name, "DATASET.NAME Captions", "CLIPFit"):
            make_trainer(name, root / "missing", tiny, tmp_path / name, *CAPTIONS)
        assert not (tmp_path / name).exists()


@pytest.mark.parametrize("method", sorted(ON_CAPTIONS - {"ZeroshotCLIP", "ZeroshotCLIP2"}))
def test_every_method_learns_the_training_pairs(on_captions, method):
    trainer = on_captions(method)
    losses = [train_step(trainer, batch_of(trainer, 10))["loss"] for _ in range(3)]
    assert all(np.isfinite(losses)) and trainer.tuned.state_dict()


def rows_of(root, *rows):
    """Writes a CSV file of other captions of the images in `root`. Returns its name."""
    with open(root / "other.csv", "w", newline="") as file:
        csv.writer(file).writerows([("image", "caption", "split"), *rows])
    return "other.csv"


def test_fewer_images_are_the_first_of_more(on_captions):
    paths = {}
    for seed in ("1", "2"):
        for number in ("4", "9"):
            dataset = on_captions("ZeroshotCLIP", "DATASET.NUM_SHOTS", number, "SEED", seed).dm.dataset
            paths[seed, number] = [item.impath for item in dataset.train_x]
            assert len(dataset.train_x) == int(number) and len(dataset.val) == 4 and len(dataset.test) == 6
    assert paths["1", "9"][:4] == paths["1", "4"] and paths["2", "4"] != paths["1", "4"]


def test_mistakes_in_the_data_are_one_line(on_captions, root):
    with raises_user_error("DATASET.NUM_SHOTS 13", "12"):
        on_captions("CLIPFit", "DATASET.NUM_SHOTS", "13")
    with raises_user_error("BATCH_SIZE (1)", "at least 2"):
        on_captions("CLIPFit", "DATALOADER.TRAIN_X.BATCH_SIZE", "1")
    with raises_user_error("NUM_SHOTS 1)", "at least 2"):
        on_captions("CLIPFit", "DATASET.NUM_SHOTS", "1")
    test = ("test_0.png", "a dog", "test")
    file = ("DATASET.CAPTIONS.FILE", "other.csv")
    rows_of(root, test, *[(f"train_{i}.png", "a dog", "train") for i in range(3)])
    with raises_user_error("'a dog'", "3", "DATASET.CAPTIONS.FILE"):
        on_captions("CLIPFit", *file)
    rows_of(root, test, ("train_0.png", " ", "train"))
    with raises_user_error("train_0.png", "caption"):
        on_captions("CLIPFit", *file)
    rows_of(root, ("train_0.png", "a cat", "train"))
    with raises_user_error("test", "other.csv"):
        on_captions("CLIPFit", *file)


def test_settings_without_effect_are_refused(on_captions, make):
    with raises_user_error("MODEL.GRADIENT_CACHING 4", "Digits"):
        make("CLIPFit", "MODEL.GRADIENT_CACHING", "4")
    with raises_user_error("SUBSAMPLE_CLASSES", "'base'"):
        on_captions("CLIPFit", "DATASET.SUBSAMPLE_CLASSES", "base")
    with raises_user_error("DATALOADER.TRAIN_X.SAMPLER", "RandomClassSampler", "RandomSampler"):
        on_captions("CLIPFit", "DATALOADER.TRAIN_X.SAMPLER", "RandomClassSampler")


def test_other_captions_of_the_same_images_are_other_data(on_captions, root, tmp_path):
    rows = [(f"train_{i}.png", f"a {WORDS[i]}", "train") for i in range(4)] + [("test_0.png", "a dog", "test")]
    file = ("DATASET.CAPTIONS.FILE", rows_of(root, *rows), "OPTIM.MAX_EPOCH", "1", "TEST.NO_TEST", "True")
    on_captions("CLIPFit", *file).train()
    rows_of(root, ("train_0.png", "another caption", "train"), *rows[1:])
    with raises_user_error(tmp_path / "run", "training images"):
        on_captions("CLIPFit", *file).train()


def test_runs_are_evaluated_both_ways(on_captions, make, root, tmp_path):
    """A run on captions as a classifier, a run on classes on captions; recalls equal those of tools/retrieve.py."""
    on_captions("CLIPFit", "OPTIM.MAX_EPOCH", "1", output=tmp_path / "pairs").train()
    make("CLIPFit", "OPTIM.MAX_EPOCH", "1", "TEST.NO_TEST", "True", output=tmp_path / "classes").train()
    trainer = make("CLIPFit", output=tmp_path / "a", flags=("--eval-only", "--model-dir", str(tmp_path / "pairs")))
    trainer.load_model(str(tmp_path / "pairs"))
    trainer.test()
    record = json.loads((tmp_path / "a/result.json").read_text())
    assert 0 <= record["metrics"]["test"]["accuracy"] <= 100 and record["source"]["dataset"] == "Captions"
    flags = ("--eval-only", "--model-dir", str(tmp_path / "classes"))
    trainer = on_captions("CLIPFit", output=tmp_path / "b", flags=flags)
    trainer.load_model(str(tmp_path / "classes"))
    trainer.test()
    found = json.loads((tmp_path / "b/result.json").read_text())["metrics"]["test"]
    for run, metrics in ((tmp_path / "classes", found), (tmp_path / "pairs", None)):
        metrics = metrics or json.loads((run / "result.json").read_text())["metrics"]["test"]
        tuned = models.tuned(str(run))
        captions = retrieval.load(str(root / "captions.csv"))["test"]
        ranks = rank_both(image_features(tuned, captions), text_features(tuned, captions)[0], captions.image_index)
        expected = recalls(ranks)
        assert {name: metrics[name] for name in expected} == pytest.approx(expected)


def test_a_run_on_captions_predicts_classes_that_are_given(on_captions, root, tmp_path, capsys):
    on_captions("CLIPFit", "OPTIM.MAX_EPOCH", "1", "TEST.NO_TEST", "True").train()
    check_exports(str(tmp_path / "run"), capsys)
    with raises_user_error("class names", "classnames"):
        load_tuned(tmp_path / "run")
    capsys.readouterr()
    assert interpolate([str(tmp_path / "run"), "--root", str(root)]) == 1
    assert_facts(capsys.readouterr().err.splitlines()[-1], "error: ", "captions", "tools/retrieve.py")
    classifier = load_tuned(tmp_path / "run", ["dog", "cat"])
    assert classifier.trainer.prompts == [["a photo of a dog."], ["a photo of a cat."]]
    assert classifier.predict(str(root / "test_0.png")).logits.shape == (1, 2)


def check_exports(run, capsys):
    """The encoders are exported without classes; formats that predict need them."""
    for target in ("openai", "delta"):
        assert export([run, "--to", target]) == 0
        about = json.loads(Path(run, "exported", target, "classes.json").read_text())
        assert about["method"] == "CLIPFit" and about["classnames"] == [] and about["prompts"] is None
    model, _ = clip.load(f"{run}/exported/openai/clip.pt", device="cpu")
    model.load_state_dict(torch.load(f"{run}/exported/openai/clip.pt", weights_only=True))
    with torch.no_grad():
        text = F.normalize(model.encode_text(clip.tokenize(["a red dog"])), dim=-1)
    for path in (run, f"{run}/exported/delta/tuned.safetensors"):
        tuned = models.tuned(path).trainer
        assert torch.allclose(caption_features(tuned, ["a red dog"])[0], text, atol=1e-5)
    capsys.readouterr()
    assert export([run, "--to", "head"]) == 1
    assert_facts(capsys.readouterr().err.splitlines()[-1], "error: ", run, "--classes")
    assert export([run, "--to", "head", "--classes", "dog,cat"]) == 0
    about = json.loads(Path(run, "exported", "head", "classes.json").read_text())
    assert about["classnames"] == ["dog", "cat"] and about["prompts"] == ["a photo of a dog.", "a photo of a cat."]


@pytest.mark.parametrize("precision", ["bf16", "amp"])
@pytest.mark.parametrize("size", ["0", "3"])
def test_other_precisions(on_captions, precision, size):
    trainer = on_captions("CLIPFit", "TRAINER.CLIPFIT.PREC", precision, "MODEL.GRADIENT_CACHING", size)
    summary = train_step(trainer, batch_of(trainer))
    plain = on_captions("CLIPFit")
    assert summary["image"] == pytest.approx(train_step(plain, batch_of(plain))["image"], rel=0.2)
