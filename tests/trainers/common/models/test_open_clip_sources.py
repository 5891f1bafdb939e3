"""Names of open_clip's models: what each stands for, and the line for one that stands for nothing."""

import json
import re
import sys
from pathlib import Path

import open_clip
import pytest
import safetensors.torch
import torch

import train  # noqa: F401  (makes dassl importable)
import trainers.common.tuned_clip  # noqa: F401  (registers the keys of MODEL.BACKBONE)
from dassl.config import get_cfg_default
from tests.reference import open_clip_models as reference
from tests.user_errors import raises_user_error
from trainers.common.models import open_clip_models, open_clip_sources, open_clip_tokenizers
from trainers.common.models.backbones import check_named_by, complete_cfg, load_backbone
from trainers.common.models.open_clip_sources import CONFIG, find_source
from trainers.common.models.preprocess import Preprocess
from trainers.common.models.weights_digest import fingerprint, folder_hashes, weights_digest, with_config

KEY = "MODEL.BACKBONE.NAME"


@pytest.fixture(autouse=True, scope="module")
def registered(tmp_path_factory):
    folder = tmp_path_factory.mktemp("open_clip")
    reference.register(folder)
    yield
    reference.unregister(folder)


@pytest.fixture
def file(tmp_path):
    """family -> name of a backbone with its weights, changed by a function."""

    def file(family, change=lambda tensors: None):
        tensors = reference.random_weights(family)
        change(tensors)
        torch.save(tensors, tmp_path / f"{family}.pt")
        return f"open_clip:{family}/{tmp_path / family}.pt"

    return file


def cfg_of(name):
    cfg = get_cfg_default()
    cfg.MODEL.BACKBONE.NAME = name
    return cfg


def test_input_follows_the_tag():
    cfg = cfg_of("open_clip:ViT-B-16-SigLIP-384/webli")
    complete_cfg(cfg)
    assert tuple(cfg.INPUT.SIZE) == (384, 384) and list(cfg.INPUT.PIXEL_MEAN) == [0.5, 0.5, 0.5]
    assert (cfg.INPUT.INTERPOLATION, cfg.INPUT.RESIZE_MODE) == ("bicubic", "squash")


def test_preprocessing_of_every_tag_is_that_of_open_clip():
    checked = 0
    for architecture, tag in open_clip.list_pretrained():
        config = open_clip.get_model_config(architecture)
        entry = open_clip.get_pretrained_cfg(architecture, tag)
        if entry.get("quick_gelu") and not config.get("quick_gelu"):
            with raises_user_error(KEY, tag, f"{architecture}-quickgelu/{tag}", "QuickGELU"):
                find_source(f"open_clip:{architecture}/{tag}")
            assert tag in open_clip.list_pretrained_tags_by_model(f"{architecture}-quickgelu")  # the remedy exists
            continue
        found = open_clip_models.preprocess(f"open_clip:{architecture}/{tag}")
        keys = ("mean", "std", "interpolation", "resize_mode")
        assert {key: getattr(found, key) for key in keys} == {key: entry[key] for key in keys}
        assert found.size == config["vision_cfg"]["image_size"]
        checked += 1
    assert checked > 100


def test_a_file_has_the_preprocessing_that_all_tags_share(tmp_path, capsys):
    (tmp_path / "w.pt").write_bytes(b"")
    siglip = open_clip_models.preprocess(f"open_clip:ViT-B-16-SigLIP/{tmp_path}/w.pt")
    assert siglip == Preprocess(224, (0.5,) * 3, (0.5,) * 3, "bicubic", "squash")
    assert capsys.readouterr().out == ""
    assert open_clip_models.preprocess(f"open_clip:ViT-L-14/{tmp_path}/w.pt") == Preprocess(224)
    assert "INPUT.PIXEL_MEAN" in capsys.readouterr().out


