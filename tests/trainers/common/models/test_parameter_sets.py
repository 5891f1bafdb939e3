"""Parameter sets: exact names and counts on full-size models, as in the paper, and errors."""

import pytest
import torch
from torch import nn

from tests.reference.models import random_clip
from tests.user_errors import raises_user_error
from trainers.common.models.parameter_sets import PARAMETER_SETS, add_parameters, audit, cast_like, layer_name, select

# (tensors, scalars) on ViT-B/16. Table 5 of the paper: 6.1K, 30.7K, 67.6K and, including the image blocks, 0.17M.
COUNTS = {
    "text_ffn_output_bias": (12, 6_144),
    "text_ffn_bias": (24, 30_720),
    "text_block_bias": (72, 67_584),
    "image_block_bias": (72, 101_376),
    "image_layernorm": (52, 39_936),
    "image_block_layernorm": (48, 36_864),
    "text_layernorm": (50, 25_600),
    "text_block_layernorm": (48, 24_576),
    "image_bias": (74, 102_912),
    "text_bias": (73, 68_096),
    "image_encoder": (152, 86_192_640),
    "text_encoder": (149, 63_428_096),
    "image_projection": (1, 393_216),
    "image_block": (144, 85_054_464),
    "text_block": (144, 37_828_608),
    "image_output": (3, 394_752),
    "text_output": (3, 263_168),
    "logit_scale": (1, 1),
}


def scalars(model, names):
    return sum(model.get_parameter(name).numel() for name in names)


@pytest.mark.parametrize("name", COUNTS)
def test_counts_on_vit_b16(vit_b16, name):
    names = select(vit_b16, (name,), "KEY")[name]
    assert (len(names), scalars(vit_b16, names)) == COUNTS[name]
    assert len(set(names)) == len(names)


def test_counts_cover_every_set(vit_b16):
    empty = {name for name, names in PARAMETER_SETS.items() if not names(vit_b16)}
    assert empty | COUNTS.keys() == PARAMETER_SETS.keys() and empty == {"image_batchnorm"}


def test_clipfit_is_46080_scalars_with_the_official_names(vit_b16):
    sets = select(vit_b16, ("text_ffn_output_bias", "image_layernorm"), "KEY")
    names = [name for names in sets.values() for name in names]
    official = {n for n, _ in vit_b16.named_parameters() if not n.startswith("visual.") and "c_proj.bias" in n}
    official |= {n for n, _ in vit_b16.named_parameters() if n.startswith("visual.") and "ln" in n}
    assert set(names) == official and len(names) == 64
    assert scalars(vit_b16, names) == 46_080
    assert sum(p.numel() for p in vit_b16.parameters()) == 149_620_737


def test_layers_are_in_forward_order(vit_b16):
    order = []
    handles = [
        module.register_forward_hook(lambda *_, name=name: order.append(f"visual.{name}.weight"))
        for name, module in vit_b16.visual.named_modules()
        if isinstance(module, nn.LayerNorm)
    ]
    with torch.no_grad():
        vit_b16.encode_image(torch.zeros(1, 3, 224, 224))
    for handle in handles:
        handle.remove()
    for layer in (0, 11, 25):  # the first, twelfth and last LayerNorm in the paper
        (names,) = select(vit_b16, (f"image_layernorm:{layer}",), "KEY").values()
        assert names[0] == order[layer]
    (names,) = select(vit_b16, ("text_ffn_output_bias:0-2,11",), "KEY").values()
    assert names == [f"transformer.resblocks.{i}.mlp.c_proj.bias" for i in (0, 1, 2, 11)]


@pytest.mark.parametrize(
    "entry, same",
    [
        ("image_layernorm:ln_pre", "image_layernorm:0"),
        ("image_layernorm:5.ln_1,ln_post,11.ln_2", "image_layernorm:11,25,24"),  # the twelfth in the paper is 5.ln_1
        ("image_layernorm:first3", "image_layernorm:0-2"),
        ("text_ffn_output_bias:last3", "text_ffn_output_bias:9-11"),
        ("text_ffn_output_bias:5.mlp.c_proj", "text_ffn_output_bias:5"),
        ("text_block_bias:first1,3", "text_block_bias:0,3"),
        ("text_layernorm:ln_final", "text_layernorm:24"),
        ("text_ffn_bias:0-1,1,first2", "text_ffn_bias:0,1"),  # a layer that is named twice counts once
    ],
)
def test_layers_by_name_and_from_either_end(vit_b16, entry, same):
    (names,), (others,) = (list(select(vit_b16, (e,), "KEY").values()) for e in (entry, same))
    assert names == others and len(set(names)) == len(names)


