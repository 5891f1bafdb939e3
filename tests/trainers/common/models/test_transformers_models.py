"""Backbones of the package transformers against the package itself, for a tiny model of every supported class."""

import copy
import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

import train
from dassl.data.transforms import build_transform
from tests.reference.transformers_zoo import MODELS, SIDE, save_model, save_processor
from tests.trainers.helpers import make_trainer
from tests.user_errors import assert_user_error, raises_user_error
from trainers.common.models import places, transformers_files, transformers_inputs, transformers_models
from trainers.common.models.backbones import check_named_by, library_of, load_backbone, outline, preprocess_of
from trainers.common.models.parameter_sets import PARAMETER_SETS, select
from trainers.common.models.preprocess import Preprocess

transformers = pytest.importorskip("transformers")

PROMPTS = ["a photo of a cat.", "a photo of the number nine.", "dog"]
SETS = ("text_ffn_output_bias", "image_layernorm")
every_model = pytest.mark.parametrize("name", MODELS)


def sets_of(name):
    return ("text_ffn_output_bias", "image_batchnorm") if name == "AlignModel" else SETS


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Folder of each tiny model, written on first use. Do not modify them."""
    saved = {}

    def folder(name):
        if name not in saved:
            saved[name] = save_model(name, tmp_path_factory.mktemp("models") / name)
            size = {"size": {"height": SIDE, "width": SIDE}, "do_center_crop": False, "resample": 3}
            save_processor(saved[name], **size, image_mean=[0.5] * 3, image_std=[0.5] * 3)
        return saved[name]

    return folder


@pytest.fixture
def copied(folders, tmp_path):
    """copied(name) returns a copy of a model's folder that a test may change."""
    return lambda name: Path(shutil.copytree(folders(name), tmp_path / name))


@pytest.fixture(scope="module")
def backbones(folders):
    loaded = {}

    def backbone(name):
        if name not in loaded:
            loaded[name] = load_backbone(folders(name))
        return loaded[name]

    return backbone


def library_model(folder):
    name = json.loads((Path(folder) / "config.json").read_text())["architectures"][0]
    return getattr(transformers, name).from_pretrained(folder).eval()


def library_tokens(folder, prompts):
    """What the tokenizer of the library returns, padded as in its documentation of each model."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    if "iglip" in folder:
        tokens = tokenizer(prompts, padding="max_length", max_length=64, return_tensors="pt", padding_side="right")
        return {"input_ids": tokens["input_ids"]}
    tokens = tokenizer(prompts, padding=True, return_tensors="pt")
    return {"input_ids": tokens["input_ids"], "attention_mask": tokens["attention_mask"]}


def library_images(folder, image):
    """Arguments of the library's model for images (B, 3, H, W)."""
    if "Siglip2" not in folder:
        return {"pixel_values": image}
    processor = transformers.Siglip2ImageProcessor(do_resize=False, do_rescale=False, do_normalize=False)
    return dict(processor(list(image), max_num_patches=4, patch_size=16, return_tensors="pt"))


def library_logits(model, images, tokens):
    """Logits (B, n) and normalised features of the library's forward pass."""
    if "Blip" in type(model).__name__:
        out = model(**images, **tokens, use_itm_head=False)
        image = model.vision_proj(model.vision_model(**images).last_hidden_state[:, 0])
        text = model.text_proj(model.text_encoder(**tokens).last_hidden_state[:, 0])
        return out.itm_score / 0.07, F.normalize(image, dim=-1), F.normalize(text, dim=-1)
    out = model(**images, **tokens)
    return out.logits_per_image, F.normalize(out.image_embeds, dim=-1), F.normalize(out.text_embeds, dim=-1)


def features(backbone, image, prompts=PROMPTS):
    text = backbone.text_encoder
    with torch.no_grad():
        return (
            F.normalize(backbone.image_encoder(image), dim=-1),
            F.normalize(text(text.pack(text.tokenizer(prompts))), dim=-1),
        )


def random_images(n=3, seed=0):
    return torch.randn(n, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))


