"""TRAIN.TRACE: sums and changes equal plain loops, what is learned does not change, a resumed trace is complete."""

import numpy as np
import pytest
import torch

import train  # noqa: F401  (makes dassl importable)
from dassl.engine import TRAINER_REGISTRY, TrainerX
from tests.user_errors import raises_user_error
from trainers import register_all
from trainers.common.runs import trace_file
from trainers.common.runs.digest import digest
from trainers.common.runs.recorded import recorded

from .helpers import cut_off_at

register_all()
OPTIONS = ("OPTIM.MAX_EPOCH", "3", "DATALOADER.TRAIN_X.BATCH_SIZE", "10", "TEST.NO_TEST", "True", "OPTIM.LR", "0.05")
TRACE = (*OPTIONS, "TRAIN.TRACE", "True")
TERMS = (*TRACE, "TRAIN.TRACE_TERMS", "2")


@pytest.fixture(params=[("CLIPFit", "fp32"), ("CLIPFit", "fp16"), ("CoOp", "fp32"), ("ProGrad", "fp32")])
def method(request):
    """(method, config keys of its precision)"""
    name, precision = request.param
    return name, (f"TRAINER.{TRAINER_REGISTRY.get(name).section}.PREC", precision)


def run_plainly(trainer):
    """Trains, and returns the trace by plain loops: squared gradients (steps, n), squared changes (steps, n)."""
    parameters = list(trainer.tuned.parameters())
    initial = [p.detach().clone() for p in parameters]
    gradients, changes = [], []

    def before(*_):
        gradients.append([sum(x * x for x in p.grad.double().flatten().tolist()) for p in parameters])

    def after(*_):
        pairs = zip(parameters, initial, strict=True)
        changes.append([sum(x * x for x in (p - p0).detach().double().flatten().tolist()) for p, p0 in pairs])

    trainer.optim.register_step_pre_hook(before)
    trainer.optim.register_step_post_hook(after)
    trainer.train()
    return np.array(gradients), np.array(changes)


def test_the_trace_equals_plain_loops_and_changes_nothing(make, method, tmp_path):
    name, keys = method
    plain = make(name, *OPTIONS, *keys, output=tmp_path / "plain")
    gradients, changes = run_plainly(plain)
    traced = make(name, *TERMS, *keys, output=tmp_path / "traced")
    traced.train()
    trace = trace_file.read(str(tmp_path / "traced" / trace_file.NAME))
    assert trace.names == [n for n, _ in plain.tuned.named_parameters()]
    assert trace.change.shape == (6, len(trace.names)) and trace.steps_per_epoch == 2
    assert np.allclose(trace.gradient, gradients.sum(0), rtol=1e-5)
    assert np.allclose(trace.change, changes, rtol=1e-4, atol=1e-12) and (trace.change[-1] > 0).all()
    assert digest(plain.tuned.state_dict()) == digest(traced.tuned.state_dict()) == trace.weights  # bit for bit
    assert not (tmp_path / "plain" / trace_file.NAME).exists()
    assert trace.term_steps.tolist() == [0, 2, 4]
    if name == "CLIPFit":
        assert trace.terms == ["ce", "kd"]
        whole = gradients[[0, 2, 4]]
        rounding = 1e-6 if "fp32" in keys else 1e-3
        assert (trace.term_rest <= rounding * whole + 1e-12).all()  # the terms add up to the gradient
        text = [i for i, n in enumerate(trace.names) if "c_proj" in n]
        image = [i for i, n in enumerate(trace.names) if n.startswith("visual.")]
        kd = trace.term_gradient[1:, 1]
        assert (kd[:, text] > 0).all() and (kd[:, image] == 0).all()  # KD depends on the text encoder only
    if name == "ProGrad":
        assert trace.terms == ["xe_loss", "kl_loss"] and (trace.term_rest > 0).any()  # they are not simply added


def test_gradients_of_the_terms_add_up(make):
    """The vectors, not only their squares; the gradients of the step are not touched."""
    from .helpers import batch_of, train_step

    trainer = make("CLIPFit", *TRACE)
    for p in trainer.tuned.parameters():
        p.data += 0.02 * torch.randn_like(p)  # so that the distillation loss is not 0
    batch = batch_of(trainer)
    train_step(trainer, batch)
    trainer.gradients(batch["img"], batch["label"])
    whole = [p.grad.clone() for p in trainer.tuned.parameters()]
    random = torch.get_rng_state()
    terms = trainer.term_gradients(batch["img"], batch["label"])
    assert torch.equal(random, torch.get_rng_state())
    assert all(torch.equal(p.grad, g) for p, g in zip(trainer.tuned.parameters(), whole, strict=True))
    for ce, kd, gradient in zip(terms["ce"], terms["kd"], whole, strict=True):
        assert (ce + kd - gradient).norm() <= 1e-4 * gradient.norm()
    assert any(kd.abs().sum() > 0 for kd in terms["kd"])


