"""Learned tokens at the blocks of open_clip's and transformers' models, as MaPLe has them.

Every family runs MaPLe or is refused in one line; a new family in the registries of the tests is covered.
"""

import copy

import open_clip
import pytest
import torch
from safetensors.torch import save_file

import train  # noqa: F401  (makes dassl importable)
from dassl.config import cfg_default
from tests.reference import open_clip_models, transformers_zoo
from tests.reference.library_tokens import PlainLibraryMaPLe
from tests.user_errors import raises_user_error
from tools.exporting import huggingface as exported
from trainers.common.models import backbones, places
from trainers.common.models.transformers_names import to_transformers
from trainers.maple import MaPLe
from trainers.prompt_tuning import PromptTuning
from trainers.tcp import TCP

from ...helpers import make_cfg

pytest.importorskip("transformers")
FAMILIES = [*open_clip_models.FAMILIES, *transformers_zoo.MODELS]
REFUSED = {
    "tiny-RN": "ResNet",
    "tiny-convnext": "no transformer blocks",
    "AlignModel": "no transformer blocks",
    "tiny-MobileCLIP": "grid",
    "tiny-EVA02": "fixed number of tokens",
    "tiny-PE-Core": "fixed number of tokens",
}
FORMULAS = [
    "tiny-ViT-context", "tiny-SigLIP", "tiny-CLIPA", "tiny-MobileCLIP-B", "tiny-MobileCLIP2-L", "tiny-CoCa",
    "tiny-MetaCLIP2", "tiny-HF-text", "CLIPModel", "MetaClip2Model", "SiglipModel", "Siglip2Model", "AltCLIPModel",
    "ChineseCLIPModel", "BlipForImageTextRetrieval", "Blip2ForImageTextRetrieval",
]  # fmt: skip
CLASSES = ["cat", "dog", "two"]
LABEL = torch.tensor([0, 1, 2, 2])


@pytest.fixture
def name_of(request, transformers_folder):
    """family -> MODEL.BACKBONE.NAME; another name is returned as it is"""

    def name_of(family):
        if family in open_clip_models.FAMILIES:
            return f"open_clip:{family}/{request.getfixturevalue('open_clip_folder') / family}.pt"
        return transformers_folder(family) if family in transformers_zoo.MODELS else family

    return name_of


@pytest.fixture
def build(name_of, digits_root, tmp_path):
    """method, family -> the method on it with other learned tokens, without a data loader or an optimiser"""

    def build(method, family, *opts):
        section = cfg_default.MODEL.BACKBONE.clone()
        section.NAME = name_of(family)
        side = backbones.preprocess_of(section).size
        keys = ("INPUT.SIZE", f"({side},{side})", f"TRAINER.{method.section}.PREC", "fp32")
        trainer = method.__new__(method)
        trainer.cfg = make_cfg(method.__name__, digits_root, name_of(family), tmp_path, *keys, *opts)
        trainer.device = torch.device("cpu")
        torch.manual_seed(0)
        trainer.build_clip(CLASSES)
        rng = torch.Generator().manual_seed(1)
        for name, p in trainer.tuned.named_parameters():
            if name not in trainer.clip_names:
                p.data += 0.05 * torch.randn(p.shape, generator=rng)
        return trainer

    return build


@pytest.fixture
def maple(build):
    return lambda family, *opts: build(MaPLe, family, "TRAINER.MAPLE.PROMPT_DEPTH", "2", *opts)


def images(trainer):
    side = trainer.backbone.preprocess.size
    return torch.randn(len(LABEL), 3, side, side, generator=torch.Generator().manual_seed(0))


def gradients(trainer, image):
    """Logits, loss and gradient of each learned tensor."""
    trainer.tuned.zero_grad()
    logits, terms = trainer.losses(image, LABEL)
    loss = trainer.objective(terms)
    loss.backward()
    return logits.detach(), loss.detach(), {n: p.grad.clone() for n, p in trainer.tuned.named_parameters()}