def assert_close(found, expected, tolerance=1e-5):
    assert found.shape == expected.shape
    assert (found - expected).norm() <= tolerance * expected.norm()


def test_the_registry_of_the_tests_is_complete():
    assert MODELS.keys() == transformers_models.FAMILIES.keys()


@every_model
def test_features_scale_and_bias_are_those_of_the_library(backbones, folders, name):
    backbone, image = backbones(name), random_images()
    with torch.no_grad():
        expected = library_logits(
            library_model(folders(name)), library_images(name, image), library_tokens(folders(name), PROMPTS)
        )
    image_features, text_features = features(backbone, image)
    assert_close(image_features, expected[1])
    assert_close(text_features, expected[2])
    logits = backbone.logit_scale * image_features @ text_features.t() + (backbone.logit_bias or 0)
    assert_close(logits, expected[0])
    assert backbone.logit_scale.shape == ()
    assert backbone.dim == image_features.shape[1] == text_features.shape[1]
    assert len({tuple(row) for row in text_features.tolist()}) == len(PROMPTS)


@every_model
def test_the_model_is_frozen_and_knows_its_identity(backbones, folders, name, copied):
    backbone = backbones(name)
    assert type(backbone.model).__name__ == name and backbone.library == "transformers"
    assert not backbone.model.training and not any(p.requires_grad for p in backbone.model.parameters())
    own = library_model(folders(name)).state_dict()
    assert backbone.model.state_dict().keys() == own.keys()
    identity = backbone.identity()
    assert len(identity["weights_digest"]) == 64 and identity["weights_digest"].startswith(identity["fingerprint"])
    folder = copied(name)
    assert load_backbone(f"transformers:{folder}").identity() == identity
    changed = library_model(folder)
    next(changed.parameters()).data.flatten()[0] += 1
    changed.save_pretrained(folder)
    assert load_backbone(str(folder)).identity() != identity


@every_model
def test_parameter_sets(backbones, name):
    model, entry = backbones(name).model, MODELS[name]
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
def test_an_outline_has_the_sets_without_weights(backbones, copied, name):
    folder = copied(name)
    (folder / "model.safetensors").unlink()
    found, full = outline(str(folder)), backbones(name)
    assert all(p.is_meta for p in found.model.parameters())
    for function in PARAMETER_SETS.values():
        assert function(found.model) == function(full.model)
    assert found.preprocess == full.preprocess and found.dim == full.dim and found.causal == full.causal
    assert (found.logit_bias is None) == (full.logit_bias is None)


@every_model
def test_features_depend_on_every_parameter_of_every_set(folders, name):
    """No set has a parameter of a head or of cross-attention."""
    backbone = load_backbone(folders(name))
    names = {n for groups in PARAMETER_SETS.values() for group in groups(backbone.model) for n in group}
    parameters = {n: backbone.model.get_parameter(n).requires_grad_() for n in sorted(names)}
    text = backbone.text_encoder
    loss = (
        backbone.image_encoder(random_images()).square().sum() + text(text.pack(text.tokenizer(PROMPTS))).square().sum()
    )
    gradients = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
    assert [n for n, g in zip(parameters, gradients, strict=True) if g is None] == []
    own = {n for entry in sets_of(name) for group in PARAMETER_SETS[entry](backbone.model) for n in group}
    assert [n for n, g in zip(parameters, gradients, strict=True) if n in own and not g.any()] == []


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


