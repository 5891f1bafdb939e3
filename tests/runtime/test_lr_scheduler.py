"""Learning rates per epoch equal those measured with Dassl and plain formulas."""

import io
import math
import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dassl.config import get_cfg_default
from dassl.optim import build_lr_scheduler, build_optimizer, lr_scheduler
from tests.user_errors import raises_user_error

warmup = {"WARMUP_EPOCH": 1, "WARMUP_TYPE": "constant"}
TABLE = [  # measured with Dassl: options, LR per epoch, LR after the last epoch
    (
        {"MAX_EPOCH": 5, **warmup},
        [1e-5, 0.002, 0.001809016994, 0.001309016994, 0.0006909830056, 0.0001909830056],
    ),
    (
        {"MAX_EPOCH": 5, "WARMUP_RECOUNT": False, **warmup},
        [1e-5, 0.002, 0.001447213595, 0.0007639320225, 0.000211145618, 0],
    ),
    ({"MAX_EPOCH": 5}, [0.002, 0.001809016994, 0.001309016994, 0.0006909830056, 0.0001909830056, 0]),
    (
        {"MAX_EPOCH": 5, "WARMUP_EPOCH": 1, "WARMUP_TYPE": "linear"},
        [1e-5, 0.002, 0.001809016994, 0.001309016994, 0.0006909830056, 0.0001909830056],
    ),
    (
        {"MAX_EPOCH": 5, "WARMUP_EPOCH": 2, "WARMUP_TYPE": "linear"},
        [1e-5, 0.001, 0.002, 0.001809016994, 0.001309016994, 0.0006909830056],
    ),
    (
        {"MAX_EPOCH": 10, **warmup},
        [1e-5, 0.002, 0.001951056516, 0.001809016994, 0.001587785252, 0.001309016994]
        + [0.001, 0.0006909830056, 0.0004122147477, 0.0001909830056, 4.89434837e-05],
    ),
    (
        {"MAX_EPOCH": 5, "LR": 0.0035, **warmup},
        [1e-5, 0.0035, 0.00316577974, 0.00229077974, 0.00120922026, 0.0003342202598],
    ),
    ({"MAX_EPOCH": 2, "LR": 0.0026, **warmup}, [1e-5, 0.0026, 0.0013]),
]


def make(groups=1, **options):
    cfg = get_cfg_default().OPTIM
    cfg.NAME, cfg.LR, cfg.LR_SCHEDULER = "sgd", 0.002, "cosine"
    for key, value in options.items():
        cfg[key] = value
    rates = [cfg.LR * 0.1**g for g in range(groups)]
    params = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": rate} for rate in rates]
    optimizer = build_optimizer(None, cfg, param_groups=params)
    return optimizer, build_lr_scheduler(optimizer, cfg)


def rates(optimizer, scheduler, n):
    """Returns the LRs of n epochs, one list per parameter group."""
    out = []
    for _ in range(n):
        out.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        scheduler.step()
    return list(zip(*out, strict=True))


@pytest.mark.parametrize("options,expected", TABLE)
def test_table(options, expected):
    (got,) = rates(*make(**options), len(expected))
    assert got == pytest.approx(expected, rel=1e-9, abs=1e-18)


def test_hundred_epochs():
    (got,) = rates(*make(MAX_EPOCH=100, **warmup), 101)
    picked = [got[i] for i in (0, 1, 2, 50, 98, 99, 100)]
    expected = [1e-5, 0.002, 0.00199951, 0.00103141, 4.43804e-06, 1.97327e-06, 4.9344e-07]
    assert picked == pytest.approx(expected, rel=1e-5)
    closed = [0.002 * (1 + math.cos(math.pi * e / 100)) / 2 for e in range(100)]
    assert got[1:] == pytest.approx(closed, abs=1e-18)