@pytest.mark.parametrize("name", ["CLIPFit", "TipAdapterF"])
def test_a_resumed_trace_equals_an_unbroken_one(make, name, tmp_path):
    """TipAdapterF sets its initial values after the model is built, and only if it does not resume."""
    keys = (*TERMS, "TRAIN.CHECKPOINT_FREQ", "1", "TRAINER.TIP.AUGMENT_EPOCH", "1")

    def run(folder, stop_at=None):
        trainer = make(name, *keys, output=tmp_path / folder)
        if stop_at:
            cut_off_at(trainer, *stop_at)
        trainer.train()

    run("whole")
    with pytest.raises(KeyboardInterrupt):
        run("broken", stop_at=(2, 1))
    assert not (tmp_path / "broken" / trace_file.NAME).exists()
    run("broken")
    whole, broken = (tmp_path / folder / trace_file.NAME for folder in ("whole", "broken"))
    assert whole.read_bytes() == broken.read_bytes()
    broken.unlink()
    run("broken")  # killed after the last checkpoint: only what is missing is written
    assert whole.read_bytes() == broken.read_bytes()
    with raises_user_error("TRAIN.TRACE_TERMS", "must be 2", "got 3", "TRAIN.TRACE False"):
        make(name, *keys, "TRAIN.TRACE_TERMS", "3", output=tmp_path / "broken").train()


def test_a_run_without_a_trace_is_not_resumed_with_one(make, tmp_path):
    make("CLIPFit", *OPTIONS).train()
    with raises_user_error("TRAIN.TRACE True", "3", "--output-dir"):
        make("CLIPFit", *TRACE).train()
    assert not (tmp_path / "run" / trace_file.NAME).exists()


def test_with_initial_weights_the_change_starts_from_them(make, tmp_path):
    make("CLIPFit", *OPTIONS, output=tmp_path / "first").train()
    first = str(tmp_path / "first" / "clipfit" / "model.pth.tar-3")
    second = make("CLIPFit", *TRACE, "MODEL.INIT_WEIGHTS", first, output=tmp_path / "second")
    initial = {name: tensor.clone() for name, tensor in second.tuned.state_dict().items()}
    second.train()
    trace = trace_file.read(str(tmp_path / "second" / trace_file.NAME))
    expected = [(second.tuned.get_parameter(name) - initial[name]).square().sum().item() for name in trace.names]
    assert trace.change[-1].tolist() == pytest.approx(expected, rel=1e-4)


def test_steps_that_the_scaler_skips_count_as_zero(make):
    from .helpers import batch_of, train_step

    trainer = make("CLIPFit", *TRACE, "TRAINER.CLIPFIT.PREC", "fp16")
    trainer.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**60)
    for _ in range(3):
        train_step(trainer, batch_of(trainer))
    state = trainer.trace.state()
    assert state["steps"] == 3 and state["gradient"].sum() == 0 == state["change"][0].sum()


def test_methods_without_trained_parameters(make, capsys, tmp_path):
    make("ZeroshotCLIP", *TRACE).train()
    assert any("TRAIN.TRACE" in line and "ZeroshotCLIP" in line for line in capsys.readouterr().out.splitlines())
    assert not (tmp_path / "run" / trace_file.NAME).exists()


def test_invalid_options(make):
    with raises_user_error("TRAIN.TRACE_TERMS", "-1"):
        make("CLIPFit", *TRACE, "TRAIN.TRACE_TERMS", "-1")
    with raises_user_error("TRAIN.TRACE_TERMS 5", "TRAIN.TRACE True"):
        make("CLIPFit", *OPTIONS, "TRAIN.TRACE_TERMS", "5")
    cfg = make("CLIPFit", *TRACE).cfg
    with raises_user_error("TRAIN.TRACE", "CLIPFit", "False"):  # a trainer of another code base
        recorded(type("Plain", (TrainerX,), {}))(cfg)


def test_a_corrupted_trace(tmp_path):
    path = tmp_path / trace_file.NAME
    path.write_bytes(b"PK\x03\x04 no archive")
    with raises_user_error(path, "TRAIN.TRACE True"):
        trace_file.read(str(path))
    assert trace_file.read(str(tmp_path / "none.npz")) is None