@every_model
def test_loss_and_gradients_of_clipfit_are_those_of_a_plain_loop(folders, digits_root, tmp_path, name):
    trainer, (image, label) = clipfit(folders(name), digits_root, tmp_path, name)
    names, values = trainer.gradients(image, label)

    frozen, model = library_model(folders(name)), library_model(folders(name)).requires_grad_(False)
    tuned = dict(trainer.tuned.named_parameters())
    for parameter, tensor in tuned.items():
        model.get_parameter(parameter).data.copy_(tensor.data)
        model.get_parameter(parameter).requires_grad_()
    prompts = [trainer.template.format(c) for c in trainer.dm.dataset.classnames]
    tokens, images = library_tokens(folders(name), prompts), library_images(name, image)
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
def test_activation_checkpointing_leaves_the_gradients(folders, digits_root, tmp_path, name):
    runs = {}
    for enabled in (False, True):
        opts = ("MODEL.ACTIVATION_CHECKPOINTING", str(enabled))
        trainer, batch = clipfit(folders(name), digits_root, tmp_path, name, *opts)
        calls = []
        block = places.blocks(trainer.clip, image=False)[-1][1]
        first = next(module for module in block.modules() if isinstance(module, torch.nn.Linear))
        first.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        values = trainer.gradients(*batch)[1]
        runs[enabled] = values, {n: p.grad for n, p in trainer.tuned.named_parameters()}, len(calls)
    assert_close(runs[True][0], runs[False][0], 1e-6)
    for parameter, gradient in runs[False][1].items():
        assert_close(runs[True][1][parameter], gradient, 1e-6)
    assert runs[True][2] == runs[False][2] + 1


@every_model
def test_learned_tokens_that_start_as_words_give_the_features_of_the_prompt(folders, digits_root, tmp_path, name):
    keys = ("TRAINER.COOP.CTX_INIT", "a photo of the number", "TRAINER.COOP.CLASS_TOKEN_POSITION", "end")
    trainer = build(folders(name), digits_root, tmp_path, "CoOp", *keys)
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
def test_learned_tokens_without_words(folders, digits_root, tmp_path, name):
    trainer = build(folders(name), digits_root, tmp_path, "CoOp", "TRAINER.COOP.N_CTX", "4")
    trainer.gradients(random_images(), torch.arange(3))
    assert all(row.any() for row in trainer.tuned.ctx.grad) and trainer.tuned.ctx.shape[0] == 4


@every_model
def test_causal_models_are_those_whose_features_a_later_token_does_not_change(backbones, name):
    backbone = backbones(name)
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
def test_a_shorter_sequence_changes_features_where_padding_is_attended_to(backbones, name, same):
    text = backbones(name).text_encoder
    tokens = text.tokenizer(["dog"])
    with torch.no_grad():
        assert torch.allclose(text.encode(tokens), text.encode(tokens[:, :20]), rtol=1e-4, atol=1e-5) == same


@every_model
@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_precisions(backbones, folders, name, precision):
    full, half = backbones(name), load_backbone(folders(name), precision)
    dtype = {"fp16": torch.float16, "bf16": torch.bfloat16}[precision]
    assert half.dtype == dtype and half.logit_scale.dtype == torch.float32
    assert torch.equal(half.logit_scale, full.logit_scale) and half.logit_bias == full.logit_bias
    assert half.identity() == full.identity()
    expected = features(full, random_images())
    for found, reference in zip(features(half, random_images().to(dtype)), expected, strict=True):
        assert found.dtype == dtype and ((found.float() * reference).sum(-1) > 0.99).all()


def test_a_prompt_that_is_too_long_is_an_error(backbones):
    for name in MODELS:
        tokenizer = backbones(name).text_encoder.tokenizer
        room = tokenizer.context_length - tokenizer.start - tokenizer.end
        between = "" if name == "Siglip2Model" else " "
        assert tokenizer([between.join("x" * room)]).shape == (1, tokenizer.context_length)
        with raises_user_error(str(tokenizer.context_length), "DATASET.TEMPLATE"):
            tokenizer([between.join("x" * (room + 1))])


def test_context_lengths(backbones):
    lengths = {name: backbones(name).text_encoder.tokenizer.context_length for name in MODELS}
    assert lengths == {
        "CLIPModel": 77, "MetaClip2Model": 77, "SiglipModel": 64, "Siglip2Model": 64, "AltCLIPModel": 77,
        "ChineseCLIPModel": 52, "BlipForImageTextRetrieval": 35, "AlignModel": 64,
    }  # fmt: skip


