"""OPTIM.TUNE_LR: a learning rate of its own for the parameters of CLIP that a method tunes too."""

import pytest
import torch

from tests.user_errors import raises_user_error

from .helpers import batch_of, train_step
from .test_every_method import CLASSES, TRAINABLE, build  # noqa: F401  (a fixture)

OWN = [name for name in TRAINABLE if not CLASSES[name].tunes_sets_only()]
SGD = ("OPTIM.NAME", "sgd", "OPTIM.LR", "0.002", "OPTIM.TUNE_LR", "0.0005", "OPTIM.LR_SCHEDULER", "cosine")


def tune(method, *sets):
    return (f"TRAINER.{CLASSES[method].section}.TUNE", str(sets))


def rates(trainer):
    return [group["lr"] for group in trainer.optim.param_groups]


@pytest.mark.parametrize("method", OWN)
def test_each_parameter_has_its_rate(build, method):  # noqa: F811
    trainer = build(method, *SGD, "OPTIM.WARMUP_EPOCH", "-1", *tune(method, "image_layernorm"))
    own, of_clip = trainer.optim.param_groups
    names = {id(p): name for name, p in trainer.tuned.named_parameters()}
    assert {names[id(p)] for p in of_clip["params"]} == set(trainer.clip_names) > set()
    assert len(own["params"]) + len(of_clip["params"]) == sum(p.requires_grad for p in trainer.tuned.parameters())
    assert (own["lr"], of_clip["lr"]) == (0.002, pytest.approx(0.0005))
    before = {name: p.detach().clone() for name, p in trainer.tuned.named_parameters()}
    train_step(trainer, batch_of(trainer))
    for name, p in trainer.tuned.named_parameters():
        if p.requires_grad:  # SGD's first step, with weight decay
            rate = 0.0005 if name in trainer.clip_names else 0.002
            decay = trainer.cfg.OPTIM.WEIGHT_DECAY * before[name]
            assert torch.allclose(p, before[name] - rate * (p.grad + decay), rtol=1e-5, atol=1e-8), name


@pytest.mark.parametrize("optimiser", ["adam", "amsgrad", "sgd", "rmsprop", "radam", "adamw"])
@pytest.mark.parametrize("warm_up", ["constant", "linear", "none"])
def test_both_rates_follow_one_schedule(make, optimiser, warm_up):
    keys = (*SGD, "OPTIM.NAME", optimiser, "OPTIM.MAX_EPOCH", "6", *tune("CoOp", "image_layernorm"))
    keys += ("OPTIM.WARMUP_TYPE", "constant") if warm_up == "none" else ("OPTIM.WARMUP_TYPE", warm_up)
    keys += ("OPTIM.WARMUP_EPOCH", "-1" if warm_up == "none" else "2")
    trainer = make("CoOp", *keys)
    plain = make("CoOp", *keys, "OPTIM.TUNE_LR", "-1")
    for epoch in range(6):
        own, of_clip = rates(trainer)
        assert rates(plain) == [pytest.approx(own)] and of_clip == pytest.approx(own / 4), epoch
        for t in (trainer, plain):
            t.optim.step()
            t.update_lr()


def test_an_equal_rate_changes_nothing(make, tmp_path):
    tuned = tune("CoOp", "image_layernorm")
    results = []
    for i, rate in enumerate(("0.002", "-1")):
        trainer = make("CoOp", *tuned, "OPTIM.TUNE_LR", rate, output=tmp_path / str(i))
        for seed in range(3):
            train_step(trainer, batch_of(trainer, seed=seed), update_lr=True)
        results.append(trainer.tuned.state_dict())
    assert all(torch.equal(tensor, results[1][name]) for name, tensor in results[0].items())


def test_a_resumed_run_keeps_both_rates(make, tmp_path):
    keys = (*SGD, *tune("CoOp", "image_layernorm"), "OPTIM.MAX_EPOCH", "4", "TRAIN.CHECKPOINT_FREQ", "1")
    trainer = make("CoOp", *keys, "TEST.NO_TEST", "True")
    trainer.before_train()
    train_step(trainer, batch_of(trainer), update_lr=True)
    train_step(trainer, batch_of(trainer), update_lr=True)
    trainer.save_model(1, trainer.output_dir)
    other = make("CoOp", *keys)
    assert other.resume_model_if_exist(other.output_dir) == 2
    assert rates(other) == rates(trainer) and rates(other)[1] == pytest.approx(rates(other)[0] / 4)
    with raises_user_error("OPTIM.TUNE_LR", "0.0005 -> 0.001"):
        other = make("CoOp", *keys, "OPTIM.TUNE_LR", "0.001")
        other.resume_model_if_exist(other.output_dir)


def test_user_errors(make):
    with raises_user_error("OPTIM.TUNE_LR", "CLIPFit"):
        make("CLIPFit", "OPTIM.TUNE_LR", "0.001")
    with raises_user_error("OPTIM.TUNE_LR", "ZeroshotCLIP"):
        make("ZeroshotCLIP", "OPTIM.TUNE_LR", "0.001")
    with raises_user_error("OPTIM.TUNE_LR", "TRAINER.COOP.TUNE"):
        make("CoOp", "OPTIM.TUNE_LR", "0.001")
    for value in ("0.0", "-0.5"):
        with raises_user_error("OPTIM.TUNE_LR", value):
            make("CoOp", *tune("CoOp", "image_layernorm"), "OPTIM.TUNE_LR", value)
