"""OPTIM.ITERATIONS and OPTIM.MIN_LR against plain formulas."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import train
from tests.trainers.helpers import make_cfg
from tests.user_errors import raises_user_error
from trainers.common.schedule import iterations

COSINE = ("OPTIM.LR_SCHEDULER", "cosine", "OPTIM.WARMUP_EPOCH", "-1", "TEST.NO_TEST", "True")
BATCH_10 = ("DATALOADER.TRAIN_X.BATCH_SIZE", "10")  # the digits with 2 shots: 2 batches per epoch


def recorded(trainer):
    """Trains. Returns the images' mean and the learning rate of each step, and the end of each epoch, in order."""
    events = []
    forward_backward, after_epoch = trainer.forward_backward, trainer.after_epoch

    def step(batch):
        events.append((batch["img"].mean().item(), trainer.get_current_lr()))
        return forward_backward(batch)

    def end():
        events.append("end")
        after_epoch()

    trainer.forward_backward, trainer.after_epoch = step, end
    trainer.train()
    return events


@given(number=st.integers(1, 10**6), shots=st.integers(1, 64))
def test_both_forms(number, shots):
    assert iterations(str(number), shots) == number
    assert iterations(f"{number} per shot", shots) == number * shots
    assert iterations("", shots) is None


@pytest.mark.parametrize("text", ["0", "-5", "1.5", "many", "5 per class", "per shot", "500 per shot, 100"])
def test_other_texts_are_refused(text):
    with raises_user_error("OPTIM.ITERATIONS", text):
        iterations(text, 1)


def test_all_images_have_no_number_of_shots(make):
    with raises_user_error("OPTIM.ITERATIONS", "DATASET.NUM_SHOTS", "-1"):
        make("CLIPFit", "DATASET.NUM_SHOTS", "-1", "OPTIM.ITERATIONS", "5 per shot")


def test_a_run_has_exactly_these_iterations_and_rates(make, tmp_path):
    """5 iterations in epochs of 2 batches: the same batches as by epochs, and a rate that falls with each."""
    keys = (*COSINE, *BATCH_10, "OPTIM.LR", "0.002", "OPTIM.MIN_LR", "0.0005")
    trainer = make("CLIPFit", *keys, "OPTIM.ITERATIONS", "5")
    assert trainer.max_epoch == 3
    events = recorded(trainer)
    assert [i for i, event in enumerate(events) if event == "end"] == [2, 5, 7]
    steps = [event for event in events if event != "end"]
    expected = [0.0005 + 0.0015 * (1 + math.cos(math.pi * t / 5)) / 2 for t in range(5)]
    assert [rate for _, rate in steps] == pytest.approx(expected)
    assert trainer.get_current_lr() == pytest.approx(0.0005)
    by_epochs = make("CLIPFit", *keys, "OPTIM.MAX_EPOCH", "3", output=tmp_path / "epochs")
    others = [event for event in recorded(by_epochs) if event != "end"]
    assert [image for image, _ in steps] == [image for image, _ in others][:5]


def test_a_resumed_run_equals_an_unbroken_one(make, tmp_path):
    keys = (*COSINE, *BATCH_10, "OPTIM.ITERATIONS", "5", "TRAIN.CHECKPOINT_FREQ", "1", "OPTIM.LR", "0.01")
    whole = make("CLIPFit", *keys, output=tmp_path / "whole")
    whole.train()
    broken = make("CLIPFit", *keys, output=tmp_path / "broken")
    after_epoch = broken.after_epoch

    def stop():
        after_epoch()
        raise KeyboardInterrupt

    broken.after_epoch = stop
    with pytest.raises(KeyboardInterrupt):
        broken.train()
    resumed = make("CLIPFit", *keys, output=tmp_path / "broken")
    resumed.train()
    assert resumed.start_epoch == 1
    state = resumed.tuned.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in whole.tuned.state_dict().items())


def test_warm_up_and_steps_stay_in_epochs(make):
    keys = ("OPTIM.ITERATIONS", "8", "OPTIM.LR", "0.1", "TEST.NO_TEST", "True", *BATCH_10)
    keys += ("OPTIM.WARMUP_EPOCH", "1", "OPTIM.WARMUP_TYPE", "constant", "OPTIM.WARMUP_CONS_LR", "0.001")
    trainer = make("CLIPFit", *keys, "OPTIM.LR_SCHEDULER", "multi_step", "OPTIM.STEPSIZE", "(2,)")
    rates = [event[1] for event in recorded(trainer) if event != "end"]
    assert rates == pytest.approx([0.001] * 2 + [0.1] * 4 + [0.01] * 2)


@pytest.mark.parametrize("value", ["-0.1", "0.75"])
def test_minimum_outside_of_its_range(make, value):
    with raises_user_error("OPTIM.MIN_LR", value):
        make("CLIPFit", *COSINE, "OPTIM.LR", "0.5", "OPTIM.MIN_LR", value)


def test_a_minimum_needs_the_cosine(make):
    with raises_user_error("OPTIM.MIN_LR", "OPTIM.LR_SCHEDULER", "single_step"):
        make("CLIPFit", "OPTIM.LR_SCHEDULER", "single_step", "OPTIM.MIN_LR", "0.0001")


@pytest.mark.parametrize("options, expected", [
    (("OPTIM.ITERATIONS", "7"), "7"),
    (("OPTIM.ITERATIONS", "7", "OPTIM.MAX_EPOCH", "2"), ""),
    (("OPTIM.MAX_EPOCH", "2", "OPTIM.ITERATIONS", "7"), "7"),
])  # fmt: skip
def test_of_the_two_lengths_the_later_one_wins(options, expected, tmp_path):
    assert make_cfg("CLIPFit", tmp_path, "micro", tmp_path, *options).OPTIM.ITERATIONS == expected


@pytest.mark.parametrize("last, expected", [("ITERATIONS: '7'", "7"), ("MAX_EPOCH: 2", "")])
def test_so_it_is_in_config_files(last, expected, tmp_path):
    (tmp_path / "base.yaml").write_text("OPTIM:\n  MAX_EPOCH: 3\n  ITERATIONS: '5 per shot'\n")
    (tmp_path / "own.yaml").write_text(f"_BASE_: base.yaml\nOPTIM:\n  {last}\n")
    argv = ["--trainer", "CLIPFit", "--backbone", "micro", "--config-file", str(tmp_path / "own.yaml")]
    assert train.setup_cfg(train.parse_args(argv)).OPTIM.ITERATIONS == expected