def test_clips_tokenizer_is_openais(backbones):
    from trainers.common.models.tokenizers import OpenAITokenizer

    found, expected = backbones("CLIPModel").text_encoder.tokenizer(PROMPTS), OpenAITokenizer()(PROMPTS)
    assert torch.equal(found.masked_fill(found == 49407, 0), expected.masked_fill(expected == 49407, 0))


# Images

CLIP = Preprocess()
PROCESSORS = {
    "clip": ({"do_center_crop": True, "size": {"shortest_edge": 32}, "crop_size": 32, "resample": 3}, {}),
    "old clip": ({"do_center_crop": True, "size": 32, "crop_size": 32}, {}),
    "squash": ({"do_center_crop": False, "size": {"height": 32, "width": 32}, "resample": 2},
               {"resize_mode": "squash", "interpolation": "bilinear"}),
    "statistics": ({"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]},
                   {"mean": (0.1, 0.2, 0.3), "std": (0.4, 0.5, 0.6)}),
    "not normalised": ({"do_normalize": False}, {"mean": (0, 0, 0), "std": (1, 1, 1)}),
    "offset": ({"do_normalize": False, "rescale_factor": 1 / 127.5, "rescale_offset": True},
               {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}),
    "nested": ({"image_processor": {"resample": 0}}, {"interpolation": "nearest"}),
}  # fmt: skip


@pytest.mark.parametrize("kind", PROCESSORS)
def test_image_processors(kind, tmp_path):
    values, changes = PROCESSORS[kind]
    save_processor(tmp_path, **values)
    found = transformers_inputs.read_preprocess(str(tmp_path), CLIP, 32)
    assert found == Preprocess(**{**CLIP.__dict__, "size": 32, **changes})


@pytest.mark.parametrize(
    "processor, name",
    [
        ("CLIPImageProcessor", "CLIPModel"),
        ("SiglipImageProcessor", "SiglipModel"),
        ("BlipImageProcessor", "SiglipModel"),
    ],
)
def test_pixels_are_those_of_the_image_processor_of_the_library(processor, name, copied, digits_root, tmp_path):
    from transformers.models.auto.image_processing_auto import AutoImageProcessor

    folder = copied(name)
    sizes = (
        {"size": {"shortest_edge": SIDE}, "crop_size": SIDE}
        if "CLIP" in processor
        else {"size": {"height": SIDE, "width": SIDE}}
    )
    getattr(transformers, processor)(**sizes).save_pretrained(folder)
    own = AutoImageProcessor.from_pretrained(folder, backend="pil")
    argv = ["--trainer", "ZeroshotCLIP", "--dataset-config-file", "configs/datasets/digits.yaml"]
    cfg = train.setup_cfg(train.parse_args([*argv, "--backbone", str(folder), "INPUT.TRANSFORMS", "('normalize',)"]))
    pixels = np.random.default_rng(0).integers(0, 256, (5, 8, 3), dtype=np.uint8)
    image = Image.fromarray(pixels).resize((96, 64), Image.BICUBIC)  # no half pixels are cropped
    expected = torch.as_tensor(np.asarray(own(image)["pixel_values"][0]))
    found = build_transform(cfg, is_train=False)(image)
    assert found.shape == expected.shape
    assert (found - expected).abs().max() < 0.02


@pytest.mark.parametrize(
    "values",
    [{"image_mean": 1}, {"image_std": [0, 0, 0]}, {"image_processor": []}, {"rescale_factor": 0}, {"resample": []}],
)
def test_a_wrong_image_processor_is_an_error(values, tmp_path):
    save_processor(tmp_path, **values)
    with raises_user_error(str(tmp_path)):
        transformers_inputs.read_preprocess(str(tmp_path), CLIP, 32)


@pytest.mark.parametrize(
    "values, facts", [({}, ("no preprocessor_config.json",)), ({"size": 40, "do_center_crop": True}, ("40", "32"))]
)
def test_what_differs_from_the_image_processor_is_said(values, facts, tmp_path, capsys):
    if values:
        save_processor(tmp_path, **values)
    for _ in range(2):
        transformers_inputs.read_preprocess(str(tmp_path), CLIP, 32)
    out = capsys.readouterr().out
    assert all(fact in out for fact in facts) and len(out.splitlines()) == 1  # once


def test_the_input_keys_follow_the_backbone(folders):
    argv = ["--trainer", "ZeroshotCLIP", "--dataset-config-file", "configs/datasets/digits.yaml"]
    keys = train.setup_cfg(train.parse_args([*argv, "--backbone", folders("SiglipModel")])).INPUT
    assert (tuple(keys.SIZE), list(keys.PIXEL_MEAN), keys.RESIZE_MODE) == ((SIDE, SIDE), [0.5] * 3, "squash")


# Mistakes


def change_config(folder, **values):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def without_weights(folder):
    (folder / "model.safetensors").unlink()
    return "no weights", "model.safetensors"


def without_tokenizer(folder):
    for file in transformers_inputs.TOKENIZER_FILES:
        (folder / file).unlink(missing_ok=True)
    return "no tokenizer", "tokenizer.json"


def other_class(folder):
    change_config(folder, architectures=["CLIPVisionModel"])
    return "CLIPVisionModel", *MODELS


def blip_2(folder):
    change_config(folder, architectures=["Blip2ForImageTextRetrieval"], model_type="blip-2")
    return "Blip2ForImageTextRetrieval", "query token"


def unknown_type(folder):
    change_config(folder, architectures=None, model_type="bert")
    return "bert", *MODELS


def class_of_another_type(folder):
    change_config(folder, architectures=["SiglipModel"])
    return "SiglipModel", "CLIPModel"


def broken_config(folder):
    (folder / "config.json").write_text("{")
    return (str(folder / "config.json"),)


def impossible_config(folder):
    change_config(folder, vision_config="large")
    return (str(folder / "config.json"),)


def adapter(folder):
    (folder / "adapter_config.json").write_text("{}")
    return ("adapter",)


EARLY = [
    without_weights, without_tokenizer, other_class, blip_2, unknown_type, class_of_another_type, broken_config,
    impossible_config, adapter,
]  # fmt: skip


@pytest.mark.parametrize("mistake", EARLY, ids=lambda function: function.__name__)
def test_a_folder_that_cannot_be_used_is_refused_before_data_are_read(mistake, copied, tmp_path, capsys):
    folder = copied("CLIPModel")
    facts = mistake(folder)
    argv = ["--trainer", "CLIPFit", "--dataset-config-file", "configs/datasets/digits.yaml", "--root", "no/such/folder"]
    code = train.main([*argv, "--backbone", str(folder), "--output-dir", str(tmp_path / "out")])
    assert_user_error((code, capsys.readouterr().err), str(folder), *facts)
    assert not (tmp_path / "out").exists()


def rewrite_weights(folder, change):
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def test_missing_and_unexpected_weights_are_named(copied):
    folder = copied("CLIPModel")

    def change(tensors):
        del tensors["text_model.final_layer_norm.bias"]
        tensors["visual_projection.extra"] = torch.zeros(1)
        tensors["logit_scale"] = torch.zeros(3)
        tensors["text_model.embeddings.position_ids"] = torch.arange(77)[None]  # of earlier versions

    rewrite_weights(folder, change)
    with raises_user_error(
        str(folder), "1 tensors missing", "text_model.final_layer_norm.bias", "visual_projection.extra", "logit_scale"
    ) as caught:
        load_backbone(str(folder))
    assert "position_ids" not in str(caught.value)


def test_position_ids_of_earlier_versions_are_no_weights(copied, backbones):
    for name in ("CLIPModel", "ChineseCLIPModel", "BlipForImageTextRetrieval"):
        folder = copied(name)
        root = "text_encoder" if "Blip" in name else "text_model"
        rewrite_weights(
            folder, lambda t, root=root: t.update({f"{root}.embeddings.position_ids": torch.arange(77)[None]})
        )
        assert torch.equal(*(features(b, random_images())[1] for b in (load_backbone(str(folder)), backbones(name))))


def test_a_corrupted_file(copied):
    folder = copied("CLIPModel")
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[: len(content) // 2])
    with raises_user_error(str(folder)):
        load_backbone(str(folder))


class Evil:
    def __reduce__(self):
        return exec, ("import builtins; builtins.clipfit_was_run = True",)


def test_no_code_of_a_checkpoint_is_run(copied):
    import builtins

    folder = copied("CLIPModel")
    (folder / "model.safetensors").unlink()
    torch.save({"logit_scale": Evil()}, folder / "pytorch_model.bin")
    with raises_user_error(str(folder)):
        load_backbone(str(folder))
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"logit_scale": Evil()}))
    with raises_user_error(str(folder)):
        load_backbone(str(folder))
    assert not hasattr(builtins, "clipfit_was_run")


