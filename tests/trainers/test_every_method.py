"""Tests of all registered methods, including those in examples/. New methods are tested without a change here.

Each method runs with its recipe for the micro CLIP, on a tiny random CLIP.
"""

import importlib
import re
from pathlib import Path

import pytest
import torch

import train  # noqa: F401  (makes dassl importable)
from dassl.engine import TRAINER_REGISTRY
from tests.user_errors import raises_user_error
from tools.recipe import config_file, recipe
from trainers import register_all

from .crash import content
from .helpers import batch_of, cut_off_at, train_step

register_all()
for path in sorted(Path("examples").glob("*.py")):
    importlib.import_module(f"examples.{path.stem}")
CLASSES = {name: TRAINER_REGISTRY.get(name) for name in sorted(TRAINER_REGISTRY.registered_names())}
CLASSES = {n: c for n, c in CLASSES.items() if c.__module__.startswith(("trainers.", "examples."))}  # no toy trainers
METHODS = list(CLASSES)
TRAINABLE = [name for name in METHODS if CLASSES[name].trainable]
# Smaller checkpoints where the content of checkpoints is not what is tested
LIGHT = {
    name: (f"TRAINER.{CLASSES[name].section}.TUNE", "('image_encoder', 'text_layernorm')")
    for name in ("FullFineTuning", "FLYP")
}
FAST = "TRAINER.TIP.SEARCH_STEP (5,4) TRAINER.TIP.AUGMENT_EPOCH 1 OPTIM.MAX_EPOCH 1 TEST.NO_TEST True".split()


def config(method, backbone="micro"):
    """Flags and config keys of the method's recipe."""
    name, keys = recipe(method, "base2new", "digits" if backbone == "micro" else "dtd", backbone=backbone)
    return ("--config-file", config_file(method, name)), tuple(str(x) for kv in keys.items() for x in kv)


@pytest.fixture
def build(make):
    def with_recipe(method, *opts, **kwargs):
        flags, keys = config(method)
        return make(method, *keys, *FAST, *opts, flags=flags, **kwargs)

    return with_recipe


def perturb(trainer, size=0.02):
    """Add noise to the tuned parameters, so that no loss term is zero."""
    rng = torch.Generator().manual_seed(7)
    for p in trainer.tuned.parameters():
        p.data += size * torch.randn(p.shape, generator=rng)


def step_past_warm_up(trainer):
    """A step at a learning rate that is high enough to change tensors with a small gradient."""
    for group in trainer.optim.param_groups:
        group["lr"] = 0.002
    return train_step(trainer, batch_of(trainer))


def tuned_of(trainer):
    return {name: p for name, p in trainer.tuned.named_parameters() if p.requires_grad}


def logits_of(trainer, image):
    trainer.set_model_mode("eval")
    with torch.no_grad():
        return trainer.model_inference(image)


@pytest.mark.parametrize("method", METHODS)
def test_a_step_changes_exactly_the_tuned_tensors(build, method):
    trainer = build(method)
    assert bool(tuned_of(trainer)) == CLASSES[method].trainable == (trainer.optim is not None)
    if not CLASSES[method].trainable:
        return
    perturb(trainer)  # B of a low-rank change B A is 0 at first, so that A has no gradient
    frozen = {name: tensor.clone() for name, tensor in trainer.clip.state_dict().items()}
    before = {name: tensor.clone() for name, tensor in trainer.tuned.state_dict().items()}
    step_past_warm_up(trainer)
    assert all(torch.equal(frozen[name], tensor) for name, tensor in trainer.clip.state_dict().items())
    after = trainer.tuned.state_dict()
    assert {name for name in before if not torch.equal(before[name], after[name])} == set(tuned_of(trainer))
    # Weight decay changes every tensor, so check the gradients too.
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in tuned_of(trainer).values())
    assert not any(module.training for module in trainer.clip.modules())
    optimised = [p for group in trainer.optim.param_groups for p in group["params"]]
    assert {id(p) for p in optimised} == {id(p) for p in tuned_of(trainer).values()}