def assert_same(found, expected, tolerance=1e-5):
    for a, b in zip(found[:2], expected[:2], strict=True):
        assert (a - b).norm() <= tolerance * b.norm()
    assert found[2].keys() == expected[2].keys()
    for name, gradient in expected[2].items():
        assert gradient.norm() > 0 and (found[2][name] - gradient).norm() <= 10 * tolerance * gradient.norm(), name


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_runs_a_step_or_is_refused_before_anything_is_loaded(family, name_of, maple, monkeypatch):
    reason = backbones.image_tokens_obstacle(name_of(family))
    assert (REFUSED.get(family, "never") in reason) == (family in REFUSED)
    if reason:
        monkeypatch.setattr(backbones, "load_backbone", None)
        with raises_user_error("MaPLe", "MODEL.BACKBONE.NAME", name_of(family), reason):
            maple(family)
        return
    trainer = maple(family, "TRAINER.MAPLE.TUNE", "('image_layernorm', 'text_ffn_output_bias')")
    image = images(trainer)
    weights = {name: tensor.clone() for name, tensor in trainer.clip.state_dict().items()}
    plain = gradients(trainer, image)
    assert all(gradient.norm() > 0 for gradient in plain[2].values())
    trainer.backbone.recompute(True)
    assert_same(gradients(trainer, image), plain)
    assert trainer.clip.state_dict().keys() == weights.keys()
    assert all(torch.equal(weights[name], tensor) for name, tensor in trainer.clip.state_dict().items())


@pytest.mark.parametrize("family", [name for name in REFUSED if name != "tiny-RN"])
def test_who_is_refused_cannot_have_the_tokens(family, name_of):
    """The trial on the device "meta" says the same as the model itself."""
    backbone = backbones.load_backbone(name_of(family))
    encoder, side = backbone.image_encoder, backbone.preprocess.size
    if not encoder.blocks:
        assert not places.blocks(backbone.model, image=True)
        return
    inputs = []
    handle = encoder.blocks[0].register_forward_pre_hook(lambda block, args: inputs.append(args[0]))
    with torch.no_grad():
        encoder(torch.randn(2, 3, side, side))
        handle.remove()
        if inputs[0].dim() == 3:
            with pytest.raises(RuntimeError):
                encoder(torch.randn(2, 3, side, side), [torch.zeros(1, inputs[0].shape[-1])])


@pytest.mark.parametrize(
    "name, n_blocks, image_width, norm",
    [
        ("ViT-B-16-SigLIP2", (12, 12), 768, ""),
        ("ViT-H-14-worldwide-quickgelu", (32, 24), 1280, "visual.ln_pre"),
        ("ViT-L-14-CLIPA", (24, 12), 1024, ""),
        ("MobileCLIP2-L-14", (24, 12), 1024, "visual.trunk.norm_pre"),
        ("EVA01-g-14", (40, 12), 1408, ""),
        ("ViTamin-B", (14, 12), 768, ""),
        ("coca_ViT-B-32", (12, 12), 768, "visual.ln_pre"),
    ],
)
def test_full_architectures(name, n_blocks, image_width, norm):
    tag = open_clip.list_pretrained_tags_by_model(name)[0]
    backbone = backbones.outline(f"open_clip:{name}/{tag}")
    assert not backbone.image_tokens_obstacle
    assert backbone.n_blocks == n_blocks and backbone.image_width == image_width
    (found,) = backbone.image_encoder.norm
    assert [key for key, module in backbone.model.named_modules() if module is found] == ([norm] if norm else [])


@pytest.mark.parametrize("name", ["EVA02-B-16", "PE-Core-T-16-384", "MobileCLIP-S1", "convnext_base"])
def test_full_architectures_without_learned_tokens(name):
    tag = open_clip.list_pretrained_tags_by_model(name)[0]
    assert backbones.image_tokens_obstacle(f"open_clip:{name}/{tag}")