def test_configs_choose_no_code(copied, backbones):
    folder = copied("CLIPModel")
    (folder / "evil.py").write_text("raise SystemExit('was run')")
    change_config(folder, auto_map={"AutoModel": "evil.Evil", "AutoConfig": "evil.Evil", "AutoTokenizer": "evil.Evil"})
    change_config(folder, attn_implementation="evil/kernel", _attn_implementation="evil/kernel")
    found = load_backbone(str(folder))
    assert found.model.config._attn_implementation == backbones("CLIPModel").model.config._attn_implementation
    assert_close(features(found, random_images())[1], features(backbones("CLIPModel"), random_images())[1])


def test_pickled_weights_are_read_as_tensors(copied, backbones):
    from safetensors.torch import load_file

    folder = copied("CLIPModel")
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    assert torch.equal(*(features(b, random_images())[1] for b in (load_backbone(str(folder)), backbones("CLIPModel"))))


def test_weights_in_half_precision_are_read_as_fp32(copied, folders):
    folder = copied("SiglipModel")
    library_model(folder).half().save_pretrained(folder)
    backbone = load_backbone(str(folder))
    assert {p.dtype for p in backbone.model.parameters()} == {torch.float32}


def test_a_name_on_the_hub_without_a_connection(monkeypatch):
    import huggingface_hub

    asked = []

    def download(name, allow_patterns):
        asked.append((name, allow_patterns))
        raise OSError("no connection")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    with raises_user_error("google/siglip-x", "hf download google/siglip-x", "--backbone FOLDER"):
        preprocess_of(section("transformers:google/siglip-x"))
    assert asked[0][0] == "google/siglip-x" and not any("safetensors" in pattern for pattern in asked[0][1])
    for name in ("transformers:nothing", "transformers:a/b/c", "transformers:../x/y"):
        with raises_user_error(name):
            preprocess_of(section(name))
    assert len(asked) == 1


