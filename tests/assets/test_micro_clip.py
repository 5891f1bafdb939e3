"""The micro CLIP's file, its training script at a tiny size, and the loss that script minimises."""

import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from clip.model import build_model
from hypothesis import given, settings
from hypothesis import strategies as st

from assets import train_micro_clip
from assets.train_micro_clip import contrastive_loss

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "assets" / "micro_clip.pt"


def load(path):
    """The file's state dict with the whole vocabulary, as clip.model.build_model wants it, and the file's content."""
    content = torch.load(path, weights_only=True)
    state = dict(content["state_dict"])
    rows = state["token_embedding.weight"]
    state["token_embedding.weight"] = rows.new_zeros(49408, rows.shape[1]).index_copy(0, content["token_ids"], rows)
    return state, content


def check(path):
    state, content = load(path)
    assert path.stat().st_size <= 4_000_000
    assert not {"input_resolution", "context_length", "vocab_size"} & set(state)
    assert torch.equal(content["token_ids"], torch.unique(content["token_ids"]))  # sorted, each once
    assert content["token_ids"].dtype == torch.int64 and content["token_ids"][-1] == 49407
    for name, value in content["state_dict"].items():
        assert value.dtype == torch.float16 and torch.isfinite(value).all(), name
    model = build_model(dict(state)).float()
    assert model.context_length == 77 and model.visual.input_resolution == 32
    assert 1 < model.logit_scale.exp().item() <= 100.1  # fp16 rounds ln 100
    return model, content


def test_the_file_in_the_repository():
    model, content = check(FILE)
    assert 1e6 < sum(v.numel() for v in content["state_dict"].values()) < 4e6
    assert content["meta"]["accuracy"]["held-out handwritten digits"] > 60


def test_the_file_reads_drawn_digits_in_held_out_fonts():
    model, content = check(FILE)
    artist = train_micro_clip.Artist(["cmtt10"], held_out=True)
    images, known = artist.draw(600, seed=11)
    images, known = images[known[:, 0] < 10], known[known[:, 0] < 10]
    pixels, _ = train_micro_clip.ink(images, known, torch.Generator().manual_seed(0))
    names = train_micro_clip.ATTRIBUTES["name"][:10]
    with torch.no_grad():
        text = model.encode_text(train_micro_clip.tokenize([f"a photo of the number {n}." for n in names]))
        logits = model.encode_image(pixels) @ torch.nn.functional.normalize(text, dim=-1).T
    assert (logits.argmax(-1) == known[:, 0]).float().mean() > 0.5  # chance 0.1


def run(*arguments):
    command = [sys.executable, str(ROOT / "assets" / "train_micro_clip.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


TINY = ("--steps", 3, "--batch", 8, "--images", 40, "--fonts", 2, "--validation", 200, "--device", "cpu")


def test_three_steps_write_a_valid_file_and_repeat_bit_for_bit(tmp_path):
    for name in "ab":
        done = run(*TINY, "--seed", 4, "--out", tmp_path / "new" / f"{name}.pt")
        assert done.returncode == 0, done.stderr
        assert "held-out handwritten digits" in done.stdout
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == ["a.pt", "b.pt"]  # no temporary file left
    (_, a), (_, b) = (check(tmp_path / "new" / f"{name}.pt") for name in "ab")
    assert all(torch.equal(v, b["state_dict"][k]) for k, v in a["state_dict"].items())


@pytest.mark.parametrize(
    ("arguments", "named"),
    [(("--steps", 0), "--steps"), (("--batch", 1), "--batch"), (("--images", 0), "--images"), (("--device", "no"), "--device")],
)
def test_bad_options_are_named_in_one_line(arguments, named):
    done = run(*arguments)
    assert done.returncode != 0 and "Traceback" not in done.stderr
    assert named in done.stderr.strip().splitlines()[-1]


def test_an_output_that_cannot_be_written_is_said_before_training(tmp_path):
    (tmp_path / "file").write_text("")
    done = run(*TINY, "--out", tmp_path / "file" / "micro.pt")
    assert done.returncode != 0 and "Traceback" not in done.stderr
    assert str(tmp_path / "file") in done.stderr


def plain_loss(logits, true):
    """Cross-entropy of each image against its true captions and of each caption against its images, in plain loops."""
    def one_way(rows, marks):
        total = 0.0
        for row, mark in zip(rows, marks, strict=True):
            normaliser = math.log(sum(math.exp(v) for v in row))
            chosen = [normaliser - v for v, m in zip(row, mark, strict=True) if m]
            total += sum(chosen) / len(chosen) if chosen else 0.0
        return total / len(rows)

    columns, column_marks = list(zip(*logits, strict=True)), list(zip(*true, strict=True))
    return (one_way(logits, true) + one_way(columns, column_marks)) / 2


@given(st.data(), st.integers(1, 6), st.integers(1, 6))
@settings(deadline=None)
def test_contrastive_loss_against_plain_loops(data, images, captions):
    rows = lambda value: st.lists(st.lists(value, min_size=captions, max_size=captions), min_size=images, max_size=images)  # noqa: E731, E501
    logits, true = data.draw(rows(st.floats(-20, 20))), data.draw(rows(st.booleans()))
    value = contrastive_loss(torch.tensor(logits, dtype=torch.float64), torch.tensor(true).double())
    assert value.item() == pytest.approx(plain_loss(logits, true), rel=1e-9, abs=1e-9)
