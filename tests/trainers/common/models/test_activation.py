"""MODEL.BACKBONE.ACTIVATION: features of both encoders against open_clip, and the runs and exports that follow it."""

import json

import open_clip
import pytest
import torch

from tests.user_errors import assert_user_error, raises_user_error
from tools import export
from trainers.common import load_tuned
from trainers.common.models.image import image_encoder
from trainers.common.models.loading import load_clip
from trainers.common.models.packed_prompts import pack
from trainers.common.models.text import TextEncoder

from ...helpers import batch_of, train_step

VISION = {"image_size": 32, "layers": 2, "width": 128, "patch_size": 8}
TEXT = {"context_length": 77, "vocab_size": 49408, "width": 128, "heads": 2, "layers": 3}
IMAGE = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
TOKENS = open_clip.tokenize(["a photo of a cat.", "a dog", "three words"])
ACTIVATIONS = ("quick_gelu", "gelu")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """activation -> (an open_clip model with large random weights, the path of its state dict)."""
    made = {}
    for activation in ACTIVATIONS:
        torch.manual_seed(0)
        model = open_clip.CLIP(64, VISION, TEXT, quick_gelu=activation == "quick_gelu").eval().requires_grad_(False)
        for name, parameter in model.named_parameters():
            if ".mlp." in name:
                parameter.mul_(4)  # so that the activation matters
        path = str(tmp_path_factory.mktemp(activation) / "open_clip.pt")
        torch.save({"state_dict": {f"module.{k}": v for k, v in model.state_dict().items()}}, path)
        made[activation] = model, path
    return made


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_features_equal_those_of_open_clip(activation, models):
    model, path = models[activation]
    expected = model.encode_image(IMAGE), model.encode_text(TOKENS)
    for used in ACTIVATIONS:
        clip = load_clip(path, activation=used)
        lean = image_encoder(clip.visual)(IMAGE), TextEncoder(clip)(pack(TOKENS))
        plain = clip.encode_image(IMAGE), clip.encode_text(TOKENS)
        for ours, reference, theirs in zip(lean, plain, expected, strict=True):
            assert torch.allclose(ours, reference, atol=1e-5)
            assert torch.allclose(ours, theirs, atol=1e-5) == (used == activation)


def test_gradients(models):
    """Of the lean block with recomputation, against plain autograd through clip's own modules."""
    clip = load_clip(models["gelu"][1], activation="gelu")
    bias = clip.visual.transformer.resblocks[0].mlp.c_fc.bias.requires_grad_()
    lean = image_encoder(clip.visual)
    lean.recompute = True
    gradients = [torch.autograd.grad(encode(IMAGE).square().sum(), bias)[0] for encode in (lean, clip.visual)]
    assert torch.allclose(*gradients, rtol=1e-4, atol=1e-4)


@pytest.fixture(scope="module")
def run(models, tmp_path_factory, digits_root):
    """Run directory of CLIPFit on the GELU weights."""
    from ...helpers import make_trainer

    folder = tmp_path_factory.mktemp("run")
    options = ("MODEL.BACKBONE.ACTIVATION", "gelu", "OPTIM.MAX_EPOCH", "1", "OPTIM.WARMUP_EPOCH", "-1")
    trainer = make_trainer("CLIPFit", digits_root, models["gelu"][1], folder, *options, "TEST.NO_TEST", "True")
    trainer.train()
    return folder, trainer


def test_a_run_records_it_and_its_classifier_follows_it(run, models):
    folder, trainer = run
    record = json.loads((folder / "result.json").read_text())
    assert record["settings"]["MODEL.BACKBONE.ACTIVATION"] == "gelu"
    trainer.set_model_mode("eval")
    with torch.no_grad():
        expected = trainer.model_inference(IMAGE)
    assert torch.allclose(load_tuned(folder).predict(IMAGE).logits, expected, atol=1e-5)


@pytest.mark.parametrize("target", ["open_clip", "huggingface", "onnx"])
def test_exports_follow_it(target, run, tmp_path, capsys):
    code = export.main([str(run[0]), "--to", target, "--out", str(tmp_path / target)])
    output = capsys.readouterr()
    assert code == 0 and "differ from those of the run by at most" in output.out, output.err  # it compares the logits
    config = {"open_clip": "clip_tuned.json", "huggingface": "config.json"}.get(target)
    if config:
        content = json.loads((tmp_path / target / config).read_text())
        assert content.get("quick_gelu") is False or content["text_config"]["hidden_act"] == "gelu"


def test_openais_clip_has_no_gelu(run, tmp_path, capsys):
    code = export.main([str(run[0]), "--to", "openai", "--out", str(tmp_path / "x")])
    assert_user_error((code, capsys.readouterr().err), "MODEL.BACKBONE.ACTIVATION", "gelu", "open_clip")


def test_the_log_tells_which_activation_is_assumed(make, models, capsys):
    path = models["gelu"][1]
    make("CLIPFit", backbone=path)
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "MODEL.BACKBONE.ACTIVATION" in line]
    assert path in line and "quick_gelu" in line and line.endswith("MODEL.BACKBONE.ACTIVATION gelu")
    make("CLIPFit", backbone="micro")
    assert "MODEL.BACKBONE.ACTIVATION" not in capsys.readouterr().out
    with raises_user_error("MODEL.BACKBONE.ACTIVATION", "'relu'", "'gelu'", "'quick_gelu'"):
        make("CLIPFit", "MODEL.BACKBONE.ACTIVATION", "relu")


def test_a_training_step_differs(make, models):
    path, losses = models["gelu"][1], []
    for activation in ACTIVATIONS:
        trainer = make("CLIPFit", "MODEL.BACKBONE.ACTIVATION", activation, backbone=path)
        losses.append(train_step(trainer, batch_of(trainer))["loss"])
    assert losses[0] != pytest.approx(losses[1], rel=1e-3)
