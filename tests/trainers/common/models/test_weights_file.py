"""Files with weights as people have them, what is said of files that are none, and that none of them runs code."""

import os
import random
import re

import pytest
import safetensors.torch
import torch
from torch import nn

from tests.reference.models import random_clip
from tests.trainers.crash import flip_a_bit
from tests.user_errors import raises_user_error
from trainers.common.models import backbone_files, weights_file
from trainers.common.models.loading import load_clip
from trainers.common.models.transformers_names import to_transformers

from ..runs.test_torch_archive import openai_archive

CLIP = random_clip("tiny").state_dict()


def prefixed(prefix: str, state: dict = CLIP) -> dict:
    return {prefix + name: tensor for name, tensor in state.items()}


LAYOUTS = {
    "bare": CLIP,
    "DataParallel": {"state_dict": prefixed("module.")},
    "torch.compile": prefixed("_orig_mod."),
    "Lightning": {"state_dict": prefixed("model."), "epoch": 3, "optimizer": {"state": {}}},
    "open_clip": {"epoch": 1, "name": "x", "state_dict": prefixed("module._orig_mod.")},
    "nested": {"model_state_dict": prefixed("model.clip.")},
    "wrapped twice": {"model": {"state_dict": prefixed("clip_model.module.")}},
    "transformers": {**to_transformers(CLIP), "vision_model.embeddings.position_ids": torch.arange(5)[None]},
    "transformers, wrapped": prefixed("module.", to_transformers(CLIP)),
    "compiled part": {name.replace("visual.", "visual._orig_mod."): tensor for name, tensor in CLIP.items()},
    "with its sizes": {**CLIP, "input_resolution": torch.tensor(32), "attn_mask": torch.zeros(77, 77), "n": 3},
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_state_dicts_as_training_programs_write_them(layout, tmp_path):
    path = str(tmp_path / "weights.bin")
    torch.save(LAYOUTS[layout], path)
    model = load_clip(path)
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in CLIP.items())


def test_other_formats(tmp_path):
    safetensors.torch.save_file(prefixed("module."), tmp_path / "c.safetensors")
    torch.save({"model": CLIP}, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    for name in ("c.safetensors", "old.pt"):
        model = load_clip(str(tmp_path / name))
        assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in CLIP.items())


@pytest.mark.filterwarnings("ignore")
def test_an_archive_as_openais_builds_the_same_model(tmp_path):
    path = openai_archive("tiny", tmp_path / "clip.pt")
    expected = torch.jit.load(path).state_dict()
    model = load_clip(path)
    assert expected.keys() - model.state_dict().keys() == {"input_resolution", "context_length", "vocab_size"}
    assert all(torch.equal(tensor, expected[name].float()) for name, tensor in model.state_dict().items())
    assert not model.is_openai


class RunsCode(nn.Linear):
    def __reduce__(self):
        return os.system, (f"touch {self.target}",)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("key", [None, "model"])
def test_a_pickled_model_is_named_with_the_line_that_converts_it(key, zipped, tmp_path, monkeypatch):
    path = str(tmp_path / "whole.pt")
    model = random_clip("tiny")
    torch.save({key: model} if key else model, path, _use_new_zipfile_serialization=zipped)
    with raises_user_error(path, "python -c", "state_dict()", "weights_only=False") as caught:
        load_clip(path)
    assert "delete" not in str(caught.value)
    code = re.search(r'python -c "(.*?)"[;, ]', str(caught.value))[1]
    if zipped or key is None:  # of a pickle without an archive, the keys are not known
        monkeypatch.chdir(tmp_path)
        exec(code, {})  # the advice works
        assert torch.equal(load_clip("weights.pt").visual.proj, model.visual.proj)
    hostile = RunsCode(2, 2)
    hostile.target = tmp_path / "written"
    torch.save({"state_dict": hostile}, path, _use_new_zipfile_serialization=zipped)
    with raises_user_error(path):
        load_clip(path)
    assert not hostile.target.exists()