def test_a_name_on_the_hub_is_downloaded_and_loaded(monkeypatch, copied, backbones):
    import huggingface_hub

    folder = copied("CLIPModel")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda name, allow_patterns: str(folder))
    assert load_backbone("transformers:some/clip").identity() == backbones("CLIPModel").identity()


def test_a_missing_package_is_named_with_its_bound(monkeypatch, folders):
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    with raises_user_error("transformers", transformers_files.REQUIREMENT):
        preprocess_of(section(folders("CLIPModel")))
    assert transformers_files.REQUIREMENT in Path("requirements-optional.txt").read_text()


def section(name):
    from yacs.config import CfgNode

    return CfgNode({"NAME": name, "ACTIVATION": "quick_gelu"})


# Names in files


def test_a_run_file_chooses_no_weights(copied, backbones):
    folder = copied("CLIPModel")
    meta = {**backbones("CLIPModel").identity(), "backbone": str(folder)}
    check_named_by(meta)
    check_named_by({**meta, "backbone": f"transformers:{folder}"})
    rewrite_weights(folder, lambda tensors: tensors["logit_scale"].add_(1))
    for name in (str(folder), f"transformers:{folder}"):
        with raises_user_error(name, "--backbone"):
            check_named_by({**meta, "backbone": name})
    for name in ("transformers:some/model", "transformers://server/share", "//server/share"):
        with raises_user_error(name, "--backbone"):
            check_named_by({**meta, "backbone": name})


