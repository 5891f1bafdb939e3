"""Fixtures: `build`, which builds trainers on the GPU, each with a separate run directory."""

import itertools

import pytest
import torch

from tests.trainers.conftest import make  # noqa: F401  (a fixture)
from tests.trainers.test_every_method import build as with_recipe  # noqa: F401  (a fixture)


@pytest.fixture(scope="session", autouse=True)
def gpu():
    assert torch.cuda.is_available(), "tests/cuda needs a CUDA GPU"


@pytest.fixture
def build(with_recipe, tmp_path):  # noqa: F811
    """build(method, *opts, ...) builds a trainer with the method's recipe, in a new run directory."""
    numbers = itertools.count(1)

    def in_new_folder(method, *opts, output=None, **kwargs):
        return with_recipe(method, *opts, output=output or tmp_path / f"run{next(numbers)}", **kwargs)

    return in_new_folder