@pytest.mark.parametrize("family", FORMULAS)
def test_loss_and_gradients_equal_a_loop_over_the_blocks(family, maple):
    trainer = maple(family)
    image, tokenizer = images(trainer), trainer.text_encoder.tokenizer
    tokens = tokenizer([trainer.template.format(name) for name in CLASSES])
    learned = dict(trainer.tuned.named_parameters())
    scale = trainer.backbone.logit_scale
    plain = PlainLibraryMaPLe(copy.deepcopy(trainer.clip), scale, tokens, tokenizer.start, learned)
    loss = plain.set_gradients(image, LABEL)["ce"].detach()
    expected = (plain.logits(image).detach(), loss, {name: p.grad for name, p in plain.parameters.items()})
    assert_same(gradients(trainer, image), expected)


@pytest.mark.parametrize("recompute", [False, True])
def test_clips_of_transformers_equal_openais_path(maple, tiny, tmp_path, recompute):
    """MaPLe with tuned parameters on the same random weights, in our encoders and in transformers' CLIPModel."""
    sets = ("TRAINER.MAPLE.TUNE", "('image_layernorm', 'text_ffn_output_bias')")
    openai = maple(tiny, *sets)
    folder = tmp_path / "clip"
    folder.mkdir()
    size = exported.architecture(openai)
    save_file(to_transformers(openai.clip.state_dict()), folder / "model.safetensors", {"format": "pt"})
    exported.write_json(folder, "config.json", exported.model_config(size))
    exported.write_tokenizer(folder, size["context"])
    theirs = maple(str(folder), *sets)
    assert theirs.backbone.library == "transformers" and theirs.backbone.n_blocks == openai.backbone.n_blocks == (2, 3)
    assert theirs.backbone.image_width == openai.backbone.image_width == 128
    theirs.tuned.prompt_learner.load_state_dict(openai.tuned.prompt_learner.state_dict())
    theirs.backbone.recompute(recompute)
    image = images(openai)
    logits, loss, expected = gradients(openai, image)
    learned = {name: g for name, g in expected.items() if name.startswith("prompt_learner.")}
    tuned = to_transformers({name: g for name, g in expected.items() if name not in learned})
    assert len(tuned) == 2 * 6 + 3
    assert_same(gradients(theirs, image), (logits, loss, learned | tuned))


@pytest.mark.parametrize("family", ["tiny-SigLIP", "SiglipModel"])
def test_the_teacher_does_not_see_the_tokens(family, maple):
    trainer = maple(family)
    image = images(trainer)
    with torch.no_grad():
        before = trainer.backbone.image_encoder(image), trainer.zero_shot_features()
        tuned = trainer.image_features(image), trainer.text_features()
        trainer.text_cache.zero_shot = None
        after = trainer.image_features(image, tuned=False), trainer.zero_shot_features()
    for plain, with_tokens, again in zip(before, tuned, after, strict=True):
        assert torch.equal(plain, again) and not torch.allclose(plain, with_tokens, rtol=1e-3)


