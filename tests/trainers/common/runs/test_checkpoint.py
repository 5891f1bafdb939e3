"""Checkpoints: their content, errors on loading, and exact resuming."""

import os

import pytest
import torch

from tests.user_errors import raises_user_error

from ...crash import content
from ...helpers import batch_of, cut_off_after, make_trainer, train_step

RUN = ("OPTIM.MAX_EPOCH", "4", "TRAIN.CHECKPOINT_FREQ", "1", "DATALOADER.TRAIN_X.BATCH_SIZE", "10")


def saved(path, epoch):
    return torch.load(f"{path}/clipfit/model.pth.tar-{epoch}", weights_only=True)


def test_content(make, tmp_path):
    trainer = make("CLIPFit")
    train_step(trainer, batch_of(trainer))
    trainer.save_model(6, str(tmp_path))
    state = saved(tmp_path, 7)
    assert state["state_dict"].keys() == dict(trainer.tuned.named_parameters()).keys()
    assert state["epoch"] == 7 and state["meta"]["fingerprint"] == trainer.clip.fingerprint
    assert state["meta"]["template"] == "a photo of the number {}." and len(state["meta"]["classnames"]) == 10
    assert (tmp_path / "clipfit" / "checkpoint").read_text().strip() == "model.pth.tar-7"


def test_save_and_load_give_equal_logits(make, tmp_path):
    trainer = make("CLIPFit", output=tmp_path / "a")
    for seed in range(3):
        train_step(trainer, batch_of(trainer, seed=seed), update_lr=True)
    trainer.save_model(2, str(tmp_path / "a"))
    other = make("CLIPFit", output=tmp_path / "b")
    image = batch_of(trainer)["img"]
    with torch.no_grad():
        trainer.set_model_mode("eval")
        other.set_model_mode("eval")
        before = other.model_inference(image)
        other.load_model(str(tmp_path / "a"))  # no epoch: the newest
        other.set_model_mode("eval")
        assert not torch.allclose(before, other.model_inference(image))
        assert torch.equal(trainer.model_inference(image), other.model_inference(image))


@pytest.mark.parametrize("workers,precision", [(0, "fp32"), (1, "fp32"), (0, "fp16"), (0, "amp")])
def test_resumed_run_equals_an_unbroken_one(digits_root, tiny, tmp_path, workers, precision):
    def run(output, stop_after=None):
        options = (*RUN, "DATALOADER.NUM_WORKERS", str(workers), "TEST.NO_TEST", "True")
        options += ("TRAINER.CLIPFIT.PREC", precision)
        trainer = make_trainer("CLIPFit", digits_root, tiny, output, *options)
        if stop_after:
            return cut_off_after(trainer, stop_after)
        trainer.train()
        return trainer

    whole = run(tmp_path / "whole")
    assert run(tmp_path / "broken", stop_after=2) is None
    resumed = run(tmp_path / "broken")
    for name, tensor in whole.tuned.state_dict().items():
        assert torch.equal(tensor, resumed.tuned.state_dict()[name]), name
    assert whole.get_current_lr() == resumed.get_current_lr()
    assert whole.scaler.state_dict() == resumed.scaler.state_dict()  # of fp16; it counts steps
    assert bool(whole.scaler.state_dict()) == (precision == "fp16")
    last = f"clipfit/model.pth.tar-{whole.max_epoch}"
    assert content(tmp_path / "whole" / last) == content(tmp_path / "broken" / last)


def test_a_checkpoint_of_another_backbone_is_refused(make, tmp_path):
    from tests.reference.models import random_clip, save_clip

    trainer = make("CLIPFit", output=tmp_path / "a")
    trainer.save_model(0, str(tmp_path / "a"))
    other = save_clip(random_clip("tiny", seed=5), tmp_path / "other.pt")
    with raises_user_error("model.pth.tar-1", "tiny.pt", "other.pt", "--backbone"):
        make("CLIPFit", backbone=other, output=tmp_path / "b").load_model(str(tmp_path / "a"))


def test_a_checkpoint_of_other_parameter_sets_is_refused(make, tmp_path):
    make("CLIPFit", output=tmp_path / "a").save_model(0, str(tmp_path / "a"))
    other = make("CLIPFit", "TRAINER.CLIPFIT.TUNE", "('text_ffn_bias', 'image_layernorm')", output=tmp_path / "b")
    with raises_user_error("model.pth.tar-1", "3 differ", "c_fc.bias", "missing", "text_ffn_output_bias"):
        other.load_model(str(tmp_path / "a"))


def test_other_settings_in_one_folder_are_refused(make, tmp_path):
    make("CLIPFit").save_model(0, str(tmp_path / "run"))
    with raises_user_error(tmp_path / "run", "TRAINER.CLIPFIT.BETA 8.0 -> 2.0", "--output-dir", "--resume"):
        make("CLIPFit", "TRAINER.CLIPFIT.BETA", "2.0").train()
    # --resume allows it.
    trainer = make("CLIPFit", "OPTIM.MAX_EPOCH", "5", "RESUME", str(tmp_path / "run"), output=tmp_path / "other")
    assert trainer.resume_model_if_exist(str(tmp_path / "run")) == 1


def test_missing_and_corrupted_files_are_named(make, tmp_path):
    trainer = make("CLIPFit")
    with raises_user_error("model.pth.tar-9", "--load-epoch", error=FileNotFoundError):
        trainer.load_model(str(tmp_path), epoch=9)
    with raises_user_error(tmp_path, error=FileNotFoundError):
        trainer.load_model(str(tmp_path))
    trainer.save_model(0, str(tmp_path / "run"))
    file = tmp_path / "run" / "clipfit" / "model.pth.tar-1"
    whole = file.read_bytes()
    for corrupted in (whole[: len(whole) // 2], b"", b"not a checkpoint", whole[:100] + b"\0" * 400 + whole[500:]):
        file.write_bytes(corrupted)
        with raises_user_error(file, "corrupted", error=ValueError):
            trainer.load_model(str(tmp_path / "run"), epoch=1)


def test_a_checkpoint_never_runs_code(make, tmp_path):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "was here"),)

    (tmp_path / "clipfit").mkdir()
    torch.save({"state_dict": {}, "epoch": 1, "x": Evil()}, tmp_path / "clipfit" / "model.pth.tar-1")
    with raises_user_error("model.pth.tar-1", error=ValueError):
        make("CLIPFit").load_model(str(tmp_path), epoch=1)
    assert not (tmp_path / "was here").exists()
