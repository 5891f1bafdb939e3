"""Adapters in the blocks of open_clip's and transformers' models.

The reference is the library's own model, in which the modules at the places are replaced by ones with an adapter.
"""

import copy

import open_clip
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

from tests.reference.adapter import gelu
from tests.reference.transformers_library import library_images, library_logits, library_model, library_tokens
from tests.reference.transformers_zoo import MODELS, SIDE
from tests.user_errors import raises_user_error
from tools.exporting import huggingface
from tools.exporting.common import architecture, preprocessing
from trainers.adapter import Adapter
from trainers.common.models import open_clip_models
from trainers.common.models.library import LibraryImage
from trainers.common.models.open_clip_sources import Source
from trainers.common.models.places import insertion_points
from trainers.common.models.transformers_names import to_transformers
from trainers.mma import MMA

from ...helpers import batch_of, make_cfg, make_trainer, train_step
from .test_open_clip_models import FAMILIES, LEAN

CLASSES, TEMPLATE = ["cat", "small dog", "house"], "a photo of the {}."
PROMPTS = [TEMPLATE.format(name) for name in CLASSES]
CONVOLUTIONAL = ["tiny-convnext", "tiny-MobileCLIP", "AlignModel"]
# The modules after which something is inserted, in block {}: attention, FFN
OPEN_CLIP = ("resblocks.{}.attn", "resblocks.{}.mlp.c_proj")
TIMM = ("visual.trunk.blocks.{}.attn.proj", "visual.trunk.blocks.{}.mlp.fc2")
BERT = ("layer.{}.attention.output.dense", "layer.{}.output.dense")
ROBERTA = ("layers.{}.attention.output.dense", "layers.{}.output.dense")
LAYERS = ("encoder.layers.{}.self_attn.out_proj", "encoder.layers.{}.mlp.fc2")
BLIP = ("encoder.layers.{}.self_attn.projection", "encoder.layers.{}.mlp.fc2")
VIT, TEXT = ("visual.transformer.", OPEN_CLIP), ("text.transformer.", OPEN_CLIP)
NAMES = {  # model -> start of the names and modules in it, of the image and of the text encoder
    **dict.fromkeys(["tiny-ViT-context", "tiny-CLIPA", "tiny-MetaCLIP2"], (VIT, ("transformer.", OPEN_CLIP))),
    **dict.fromkeys(
        ["tiny-SigLIP", "tiny-EVA02", "tiny-MobileCLIP-B", "tiny-MobileCLIP2-L", "tiny-PE-Core"], (("", TIMM), TEXT)
    ),
    "tiny-convnext": (None, ("transformer.", OPEN_CLIP)),
    "tiny-MobileCLIP": (None, TEXT),
    "tiny-CoCa": (VIT, TEXT),
    "tiny-HF-text": (VIT, ("text.transformer.encoder.", BERT)),
    **dict.fromkeys(
        ["CLIPModel", "MetaClip2Model", "SiglipModel", "Siglip2Model"],
        (("vision_model.", LAYERS), ("text_model.", LAYERS)),
    ),
    "AltCLIPModel": (("vision_model.", LAYERS), ("text_model.roberta.encoder.", ROBERTA)),
    "ChineseCLIPModel": (("vision_model.", LAYERS), ("text_model.encoder.", BERT)),
    "BlipForImageTextRetrieval": (("vision_model.", BLIP), ("text_encoder.encoder.", BERT)),
    "Blip2ForImageTextRetrieval": (("vision_model.", BLIP), ("qformer.encoder.", BERT)),
    "AlignModel": (None, ("text_model.encoder.", BERT)),
}
every_model = pytest.mark.parametrize("name", NAMES)


def test_the_list_of_models_is_complete():
    assert NAMES.keys() == {*FAMILIES, *MODELS} - set(LEAN)


@pytest.fixture
def build_bare(open_clip_folder, transformers_folder, digits_root, tmp_path):
    """build_bare(class of a method, model, *keys) -> a trainer without data."""

    def build(method, name, *keys):
        side = SIDE
        if name in MODELS:
            backbone = transformers_folder(name)
        else:
            backbone = f"open_clip:{name}/{open_clip_folder / name}.pt"
            side = open_clip.get_model_config(name)["vision_cfg"]["image_size"]
        keys = ("INPUT.SIZE", f"({side},{side})", "DATASET.TEMPLATE", TEMPLATE, *keys)
        trainer = method.__new__(method)
        trainer.cfg = make_cfg(method.__name__, digits_root, backbone, tmp_path, *keys)
        trainer.device = torch.device("cpu")
        torch.manual_seed(0)
        trainer.build_clip(CLASSES)
        return trainer

    return build