@pytest.mark.parametrize("method", METHODS)
def test_saved_keys_are_the_tuned_keys_and_load_again(build, method, tmp_path):
    trainer = build(method, output=tmp_path / "a")
    trainer.train()
    if not trainer.get_model_names():
        assert not trainer.tuned.state_dict() and not CLASSES[method].trainable
        return
    file = tmp_path / "a" / trainer.model_name / "model.pth.tar-1"
    state = torch.load(file, weights_only=True)["state_dict"]
    assert set(state) == set(trainer.tuned.state_dict()) >= set(tuned_of(trainer))
    assert not set(state) & set(trainer.clip.state_dict()) - set(trainer.clip_names)  # no frozen tensor
    other = build(method, output=tmp_path / "b", seed=2)
    image = batch_of(trainer)["img"]
    untrained = logits_of(other, image)
    other.load_model(str(tmp_path / "a"))
    assert torch.equal(logits_of(other, image), logits_of(trainer, image))
    assert not torch.equal(logits_of(other, image), untrained)


@pytest.mark.parametrize("method", TRAINABLE)
def test_a_resumed_run_equals_an_unbroken_one(build, method, tmp_path):
    """Interrupted in an epoch: weights, optimiser, schedule, random state, best epoch and results are equal."""
    options = ("OPTIM.MAX_EPOCH", "3", "TRAIN.CHECKPOINT_FREQ", "1", "DATALOADER.TRAIN_X.BATCH_SIZE", "10")
    options += ("TEST.NO_TEST", "False", "TEST.FINAL_MODEL", "best_val", *LIGHT.get(method, ()))

    def run(folder, stop_at=None):
        trainer = build(method, *options, output=tmp_path / folder)
        trainer.test_loader = trainer.val_loader  # fewer images
        if stop_at:
            cut_off_at(trainer, *stop_at)
        trainer.train()
        return trainer

    whole = run("whole")
    with pytest.raises(KeyboardInterrupt):
        run("broken", stop_at=(2, 1))
    resumed = run("broken")
    assert resumed.start_epoch == 2 and resumed.run.metrics == whole.run.metrics
    for name in ("model.pth.tar-1", "model.pth.tar-2", "model.pth.tar-3", "model-best.pth.tar"):
        one, other = (content(tmp_path / folder / whole.model_name / name) for folder in ("whole", "broken"))
        assert one == other, name


@pytest.mark.parametrize("method", METHODS)
def test_every_precision_has_every_loss_term(build, method):
    values = {}
    for precision in ("fp32", "bf16", "amp", "fp16"):
        section = "COOP" if method == "ClipFit" else TRAINER_REGISTRY.get(method).section
        trainer = build(method, f"TRAINER.{section}.PREC", precision)
        assert trainer.precision == precision
        perturb(trainer)
        trainer.set_model_mode("train")
        batch = batch_of(trainer)
        with trainer.autocast():
            logits, terms = trainer.losses(batch["img"], batch["label"])
        assert logits.dtype == torch.float32 and all(term.dtype == torch.float32 for term in terms.values())
        values[precision] = {name: term.item() for name, term in terms.items()}
        if trainer.optim is not None:
            before = [p.detach().clone() for p in tuned_of(trainer).values()]
            summary = step_past_warm_up(trainer)
            assert {"loss", "acc"} <= set(summary) and (len(terms) == 1 or set(terms) <= set(summary))
            after = list(tuned_of(trainer).values())
            assert all(p.dtype == torch.float32 for p in after)
            assert all(p.isfinite().all() and not torch.equal(p, b) for p, b in zip(after, before, strict=True))
    for precision, terms in values.items():
        assert terms.keys() == values["fp32"].keys()
        for name, value in terms.items():
            assert value > 1e-4 and value == pytest.approx(values["fp32"][name], rel=0.2), (precision, name)


@pytest.mark.parametrize("method", METHODS)
def test_new_classes_after_training_on_base(build, method, tmp_path):
    base = build(method, "DATASET.SUBSAMPLE_CLASSES", "base", output=tmp_path / "base")
    new = build(method, "DATASET.SUBSAMPLE_CLASSES", "new", output=tmp_path / "new")
    image = batch_of(new)["img"]
    untrained = logits_of(new, image)
    base.train()
    if base.per_class:
        with raises_user_error("model.pth.tar-1", "zero, one, two, ...", "five, six, seven, ..."):
            new.load_model(str(tmp_path / "base"))
        return
    new.load_model(str(tmp_path / "base"))
    logits = logits_of(new, image)
    assert logits.shape == (len(image), 5) and logits.isfinite().all()
    assert base.tuned.state_dict().keys() == new.tuned.state_dict().keys()
    zero_shot = new.zero_shot or new.zero_shot_on_new_classes
    assert torch.equal(logits, untrained) == zero_shot
    if not zero_shot:
        for name, tensor in base.tuned.state_dict().items():
            assert torch.equal(tensor, new.tuned.state_dict()[name])