def decay(name, t, epochs, stepsize):
    """Returns LR / base LR in epoch t of a schedule."""
    if name == "cosine":
        return (1 + math.cos(math.pi * t / epochs)) / 2
    if name == "multi_step":
        return 0.1 ** sum(t >= milestone for milestone in stepsize)
    return 0.1 ** (t // (stepsize[-1] if stepsize[-1] > 0 else epochs))


def expected_rate(epoch, base, o):
    """Returns the warm-up LR, then the base LR times the decay of the schedule since the warm-up."""
    n = o["WARMUP_EPOCH"]
    if epoch < n:
        if o["WARMUP_TYPE"] == "constant":
            return 1e-5
        return base * epoch / n if epoch else 1e-5
    first = n if n > 0 and not o["WARMUP_RECOUNT"] else 0
    args = (o["MAX_EPOCH"], o["STEPSIZE"])
    t = epoch - max(n, 0) + first
    return base * decay(o["LR_SCHEDULER"], t, *args) / decay(o["LR_SCHEDULER"], first, *args)


schedules = st.fixed_dictionaries(
    {
        "LR_SCHEDULER": st.sampled_from(["single_step", "multi_step", "cosine"]),
        "MAX_EPOCH": st.integers(5, 30),
        "LR": st.floats(1e-4, 0.1),
        "WARMUP_EPOCH": st.integers(-1, 4),
        "WARMUP_TYPE": st.sampled_from(["constant", "linear"]),
        "WARMUP_RECOUNT": st.booleans(),
        "STEPSIZE": st.sampled_from([(-1,), (3,), (2, 5), (4, 6, 7)]),
    }
)


@given(schedules)
@settings(max_examples=150)
def test_every_schedule_equals_formulas(o):
    # Without WARMUP_RECOUNT, a decay during the warm-up has no effect; it cancels in the ratio of both decays.
    if not o["WARMUP_RECOUNT"] and o["LR_SCHEDULER"] != "cosine":
        o = {**o, "STEPSIZE": (7,)}
    groups = rates(*make(groups=2, **o), o["MAX_EPOCH"] + 1)
    for g, got in enumerate(groups):
        base = o["LR"] * 0.1**g
        assert got == pytest.approx([expected_rate(e, base, o) for e in range(len(got))], rel=1e-9, abs=1e-15)


@given(schedules, st.integers(0, 29))
@settings(max_examples=60)
def test_resumed_schedules_continue_exactly(o, stop):
    stop = min(stop, o["MAX_EPOCH"] - 1)
    whole = rates(*make(groups=2, **o), o["MAX_EPOCH"])
    optimizer, scheduler = make(groups=2, **o)
    rates(optimizer, scheduler, stop)
    file = io.BytesIO()
    torch.save([optimizer.state_dict(), scheduler.state_dict()], file)
    file.seek(0)
    states = torch.load(file, weights_only=True)  # holds plain values only
    optimizer, scheduler = make(groups=2, **o)
    optimizer.load_state_dict(states[0])
    scheduler.load_state_dict(states[1])
    rest = rates(optimizer, scheduler, o["MAX_EPOCH"] - stop)
    assert rest == [group[stop:] for group in whole]


def test_state_is_plain():
    _, scheduler = make(MAX_EPOCH=5, **warmup)

    def plain(x):
        if isinstance(x, dict):
            return all(isinstance(k, str) and plain(v) for k, v in x.items())
        return all(map(plain, x)) if isinstance(x, list) else isinstance(x, (int, float))

    assert plain(scheduler.state_dict())
    assert scheduler.get_last_lr() == [1e-5]


def test_warm_up_schedulers_by_their_names():
    """Third-party trainers build these classes or derive from them."""

    class Half(lr_scheduler._BaseWarmupScheduler):
        def get_lr(self):
            return [0.001] if self.last_epoch < self.warmup_epoch else self.successor.get_last_lr()

    expected = {
        lambda o, s: lr_scheduler.ConstantWarmupScheduler(o, s, 2, 1e-5): [1e-5, 1e-5, 0.002],
        lambda o, s: lr_scheduler.LinearWarmupScheduler(o, s, 2, 1e-5, verbose=False): [1e-5, 0.001, 0.002],
        lambda o, s: Half(o, s, 2, -1, False): [0.001, 0.001, 0.002],
    }
    for build, first in expected.items():
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.002)
        scheduler = build(optimizer, torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 5))
        (got,) = rates(optimizer, scheduler, 4)
        assert got == pytest.approx([*first, 0.001809016994], rel=1e-9)


def test_no_warnings_when_stepped_after_the_optimizer():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rates(*make(MAX_EPOCH=5, **warmup), 5)


@pytest.mark.parametrize(
    "options,facts",
    [
        ({"LR_SCHEDULER": "cosin"}, ("OPTIM.LR_SCHEDULER", "'cosin'", "'cosine'")),
        ({"WARMUP_EPOCH": 1, "WARMUP_TYPE": "const"}, ("OPTIM.WARMUP_TYPE", "'const'", "'constant'", "'linear'")),
        ({"LR_SCHEDULER": "single_step", "STEPSIZE": (0.5,)}, ("OPTIM.STEPSIZE", "single_step", "0.5")),
        ({"LR_SCHEDULER": "multi_step", "STEPSIZE": 3}, ("OPTIM.STEPSIZE", "multi_step", "3")),
    ],
)
def test_user_errors(options, facts):
    with raises_user_error(*facts):
        make(**options)