@pytest.fixture
def build(build_bare):
    """build(name, *keys, method=...) -> a trainer with changed tuned parameters, without data."""

    def build(name, *keys, method=Adapter):
        trainer = build_bare(method, name, "TRAINER.ADAPTER.WIDTH", "5", *keys)
        rng = torch.Generator().manual_seed(1)
        for p in trainer.tuned.parameters():
            p.data += 0.1 * torch.randn(p.shape, generator=rng)
        return trainer

    return build


@pytest.fixture
def features(open_clip_folder, transformers_folder):
    """features(name) -> the library's model, and a function: (it, images) -> image and text features of PROMPTS."""

    def features(name):
        if name not in MODELS:
            tokens = open_clip.get_tokenizer(name)(PROMPTS)
            model = open_clip.create_model(name, pretrained=str(open_clip_folder / f"{name}.pt")).eval()
            return model.requires_grad_(False), lambda model, image: (
                model.encode_image(image),
                model.encode_text(tokens),
            )
        path = transformers_folder(name)
        tokens = library_tokens(path, PROMPTS)
        model = library_model(path).requires_grad_(False)
        return model, lambda model, image: library_logits(model, library_images(path, image), tokens)[1:]

    return features


class WithAdapter(nn.Module):
    """A linear layer, or an nn.MultiheadAttention, whose output y becomes y + up gelu(down y)."""

    def __init__(self, plain, down, down_bias, up, up_bias):
        super().__init__()
        self.plain = plain
        self.tensors = down, down_bias, up, up_bias

    def adapt(self, y):
        down, down_bias, up, up_bias = self.tensors
        return y + gelu(y @ down.t() + down_bias) @ up.t() + up_bias

    def forward(self, *args, **kwargs):
        y = self.plain(*args, **kwargs)
        return (self.adapt(y[0]), *y[1:]) if isinstance(y, tuple) else self.adapt(y)


def with_adapters(model, name, encoder, tensors):
    """A copy of a model with adapters in one encoder. `tensors` are those of the trainer, by name."""
    model = copy.deepcopy(model)
    place = NAMES[name][encoder == "text"]
    for i in sorted({int(n.split(".")[3]) for n in tensors if n.startswith(f"inserted.{encoder}.")}):
        for at, module in zip(("after_attention", "after_ffn"), place[1], strict=True):
            start = f"inserted.{encoder}.blocks.{i}.{at}"
            own = [tensors[f"{start}.{part}"] for part in ("down.weight", "down.bias", "up.weight", "up.bias")]
            owner, _, leaf = (place[0] + module.format(i)).rpartition(".")
            owner = model.get_submodule(owner)
            setattr(owner, leaf, WithAdapter(getattr(owner, leaf), *own))
    return model


@pytest.mark.parametrize("recompute", [False, True])
@every_model
def test_loss_and_gradients_equal_those_of_the_librarys_model_with_adapters(build, features, name, recompute):
    keys = ("TRAINER.ADAPTER.ENCODERS", "text" if name in CONVOLUTIONAL else "both")
    trainer = build(name, *keys, "MODEL.ACTIVATION_CHECKPOINTING", str(recompute))
    side = trainer.backbone.preprocess.size
    image, label = torch.randn(3, 3, side, side, generator=torch.Generator().manual_seed(0)), torch.tensor([2, 0, 1])
    loss = trainer.objective(trainer.losses(image, label)[1])
    loss.backward()

    tensors = {n: p.detach().clone().requires_grad_() for n, p in trainer.tuned.named_parameters()}
    model, encode = features(name)
    image_model = model if name in CONVOLUTIONAL else with_adapters(model, name, "image", tensors)
    found = encode(image_model, image)[0], encode(with_adapters(model, name, "text", tensors), image)[1]
    logits = trainer.backbone.logits(*(F.normalize(f, dim=-1) for f in found))
    expected = F.cross_entropy(logits, label)
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert len(tensors) == 8 * sum(len(p.blocks) for p in trainer.tuned.inserted.values())
    for n, p in trainer.tuned.named_parameters():
        assert (
            tensors[n].grad.norm() > 0 and (p.grad - tensors[n].grad).norm() <= 1e-3 * tensors[n].grad.norm() + 1e-9
        ), n

    with torch.no_grad():  # the teacher has none
        plain = encode(model, image)
        assert torch.allclose(trainer.encode_image(image, tuned=False), F.normalize(plain[0], dim=-1), atol=1e-5)
        assert torch.allclose(trainer.zero_shot_features(), F.normalize(plain[1], dim=-1), atol=1e-5)
        assert (trainer.text_features() - trainer.zero_shot_features()).norm() > 1e-3


