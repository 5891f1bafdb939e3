"""The file of the micro CLIP, a short run of its training script, and its loss."""

import math
import subprocess
from pathlib import Path

import pytest
import torch
from clip.model import build_model
from hypothesis import given
from hypothesis import strategies as st

from assets import train_micro_clip as script
from tests.fork_server import python
from tests.user_errors import assert_facts
from trainers.common.models.loading import load_clip

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "assets" / "micro_clip.pt"


def check(path):
    """Checks what the loader of a weights file relies on; returns its model and content."""
    assert path.stat().st_size <= 4_000_000
    content = torch.load(path, weights_only=True)
    state, ids = dict(content["state_dict"]), content["token_ids"]
    assert not {"input_resolution", "context_length", "vocab_size"} & set(state)
    assert ids.dtype == torch.int64 and torch.equal(ids, torch.unique(ids))  # sorted, without duplicates
    assert ids[-1] == 49407 and len(ids) == len(state["token_embedding.weight"])
    for name, value in state.items():
        assert value.dtype == torch.float16 and torch.isfinite(value).all(), name
    rows = state["token_embedding.weight"]
    state["token_embedding.weight"] = rows.new_zeros(49408, rows.shape[1]).index_copy(0, ids, rows)
    model = build_model(state).float()
    assert model.context_length == 77 and model.visual.input_resolution == script.SIDE
    assert 1 < model.logit_scale.exp().item() < 100.1  # fp16 rounds ln 100
    return model, content


def test_file_in_the_repository_is_a_small_clip():
    _, content = check(FILE)
    assert 1e6 < sum(value.numel() for value in content["state_dict"].values()) < 4e6
    assert torch.equal(content["token_ids"], script.vocabulary())
    assert content["meta"]["accuracy"]["held-out handwritten numbers"] > 60


def test_file_in_the_repository_classifies_held_out_handwritten_digits():
    model, _ = check(FILE)
    images, known = script.Artist(["cmtt10"], held_out=True).draw(800, seed=11)
    digits = known[:, 0] < 10
    pixels, _ = script.ink(images[digits], known[digits], torch.Generator().manual_seed(0))
    prompts = [f"a photo of the number {name}." for name in script.ATTRIBUTES["name"][:10]]
    with torch.no_grad():
        text = torch.nn.functional.normalize(model.encode_text(script.tokenize(prompts)), dim=-1)
        nearest = (model.encode_image(pixels) @ text.T).argmax(dim=-1)
    assert (nearest == known[digits, 0]).float().mean() > 0.6  # chance is 0.1


@pytest.fixture(scope="module")
def samples():
    return script.Artist(["cmr10"]).draw(64, seed=0)


def test_training_depends_on_the_seed_only_and_updates_every_parameter(samples):
    first, again, other = (script.Trainer(steps=3, seed=seed) for seed in (4, 4, 5))
    start = {name: value.clone() for name, value in first.model.state_dict().items()}
    losses = [[trainer.step(*samples) for _ in range(2)] for trainer in (first, again, other)]
    assert losses[0] == losses[1] != losses[2]
    for name, value in first.model.state_dict().items():
        assert torch.equal(value, again.model.state_dict()[name]), name
        assert not torch.equal(value, start[name]), name


def test_logit_scale_stays_at_most_100(samples):
    trainer = script.Trainer(steps=2)
    trainer.model.logit_scale.data.fill_(7.0)
    trainer.step(*samples)
    assert trainer.model.logit_scale.exp().item() == pytest.approx(100, rel=1e-5)


def run(*arguments):
    command = [python(), str(ROOT / "assets" / "train_micro_clip.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def test_three_steps_from_the_command_line_write_a_valid_file(tmp_path):
    done = run("--steps", 3, "--images", 200, "--device", "cpu", "--out", tmp_path / "new" / "micro.pt")
    assert done.returncode == 0, done.stderr
    assert "held-out handwritten numbers" in done.stdout and "pkg_resources" not in done.stderr
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["micro.pt"]  # no temporary file is left
    _, content = check(tmp_path / "new" / "micro.pt")
    assert content["meta"]["options"]["steps"] == 3


def test_interrupted_save_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "micro.pt"
    path.write_text("old")

    def fail_halfway(content, file):
        Path(file).write_text("half")
        raise OSError("disk full")

    monkeypatch.setattr(script.torch, "save", fail_halfway)
    with pytest.raises(OSError, match="disk full"):
        script.Trainer(steps=1).save(path, {})
    assert [p.name for p in tmp_path.iterdir()] == ["micro.pt"] and path.read_text() == "old"


@pytest.mark.parametrize("option", ["--steps=0", "--images=-1", "--lr=0", "--device=nowhere", "--out={file}/micro.pt"])
def test_bad_option_is_named_in_one_line(option, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    option = option.format(file=tmp_path / "file")
    with pytest.raises(SystemExit) as exit_info:
        script.parse([option])
    assert exit_info.value.code != 0
    name, value = option.split("=")
    last_line = capsys.readouterr().err.strip().splitlines()[-1]
    assert_facts(last_line, name, value.rstrip(".0"))


def plain_loss(logits, true):
    """Computes the mean cross-entropy over images and captions, averaged over the true partners of each, in loops."""

    def one_way(rows, marks):
        total = 0.0
        for row, mark in zip(rows, marks, strict=True):
            log_sum = math.log(sum(math.exp(value) for value in row))
            chosen = [log_sum - value for value, is_true in zip(row, mark, strict=True) if is_true]
            total += sum(chosen) / len(chosen) if chosen else 0.0
        return total / len(rows)

    return (one_way(logits, true) + one_way(list(zip(*logits, strict=True)), list(zip(*true, strict=True)))) / 2


def tables(values, images, captions):
    return st.lists(st.lists(values, min_size=captions, max_size=captions), min_size=images, max_size=images)


@given(st.data(), st.integers(1, 6), st.integers(1, 6))
def test_contrastive_loss_against_plain_loops(data, images, captions):
    logits = data.draw(tables(st.floats(-20, 20), images, captions))
    true = data.draw(tables(st.booleans(), images, captions))
    value = script.contrastive_loss(torch.tensor(logits, dtype=torch.float64), torch.tensor(true).double())
    assert value.item() == pytest.approx(plain_loss(logits, true), rel=1e-9, abs=1e-9)


def test_the_documented_numbers_of_parameters():
    model = load_clip("micro")
    state = torch.load(FILE, weights_only=True)["state_dict"]
    total = sum(p.numel() for p in model.parameters())
    embedding = model.token_embedding.weight
    positions = (len(state["positional_embedding"]) - script.CONTEXT) * state["positional_embedding"].shape[1]
    trained = sum(tensor.numel() for tensor in state.values()) - positions
    assert total - trained == (len(embedding) - len(state["token_embedding.weight"])) * embedding.shape[1] + positions
    text = (ROOT / "assets" / "README.md").read_text(encoding="utf-8")
    assert all(f"{number:,}" in text for number in (total, embedding.numel(), trained, len(embedding)))
