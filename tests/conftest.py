"""Makes the project's packages and the bundled Dassl API importable. Fixtures: digits dataset, tiny random CLIPs."""

import gc
import os
import signal
import sys
import threading
from pathlib import Path

import hypothesis
import pytest

# pytest-xdist runs one process per core, so more threads per process would only slow each other down.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Bit-equal results in all processes, and no measurement on a busy machine
os.environ["CLIPFIT_CPU_PRODUCTS"] = "mkl"

# nohup ignores SIGHUP, and every child of the tests would inherit that.
if hasattr(signal, "SIGHUP") and threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

# Always the same examples, without a time limit for each: the result says something about the code, not about the day.
hypothesis.settings.register_profile("repeatable", deadline=None, derandomize=True)
hypothesis.settings.load_profile("repeatable")

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import runtime  # noqa: E402, F401


def pytest_addoption(parser):
    parser.addoption("--cuda", action="store_true", help="run only tests/cuda, which need a GPU")


def pytest_configure(config):
    gc.disable()  # until all test files are imported, as they leave little garbage
    if not config.getoption("--cuda"):
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # all other tests run on the CPU, even if there is a GPU


def pytest_collection_modifyitems(config, items):
    selected, others = [], []
    for item in items:
        is_wanted = (item.path.parent.name == "cuda") == config.getoption("--cuda")
        (selected if is_wanted else others).append(item)
    config.hook.pytest_deselected(items=others)
    items[:] = selected


def pytest_collection_finish():
    gc.freeze()  # collections during the tests need not go through all modules and tests
    gc.enable()


@pytest.fixture(scope="session", autouse=True)
def loaded_clips():
    from tests.loaded_clips import install

    with pytest.MonkeyPatch.context() as patch:
        install(patch)
        yield


@pytest.fixture(scope="session", autouse=True)
def no_waiting_for_the_disk():
    """Tests kill processes but do not cut off the power, so `os.fsync` would protect from nothing. It takes 10 ms."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)
        yield


@pytest.fixture(scope="session")
def digits_root(tmp_path_factory):
    """A DATASET.ROOT with the digits. Their test split has 11 images per class, not 54, as evaluations take longest."""
    from datasets.digits import Digits
    from datasets.splits import write_split

    root = tmp_path_factory.mktemp("data")
    digits = Digits.at_root(root)
    digits.prepare()
    split = digits.read_data()
    test = [item for label in range(10) for item in [item for item in split.test if item.label == label][:11]]
    write_split(split._replace(test=test), digits.split_path, "11 test images per class, for tests")
    return root


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """Path of a tiny random CLIP with a ViT (32 px)."""
    from tests.reference.models import random_clip, save_clip

    return save_clip(random_clip("tiny"), tmp_path_factory.mktemp("clip") / "tiny.pt")


@pytest.fixture(scope="session")
def tiny_rn(tmp_path_factory):
    """Path of a tiny random CLIP with a ResNet (64 px)."""
    from tests.reference.models import random_clip, save_clip

    return save_clip(random_clip("tiny-RN"), tmp_path_factory.mktemp("clip") / "tiny_rn.pt")