def add_parallel(block, norm, tensors):
    """Makes a block return its output plus up relu(shared relu(down norm(x))) for its input x (..., d)."""
    plain = block.forward

    def forward(x, *args, **kwargs):
        output = plain(x, *args, **kwargs)
        down, down_bias, shared, shared_bias, up, up_bias = tensors
        z = getattr(block, norm)(x) if norm else x
        z = F.relu(F.relu(z @ down.t() + down_bias) @ shared.t() + shared_bias) @ up.t() + up_bias
        return (output[0] + z, *output[1:]) if isinstance(output, tuple) else output + z

    block.forward = forward


PARALLEL = {  # model -> list of blocks and first LayerNorm of a block, of the image and of the text encoder
    "tiny-EVA02": (("visual.trunk.blocks", "norm1"), ("text.transformer.resblocks", "ln_1")),
    "tiny-HF-text": (("visual.transformer.resblocks", "ln_1"), ("text.transformer.encoder.layer", None)),
    "CLIPModel": (("vision_model.encoder.layers", "layer_norm1"), ("text_model.encoder.layers", "layer_norm1")),
}


@pytest.mark.parametrize("name, recompute", [("tiny-EVA02", False), ("tiny-HF-text", True), ("CLIPModel", True)])
def test_adapters_parallel_to_the_blocks_equal_those_around_the_librarys_blocks(build, features, name, recompute):
    keys = {"TRAINER.MMA.ADAPTER_START": "1", "TRAINER.MMA.ADAPTER_END": "2", "TRAINER.MMA.ADAPTER_SCALE": "1.0"}
    keys["MODEL.ACTIVATION_CHECKPOINTING"] = str(recompute)
    trainer = build(name, *(text for pair in keys.items() for text in pair), method=MMA)
    side = trainer.backbone.preprocess.size
    image = torch.randn(3, 3, side, side, generator=torch.Generator().manual_seed(0))
    model, encode = features(name)
    leaves = list(trainer.tuned.parameters())
    for encoder, (path, norm) in zip(("image", "text"), PARALLEL[name], strict=True):
        blocks = model.get_submodule(path)
        for i, at in trainer.tuned.inserted[encoder].blocks.items():
            add_parallel(blocks[int(i)], norm, at["parallel_to_block"].tensors())
    found = [trainer.encode_image(image), trainer.text_features()]
    expected = [F.normalize(f, dim=-1) for f in encode(model, image)]
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5)
    gradients = [torch.autograd.grad(sum(f[0].square() @ f[1] for f in pair), leaves) for pair in (found, expected)]
    for ours, theirs in zip(*gradients, strict=True):
        assert theirs.norm() > 0 and (ours - theirs).norm() <= 1e-3 * theirs.norm()


@pytest.mark.parametrize("name", ["tiny-EVA02", "ChineseCLIPModel"])
def test_hooks_are_added_on_the_first_insertion(build, name):
    trainer = build(name, "TRAINER.ADAPTER.ENCODERS", "text", "TRAINER.ADAPTER.BLOCKS", "1")

    def hooks():
        return sum(len(module._forward_hooks) for module in trainer.clip.modules())

    before = hooks()
    trainer.zero_shot_features()
    assert hooks() == before
    for _ in range(2):
        trainer.text_features()
    assert hooks() == before + 3 * len(trainer.backbone.insertion_points(image=False))


@pytest.mark.parametrize("name", [*CONVOLUTIONAL, "tiny-RN"])
def test_an_image_encoder_without_blocks_is_refused_before_it_is_loaded(build, name, monkeypatch):
    monkeypatch.setattr("trainers.common.tuned_clip.load_backbone", None)
    with raises_user_error("TRAINER.ADAPTER.ENCODERS", "'both'", "MODEL.BACKBONE.NAME", name, "text"):
        build(name)