def test_unknown_names(tmp_path):
    for name, facts in {
        "open_clip:ViT-B16/openai": (KEY, "ViT-B16", "ViT-B-16"),
        "open_clip:ViT-B/16/openai": (KEY, "'ViT-B'"),
        "open_clip:ViT-B-16": (KEY, "open_clip:ViT-B-16/TAG", "laion2b_s34b_b88k", "open_clip:ViT-B-16/FILE"),
        "open_clip:ViT-B-16/laion2b": (KEY, "'laion2b'", "laion2b_s34b_b88k", "ViT-H-14-CLIPA-336"),
        "open_clip:ViT-B-16/nothing-like-it": (KEY, "nothing-like-it", "datacomp_xl_s13b_b90k"),
        "open_clip:ViT-B-16/webli": (KEY, "'webli'", "ViT-B-16-SigLIP"),
        "open_clip:ViT-B-16-quickgelu/laion2b_s34b_b88k": (KEY, "laion2b_s34b_b88k", ": ViT-B-16"),
        f"open_clip:ViT-B-16/{tmp_path}/none.pt": (KEY, f"{tmp_path}/none.pt"),
    }.items():
        with raises_user_error(*facts):
            complete_cfg(cfg_of(name))


def test_all_openai_architectures_use_our_encoders():
    names = {name for name in open_clip.list_models() if "tiny" not in name}
    lean = {name for name in names if open_clip_models.has_openai_structure(open_clip.get_model_config(name))}
    assert {"RN50", "RN50x64", "ViT-B-32-256", "ViT-B-16-plus-240", "ViT-H-14-378-quickgelu", "ViT-L-14-336"} <= lean
    others = ("CLIPA", "SigLIP", "EVA", "coca", "convnext", "Mobile", "PE-", "ViTamin", "worldwide", "roberta", "mt5")
    assert not [name for name in lean if any(word in name for word in others)]
    # their heads are not 64 wide, or their FFNs not 4 times as wide: OpenAI's code would build others
    assert not {"ViT-bigG-14", "ViT-g-14", "ViT-e-14"} & lean and {"ViT-g-14", "ViT-bigG-14"} <= names


@pytest.mark.parametrize("family", ["tiny-ViT-heads", "tiny-EVA02"])
def test_weights_with_other_tensors(file, family):
    image = "visual.proj" if family == "tiny-ViT-heads" else "visual.trunk.pos_embed"

    def smaller(tensors):
        tensors[image] = tensors[image][..., :10]

    for change, facts in (
        (lambda tensors: tensors.pop(image), ("1 missing", image)),
        (lambda tensors: tensors.update(extra=torch.zeros(2)), ("1 unexpected", "extra")),
        (smaller, ("1 of another shape", image, "10)")),
    ):
        with raises_user_error(KEY, f"{family}.pt", *facts):
            load_backbone(file(family, change))


def test_weights_of_a_larger_image_are_not_resized_in_silence(file):
    def larger(tensors):
        tensors["visual.positional_embedding"] = torch.zeros(37, 128)

    with raises_user_error(KEY, "visual.positional_embedding (37, 128) instead of (17, 128)"):
        load_backbone(file("tiny-ViT", larger))


def test_former_names_and_shapes_of_open_clip(file, tmp_path):
    """Flat names of the text encoder, a logit scale of shape (1,), and a constant that transformers stored."""
    expected = load_backbone(file("tiny-EVA02")).model.state_dict()

    def former(tensors):
        for name in list(tensors):
            if name.startswith("text."):
                tensors[name[len("text.") :]] = tensors.pop(name)
        tensors["logit_scale"] = tensors["logit_scale"].reshape(1)

    found = load_backbone(file("tiny-EVA02", former)).model.state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    positions = {"text.transformer.embeddings.position_ids": torch.arange(32)[None]}
    load_backbone(file("tiny-HF-text", lambda tensors: tensors.update(positions)))


@pytest.mark.parametrize("family", ["tiny-ViT", "tiny-EVA02"])
def test_identity_is_of_the_weights_at_every_precision(file, family):
    tensors = reference.random_weights(family)
    for precision in ("fp32", "bf16"):
        identity = load_backbone(file(family), precision).identity()
        del identity["input"]
        hashes = {"fingerprint": fingerprint(tensors), "weights_digest": weights_digest(tensors)}
        assert identity == with_config(hashes, open_clip.get_model_config(family))
        assert identity != with_config(hashes, {**open_clip.get_model_config(family), "quick_gelu": "other"})


