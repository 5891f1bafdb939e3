"""Models of open_clip against that library: features, CLIPFit's loss and gradients, parameter sets, learned tokens."""

import copy
import functools

import open_clip
import pytest
import torch
import torch.nn.functional as F

import train  # noqa: F401  (makes dassl importable)
from tests.reference import open_clip_models as reference
from tests.user_errors import raises_user_error
from trainers.clipfit import CLIPFit
from trainers.common.compat import functional_call
from trainers.common.models import open_clip_models, open_clip_sources
from trainers.common.models.backbones import has_own_encoders, load_backbone
from trainers.common.models.library import LibraryBackbone
from trainers.common.models.parameter_sets import PARAMETER_SETS, select
from trainers.common.prompt_learner import PromptLearner, word_context

from ...helpers import make_cfg

FAMILIES = list(reference.FAMILIES)
LEAN = ["tiny-ViT", "tiny-ViT-quickgelu", "tiny-ViT-heads", "tiny-RN"]
BIDIRECTIONAL = ["tiny-SigLIP", "tiny-CLIPA", "tiny-MobileCLIP", "tiny-HF-text"]
NO_LAYERNORM = ["tiny-RN", "tiny-MobileCLIP"]
CLASSES = ["cat", "small dog", "house"]
TEMPLATE = "a photo of the {}."
PROMPTS = [TEMPLATE.format(name) for name in CLASSES]


@pytest.fixture(scope="module")
def load(open_clip_folder):
    """name of a family -> (a new backbone, open_clip's own model with the same weights, which is shared)."""

    def path(name):
        return str(open_clip_folder / f"{name}.pt")

    @functools.cache
    def theirs(name):
        return open_clip.create_model(name, pretrained=path(name)).eval().requires_grad_(False)

    def load(name, precision="fp32"):
        return load_backbone(f"open_clip:{name}/{path(name)}", precision), theirs(name)

    return load


def images(backbone, n=3):
    side = backbone.preprocess.size
    return torch.randn(n, 3, side, side, generator=torch.Generator().manual_seed(0))


def features(backbone, image, prompts=PROMPTS):
    """Image and text features as methods compute them."""
    text = backbone.text_encoder
    packed = text.pack(text.tokenizer(prompts))
    return functional_call(backbone.image_encoder, {}, (image.to(backbone.dtype),)), text(packed)


def difference(ours, theirs):
    """Largest relative difference of a feature vector."""
    assert ours.shape == theirs.shape
    return ((ours - theirs).norm(dim=-1) / theirs.norm(dim=-1)).max().item()


@pytest.mark.parametrize("name", FAMILIES)
@torch.no_grad()
def test_features_equal_those_of_open_clip(name, load):
    backbone, theirs = load(name)
    assert isinstance(backbone, LibraryBackbone) == (name not in LEAN) and backbone.library == "open_clip"
    assert has_own_encoders(backbone.name) == (name in LEAN)
    image, tokens = images(backbone), open_clip.get_tokenizer(name)(PROMPTS)
    assert torch.equal(backbone.text_encoder.tokenizer(PROMPTS), tokens.long())
    image_features, text_features = features(backbone, image)
    assert difference(image_features, theirs.encode_image(image, normalize=False)) < 1e-5
    assert difference(text_features, theirs.encode_text(tokens, normalize=False)) < 1e-5
    assert difference(text_features[1:], text_features[:-1]) > 1e-4  # the prompt matters
    assert backbone.dim == text_features.shape[1] == image_features.shape[1]
    assert backbone.logit_scale == theirs.logit_scale.exp()
    assert backbone.logit_bias == (theirs.logit_bias if theirs.logit_bias is None else theirs.logit_bias.item())
    assert backbone.causal == (name not in BIDIRECTIONAL)
    assert not any(p.requires_grad for p in backbone.model.parameters()) and not backbone.model.training


