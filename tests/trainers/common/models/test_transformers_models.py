"""Backbones of the package transformers against the package itself, for a tiny model of every supported class."""

import pytest
import torch
import torch.nn.functional as F

from tests.reference.transformers_library import (
    PROMPTS,
    assert_close,
    features,
    library_images,
    library_logits,
    library_model,
    library_tokens,
    random_images,
)  # fmt: skip
from tests.reference.transformers_zoo import MODELS
from tests.trainers.helpers import make_trainer
from tests.user_errors import raises_user_error
from trainers.common.compat import functional_call
from trainers.common.models import places, transformers_models
from trainers.common.models.backbones import load_backbone, outline
from trainers.common.models.parameter_sets import PARAMETER_SETS, select

transformers = pytest.importorskip("transformers")
WITHOUT_PROJECTION = ("SiglipModel", "Siglip2Model", "Blip2ForImageTextRetrieval", "AlignModel")  # of single features
every_model = pytest.mark.parametrize("name", MODELS)


def sets_of(name):
    """CLIPFit's parameter sets, for a model that has them."""
    return ("text_ffn_output_bias", "image_batchnorm" if name == "AlignModel" else "image_layernorm")


def build(folder, digits_root, tmp_path, method, *opts):
    return make_trainer(method, digits_root, folder, tmp_path / "run", "TRAINER.COOP.PREC", "fp32", *opts)


def clipfit(folder, digits_root, tmp_path, name, *opts):
    """A CLIPFit trainer with changed tuned parameters, and a batch."""
    keys = ("TRAINER.CLIPFIT.TUNE", str(sets_of(name)), "TRAINER.CLIPFIT.BETA", "2.0", "TRAINER.CLIPFIT.PREC", "fp32")
    trainer = build(folder, digits_root, tmp_path, "CLIPFit", *keys, *opts)
    rng = torch.Generator().manual_seed(1)
    for p in trainer.tuned.parameters():
        p.data += 0.02 * torch.randn(p.shape, generator=rng)
    return trainer, (random_images(6), torch.arange(6))


def test_the_registry_of_the_tests_is_complete():
    assert MODELS.keys() == transformers_models.FAMILIES.keys()


@every_model
def test_features_scale_and_bias_are_those_of_the_library(transformers_backbone, transformers_folder, name):
    backbone, image = transformers_backbone(name), random_images()
    with torch.no_grad():
        expected = library_logits(
            library_model(transformers_folder(name)),
            library_images(name, image),
            library_tokens(transformers_folder(name), PROMPTS),
        )
    image_features, text_features = features(backbone, image)
    assert_close(image_features, expected[1])
    assert_close(text_features, expected[2])
    logits = backbone.logits(image_features, text_features) + (backbone.logit_bias or 0)
    assert_close(logits, expected[0])
    assert backbone.logit_scale.shape == ()
    assert backbone.dim == image_features.shape[-1] == text_features.shape[1]
    assert len({tuple(row) for row in text_features.tolist()}) == len(PROMPTS)


@every_model
def test_the_model_is_frozen_and_knows_its_identity(
    transformers_backbone, transformers_folder, name, copied_transformers
):
    backbone = transformers_backbone(name)
    assert type(backbone.model).__name__ == name and backbone.library == "transformers"
    assert not backbone.model.training and not any(p.requires_grad for p in backbone.model.parameters())
    own = library_model(transformers_folder(name)).state_dict()
    assert backbone.model.state_dict().keys() == own.keys()
    identity = backbone.identity()
    assert len(identity["weights_digest"]) == 64 and identity["weights_digest"].startswith(identity["fingerprint"])
    folder = copied_transformers(name)
    assert load_backbone(f"transformers:{folder}").identity() == identity
    changed = library_model(folder)
    next(changed.parameters()).data.flatten()[0] += 1
    changed.save_pretrained(folder)
    assert load_backbone(str(folder)).identity() != identity


@every_model
@torch.no_grad()
def test_features_before_the_projection(transformers_backbone, name):
    """The model's projection of them gives its features."""
    backbone, image = transformers_backbone(name), random_images()
    tensors, length = backbone.identity_projection()
    if not hasattr(backbone.model, "visual_projection") and not hasattr(backbone.model, "vision_proj"):
        assert (tensors, length) == ({}, 0) and name in WITHOUT_PROJECTION
        return
    unprojected = functional_call(backbone.image_encoder, tensors, (image,))
    assert unprojected.shape[-1] == length and name not in WITHOUT_PROJECTION
    layer = backbone.model.get_submodule(next(iter(tensors)).split(".")[1])
    assert_close(F.normalize(layer(unprojected), dim=-1), features(backbone, image)[0])
    own = {name: backbone.model.get_parameter(name) for name in backbone.projection()}
    assert_close(backbone.project(unprojected, own), layer(unprojected))