def test_a_folder_with_the_name_of_a_backbone_is_no_backbone(tmp_path, monkeypatch):
    (tmp_path / "micro").mkdir()
    monkeypatch.chdir(tmp_path)
    assert library_of("micro") is None


def test_the_sweep_notices_a_changed_folder(copied, backbones):
    from tools.sweeping import state

    folder = copied("CLIPModel")
    identity = {**backbones("CLIPModel").identity(), "backbone": str(folder)}
    assert state.backbone_differences(identity, str(folder)) == []
    assert state.fingerprint("transformers:some/model") is None
    change_config(folder, text_config={"hidden_act": "gelu"})
    state.fingerprint.cache_clear()
    assert state.backbone_differences(identity, str(folder)) == [f"the weights of {folder} have changed"]


# From the command line


def test_maple_is_refused_before_anything_is_loaded(folders, digits_root, tmp_path):
    with raises_user_error("MaPLe", "MODEL.BACKBONE.NAME", folders("SiglipModel")):
        build(folders("SiglipModel"), digits_root, tmp_path, "MaPLe")


@pytest.mark.parametrize("method", ["CoCoOp", "KgCoOp", "ProGrad", "CLIP_Adapter", "TipAdapterF", "ZeroshotCLIP2"])
def test_methods(method, folders, digits_root, tmp_path):
    keys = "TRAINER.COCOOP.CHUNK 20 TRAINER.TIP.SEARCH_STEP (3,2) TRAINER.TIP.AUGMENT_EPOCH 1 OPTIM.MAX_EPOCH 1".split()
    trainer = build(folders("SiglipModel"), digits_root, tmp_path, method, *keys, "TEST.SPLIT", "val")
    before = [p.detach().clone() for p in trainer.tuned.parameters()]
    trainer.train()
    assert trainer.run.metrics
    changed = [not torch.equal(*pair) for pair in zip(before, trainer.tuned.parameters(), strict=True)]
    assert any(changed) == (method != "ZeroshotCLIP2")


@pytest.mark.parametrize("name", ["SiglipModel", "BlipForImageTextRetrieval"])
def test_train_resume_and_predict(name, folders, digits_root, tmp_path, capsys):
    from trainers.common import load_tuned

    argv = ["--trainer", "CLIPFit", "--dataset-config-file", "configs/datasets/digits.yaml", "--root", str(digits_root)]
    argv += ["--backbone", folders(name), "--output-dir", str(tmp_path), "--seed", "1"]
    keys = [
        "DATALOADER.NUM_WORKERS",
        "0",
        "DATASET.NUM_SHOTS",
        "1",
        "TRAINER.CLIPFIT.PREC",
        "fp32",
        "TEST.SPLIT",
        "val",
    ]
    assert train.main([*argv, *keys, "OPTIM.MAX_EPOCH", "1"]) == 0
    out = capsys.readouterr().out
    assert "not a file of OpenAI's" not in out and "not prepared" not in out
    assert train.main([*argv, "--resume", str(tmp_path), *keys, "OPTIM.MAX_EPOCH", "2"]) == 0
    assert "epoch [2/2]" in capsys.readouterr().out
    identity = json.loads((tmp_path / "result.json").read_text())["identity"]
    assert identity["backbone"] == folders(name) and len(identity["weights_digest"]) == 64
    classifier = load_tuned(tmp_path, device="cpu")
    images = random_images(4)
    model = copy.deepcopy(classifier.trainer.clip)
    for parameter, tensor in classifier.trainer.tuned.named_parameters():
        model.get_parameter(parameter).data.copy_(tensor.data)
    prompts = [classifier.trainer.template.format(c) for c in classifier.classnames]
    with torch.no_grad():
        expected = library_logits(model, {"pixel_values": images}, library_tokens(folders(name), prompts))[0]
    bias = classifier.trainer.backbone.logit_bias or 0
    assert_close(classifier.predict(images).logits + bias, expected)