@pytest.fixture(scope="module")
def clipfit(open_clip_folder, digits_root, tmp_path_factory):
    """name of a family -> CLIPFit with its model and tuned parameters, without a data loader or an optimiser."""

    def clipfit(name, *opts):
        side = open_clip.get_model_config(name)["vision_cfg"]["image_size"]
        backbone, output = f"open_clip:{name}/{open_clip_folder / name}.pt", tmp_path_factory.mktemp("run")
        opts = ("INPUT.SIZE", f"({side},{side})", "DATASET.TEMPLATE", TEMPLATE, *opts)
        trainer = CLIPFit.__new__(CLIPFit)
        trainer.cfg, trainer.device = make_cfg("CLIPFit", digits_root, backbone, output, *opts), torch.device("cpu")
        trainer.build_clip(CLASSES)
        return trainer

    return clipfit


def plain_loss(theirs, tuned, image, label, beta=8.0):
    """CLIPFit's loss by its definition, on open_clip's own modules. `tuned`: name -> tensor in place of a parameter."""
    student = copy.deepcopy(theirs)
    for name, tensor in tuned.items():
        module, _, leaf = name.rpartition(".")
        delattr(student.get_submodule(module), leaf)
        setattr(student.get_submodule(module), leaf, tensor)
    tokens = theirs.tokens
    image_features = F.normalize(student.encode_image(image, normalize=False), dim=-1)
    text_features = F.normalize(student.encode_text(tokens, normalize=False), dim=-1)
    frozen = F.normalize(theirs.encode_text(tokens, normalize=False), dim=-1)
    logits = student.logit_scale.exp() * image_features @ text_features.t()
    return F.cross_entropy(logits, label) + beta * (1 - (text_features * frozen).sum(-1).mean())


@pytest.mark.parametrize("name", FAMILIES)
def test_loss_and_gradients_of_clipfit_equal_a_plain_loop(name, load, clipfit):
    sets = ("text_ffn_output_bias", "image_batchnorm" if name in NO_LAYERNORM else "image_layernorm")
    trainer, theirs = clipfit(name, "TRAINER.CLIPFIT.TUNE", str(sets)), load(name)[1]
    theirs.tokens = open_clip.get_tokenizer(name)(PROMPTS)
    assert len(trainer.clip_names) > 4
    rng = torch.Generator().manual_seed(1)
    for parameter in trainer.tuned.parameters():
        parameter.data += 0.05 * torch.randn(parameter.shape, generator=rng)
    tuned = {n: trainer.tuned.get_parameter(n).detach().clone().requires_grad_() for n in trainer.clip_names}
    image, label = images(trainer.backbone), torch.tensor([0, 1, 2])
    loss = plain_loss(theirs, tuned, image, label)
    expected = torch.autograd.grad(loss, list(tuned.values()))
    for recompute in (False, True):
        trainer.backbone.recompute(recompute)
        ours = trainer.objective(trainer.losses(image, label)[1])
        assert ours.item() == pytest.approx(loss.item(), rel=1e-5)
        gradients = torch.autograd.grad(ours, [trainer.tuned.get_parameter(n) for n in tuned])
        for key, gradient, plain in zip(tuned, gradients, expected, strict=True):
            assert plain.norm() > 0 and (gradient - plain).norm() <= 2e-4 * plain.norm() + 1e-7, (key, recompute)


@pytest.mark.parametrize("name", FAMILIES)
def test_all_parameters_train_as_in_a_plain_loop(name, load, clipfit):
    sets = ("image_encoder", "text_encoder", "logit_scale")
    trainer, theirs = clipfit(name, "TRAINER.CLIPFIT.TUNE", str(sets)), load(name)[1]
    theirs.tokens = open_clip.get_tokenizer(name)(PROMPTS)
    rng = torch.Generator().manual_seed(1)
    for parameter in trainer.tuned.parameters():
        parameter.data += 0.01 * torch.randn(parameter.shape, generator=rng)
    tuned = {n: trainer.tuned.get_parameter(n).detach().clone().requires_grad_() for n in trainer.clip_names}
    image, label = images(trainer.backbone), torch.tensor([0, 1, 2])
    loss = plain_loss(theirs, tuned, image, label)
    ours = trainer.objective(trainer.losses(image, label)[1])
    assert ours.item() == pytest.approx(loss.item(), rel=1e-5)
    expected = torch.autograd.grad(loss, list(tuned.values()), allow_unused=True)
    gradients = torch.autograd.grad(ours, [trainer.tuned.get_parameter(n) for n in tuned], allow_unused=True)
    assert [n for n, plain in zip(tuned, expected, strict=True) if plain is None] == []
    for key, gradient, plain in zip(tuned, gradients, expected, strict=True):
        assert (gradient - plain).norm() <= 1e-3 * plain.norm() + 1e-6, key
    frozen = {n for n, p in theirs.named_parameters() if n not in tuned and not n.startswith("text_decoder.")}
    assert frozen <= {"logit_bias"}