@every_model
def test_parameter_sets(transformers_backbone, name):
    model, entry = transformers_backbone(name).model, MODELS[name]
    found = select(model, ("text_ffn_output_bias",), "TUNE")["text_ffn_output_bias"]
    assert tuple(found) == entry.biases
    norms = [
        f"{module}.{leaf}"
        for module, layer in model.named_modules()
        for leaf in ("weight", "bias")
        if isinstance(layer, torch.nn.LayerNorm) and module.startswith("vision_model.")
    ]
    assert len(norms) == 2 * entry.norms
    if name == "AlignModel":
        with raises_user_error("image_layernorm", "image_batchnorm"):
            select(model, ("image_layernorm",), "TUNE")
        norms = [n for group in PARAMETER_SETS["image_batchnorm"](model) for n in group]
        assert len(norms) == 2 * sum(isinstance(m, torch.nn.BatchNorm2d) for m in model.modules())
    else:
        assert set(select(model, ("image_layernorm",), "TUNE")["image_layernorm"]) == set(norms)


@every_model
def test_an_outline_has_the_sets_without_weights(transformers_backbone, copied_transformers, name):
    folder = copied_transformers(name)
    (folder / "model.safetensors").unlink()
    found, full = outline(str(folder)), transformers_backbone(name)
    assert all(p.is_meta for p in found.model.parameters())
    for function in PARAMETER_SETS.values():
        assert function(found.model) == function(full.model)
    assert found.preprocess == full.preprocess and found.dim == full.dim and found.causal == full.causal
    assert (found.logit_bias is None) == (full.logit_bias is None)


@every_model
def test_features_depend_on_every_parameter_of_every_set(transformers_folder, name):
    """No set has a parameter of a head or of cross-attention."""
    backbone = load_backbone(transformers_folder(name))
    names = {n for groups in PARAMETER_SETS.values() for group in groups(backbone.model) for n in group}
    names -= {"logit_scale"}  # the logits depend on it
    parameters = {n: backbone.model.get_parameter(n).requires_grad_() for n in sorted(names)}
    text = backbone.text_encoder
    loss = (
        backbone.image_encoder(random_images()).square().sum() + text(text.pack(text.tokenizer(PROMPTS))).square().sum()
    )
    gradients = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
    assert [n for n, g in zip(parameters, gradients, strict=True) if g is None] == []
    own = {n for entry in sets_of(name) for group in PARAMETER_SETS[entry](backbone.model) for n in group}
    assert [n for n, g in zip(parameters, gradients, strict=True) if n in own and not g.any()] == []


@every_model
def test_loss_and_gradients_of_clipfit_are_those_of_a_plain_loop(transformers_folder, digits_root, tmp_path, name):
    trainer, (image, label) = clipfit(transformers_folder(name), digits_root, tmp_path, name)
    names, values = trainer.gradients(image, label)

    frozen, model = (
        library_model(transformers_folder(name)),
        library_model(transformers_folder(name)).requires_grad_(False),
    )
    tuned = dict(trainer.tuned.named_parameters())
    for parameter, tensor in tuned.items():
        model.get_parameter(parameter).data.copy_(tensor.data)
        model.get_parameter(parameter).requires_grad_()
    prompts = [trainer.template.format(c) for c in trainer.dm.dataset.classnames]
    tokens, images = library_tokens(transformers_folder(name), prompts), library_images(name, image)
    logits, _, text = library_logits(model, images, tokens)
    with torch.no_grad():
        teacher = library_logits(frozen, images, tokens)[2]
    terms = [F.cross_entropy(logits, label), 2 * (1 - (text * teacher).sum(-1).mean())]
    sum(terms).backward()

    assert names == ["loss", "acc", "ce", "kd"]
    assert_close(values[2:], torch.stack(terms).detach())
    assert terms[1] > 1e-4
    for parameter, tensor in tuned.items():
        assert_close(tensor.grad, model.get_parameter(parameter).grad, 1e-4)
    assert sum(p.requires_grad for p in model.parameters()) == len(tuned)


@every_model
def test_activation_checkpointing_leaves_the_gradients(transformers_folder, digits_root, tmp_path, name):
    runs = {}
    for enabled in (False, True):
        opts = ("MODEL.ACTIVATION_CHECKPOINTING", str(enabled))
        trainer, batch = clipfit(transformers_folder(name), digits_root, tmp_path, name, *opts)
        calls = []
        block = places.blocks(trainer.clip, image=False)[-1][1]
        first = next(module for module in block.modules() if isinstance(module, torch.nn.Linear))
        first.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        values = trainer.gradients(*batch)[1]
        runs[enabled] = values, {n: p.grad for n, p in trainer.tuned.named_parameters()}, len(calls)
    assert_close(runs[True][0], runs[False][0], 1e-6)
    for parameter, gradient in runs[False][1].items():
        assert_close(runs[True][1][parameter], gradient, 1e-6)
    passes = 2 if name == "Blip2ForImageTextRetrieval" else 1  # its blocks encode images too
    assert runs[True][2] == runs[False][2] + passes