@pytest.mark.parametrize("method", METHODS)
def test_image_layernorms_are_tuned_with_the_method(build, method, tmp_path):
    """ "+UL" in Table 4 of the paper: one config key adds them to the optimiser and the checkpoints."""
    section = TRAINER_REGISTRY.get(method).section
    plain = build(method, output=tmp_path / "plain")
    if not CLASSES[method].trainable:
        with pytest.raises((ValueError, KeyError)):
            build(method, f"TRAINER.{section}.TUNE", "('image_layernorm',)", output=tmp_path / "x")
        return
    if plain.options.TUNE:  # TUNE says all that such a method tunes of CLIP
        assert set(tuned_of(plain)) == set(plain.clip_names) > set()
        return
    trainer = build(method, f"TRAINER.{section}.TUNE", "('image_layernorm',)", output=tmp_path / "a")
    layernorms = {name for name, _ in trainer.clip.named_parameters() if name.startswith("visual.") and "ln_" in name}
    assert set(tuned_of(trainer)) == set(tuned_of(plain)) | layernorms and len(layernorms) == 12
    before = {name: p.detach().clone() for name, p in tuned_of(trainer).items()}
    step_past_warm_up(trainer)
    assert not any(torch.equal(p, before[name]) for name, p in tuned_of(trainer).items())
    trainer.save_model(0, str(tmp_path / "a"))
    other = build(method, f"TRAINER.{section}.TUNE", "('image_layernorm',)", output=tmp_path / "b", seed=2)
    other.load_model(str(tmp_path / "a"))
    image = batch_of(trainer)["img"]
    assert torch.equal(logits_of(trainer, image), logits_of(other, image))
    with raises_user_error("model.pth.tar-1", f"TRAINER.{section}.TUNE", "image_layernorm"):
        plain.load_model(str(tmp_path / "a"))


def linear(prefix, n_in, n_out):
    return {f"{prefix}.weight": (n_out, n_in), f"{prefix}.bias": (n_out,)}


BLOCKS = range(12)
LAYERNORMS = {
    f"visual.{name}.{kind}": (768,)
    for name in ["ln_pre", "ln_post", *(f"transformer.resblocks.{i}.ln_{j}" for i in BLOCKS for j in (1, 2))]
    for kind in ("weight", "bias")
}
CLIPFIT = {f"transformer.resblocks.{i}.mlp.c_proj.bias": (512,) for i in BLOCKS} | LAYERNORMS
TEXT_LAYERNORMS = {
    f"{name}.{kind}": (512,)
    for name in ["ln_final", *(f"transformer.resblocks.{i}.ln_{j}" for i in BLOCKS for j in (1, 2))]
    for kind in ("weight", "bias")
}
WIDTHS = {"ln_1.bias": 1, "attn.in_proj_bias": 3, "attn.out_proj.bias": 1, "ln_2.bias": 1}
WIDTHS |= {"mlp.c_fc.bias": 4, "mlp.c_proj.bias": 1}
BIASES = {"visual.ln_pre.bias": (768,), "visual.ln_post.bias": (768,), "ln_final.bias": (512,)}
for prefix, width in (("visual.", 768), ("", 512)):
    for i in BLOCKS:
        BIASES |= {f"{prefix}transformer.resblocks.{i}.{name}": (n * width,) for name, n in WIDTHS.items()}
MAPLE = {"ctx": (2, 512), **linear("proj", 512, 768)}
for i in range(8):
    MAPLE |= {f"compound_prompts_text.{i}": (2, 512), **linear(f"compound_prompt_projections.{i}", 512, 768)}

IVLP = {"prompt_learner.ctx": (4, 512), "deep_text_tokens": (8, 4, 512), "image_tokens": (9, 4, 768)}