def write_folder(folder: Path, family: str, weights: str = "open_clip_model.safetensors", **preprocess) -> str:
    folder.mkdir()
    config = {"model_cfg": open_clip.get_model_config(family), "preprocess_cfg": preprocess}
    (folder / CONFIG).write_text(json.dumps(config))
    safetensors.torch.save_file(reference.random_weights(family), folder / weights)
    return str(folder)


@pytest.mark.parametrize("family", ["tiny-ViT-quickgelu", "tiny-CoCa"])
@torch.no_grad()
def test_a_folder(family, tmp_path):
    name = write_folder(tmp_path / "x", family, "model.safetensors", mean=[0.1, 0.2, 0.3], resize_mode="squash")
    cfg = cfg_of(name)
    complete_cfg(cfg)
    assert tuple(cfg.INPUT.SIZE) == (32, 32) and list(cfg.INPUT.PIXEL_MEAN) == [0.1, 0.2, 0.3]
    assert cfg.INPUT.RESIZE_MODE == "squash"
    backbone = load_backbone(name)
    theirs = open_clip.create_model(f"local-dir:{name}").eval()
    image = torch.randn(2, 3, 32, 32)
    assert torch.allclose(backbone.image_encoder(image), theirs.encode_image(image, normalize=False), atol=1e-5)
    assert backbone.activation == ("quick_gelu" if family == "tiny-ViT-quickgelu" else "")


@pytest.mark.parametrize("family", ["tiny-ViT", "tiny-EVA02"])
def test_a_run_may_name_files_with_the_weights_that_it_was_tuned_on(family, file, tmp_path):
    folder = write_folder(tmp_path / "x", family)
    for name in (file(family), folder):
        meta = {"backbone": name, **load_backbone(name).identity()}
        check_named_by(meta)
        with raises_user_error(name, "--backbone"):
            check_named_by({**meta, "weights_digest": "0" * 64})
    check_named_by({"backbone": "open_clip:ViT-B-16/laion2b_s34b_b88k"})
    remote = f"open_clip:{family}/" + "//server/share/w.pt"
    for name in ("hf-hub:a/b", "open_clip:ViT-B-16/no-tag", "open_clip:ViT-B-16/openai", remote):
        with raises_user_error(f"--backbone {name}"):
            check_named_by({"backbone": name, "weights_digest": "0" * 64})


def test_the_digest_of_a_folder_covers_its_weights(tmp_path):
    """Whatever their file is called: a name that the digest leaves out is not read."""
    names = ("open_clip_model.safetensors", "model.safetensors", "pytorch_model.bin", "mine.safetensors", "mine.pt")
    loaded = []
    for i, weights in enumerate(names):
        folder = Path(write_folder(tmp_path / str(i), "tiny-ViT", weights))
        try:
            find_source(str(folder))
        except ValueError:
            continue
        loaded.append(weights)
        before = folder_hashes(str(folder))
        (folder / weights).write_bytes((folder / weights).read_bytes()[:-1] + b"x")
        assert folder_hashes(str(folder)) != before, weights
    assert loaded == list(names[:3])


def test_names_that_are_listed_are_accepted():
    names = open_clip_models.known()
    assert len(names) > 100 and len(set(names)) == len(names)
    for name in names:
        find_source(name)