@every_model
def test_learned_tokens_that_start_as_words_give_the_features_of_the_prompt(
    transformers_folder, digits_root, tmp_path, name
):
    keys = ("TRAINER.COOP.CTX_INIT", "a photo of the number", "TRAINER.COOP.CLASS_TOKEN_POSITION", "end")
    trainer = build(transformers_folder(name), digits_root, tmp_path, "CoOp", *keys)
    prompts = [f"a photo of the number {c}." for c in trainer.dm.dataset.classnames]
    expected = features(trainer.backbone, random_images(), prompts)[1]
    with torch.no_grad():
        x = trainer.tuned()
        packed = trainer.tuned.packed_prompts
        for _ in range(2):  # no pass changes its input
            assert_close(F.normalize(trainer.text_encoder(packed, x=x)[0], dim=-1), expected)
        both = trainer.text_encoder(packed, x=torch.cat([x, x + 0.1 * torch.randn(x.shape)]))
    assert_close(F.normalize(both[0], dim=-1), expected)
    assert (F.normalize(both[1], dim=-1) - expected).norm() > 1e-3
    assert_close(features(trainer.backbone, random_images(), prompts)[1], expected, 1e-9)
    loss = trainer.gradients(random_images(), torch.arange(3))[1][0]
    assert loss.isfinite() and trainer.tuned.ctx.grad.any()


@every_model
def test_learned_tokens_without_words(transformers_folder, digits_root, tmp_path, name):
    trainer = build(transformers_folder(name), digits_root, tmp_path, "CoOp", "TRAINER.COOP.N_CTX", "4")
    trainer.gradients(random_images(), torch.arange(3))
    assert all(row.any() for row in trainer.tuned.ctx.grad) and trainer.tuned.ctx.shape[0] == 4


@every_model
def test_causal_models_are_those_whose_features_a_later_token_does_not_change(transformers_backbone, name):
    backbone = transformers_backbone(name)
    text = backbone.text_encoder
    tokens = text.tokenizer(["a photo of a cat."])
    end = int((tokens != tokens[0, -1]).nonzero()[-1, 1]) + 1  # of the text and its end
    changed = tokens.clone()
    changed[0, 1:3] = changed[0, 1:3].flip(0)  # an early token always counts
    later = tokens.clone()
    later[0, end + 1] = text.tokenizer.filler
    with torch.no_grad():
        plain, early, late = (text.encode(t) for t in (tokens, changed, later))
    assert not torch.allclose(plain, early, rtol=1e-3)
    assert torch.allclose(plain, late, rtol=1e-5, atol=1e-6) == backbone.causal == MODELS[name].causal


@pytest.mark.parametrize(
    "name, same", [("SiglipModel", False), ("Siglip2Model", False), ("CLIPModel", True), ("AltCLIPModel", True)]
)
def test_a_shorter_sequence_changes_features_where_padding_is_attended_to(transformers_backbone, name, same):
    text = transformers_backbone(name).text_encoder
    tokens = text.tokenizer(["dog"])
    with torch.no_grad():
        assert torch.allclose(text.encode(tokens), text.encode(tokens[:, :20]), rtol=1e-4, atol=1e-5) == same


@every_model
@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_precisions(transformers_backbone, transformers_folder, name, precision):
    full, half = transformers_backbone(name), load_backbone(transformers_folder(name), precision)
    dtype = {"fp16": torch.float16, "bf16": torch.bfloat16}[precision]
    assert half.dtype == dtype and half.logit_scale.dtype == torch.float32
    assert torch.equal(half.logit_scale, full.logit_scale) and half.logit_bias == full.logit_bias
    assert half.identity() == full.identity()
    expected = features(full, random_images())
    for found, reference in zip(features(half, random_images().to(dtype)), expected, strict=True):
        assert found.dtype == dtype and ((found.float() * reference).sum(-1) > 0.99).all()


def test_a_prompt_that_is_too_long_is_an_error(transformers_backbone):
    for name in MODELS:
        tokenizer = transformers_backbone(name).text_encoder.tokenizer
        room = tokenizer.context_length - tokenizer.start - tokenizer.end
        between = "" if name == "Siglip2Model" else " "
        assert tokenizer([between.join("x" * room)]).shape == (1, tokenizer.context_length)
        with raises_user_error(str(tokenizer.context_length), "DATASET.TEMPLATE"):
            tokenizer([between.join("x" * (room + 1))])


def test_context_lengths(transformers_backbone):
    lengths = {name: transformers_backbone(name).text_encoder.tokenizer.context_length for name in MODELS}
    assert lengths == {
        "CLIPModel": 77, "MetaClip2Model": 77, "SiglipModel": 64, "Siglip2Model": 64, "AltCLIPModel": 77,
        "ChineseCLIPModel": 52, "BlipForImageTextRetrieval": 35, "Blip2ForImageTextRetrieval": 32, "AlignModel": 64,
    }  # fmt: skip


def test_clips_tokenizer_is_openais(transformers_backbone):
    from trainers.common.models.tokenizers import OpenAITokenizer

    found, expected = transformers_backbone("CLIPModel").text_encoder.tokenizer(PROMPTS), OpenAITokenizer()(PROMPTS)
    assert torch.equal(found.masked_fill(found == 49407, 0), expected.masked_fill(expected == 49407, 0))