def test_recomputation_saves_activations(load):
    """Of a model in open_clip's own code: fewer tensors are kept for the backward pass."""
    saved = {}
    for recompute in (False, True):
        backbone, _ = load("tiny-EVA02")
        backbone.recompute(recompute)
        weight = backbone.model.visual.trunk.blocks[0].norm1.weight.requires_grad_()
        sizes = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t, s=sizes: s.append(t.numel()) or t, lambda t: t):
            backbone.image_encoder(images(backbone)).sum().backward()
        saved[recompute] = sum(sizes)
        assert weight.grad.norm() > 0
    assert saved[True] < saved[False] / 2


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("precision", ["fp16", "bf16"])
@torch.no_grad()
def test_half_precision(name, precision, load):
    backbone, theirs = load(name, precision)
    dtype = {"fp16": torch.float16, "bf16": torch.bfloat16}[precision]
    assert backbone.dtype == dtype and backbone.model.logit_scale.dtype == torch.float32
    image = images(backbone)
    expected = (
        theirs.encode_image(image, normalize=False),
        theirs.encode_text(open_clip.get_tokenizer(name)(PROMPTS), normalize=False),
    )
    for ours, full in zip(features(backbone, image), expected, strict=True):
        assert F.cosine_similarity(ours.float(), full).min() > 0.99


@pytest.mark.parametrize("name", FAMILIES)
@torch.no_grad()
def test_learned_tokens_with_the_embeddings_of_words_are_the_prompt(name, load):
    """CoOp's prompts "a photo of the <class>." for one context, one per class, and for a batch of them."""
    backbone, _ = load(name)
    text, words = backbone.text_encoder, "a photo of the"
    plain = features(backbone, images(backbone, 1))[1]
    context = word_context(text, words, 4)
    for ctx in (context, context.expand(len(CLASSES), -1, -1)):
        learner = PromptLearner(text, CLASSES, words, ctx)
        assert difference(text(learner.packed_prompts, learner())[0], plain) < 1e-5
        shift = torch.stack([torch.zeros(text.width), torch.linspace(-1, 1, text.width)])
        shifted = text(learner.packed_prompts, learner(shift))
        assert difference(shifted[0], plain) < 1e-5 and difference(shifted[1], plain) > 1e-3
    assert difference(features(backbone, images(backbone, 1))[1], plain) == 0  # nothing is left behind


@pytest.mark.parametrize("name", FAMILIES)
@torch.no_grad()
def test_learned_tokens_before_a_whole_prompt(name, load):
    """The prompts of PromptTuning, with words after the class name."""
    backbone, _ = load(name)
    text = backbone.text_encoder
    plain = features(backbone, images(backbone, 1), [f"a photo of the {name} house." for name in CLASSES])[1]
    learner = PromptLearner(text, CLASSES, "X X of the {} house.", word_context(text, "a photo", 2))
    assert difference(text(learner.packed_prompts, learner())[0], plain) < 1e-5


@pytest.mark.parametrize("name", FAMILIES)
@torch.no_grad()
def test_features_before_the_projection(name, load):
    """open_clip's projection of them gives open_clip's features."""
    backbone, theirs = load(name)
    tensors, length = backbone.identity_projection()
    if name == "tiny-SigLIP":  # its attention pooling has no linear projection
        assert (tensors, length, backbone.projection()) == ({}, 0, [])
        return
    image = images(backbone)
    unprojected = functional_call(backbone.image_encoder, tensors, (image,))
    assert unprojected.shape == (3, length)
    prefix = "" if isinstance(backbone, LibraryBackbone) else "visual."
    matrix, *bias = [theirs.get_parameter(prefix + name.replace("model.", "", 1)) for name in tensors]
    matrix = matrix.t() if next(iter(tensors)).endswith("proj") else matrix
    projected = F.linear(unprojected, matrix, *bias)
    assert difference(projected, theirs.encode_image(image, normalize=False)) < 1e-5
    own = {name: backbone.model.get_parameter(name) for name in backbone.projection()}
    assert difference(backbone.project(unprojected, own), projected) < 1e-5