@pytest.mark.parametrize("family", ["tiny-ViT-context", "Siglip2Model"])
@torch.no_grad()
def test_the_outputs_of_a_block_as_learned_tokens_of_the_next_change_nothing(family, maple):
    trainer = maple(family)
    encoder, image = trainer.image_encoder, images(trainer)
    first = torch.randn(2, trainer.backbone.image_width)
    outputs = []
    handle = encoder.blocks[0].register_forward_hook(lambda block, args, output: outputs.append(output))
    shallow = encoder(image, [first])
    handle.remove()
    for i in range(len(image)):  # they differ between images
        deep = encoder(image[i : i + 1], [first, outputs[0][i, -2:]])
        assert torch.allclose(deep, shallow[i : i + 1], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(encoder(image), shallow, rtol=1e-3)


@torch.no_grad()
def test_older_open_clip_has_the_tokens_in_the_first_dimension(maple):
    trainer = maple("tiny-ViT-context")
    image = images(trainer)
    expected = trainer.encode_image(image), trainer.text_features()
    for transformer in (trainer.clip.visual.transformer, trainer.clip.transformer):
        transformer.batch_first = False
        for block in transformer.resblocks:
            block.attn.batch_first = False
    for found, same in zip((trainer.encode_image(image), trainer.text_features()), expected, strict=True):
        assert torch.allclose(found, same, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("precision", ["fp16", "bf16", "amp"])
def test_precisions(precision, maple):
    full = maple("SiglipModel")
    other = maple("SiglipModel", "TRAINER.MAPLE.PREC", precision)
    with torch.no_grad(), other.autocast():
        found = other.encode_image(images(other)), other.text_features()
        for a, b in zip(found, (full.encode_image(images(full)), full.text_features()), strict=True):
            assert a.dtype == torch.float32 and (a * b).sum(-1).min() > 0.99


def test_hooks_are_removed_after_an_error(maple):
    encoder = maple("SiglipModel").image_encoder
    with pytest.raises(RuntimeError):
        encoder(torch.zeros(1, 3, 32, 32), [torch.zeros(2, 7)])
    assert not any(block._forward_pre_hooks or block._forward_hooks for block in encoder.blocks)


@pytest.mark.parametrize("family", FAMILIES)
def test_prompt_tuning_with_the_tokens_of_maple_has_its_logits(family, name_of, build, maple, monkeypatch):
    keys = "N_CTX 2 IMAGE_DEPTH 2 TEXT_DEPTH 2 ENCODERS".split()
    keys = [key if key.isdecimal() else f"TRAINER.PROMPT_TUNING.{key}" for key in keys]
    if family in REFUSED:
        text_only = build(PromptTuning, family, *keys, "text")
        assert text_only.text_features().requires_grad
        monkeypatch.setattr(backbones, "load_backbone", None)
        with raises_user_error("PromptTuning", "MODEL.BACKBONE.NAME", name_of(family), REFUSED[family]):
            build(PromptTuning, family, *keys, "both")
        return
    trainer, other = (
        build(PromptTuning, family, *keys, "both", "DATASET.TEMPLATE", "{}."),
        maple(family, "TRAINER.MAPLE.CTX_INIT", ""),
    )
    learner = other.tuned.prompt_learner
    with torch.no_grad():
        trainer.tuned.prompt_learner.ctx.copy_(learner.ctx)
        trainer.tuned.deep_text_tokens.copy_(torch.stack(list(learner.compound_prompts_text)))
        trainer.tuned.image_tokens.copy_(torch.stack(learner.image_prompts()))
    (logits, loss, found), (expected, _, _) = (gradients(t, images(t)) for t in (trainer, other))
    assert (logits - expected).norm() <= 1e-5 * expected.norm()
    assert len(found) == 3 and all(gradient.norm() > 0 for gradient in found.values())


@pytest.mark.parametrize("family", ["tiny-SigLIP", "tiny-CoCa", "CLIPModel", "AltCLIPModel"])
@torch.no_grad()
def test_tokens_of_each_class(family, build):
    """TCP's tokens of a class before the second block: the class has the feature of prompt tuning with these tokens."""
    tcp = build(TCP, family, "TRAINER.TCP.LAYER", "1", "TRAINER.TCP.N_CTX", "2")
    keys = "N_CTX 2 TEXT_DEPTH 2 ENCODERS".split()
    keys = [key if key.isdecimal() else f"TRAINER.PROMPT_TUNING.{key}" for key in keys]
    other = build(PromptTuning, family, *keys, "text", "DATASET.TEMPLATE", "{}.")
    other.tuned.prompt_learner.ctx.copy_(tcp.tuned.ctx)
    tokens = tcp.tuned.class_tokens(tcp.zero_shot_features()).unflatten(0, (3, 2))
    assert not torch.allclose(tokens[0], tokens[1])
    found = tcp.text_features()
    for label in range(3):
        other.tuned.deep_text_tokens.copy_(tokens[label : label + 1])
        assert torch.allclose(found[label], other.text_features()[label], atol=1e-6)