@pytest.mark.parametrize(
    "changes, facts, absent",
    [
        ({"visual.proj": None}, ("1 missing", "visual.proj"), "layer1"),
        ({"visual.proj": None, "visual.conv1.weight": None}, ("2 missing", "ViT"), "layer1"),
        ({"visual.head.weight": torch.zeros(2)}, ("1 unexpected", "visual.head.weight"), "layer1"),
        ({"transformer.resblocks.1.ln_1.bias": None}, ("1 missing", "transformer.resblocks.1.ln_1.bias"), "layer"),
        ({"text_projection": None}, ("1 missing", "text_projection"), "layer1"),
        ({"visual.proj": torch.zeros(5, 5)}, ("visual.proj",), "layer1"),
    ],
)
def test_tensors_that_a_vit_lacks_are_named(changes, facts, absent, tmp_path):
    path = str(tmp_path / "c.pt")
    torch.save({name: tensor for name, tensor in {**CLIP, **changes}.items() if tensor is not None}, path)
    with raises_user_error("MODEL.BACKBONE.NAME", path, *facts) as caught:
        load_clip(path)
    assert absent not in str(caught.value)


def test_other_models_are_named(tmp_path):
    resnet = random_clip("tiny-RN").state_dict()
    del resnet["visual.layer2.0.conv1.weight"]
    torch.save(resnet, tmp_path / "r.pt")
    with raises_user_error("ResNet", "1 missing", "visual.layer2.0.conv1.weight"):
        load_clip(str(tmp_path / "r.pt"))
    torch.save({"text_model.embeddings.position_ids": torch.zeros(1)}, tmp_path / "hf.pt")
    with raises_user_error(tmp_path / "hf.pt", "text_model.embeddings.position_ids", "transformers", "config.json"):
        load_clip(str(tmp_path / "hf.pt"))
    torch.save({"visual.trunk.norm.weight": torch.zeros(1)}, tmp_path / "siglip.pt")
    with raises_user_error(tmp_path / "siglip.pt", "open_clip:ARCHITECTURE"):
        load_clip(str(tmp_path / "siglip.pt"))
    torch.save({**prefixed("model."), **prefixed("module.")}, tmp_path / "two.pt")
    with raises_user_error(tmp_path / "two.pt", "several models"):
        load_clip(str(tmp_path / "two.pt"))
    endless = {}
    endless["model"] = endless
    torch.save(endless, tmp_path / "endless.pt")
    with raises_user_error(tmp_path / "endless.pt", "no tensors"):
        load_clip(str(tmp_path / "endless.pt"))
    torch.save([1, 2], tmp_path / "list.pt")
    with raises_user_error(tmp_path / "list.pt", "list"):
        load_clip(str(tmp_path / "list.pt"))


def test_flipped_bits_of_a_backbone_are_detected(tmp_path):
    path = tmp_path / "c.pt"
    torch.save(CLIP, path)
    content, rng, detected = path.read_bytes(), random.Random(1), 0
    for _ in range(20):
        path.write_bytes(flip_a_bit(content, rng))
        try:
            state = weights_file.read(str(path))
        except ValueError:
            detected += 1
        else:  # in unused bytes
            assert all(torch.equal(state[name], tensor) for name, tensor in CLIP.items())
    assert detected >= 19


def test_only_a_download_is_advised_to_be_deleted(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    downloads = tmp_path / ".cache" / "clip"
    downloads.mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    for path in (tmp_path / "mine.pt", downloads / "ViT-B-16.pt"):
        path.write_bytes(b"PK\x03\x04 damaged")
    with raises_user_error("mine.pt", "restore") as caught:
        load_clip("mine.pt")
    assert "delete" not in str(caught.value) and "download" not in str(caught.value)
    with raises_user_error(downloads / "ViT-B-16.pt", "delete"):
        load_clip(str(downloads / "ViT-B-16.pt"))
    monkeypatch.setattr(backbone_files.clip, "_download", lambda *_: str(tmp_path / "mine.pt"))
    with raises_user_error(tmp_path / "mine.pt", "delete"):
        load_clip("ViT-B/16")


def test_shapes_only(tmp_path):
    torch.save(CLIP, tmp_path / "c.pt")
    for path in (str(tmp_path / "c.pt"), str(backbone_files.MICRO)):
        whole, shapes = weights_file.read(path), weights_file.read(path, shapes_only=True)
        assert {name: t.shape for name, t in shapes.items()} == {name: t.shape for name, t in whole.items()}
        assert weights_file.input_size(shapes) == 32