def test_each_layer_has_a_name_of_its_own(vit_b16):
    for groups in (
        function(model) for function in PARAMETER_SETS.values() for model in (vit_b16, random_clip("tiny-RN"))
    ):
        names = [layer_name(group) for group in groups]
        assert all(names) and len(set(names)) == len(names)
    assert layer_name(["transformer.resblocks.3.mlp.c_fc.bias", "transformer.resblocks.3.mlp.c_proj.bias"]) == "3.mlp"


def test_whole_model_is_both_encoders_and_the_logit_scale(vit_b16):
    for model in (vit_b16, random_clip("tiny-RN")):
        sets = select(model, ("image_encoder", "text_encoder", "logit_scale"), "KEY")
        names = [name for names in sets.values() for name in names]
        assert len(set(names)) == len(names) and set(names) == {name for name, _ in model.named_parameters()}
        biases = [name for names in select(model, ("image_bias", "text_bias"), "KEY").values() for name in names]
        assert set(biases) == {name for name, _ in model.named_parameters() if "bias" in name}


def test_a_shared_parameter_is_listed_once():
    model = random_clip("tiny")
    model.transformer.resblocks[1].ln_1.weight = model.transformer.resblocks[0].ln_1.weight
    names = select(model, ("text_encoder",), "KEY")["text_encoder"]
    assert "transformer.resblocks.0.ln_1.weight" in names and "transformer.resblocks.1.ln_1.weight" not in names
    assert set(names) == {n for n, _ in model.named_parameters() if not n.startswith(("visual.", "logit_scale"))}


def test_parameters_of_overlapping_sets_are_listed_once(vit_b16):
    sets = select(vit_b16, ("text_ffn_output_bias", "text_ffn_bias"), "KEY")
    assert len(sets["text_ffn_bias"]) == 12  # the c_fc biases; c_proj's are in the first set


def test_errors():
    vit, resnet = random_clip("tiny"), random_clip("tiny-RN")
    with raises_user_error("KEY", "'ln'", *PARAMETER_SETS):
        select(vit, ("ln",), "KEY")
    with raises_user_error("'image_layernorm'", "image encoder", "KEY \"('text_ffn_bias', 'image_batchnorm')\""):
        select(resnet, ("text_ffn_bias", "image_layernorm"), "KEY")
    with raises_user_error("KEY", "'image_batchnorm'", "no batchnorm"):
        select(vit, ("image_batchnorm",), "KEY")
    with raises_user_error("KEY", "0 to 2", "'text_ffn_output_bias:3'"):
        select(vit, ("text_ffn_output_bias:3",), "KEY")
    for bad in ("text_ffn_output_bias:a", "text_ffn_output_bias:1-x", "text_ffn_output_bias:-1"):
        with raises_user_error("KEY", "0-2,5", "last3", "0.mlp.c_proj", repr(bad)):
            select(vit, (bad,), "KEY")
    for bad in ("text_ffn_output_bias:last4", "text_ffn_output_bias:first0"):
        with raises_user_error("KEY", "0 to 2", repr(bad)):
            select(vit, (bad,), "KEY")


def test_resnet_batchnorm():
    names = select(random_clip("tiny-RN"), ("image_batchnorm",), "KEY")["image_batchnorm"]
    assert len(names) % 2 == 0 and all(".bn" in n or "downsample" in n for n in names)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_masters_are_fp32_and_have_clips_names(dtype):
    model = random_clip("tiny")
    names = select(model, ("text_ffn_output_bias", "image_layernorm"), "KEY")
    names = [n for group in names.values() for n in group]
    for name in names:
        if "c_proj" in name:
            model.get_parameter(name).data = model.get_parameter(name).data.to(dtype)
    tuned = nn.Module()
    add_parameters(tuned, model, names)
    assert list(tuned.state_dict()) == names
    assert all(p.dtype == torch.float32 and p.requires_grad for p in tuned.parameters())
    cast = cast_like(tuned, model, names)
    for name in names:
        assert cast[name].dtype == model.get_parameter(name).dtype
        assert torch.equal(cast[name], model.get_parameter(name))
        assert tuned.get_parameter(name).data_ptr() != model.get_parameter(name).data_ptr()


def test_audit_includes_tensors_added_by_the_method():
    model, tuned = random_clip("tiny"), nn.Module()
    tuned.ctx = nn.Parameter(torch.zeros(4, 128))
    sets = select(model, ("text_ffn_output_bias",), "KEY")
    add_parameters(tuned, model, sets["text_ffn_output_bias"])
    lines = audit(tuned, sets, 1000).splitlines()
    assert lines[1].split() == ["text_ffn_output_bias", "3", "384", "float32"]
    assert lines[2].split()[-3:] == ["1", "512", "float32"]
    assert lines[3].split()[:3] == ["total", "4", "896"]
