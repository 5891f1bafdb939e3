"""Fixtures: a calibrated run, and the service with its model."""

import shutil
import tempfile

import pytest

from tests.tools.tuned import trained  # noqa: F401  (fixture)
from tools import calibrate
from tools.serving.model import Model
from trainers.common import load_tuned


@pytest.fixture(scope="module")
def run(trained, tmp_path_factory):  # noqa: F811
    folder = tmp_path_factory.mktemp("calibrated") / "run"
    shutil.copytree(
        trained("CLIPFit", "DATASET.NUM_SHOTS", "4", "OPTIM.MAX_EPOCH", "1", backbone="micro").output_dir, folder
    )
    assert calibrate.main([str(folder), "--workers", "0"]) == 0
    return folder


@pytest.fixture(scope="module")
def model(run):
    return Model(load_tuned(run, calibrated=True))


@pytest.fixture(autouse=True, scope="module")
def nothing_on_disk():
    def roll_over(self):
        raise AssertionError("an upload is written to disk")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile.SpooledTemporaryFile, "rollover", roll_over)
        yield
