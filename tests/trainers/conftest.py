"""Fixtures: a full-size random CLIP, and `make`, which builds trainers."""

import pytest

import trainers.common.runs.feature_store  # noqa: F401  (its keys)
from dassl.config import cfg_default
from tests.reference.models import random_clip
from trainers.common.models import weights_digest

from .helpers import make_trainer


@pytest.fixture(scope="session", autouse=True)
def cached_digests(tmp_path_factory):
    """Keeps the digests of the tests' backbones, and features of images, out of the home folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(weights_digest, "FOLDER", tmp_path_factory.mktemp("cache"))
        patch.setitem(cfg_default.DATALOADER, "FEATURES", str(tmp_path_factory.mktemp("features")))
        yield


@pytest.fixture(scope="session")
def vit_b16():
    """A full-size ViT-B/16 CLIP with random weights. Shared by all tests: do not modify it."""
    return random_clip("ViT-B/16")


@pytest.fixture
def make(digits_root, tiny, tmp_path):
    """make(method, *opts, output=..., backbone=..., seed=..., flags=...) builds a trainer on the digits dataset."""

    def build(method, *opts, output=None, backbone=None, seed=1, flags=()):
        output = output or tmp_path / "run"
        return make_trainer(method, digits_root, backbone or tiny, output, *opts, seed=seed, flags=flags)

    return build
