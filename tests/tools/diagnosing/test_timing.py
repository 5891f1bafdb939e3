"""The time of a first run: what is measured, what is estimated from it, and what is kept."""

import pytest
import torch

from tools.diagnosing import flops, timing
from tools.diagnosing.findings import ERROR, OK
from trainers.common import cpu_products
from trainers.common.models import weights_digest


@pytest.mark.parametrize(
    "seconds, text", [(0.2, "less than 1 s"), (45, "45 s"), (600, "10 min"), (7200, "2.0 h"), (5999, "100 min")]
)
def test_duration(seconds, text):
    assert timing.duration(seconds) == text


def test_steps_of_the_micro_clip_train_it(monkeypatch):
    cfg, trainer = timing.micro_trainer()
    before = [p.detach().clone() for p in trainer.tuned.parameters()]
    monkeypatch.setattr(timing, "LIMIT", -1)  # one warm-up step and one timed step
    assert timing.step_seconds(cfg, trainer) > 0
    assert any(not torch.equal(old, new) for old, new in zip(before, trainer.tuned.parameters(), strict=True))


def test_the_time_of_a_run_is_that_of_its_steps(monkeypatch):
    monkeypatch.setattr(timing, "step_seconds", lambda cfg, trainer: 0.5)
    threads = torch.get_num_threads()
    (finding,) = timing.first_run()
    assert finding.state == OK and "500 steps" in finding.text and "500 ms" in finding.text and "4 min" in finding.text
    assert torch.get_num_threads() == threads


def test_a_step_that_fails_is_an_error(monkeypatch):
    def fail():
        raise RuntimeError("no kernel image is available")

    monkeypatch.setattr(timing, "micro_trainer", fail)
    (finding,) = timing.first_run()
    assert finding.state == ERROR and "no kernel image" in finding.text and "CLIPFIT_DEBUG=1" in finding.remedy


def test_the_estimate_is_the_products_of_all_steps_at_the_measured_throughput(monkeypatch):
    monkeypatch.setattr(timing, "throughput", lambda device, precision: 1e12)
    monkeypatch.setattr(flops, "step_flops", lambda *args: {"image tower": 2e12, "text": 1e12})
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    (finding,) = timing.large_run()
    steps = 100 * (47 * 16 // 32)
    assert f"{steps:,} steps" in finding.text and "estimate" in finding.text and "1 TFLOP/s" in finding.text
    assert timing.duration(timing.OVER_ROOFLINE * steps * 3) in finding.text


def test_throughput(monkeypatch):
    monkeypatch.setitem(flops.SIDES, "cpu", 64)
    assert timing.throughput(torch.device("cpu"), "fp32") > 0


def test_nothing_is_kept_in_the_home_folder():
    folders = cpu_products.FOLDER, weights_digest.FOLDER
    with pytest.raises(KeyError), timing.nothing_kept():
        assert not cpu_products.FOLDER.is_dir() and not weights_digest.FOLDER.is_dir()
        cpu_products.keep({"forward-square"})
        assert cpu_products.known() is None
        raise KeyError
    assert (cpu_products.FOLDER, weights_digest.FOLDER) == folders