def hypercomplex(prefix, n_in, n_out, n=4):
    return {f"{prefix}.left": (n, n_in // n, 1), f"{prefix}.right": (n, 1, n_out // n), f"{prefix}.bias": (n_out,)}


ENCODER_WIDTHS = (("image", 768), ("text", 512))


def inserted(layer, reduced, *places):
    """Tensors of adapters on ViT-B/16. `layer` makes those of a layer; `reduced` gives the width of the bottleneck."""
    tensors = {}
    for encoder, width in ENCODER_WIDTHS:
        for name in (f"inserted.{encoder}.blocks.{i}.{place}" for i in BLOCKS for place in places):
            tensors |= layer(f"{name}.down", width, reduced(width)) | layer(f"{name}.up", reduced(width), width)
    return tensors


PLACES = ("after_attention", "after_ffn")
RULES = {f"inserted.{encoder}.rule": (4, 4, 4) for encoder in ("image", "text")}
COMPACTER = [RULES | inserted(hypercomplex, lambda width: width // 32, *places) for places in (PLACES, PLACES[1:])]
LORA = {
    f"changes.{prefix}transformer.resblocks.{i}.attn.in_proj_weight.{matrix}.{factor}": shape
    for prefix, width in (("visual.", 768), ("", 512))
    for i in BLOCKS
    for matrix in "qkv"
    for factor, shape in (("A", (2, width)), ("B", (width, 2)))
}
SVD = {
    f"changes.{prefix}transformer.resblocks.{i}.{matrix}.sigma": (width,)
    for prefix, width in (("visual.", 768), ("", 512))
    for i in BLOCKS
    for matrix in (
        *(f"attn.in_proj_weight.{letter}" for letter in "qkv"),
        "attn.out_proj.weight.o",
        "mlp.c_fc.weight.up",
        "mlp.c_proj.weight.down",
    )
}
MMA = {}
for i in range(4, 12):
    MMA |= linear(f"shared.{i}", 32, 32)
    for encoder, width in ENCODER_WIDTHS:
        name = f"inserted.{encoder}.blocks.{i}.parallel_to_block"
        MMA |= linear(f"{name}.down", width, 32) | linear(f"{name}.up", 32, width)


def low_rank(name, n, m, rank):
    return {f"{name}.A": (n, rank), f"{name}.B": (rank, m)}


MMRL = {"tokens": (5, 512), "projection": (768, 512)}
MMRLPP = {"tokens": (5, 512), **low_rank("change", 768, 512, 64)}
for encoder, width in ENCODER_WIDTHS:
    MMRLPP[f"inserted.{encoder}.weight"] = (width, 512)
    for i in range(5, 12):
        MMRL |= linear(f"inserted.{encoder}.projections.{i}", 512, width)
        MMRLPP |= low_rank(f"inserted.{encoder}.residuals.{i}", width, 512, 4)
        MMRLPP[f"inserted.{encoder}.biases.{i}"] = (width,)
# Names in the upper half of both encoders, with the last LayerNorm and the projection
UPPER_HALF = re.compile(r"(visual\.)?transformer\.resblocks\.([6-9]|1[01])\.|.*(ln_post|ln_final|proj(ection)?$)")
# The published settings on ViT-B/16: tuned tensors, and number of scalars according to the papers or the authors.
ON_VIT_B16 = {
    "CLIPFit": (CLIPFIT, 46_080),
    "ClipFit": (CLIPFIT, 46_080),
    "CoOp": ({"ctx": (4, 512)}, 2_048),
    "CoCoOp": (
        {"ctx": (4, 512), **linear("meta_net.linear1", 512, 32), **linear("meta_net.linear2", 32, 512)},
        35_360,
    ),
    "KgCoOp": ({"ctx": (4, 512)}, 2_048),
    "ProGrad": ({"ctx": (16, 512)}, 8_192),
    "MaPLe": ({f"prompt_learner.{name}": shape for name, shape in MAPLE.items()}, 3_555_072),
    "IVLP": (IVLP, 46_080),
    "PromptSRC": (IVLP, 46_080),
    "TCP": (
        {"ctx": (4, 512), **linear("meta_net.linear1", 512, 128), **linear("meta_net.linear2", 128, 2048)},
        331_904,
    ),
    "CLIP_Adapter": ({"fc.0.weight": (128, 512), "fc.2.weight": (512, 128)}, 131_072),
    "LinearProbe": ({"weight": (10, 512), "bias": (10,)}, 5_130),  # 10 classes
    "CLAP": ({"weight": (10, 512)}, 5_120),
    "TaskRes": ({"residual": (10, 512)}, 5_120),
    "ProLIP": ({"visual.proj": (768, 512)}, 393_216),
    "PromptTuning": ({"prompt_learner.ctx": (5, 512), "image_tokens": (1, 5, 768)}, 6_400),
    "Adapter": (inserted(linear, lambda width: 64, *PLACES), 2_379_264 + 1_586_688),
    "Compacter": (COMPACTER[0], 57_024 + 38_016 + 2 * 64),
    "MMA": (MMA, 674_560),
    "MMRL": (MMRL, 4_992_256),
    "MMRLPP": (MMRLPP, 813_312),
    "CompacterPP": (COMPACTER[1], (57_024 + 38_016) // 2 + 2 * 64),
    "TipAdapterF": ({"keys": (20, 512)}, 10_240),  # 20 training images
    "CLIPLoRA": (LORA, 184_320),
    "CLIPSVD": (SVD, 92_160),
    "LayerNormTuning": (LAYERNORMS | TEXT_LAYERNORMS, 65_536),
    "BitFit": (BIASES, 171_008),
    "TwoStage": (LAYERNORMS | TEXT_LAYERNORMS, 65_536),  # in stage 1
    "FullFineTuning": (None, 149_620_737),  # every tensor of CLIP
    "FLYP": (None, 149_620_737),
    "SkipTuning": (UPPER_HALF, 62_099_456),
}


@pytest.mark.parametrize("method", ON_VIT_B16)
def test_tuned_tensors_on_vit_b16(make, vit_b16, monkeypatch, method, capsys):
    vit_b16.fingerprint = "random"
    monkeypatch.setattr("trainers.common.models.loading.load_clip", lambda *args: vit_b16)
    factors = "trainers.common.models.weight_changes.singular_value_decomposition"  # takes half a minute
    monkeypatch.setattr(factors, lambda W: (W, W.new_ones(min(W.shape)), W.t()))
    flags, keys = config(method, "ViT-B/16")
    expected, scalars = ON_VIT_B16[method]
    if not isinstance(expected, dict):  # a pattern, or None: every tensor of CLIP
        pattern = expected or re.compile("")
        expected = {name: tuple(p.shape) for name, p in vit_b16.named_parameters() if pattern.match(name)}
    size = ("INPUT.SIZE", "(224, 224)")
    trainer = make(method, *keys, *size, backbone="ViT-B/16", flags=flags)
    assert {name: tuple(p.shape) for name, p in tuned_of(trainer).items()} == expected
    assert sum(p.numel() for p in tuned_of(trainer).values()) == scalars
    assert f" {scalars:,}  {100 * scalars / 149_620_737:.4f} % of CLIP's 149,620,737" in capsys.readouterr().out
    if not trainer.clip_names:  # "+UL" adds the 52 LayerNorm tensors
        more = (f"TRAINER.{trainer.section}.TUNE", "('image_layernorm',)")
        trainer = make(method, *keys, *size, *more, backbone="ViT-B/16", flags=flags)
        assert {name: tuple(p.shape) for name, p in tuned_of(trainer).items()} == expected | LAYERNORMS
        assert sum(p.numel() for p in tuned_of(trainer).values()) == scalars + 39_936


SPEED = {
    "activation checkpointing": ("MODEL.ACTIVATION_CHECKPOINTING", "True"),
    "compiled": ("MODEL.COMPILE", "True"),
}


@pytest.mark.parametrize("key", SPEED.values(), ids=SPEED)
@pytest.mark.parametrize("method", TRAINABLE)
def test_speed_and_memory_options_do_not_change_results(build, method, key, monkeypatch, tmp_path):
    """Compares loss terms, and the tuned tensors after three steps."""
    from trainers.common.models import blocks

    compiled = torch.compile
    monkeypatch.setattr(torch, "compile", lambda f: compiled(f, backend="eager"))
    blocks.compiled_halves.cache_clear()
    results = []
    for keys in ((), key):
        trainer = build(method, *keys, output=tmp_path / str(len(keys)))
        terms = [train_step(trainer, batch_of(trainer, 2, seed=i), update_lr=i == 0) for i in range(3)]
        results.append((terms, {name: p.detach().clone() for name, p in tuned_of(trainer).items()}))
    blocks.compiled_halves.cache_clear()
    (plain, plain_tuned), (other, other_tuned) = results
    for a, b in zip(plain, other, strict=True):
        assert a == pytest.approx(b, rel=1e-4, abs=1e-6)
    for name, p in plain_tuned.items():
        assert torch.allclose(p, other_tuned[name], rtol=1e-4, atol=1e-6), name
