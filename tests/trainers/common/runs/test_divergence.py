"""A run that diverged can be started again in its directory with other settings; any other run is protected."""

import json
import os

import pytest
import torch

from tests.user_errors import raises_user_error
from trainers.common.runs.divergence import MARK

SAVING = ("TRAIN.CHECKPOINT_FREQ", "1", "TEST.NO_TEST", "True")


def diverge(make, epoch=3, *opts):
    """Trains a run whose loss becomes NaN in this epoch, counted from 1."""
    trainer = make("CLIPFit", *SAVING, *opts)
    before_epoch = trainer.before_epoch

    def before():
        before_epoch()
        if trainer.epoch + 1 == epoch:
            next(trainer.tuned.parameters()).data.fill_(float("nan"))

    trainer.before_epoch = before
    with raises_user_error("NaN", "OPTIM.LR", error=FloatingPointError):
        trainer.train()
    return trainer


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "run"


def checkpoints(folder):
    return sorted(path.name for path in (folder / "clipfit").iterdir() if path.name.startswith("model"))


def test_a_lower_rate_starts_again(make, folder, capsys):
    diverge(make)
    assert checkpoints(folder) == ["model.pth.tar-1", "model.pth.tar-2"]
    mark = json.loads((folder / MARK).read_text())
    assert "NaN" in mark["error"] and mark["settings"]["OPTIM.LR"] == 0.002
    capsys.readouterr()
    trainer = make("CLIPFit", *SAVING, "OPTIM.LR", "0.001", "OPTIM.MAX_EPOCH", "1")
    trainer.train()
    (note,) = [line for line in capsys.readouterr().out.splitlines() if str(folder) in line and "diverged" in line]
    assert "OPTIM.LR 0.002 -> 0.001" in note and "3 files" in note  # two checkpoints and the pointer
    assert trainer.start_epoch == 0 and checkpoints(folder) == ["model.pth.tar-1"]
    assert json.loads((folder / "result.json").read_text())["finished"] and not (folder / MARK).exists()
    with raises_user_error(folder, "OPTIM.LR 0.001 -> 0.002"):  # a finished run is protected again
        make("CLIPFit", *SAVING).train()


def test_the_same_settings_resume(make, folder):
    diverge(make)
    trainer = make("CLIPFit", *SAVING)
    trainer.train()
    assert trainer.start_epoch == 2 and not (folder / MARK).exists()


def test_a_kill_after_starting_again_leaves_no_old_checkpoint(make, folder):
    from ...helpers import cut_off_after

    diverge(make)
    trainer = make("CLIPFit", *SAVING, "OPTIM.LR", "0.001")
    cut_off_after(trainer, 1)
    assert checkpoints(folder) == ["model.pth.tar-1"] and not (folder / MARK).exists()
    with raises_user_error(folder, "OPTIM.LR 0.001 -> 0.002"):
        make("CLIPFit", *SAVING).train()


def test_a_run_that_did_not_diverge_is_protected(make, folder):
    from ...helpers import cut_off_after

    cut_off_after(make("CLIPFit", *SAVING), 2)
    with raises_user_error(folder, "OPTIM.LR 0.002 -> 0.001"):
        make("CLIPFit", *SAVING, "OPTIM.LR", "0.001").train()
    assert checkpoints(folder) == ["model.pth.tar-1", "model.pth.tar-2"]


def test_a_finished_record_protects_the_checkpoints(make, folder):
    """The mark of an earlier try is in the directory of a run that has finished since."""
    make("CLIPFit", *SAVING).train()
    (folder / MARK).write_text(json.dumps({"settings": {"OPTIM.LR": 5.0}, "meta": {"plugins": []}}))
    with raises_user_error(folder, "OPTIM.LR"):
        make("CLIPFit", *SAVING, "OPTIM.LR", "0.001").train()
    assert "model.pth.tar-3" in checkpoints(folder)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"settings": null}'])
def test_a_mark_that_cannot_be_read_is_no_mark(make, folder, content):
    os.makedirs(folder)
    (folder / MARK).write_text(content)
    make("CLIPFit", *SAVING, "OPTIM.MAX_EPOCH", "1").train()
    assert not (folder / MARK).exists()


def test_a_diverged_run_has_only_finite_checkpoints(make, folder):
    diverge(make, 2)
    for path in (folder / "clipfit").glob("model*"):
        tensors = torch.load(path, weights_only=True)["state_dict"]
        assert all(torch.isfinite(tensor).all() for tensor in tensors.values())