@pytest.mark.parametrize("family", ["tiny-SigLIP", "tiny-CLIPA", "tiny-CoCa"])
@torch.no_grad()
def test_an_exported_model_loads_with_its_tokenizer(family, file, tmp_path):
    """Also where the tokenizer that the config names is not available."""
    backbone = load_backbone(file(family))
    tokens = backbone.text_encoder.tokenizer(["a photo of the cat"])
    backbone.config = json.loads(json.dumps(backbone.config))
    if "hf_tokenizer_name" in backbone.config["text_cfg"]:
        backbone.config["text_cfg"]["hf_tokenizer_name"] = "elsewhere/tokenizer"
    state = {name: tensor + 0.1 * tensor.is_floating_point() for name, tensor in backbone.model.state_dict().items()}
    (tmp_path / "export").mkdir()
    backbone.save(str(tmp_path / "export"), state)
    again = load_backbone(str(tmp_path / "export"))
    assert torch.equal(again.text_encoder.tokenizer(["a photo of the cat"]), tokens)
    assert again.preprocess == backbone.preprocess
    assert all(torch.equal(tensor, state[name]) for name, tensor in again.model.state_dict().items())


def test_folders_that_are_none(tmp_path):
    several = Path(write_folder(tmp_path / "several", "tiny-ViT", "model_a.safetensors"))
    (several / "model_b.bin").write_bytes(b"")
    with raises_user_error(KEY, several, "several", "open_clip_model.safetensors"):
        find_source(str(several))
    for name in ("model_a.safetensors", "model_b.bin"):
        (several / name).unlink()
    with raises_user_error(KEY, several, "no file"):
        find_source(str(several))
    (several / "model.bin").write_bytes(b"")
    for content in ("{", "[]", "{}", '{"model_cfg": {"embed_dim": 64}}'):
        (several / CONFIG).write_text(content)
        with raises_user_error(several / CONFIG, "model_cfg"):
            find_source(str(several))
    config = {"model_cfg": {**open_clip.get_model_config("tiny-ViT"), "colour": "red"}}
    (several / CONFIG).write_text(json.dumps(config))
    with raises_user_error(KEY, several, "colour"):
        load_backbone(str(several))
    config["model_cfg"]["vision_cfg"]["image_size"] = [32, 64]
    (several / CONFIG).write_text(json.dumps(config))
    with raises_user_error(KEY, several, "(32, 64)"):
        find_source(str(several))


def offline(*args, **kwargs):
    raise OSError("no\nnetwork")


def test_downloads_that_fail_say_where_the_file_can_be_put(monkeypatch):
    monkeypatch.setattr(open_clip, "download_pretrained", offline)
    monkeypatch.setattr("open_clip.pretrained.download_pretrained_from_hf", offline)
    name = "open_clip:ViT-B-16/laion2b_s34b_b88k"
    with raises_user_error(name, "no network", "laion/CLIP-ViT-B-16-laion2B-s34B-b88K", "open_clip:ViT-B-16/"):
        load_backbone(name)
    with raises_user_error("hf-hub:a/b", "no network", CONFIG, KEY):
        load_backbone("hf-hub:a/b")


def test_a_repository_of_the_hub(tmp_path, monkeypatch):
    folder = Path(write_folder(tmp_path / "hub", "tiny-ViT-quickgelu", interpolation="bilinear"))
    asked = []

    def download(repository, filename=None):
        asked.append((repository, filename))
        return str(folder / (filename or "open_clip_model.safetensors"))

    monkeypatch.setattr("open_clip.pretrained.download_pretrained_from_hf", download)
    assert open_clip_models.preprocess("hf-hub:a/b") == Preprocess(32, interpolation="bilinear")
    assert asked == [("a/b", CONFIG)]  # no weights
    backbone = load_backbone("hf-hub:a/b")
    assert backbone.activation == "quick_gelu" and asked[-1] == ("a/b", None)


def test_a_missing_tokenizer_is_named_before_weights_are_downloaded(monkeypatch):
    monkeypatch.setattr(open_clip, "get_tokenizer", offline)
    monkeypatch.setattr(open_clip, "download_pretrained", lambda entry: pytest.fail("downloads the weights first"))
    name = "open_clip:ViT-B-16-SigLIP2/webli"
    with raises_user_error(KEY, name, "timm/ViT-B-16-SigLIP2", "no network", CONFIG):
        load_backbone(name)


