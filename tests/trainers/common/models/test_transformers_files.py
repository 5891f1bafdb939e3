"""Folders of checkpoints of transformers: mistakes in them, what they may not do, and names in files of runs."""

import json
import pickle
from pathlib import Path

import pytest
import torch

import train
from tests.reference.transformers_library import assert_close, features, library_model, random_images
from tests.reference.transformers_zoo import MODELS
from tests.user_errors import assert_user_error, raises_user_error
from trainers.common.models import transformers_files
from trainers.common.models.backbones import check_named_by, library_of, load_backbone, preprocess_of

transformers = pytest.importorskip("transformers")


def change_config(folder, **values):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def without_weights(folder):
    (folder / "model.safetensors").unlink()
    return "no weights", "model.safetensors"


def without_tokenizer(folder):
    for file in transformers_files.TOKENIZER_FILES:
        (folder / file).unlink(missing_ok=True)
    return "no tokenizer", "tokenizer.json"


def other_class(folder):
    change_config(folder, architectures=["CLIPVisionModel"])
    return "CLIPVisionModel", *MODELS


def blip_2(folder):
    change_config(folder, architectures=["Blip2ForConditionalGeneration"], model_type="blip-2")
    return "Blip2ForConditionalGeneration", "Blip2ForImageTextRetrieval"


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
def test_a_folder_that_cannot_be_used_is_refused_before_data_are_read(mistake, copied_transformers, tmp_path, capsys):
    folder = copied_transformers("CLIPModel")
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


def test_missing_and_unexpected_weights_are_named(copied_transformers):
    folder = copied_transformers("CLIPModel")

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


def test_position_ids_of_earlier_versions_are_no_weights(copied_transformers, transformers_backbone):
    for name in ("CLIPModel", "ChineseCLIPModel", "BlipForImageTextRetrieval"):
        folder = copied_transformers(name)
        root = "text_encoder" if "Blip" in name else "text_model"
        rewrite_weights(
            folder, lambda t, root=root: t.update({f"{root}.embeddings.position_ids": torch.arange(77)[None]})
        )
        assert torch.equal(
            *(features(b, random_images())[1] for b in (load_backbone(str(folder)), transformers_backbone(name)))
        )


@pytest.mark.parametrize("prefix", ["module.", "model.module.", "_orig_mod."])
def test_prefixes_that_training_leaves(copied_transformers, transformers_backbone, prefix):
    from safetensors.torch import load_file, save_file

    folder = copied_transformers("SiglipModel")
    tensors = load_file(folder / "model.safetensors")
    save_file({prefix + n: t for n, t in tensors.items()}, folder / "model.safetensors", metadata={"format": "pt"})
    backbones = load_backbone(str(folder)), transformers_backbone("SiglipModel")
    for pair in zip(*(features(backbone, random_images()) for backbone in backbones), strict=True):
        assert torch.equal(*pair)


def test_a_corrupted_file(copied_transformers):
    folder = copied_transformers("CLIPModel")
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[: len(content) // 2])
    with raises_user_error(str(folder)):
        load_backbone(str(folder))


class Evil:
    def __reduce__(self):
        return exec, ("import builtins; builtins.clipfit_was_run = True",)


def test_no_code_of_a_checkpoint_is_run(copied_transformers):
    import builtins

    folder = copied_transformers("CLIPModel")
    (folder / "model.safetensors").unlink()
    torch.save({"logit_scale": Evil()}, folder / "pytorch_model.bin")
    with raises_user_error(str(folder)):
        load_backbone(str(folder))
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"logit_scale": Evil()}))
    with raises_user_error(str(folder)):
        load_backbone(str(folder))
    assert not hasattr(builtins, "clipfit_was_run")


def test_configs_choose_no_code(copied_transformers, transformers_backbone):
    folder = copied_transformers("CLIPModel")
    (folder / "evil.py").write_text("raise SystemExit('was run')")
    change_config(folder, auto_map={"AutoModel": "evil.Evil", "AutoConfig": "evil.Evil", "AutoTokenizer": "evil.Evil"})
    change_config(folder, attn_implementation="evil/kernel", _attn_implementation="evil/kernel")
    found = load_backbone(str(folder))
    assert (
        found.model.config._attn_implementation == transformers_backbone("CLIPModel").model.config._attn_implementation
    )
    assert_close(features(found, random_images())[1], features(transformers_backbone("CLIPModel"), random_images())[1])


def test_pickled_weights_are_read_as_tensors(copied_transformers, transformers_backbone):
    from safetensors.torch import load_file

    folder = copied_transformers("CLIPModel")
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    assert torch.equal(
        *(features(b, random_images())[1] for b in (load_backbone(str(folder)), transformers_backbone("CLIPModel")))
    )


def test_weights_in_half_precision_are_read_as_fp32(copied_transformers, transformers_folder):
    folder = copied_transformers("SiglipModel")
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


def test_a_name_on_the_hub_is_downloaded_and_loaded(monkeypatch, copied_transformers, transformers_backbone):
    import huggingface_hub

    folder = copied_transformers("CLIPModel")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda name, allow_patterns: str(folder))
    assert load_backbone("transformers:some/clip").identity() == transformers_backbone("CLIPModel").identity()


def test_a_missing_package_is_named_with_its_bound(monkeypatch, transformers_folder):
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    with raises_user_error("transformers", transformers_files.REQUIREMENT):
        preprocess_of(section(transformers_folder("CLIPModel")))
    assert transformers_files.REQUIREMENT in Path("requirements-optional.txt").read_text()


def section(name):
    from yacs.config import CfgNode

    return CfgNode({"NAME": name, "ACTIVATION": "quick_gelu"})


def test_a_run_file_chooses_no_weights(copied_transformers, transformers_backbone):
    folder = copied_transformers("CLIPModel")
    meta = {**transformers_backbone("CLIPModel").identity(), "backbone": str(folder)}
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


def test_the_sweep_notices_a_changed_folder(copied_transformers, transformers_backbone):
    from tools.sweeping import state

    folder = copied_transformers("CLIPModel")
    identity = {**transformers_backbone("CLIPModel").identity(), "backbone": str(folder)}
    assert state.backbone_differences(identity, str(folder)) == []
    assert state.fingerprint("transformers:some/model") is None
    change_config(folder, text_config={"hidden_act": "gelu"})
    state.fingerprint.cache_clear()
    assert state.backbone_differences(identity, str(folder)) == [f"the weights of {folder} have changed"]
