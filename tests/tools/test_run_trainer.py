"""tools/run_trainer.py: runs that tools for classes cannot evaluate, or whose images have changed."""

from types import SimpleNamespace

import pytest

from tests.user_errors import raises_user_error
from tools import run_trainer
from tools.run_trainer import cfg_with_data, check_images
from trainers.common.runs.image_hashes import content


def test_a_run_on_captions_has_no_classes():
    state = {"settings": {"DATASET.NAME": "Captions"}, "meta": {"trainer": "CLIPFit"}}
    with raises_user_error("output/pairs", "captions", "tools/retrieve.py"):
        cfg_with_data(state, "output/pairs")


@pytest.mark.parametrize("split, name", [("train_x", "training images"), ("test", "test images")])
def test_images_that_have_changed_since_the_run(tmp_path, monkeypatch, split, name):
    path = tmp_path / "a.png"
    path.write_bytes(b"one")
    dataset = SimpleNamespace(**{split: [SimpleNamespace(impath=str(path), label=0)]})
    recorded = {"classes": "base", "dataset": "Digits", "content": content(dataset)}
    monkeypatch.setattr(run_trainer.record, "read", lambda path: recorded)
    check_images("RUN", dataset, "base")
    path.write_bytes(b"other")
    with raises_user_error("RUN", "Digits", name, "1 -> 1", "--root"):
        check_images("RUN", dataset, "base")
    check_images("RUN", dataset, "new")  # the run has no images of these classes to compare with
