"""Loading a CLIP: names, paths, precisions, the fingerprint, and clear errors."""

import pytest
import torch
from clip.model import convert_weights

from tests.reference.models import random_clip
from trainers.common.models import loading
from trainers.common.models.loading import fingerprint, load_clip, resolve_precision


def test_fp32_keeps_every_digit(tiny):
    model, original = load_clip(tiny), random_clip("tiny")
    for name, p in original.named_parameters():
        assert torch.equal(p, model.get_parameter(name)), name
    assert not model.training and not any(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize(("precision", "dtype"), [("fp16", torch.float16), ("bf16", torch.bfloat16)])
def test_half_precision_converts_what_clip_converts(tiny, precision, dtype):
    model, reference = load_clip(tiny, precision), random_clip("tiny")
    convert_weights(reference)
    for name, p in reference.named_parameters():
        expected = dtype if p.dtype == torch.float16 else torch.float32
        assert model.get_parameter(name).dtype == expected, name
    assert model.dtype == dtype
    assert model.visual.ln_pre.weight.dtype == model.token_embedding.weight.dtype == torch.float32


def test_fingerprint_is_the_same_at_every_precision_and_for_no_other_weights(tiny):
    prints = {load_clip(tiny, precision).fingerprint for precision in ("fp32", "fp16", "bf16", "amp")}
    assert len(prints) == 1
    changed = random_clip("tiny").state_dict()
    changed["visual.ln_pre.bias"] = changed["visual.ln_pre.bias"].clone()
    changed["visual.ln_pre.bias"][7] += 0.01
    assert fingerprint(changed) not in prints
    half = {k: v.half() for k, v in random_clip("tiny").state_dict().items()}
    assert fingerprint(half) in prints  # the same weights, stored in half precision


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::torch.jit.TracerWarning")
def test_torchscript_archives_load(tmp_path, tiny):
    scripted = torch.jit.trace(random_clip("tiny").visual, torch.zeros(1, 3, 32, 32))
    scripted.save(str(tmp_path / "visual.pt"))
    assert loading._is_torchscript(str(tmp_path / "visual.pt")) and not loading._is_torchscript(tiny)
    assert "conv1.weight" in loading.read_state_dict(str(tmp_path / "visual.pt"))


def test_a_clip_folder_with_prompts_gives_openais_model(tiny, monkeypatch):
    """The one of MaPLe and PromptSRC wants to know what to build."""

    def build_model(state_dict, design_details):
        if design_details["trainer"] not in ("CoOp", "CoCoOp") or design_details["vision_depth"]:
            raise KeyError("maple_length")
        return openais(state_dict)

    openais = loading.build_model
    monkeypatch.setattr(loading, "build_model", build_model)
    assert load_clip(tiny).state_dict().keys() == random_clip("tiny").state_dict().keys()


def test_micro_rows_are_expanded(tmp_path):
    model = random_clip("tiny")
    state, ids = model.state_dict(), torch.tensor([320, 1125, 49406, 49407])
    rows = state["token_embedding.weight"][ids]
    state["token_embedding.weight"] = rows
    torch.save({"state_dict": state, "token_ids": ids, "meta": {"note": "text"}}, tmp_path / "m.pt")
    loaded = load_clip(str(tmp_path / "m.pt")).token_embedding.weight
    assert loaded.shape == (49408, 128) and torch.equal(loaded[ids], rows)
    assert torch.allclose(loaded[5], rows.mean(0))


def test_errors_name_the_thing(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="'ViT-B/17' is neither a file nor one of micro, RN50"):
        load_clip("ViT-B/17")
    broken = tmp_path / "broken.pt"
    broken.write_bytes(b"no weights")
    with pytest.raises(ValueError, match="cannot read the CLIP weights at .*broken.pt"):
        load_clip(str(broken))
    torch.save({"layer.weight": torch.zeros(2)}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match="other.pt' is not a CLIP"):
        load_clip(str(tmp_path / "other.pt"))
    monkeypatch.setattr(loading, "MICRO", tmp_path / "none.pt")
    with pytest.raises(FileNotFoundError, match="comes with CLIPFit.s repository"):
        load_clip("micro")


@pytest.mark.parametrize("arguments", [1, 2])
def test_download_with_either_signature(tmp_path, monkeypatch, arguments, tiny):
    """CoOp's own `clip._download(url)` and the index package's `_download(url, root)`."""
    seen = []
    one, two = (lambda url: seen.append((url,)) or tiny), (lambda url, root: seen.append((url, root)) or tiny)
    monkeypatch.setattr(loading.clip, "_download", one if arguments == 1 else two)
    load_clip("ViT-B/16")
    assert len(seen[0]) == arguments and seen[0][0].endswith("ViT-B-16.pt")


def test_failed_download_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    partial = tmp_path / ".cache" / "clip" / "ViT-B-16.pt"

    def fail(url, root):
        partial.parent.mkdir(parents=True)
        partial.write_bytes(b"half of it")
        raise OSError("no network")

    monkeypatch.setattr(loading.clip, "_download", fail)
    with pytest.raises(FileNotFoundError, match="cannot download the weights of ViT-B/16.*put the file at"):
        load_clip("ViT-B/16")
    assert not partial.exists()


def test_precision():
    assert resolve_precision("auto", torch.device("cpu")) == "fp32"
    assert resolve_precision("auto", torch.device("cuda")) == "fp16"
    with pytest.raises(ValueError, match="TRAINER.X.PREC must be one of"):
        resolve_precision("half", torch.device("cpu"), "TRAINER.X.PREC")
