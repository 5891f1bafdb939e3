"""Trainers on the GPU: a maker of them, and the sizes that make steps comparable."""

import pytest
import torch

from tests.trainers.conftest import digits_root, make, tiny  # noqa: F401  (fixtures)
from tests.trainers.test_every_method import FAST, config


@pytest.fixture(scope="session", autouse=True)
def gpu():
    assert torch.cuda.is_available(), "tests/cuda need a GPU that PyTorch can use"


@pytest.fixture
def build(make, tmp_path):  # noqa: F811
    """build(method, *opts, ...): a trainer with the method's recipe, every one in a folder of its own."""
    made = []

    def with_recipe(method, *opts, output=None, **kwargs):
        flags, keys = config(method)
        made.append(method)
        output = output or tmp_path / f"run{len(made)}"
        return make(method, *keys, *FAST, *opts, flags=flags, output=output, **kwargs)

    return with_recipe