@pytest.mark.parametrize("name", ["tiny-EVA02", "tiny-PE-Core", "tiny-ViT-context", *BIDIRECTIONAL])
@torch.no_grad()
def test_later_tokens_and_a_shorter_sequence_change_features_unless_attention_is_causal(name, load):
    backbone, theirs = load(name)
    tokens = backbone.text_encoder.tokenizer(PROMPTS)
    full = theirs.encode_text(tokens, normalize=False)
    later = tokens.clone()
    later[:, 10:] = backbone.text_encoder.tokenizer.filler  # instead of padding; the prompts have up to 9 tokens
    assert (difference(theirs.encode_text(later, normalize=False), full) < 1e-5) == backbone.causal
    if hasattr(theirs, "text") and name in BIDIRECTIONAL and name != "tiny-HF-text":  # its padding has a mask
        assert difference(theirs.encode_text(tokens[:, :10], normalize=False), full) > 1e-4


# (tensors, scalars) of: text_ffn_output_bias, image_layernorm, image_block_layernorm, image_batchnorm
COUNTS = {
    "ViT-B-16": ((12, 6144), (52, 39936), (48, 36864), (0, 0)),
    "ViT-L-14": ((12, 9216), (100, 102400), (96, 98304), (0, 0)),
    "ViT-H-14": ((24, 24576), (132, 168960), (128, 163840), (0, 0)),
    "RN50": ((12, 6144), (0, 0), (0, 0), (110, 53248)),
    "convnext_base": ((12, 6144), (82, 40192), (72, 36096), (0, 0)),  # with 4,096 of LayerNorm2d
    "ViT-B-16-SigLIP": ((12, 9216), (52, 39936), (48, 36864), (0, 0)),
    "ViT-B-16-SigLIP2": ((12, 9216), (52, 39936), (48, 36864), (0, 0)),
    "ViT-SO400M-14-SigLIP2": ((27, 31104), (112, 129024), (108, 124416), (0, 0)),
    "EVA02-B-16": ((12, 6144), (98, 105984), (48, 36864), (0, 0)),
    "EVA02-L-14": ((12, 9216), (194, 280544), (96, 98304), (0, 0)),
    "ViT-L-14-CLIPA": ((12, 9216), (98, 100352), (96, 98304), (0, 0)),
    "MobileCLIP-S1": ((12, 6144), (0, 0), (0, 0), (416, 89344)),
    "MobileCLIP2-S0": ((12, 6144), (0, 0), (0, 0), (228, 50688)),
    "MobileCLIP-B": ((12, 6144), (50, 38400), (48, 36864), (4, 768)),
    "PE-Core-B-16": ((24, 24576), (54, 41472), (48, 36864), (0, 0)),
    "coca_ViT-B-32": ((12, 6144), (56, 41984), (48, 36864), (0, 0)),
    "ViT-H-14-worldwide": ((24, 24576), (132, 168960), (128, 163840), (0, 0)),
}
SETS = ("text_ffn_output_bias", "image_layernorm", "image_block_layernorm", "image_batchnorm")


@pytest.mark.parametrize("name", COUNTS)
def test_sets_of_the_full_architectures(name):
    config = open_clip.get_model_config(name)
    with torch.device("meta"):
        model = open_clip_models.new_model(open_clip_sources.Source(name, name, config, None, None))
    for key, expected in zip(SETS, COUNTS[name], strict=True):
        names = [n for group in PARAMETER_SETS[key](model) for n in group]
        assert (len(names), sum(model.get_parameter(n).numel() for n in names)) == expected, key


def test_an_empty_set_names_the_one_to_use(load):
    backbone, _ = load("tiny-MobileCLIP")
    with raises_user_error("TRAINER.CLIPFIT.TUNE", "image_layernorm", "image_batchnorm"):
        select(backbone.model, ("text_ffn_output_bias", "image_layernorm"), "TRAINER.CLIPFIT.TUNE")