@pytest.mark.parametrize(
    "name, image, text",
    [
        ("ViT-B-16-SigLIP", (12, 768), (12, 768)),
        ("EVA02-L-14", (24, 1024), (12, 768)),
        ("PE-Core-B-16", (12, 768), (24, 1024)),
        ("MobileCLIP-B", (12, 768), (12, 512)),
        ("MobileCLIP-S1", (0, None), (12, 512)),
        ("convnext_base", (0, None), (12, 512)),
        ("ViTamin-B", (14, 768), (12, 512)),
        ("coca_ViT-B-32", (12, 768), (12, 512)),
    ],
)
def test_blocks_and_widths_of_full_architectures(name, image, text):
    with torch.device("meta"):
        model = open_clip_models.new_model(Source(name, name, open_clip.get_model_config(name), None, None))
    for encoder, (n, width) in ((True, image), (False, text)):
        points = insertion_points(model, encoder)
        assert len(points) == n
        assert all({w for _, w in at.values()} == {width} for at in points)


@pytest.mark.parametrize("method", ["Adapter", "Compacter"])
def test_openais_weights_in_transformers_learn_the_same(method, tiny, digits_root, tmp_path):
    """CLIPModel with hooks, and our encoders, which pack prompts and cut rows: the loss of five steps is equal."""
    ours = make_trainer(method, digits_root, tiny, tmp_path / "ours")
    path = tmp_path / "clip_model"
    path.mkdir()
    state = {name: tensor.float() for name, tensor in ours.clip.state_dict().items()}
    save_file(to_transformers(state), path / "model.safetensors", {"format": "pt"})
    huggingface.write_json(path, "config.json", huggingface.model_config(architecture(ours)))
    huggingface.write_json(path, "preprocessor_config.json", huggingface.image_config(preprocessing(ours.cfg)))
    huggingface.write_tokenizer(path, 77)
    theirs = make_trainer(method, digits_root, str(path), tmp_path / "theirs")
    assert type(theirs.clip).__name__ == "CLIPModel"
    rng = torch.Generator().manual_seed(1)
    for p in ours.tuned.parameters():
        p.data += 0.05 * torch.randn(p.shape, generator=rng)
    theirs.tuned.load_state_dict(ours.tuned.state_dict())
    for trainer in (ours, theirs):
        for group in trainer.optim.param_groups:
            group["lr"] = 0.002
    losses = []
    for seed in range(5):
        batch = batch_of(ours, seed=seed)
        losses.append(train_step(ours, batch)["loss"])
        assert train_step(theirs, batch)["loss"] == pytest.approx(losses[-1], rel=1e-5)
    for name, p in ours.tuned.named_parameters():
        q = theirs.tuned.get_parameter(name)
        assert p.grad.norm() > 0 and (p.grad - q.grad).norm() <= 1e-4 * p.grad.norm() + 1e-9, name


@pytest.mark.parametrize("precision", ["bf16", "fp16", "amp"])
@pytest.mark.parametrize("name", ["tiny-EVA02", "tiny-HF-text", "SiglipModel", "Blip2ForImageTextRetrieval"])
def test_precisions(build, name, precision):
    losses = []
    for value in ("fp32", precision):
        trainer = build(name, "TRAINER.ADAPTER.PREC", value)
        side = trainer.backbone.preprocess.size
        image = torch.randn(3, 3, side, side, generator=torch.Generator().manual_seed(0))
        with trainer.autocast():
            loss = trainer.losses(image, torch.tensor([2, 0, 1]))[1]["ce"]
        loss.backward()
        losses.append(loss.item())
        assert all(p.dtype == p.grad.dtype == torch.float32 and p.grad.any() for p in trainer.tuned.parameters())
    assert losses[1] == pytest.approx(losses[0], rel=0.1)


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("name", ["tiny-SigLIP", "tiny-ViT-context"])
def test_learned_tokens_in_the_same_pass(build, features, name, recompute):
    trainer = build(name, "MODEL.ACTIVATION_CHECKPOINTING", str(recompute))
    encoder, side = trainer.image_encoder, trainer.backbone.preprocess.size
    image = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    width = trainer.backbone.insertion_points(image=True)[0]["after_ffn"][1]
    prompts = [torch.randn(2, width, generator=torch.Generator().manual_seed(i)).requires_grad_() for i in (1, 2)]
    tensors = {n: p for n, p in trainer.tuned.named_parameters() if "image" in n}
    model = with_adapters(features(name)[0], name, "image", tensors)
    plain = LibraryImage(model, lambda image: model.encode_image(image))
    found = [encoder(image, prompts, inserted=trainer.tuned.inserted["image"](torch.float32)), plain(image, prompts)]
    assert (found[0] - found[1]).norm() <= 1e-5 * found[1].norm()
    leaves = [*prompts, *tensors.values()]
    gradients = [torch.autograd.grad(f.square().sum(), leaves) for f in found]
    for ours, other in zip(*gradients, strict=True):
        assert other.norm() > 0 and (ours - other).norm() <= 1e-3 * other.norm()
