"""Compatibility with upstream Dassl and older torch, tested with stand-ins for them."""

import io

import pytest
import torch
import torch.nn.functional as F
from torch.optim.lr_scheduler import CosineAnnealingLR

from tests.upstream.stand_in.lr_scheduler import _BaseWarmupScheduler
from tests.user_errors import raises_user_error
from trainers.common import compat

from ..helpers import batch_of, train_step


class Warmup(_BaseWarmupScheduler):
    def get_lr(self):
        return self.successor.get_last_lr() if self.last_epoch >= self.warmup_epoch else [1e-5]


@pytest.fixture
def warmup(monkeypatch):
    """make() -> (optimiser, schedule): upstream's warm-up of one epoch, patched, then cosine over five epochs."""
    original = Warmup.__init__
    monkeypatch.setattr(compat.dassl_schedules, "_BaseWarmupScheduler", Warmup, raising=False)
    compat.patch_warmup()

    def make():
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(2))], lr=0.002)
        return optimizer, Warmup(optimizer, CosineAnnealingLR(optimizer, 5), 1)

    yield make
    Warmup.__init__ = original


def lr_sequence(optimizer, schedule, epochs):
    rates = []
    for _ in range(epochs):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return rates


def test_upstreams_warmup_works_when_patched(warmup):
    expected = [1e-5, 0.002, 0.001809016994, 0.001309016994, 0.0006909830056]
    assert lr_sequence(*warmup(), 5) == pytest.approx(expected, rel=1e-9)


@pytest.mark.skipif(torch.__version__ < "2.7", reason="torch before 2.7 takes `verbose`")
def test_upstreams_warmup_fails_without_the_patch():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(2))], lr=0.002)
    with pytest.raises(TypeError):
        Warmup(optimizer, CosineAnnealingLR(optimizer, 5), 1)


@pytest.mark.parametrize("stop", [1, 2, 3])
def test_a_schedule_is_resumed_from_plain_values(warmup, stop):
    whole = lr_sequence(*warmup(), 6)
    optimizer, schedule = warmup()
    lr_sequence(optimizer, schedule, stop)
    buffer = io.BytesIO()
    torch.save([optimizer.state_dict(), compat.scheduler_state(schedule)], buffer)
    buffer.seek(0)
    saved = torch.load(buffer, weights_only=True)

    optimizer, schedule = warmup()
    optimizer.load_state_dict(saved[0])
    compat.load_scheduler_state(schedule, saved[1])
    assert lr_sequence(optimizer, schedule, 6 - stop) == whole[stop:]


def test_the_state_of_the_bundled_schedule_is_its_state_dict(make):
    schedule = make("CLIPFit").sched
    assert compat.scheduler_state(schedule) == schedule.state_dict()


@pytest.mark.parametrize("causal", [True, False])
def test_plain_attention_is_torchs(causal):
    q, k, v = (torch.randn(2, 3, 5, 4) for _ in range(3))
    mask = None if causal else torch.ones(5, 5, dtype=torch.bool).tril(1)
    expected = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal)
    torch.testing.assert_close(compat.plain_attention(q, k, v, attn_mask=mask, is_causal=causal), expected)


def test_missing_validation_images_do_not_fall_back_to_test_images(make):
    trainer = make("CLIPFit", "TEST.FINAL_MODEL", "best_val")
    trainer.val_loader = None
    with raises_user_error("Digits", "validation images", "TEST.FINAL_MODEL last_step"):
        trainer.before_train()
    with raises_user_error("Digits", "validation images", "TEST.SPLIT test"):
        trainer.test("val")


def test_a_checkpoint_of_upstream_dassl_is_read_without_its_objects(make, warmup, tmp_path, capsys):
    trainer = make("CLIPFit", output=tmp_path / "a")
    train_step(trainer, batch_of(trainer), update_lr=True)
    tensors = {name: tensor.clone() for name, tensor in trainer.tuned.state_dict().items()}
    state = {"epoch": 2, "optimizer": trainer.optim.state_dict(), "val_result": None}
    state["scheduler"] = warmup()[1].state_dict()  # contains a schedule, which contains an optimiser
    state["state_dict"] = {name: torch.nn.Parameter(tensor) for name, tensor in tensors.items()}
    (tmp_path / "b" / "clipfit").mkdir(parents=True)
    torch.save(state, tmp_path / "b" / "clipfit" / "model.pth.tar-2")

    other = make("CLIPFit", output=tmp_path / "c")
    other.load_model(str(tmp_path / "b"), epoch=2)
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "Python objects" in line]
    assert str(tmp_path / "b" / "clipfit" / "model.pth.tar-2") in line
    for name, tensor in other.tuned.state_dict().items():
        assert torch.equal(tensor, tensors[name])