def test_missing_open_clip(monkeypatch):
    monkeypatch.setitem(sys.modules, "open_clip", None)
    with raises_user_error(KEY, "open_clip:ViT-B-16/openai", "pip install", open_clip_sources.REQUIREMENT):
        complete_cfg(cfg_of("open_clip:ViT-B-16/openai"))
    lines = (Path(__file__).parents[4] / "requirements-optional.txt").read_text()
    assert re.search(f"^{re.escape(open_clip_sources.REQUIREMENT)} ", lines, re.M)


TOKENIZERS = {  # family -> tokens before and after the text
    "tiny-ViT-context": (1, 1), "tiny-SigLIP": (0, 1), "tiny-CLIPA": (1, 1), "tiny-MetaCLIP2": (1, 1),
    "tiny-HF-text": (1, 1),
}  # fmt: skip


@pytest.mark.parametrize("family", TOKENIZERS)
def test_tokenizers(family):
    config = open_clip.get_model_config(family)
    tokenizer = open_clip_tokenizers.load_tokenizer(find_source_of(family))
    assert (tokenizer.start, tokenizer.end) == TOKENIZERS[family]
    assert tokenizer.context_length == config["text_cfg"]["context_length"]
    assert tokenizer.count(["a photo", "x x x"]) == [2, 3]
    longest = tokenizer.context_length - sum(TOKENIZERS[family])
    tokens = tokenizer([" ".join(["x"] * longest), "x"])
    assert (tokens[0] == tokenizer.filler).sum() == longest
    assert tokens[1, tokenizer.start] == tokenizer.filler and (tokens[1] == tokenizer.filler).sum() == 1  # no padding
    with raises_user_error(str(tokenizer.context_length), "'x x"):
        tokenizer([" ".join(["x"] * (longest + 1))])


def find_source_of(family):
    config = open_clip.get_model_config(family)
    return open_clip_sources.Source(family, family, config, Preprocess(), None)


@pytest.mark.parametrize(
    ("part", "values", "fact"),
    [
        ("preprocess_cfg", [1], CONFIG),
        ("preprocess_cfg", {"mean": 0.5}, CONFIG),
        ("preprocess_cfg", {"mean": [0.5, 0.5]}, "mean"),
        ("preprocess_cfg", {"std": [0, 0, 0]}, "std"),
        ("preprocess_cfg", {"interpolation": "random"}, "'random'"),
        ("vision_cfg", {"width": "x"}, KEY),
        ("vision_cfg", {"patch_size": 0}, KEY),
        ("vision_cfg", {"head_width": 0}, KEY),
    ],
)
def test_a_folder_with_an_invalid_config(part, values, fact, tmp_path):
    name = write_folder(tmp_path / "x", "tiny-ViT")
    path = Path(name, CONFIG)
    config = json.loads(path.read_text())
    if part == "vision_cfg":
        config["model_cfg"][part].update(values)
    else:
        config[part] = values
    path.write_text(json.dumps(config))
    with raises_user_error(name, fact):
        load_backbone(name)


def test_a_folder_with_preprocess_cfg_null_has_the_default(tmp_path):
    name = write_folder(tmp_path / "x", "tiny-ViT")
    path = Path(name, CONFIG)
    path.write_text(json.dumps({**json.loads(path.read_text()), "preprocess_cfg": None}))
    assert find_source(name).preprocess == Preprocess(32)


def test_sizes_that_a_config_leaves_out_are_those_of_open_clip():
    config = open_clip.get_model_config("tiny-ViT")
    for key in ("layers", "width"):
        vision = {k: v for k, v in config["vision_cfg"].items() if k != key}
        assert not open_clip_models.has_openai_structure({**config, "vision_cfg": vision})


def test_a_folder_after_the_prefix(tmp_path):
    name = write_folder(tmp_path / "x", "tiny-ViT")
    with raises_user_error(KEY, f"set {KEY} to {name}"):
        find_source(f"open_clip:{name}")


def test_tags_that_are_refused_are_not_offered():
    with raises_user_error("laion2b_s34b_b88k") as error:
        find_source("open_clip:ViT-B-16")
    assert "openai" not in str(error.value)
