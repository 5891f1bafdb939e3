"""Tiny models of open_clip and transformers: their files, and as backbones."""

import functools
import shutil
from pathlib import Path

import pytest
import torch

from tests.reference.transformers_zoo import SIDE, save_model, save_processor
from trainers.common.models.backbones import load_backbone


@pytest.fixture(scope="session")
def open_clip_weights(tmp_path_factory):
    """Folder for the weights of the families of open_clip."""
    return tmp_path_factory.mktemp("open_clip")


@pytest.fixture(scope="module")
def open_clip_folder(open_clip_weights, tmp_path_factory):
    """Folder with the weights of each family, <name>.pt; the families are registered with open_clip.

    open_clip's tokenizer is made once, as reading its 48,000 merges takes longer than making a model.
    """
    from open_clip import factory

    from tests.reference import open_clip_models as reference

    configs = tmp_path_factory.mktemp("registered")
    reference.register(configs)
    for name in reference.FAMILIES:
        path = open_clip_weights / f"{name}.pt"
        if not path.exists():
            torch.save(reference.random_weights(name), path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(factory, "SimpleTokenizer", functools.cache(factory.SimpleTokenizer))
        yield open_clip_weights
    reference.unregister(configs)


@pytest.fixture(scope="session")
def transformers_folder(tmp_path_factory):
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
def copied_transformers(transformers_folder, tmp_path):
    """copied_transformers(name) returns a copy of a model's folder that a test may change."""
    return lambda name: Path(shutil.copytree(transformers_folder(name), tmp_path / name))


@pytest.fixture(scope="session")
def transformers_backbone(transformers_folder):
    """transformers_backbone(name) returns a tiny model, loaded once. Do not modify it."""
    loaded = {}

    def backbone(name):
        if name not in loaded:
            loaded[name] = load_backbone(transformers_folder(name))
        return loaded[name]

    return backbone
