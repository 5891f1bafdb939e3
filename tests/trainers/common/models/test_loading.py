"""Loading a CLIP: names, paths, precisions, fingerprint, errors."""

import pytest
import torch
from clip.model import convert_weights

from tests.reference.models import random_clip
from tests.user_errors import raises_user_error
from trainers.common.models import backbone_files, loading
from trainers.common.models.loading import fingerprint, load_clip, resolve_precision


def test_fp32_weights_are_loaded_exactly(tiny):
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


def test_a_clip_folder_with_prompts_gives_openais_model(tiny, monkeypatch):
    """`build_model` of MaPLe and PromptSRC has an argument for the design of the prompts."""

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
    with raises_user_error("MODEL.BACKBONE.NAME", "'ViT-B/17'", "micro, RN50"):
        load_clip("ViT-B/17")
    for name, meant in (("vit_b16", "ViT-B/16"), ("VIT-B-32", "ViT-B/32"), ("rn50x4", "RN50x4"), ("mikro", "micro")):
        with raises_user_error(f"'{name}'", f"did you mean {meant}?"):
            load_clip(name)
    broken = tmp_path / "broken.pt"
    broken.write_bytes(b"no weights")
    with raises_user_error(broken, "corrupted", "MODEL.BACKBONE.NAME"):
        load_clip(str(broken))
    torch.save({"layer.weight": torch.zeros(2)}, tmp_path / "other.pt")
    with raises_user_error("MODEL.BACKBONE.NAME", tmp_path / "other.pt"):
        load_clip(str(tmp_path / "other.pt"))
    monkeypatch.setattr(backbone_files, "MICRO", tmp_path / "none.pt")
    with raises_user_error(tmp_path / "none.pt", "assets/micro_clip.pt", error=FileNotFoundError):
        load_clip("micro")


@pytest.mark.parametrize("arguments", [1, 2])
def test_download_with_either_signature(tmp_path, monkeypatch, arguments, tiny):
    """CoOp's own `clip._download(url)`, and `_download(url, root)` of the package on PyPI."""
    calls = []

    def download_url(url):
        calls.append((url,))
        return tiny

    def download_url_to(url, root):
        calls.append((url, root))
        return tiny

    monkeypatch.setattr(loading.clip, "_download", download_url if arguments == 1 else download_url_to)
    load_clip("ViT-B/16")
    assert len(calls[0]) == arguments and calls[0][0].endswith("ViT-B-16.pt")


def test_an_incomplete_download_is_removed(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    partial = tmp_path / ".cache" / "clip" / "ViT-B-16.pt"

    def fail(url, root):
        partial.parent.mkdir(parents=True)
        partial.write_bytes(b"half of it")
        raise OSError("no network")

    monkeypatch.setattr(loading.clip, "_download", fail)
    with raises_user_error("ViT-B/16", "no network", partial, "MODEL.BACKBONE.NAME", error=FileNotFoundError):
        load_clip("ViT-B/16")
    assert not partial.exists()


def test_precision():
    assert resolve_precision("auto", torch.device("cpu")) == "fp32"
    assert resolve_precision("auto", torch.device("cuda")) == "fp16"
    with raises_user_error("TRAINER.X.PREC", "'fp16'", "'half'"):
        resolve_precision("half", torch.device("cpu"), "TRAINER.X.PREC")
