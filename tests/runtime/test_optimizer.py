"""The optimisers, options and parameter groups that the OPTIM section gives."""

import pytest
import torch
from torch import nn

from dassl.config import get_cfg_default
from dassl.optim import build_optimizer
from dassl.optim.radam import RAdam
from tests.user_errors import raises_user_error


def options(**changes):
    cfg = get_cfg_default().OPTIM
    cfg.LR, cfg.WEIGHT_DECAY, cfg.MOMENTUM = 0.01, 0.002, 0.8
    cfg.RMSPROP_ALPHA, cfg.ADAM_BETA1, cfg.ADAM_BETA2 = 0.95, 0.85, 0.99
    cfg.merge_from_list([part for item in changes.items() for part in item])
    return cfg


def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3))


def train(net, optimizer):
    torch.manual_seed(1)
    for _ in range(10):
        optimizer.zero_grad()
        net(torch.randn(7, 5)).square().mean().backward()
        optimizer.step()
    return torch.cat([p.detach().flatten() for p in net.parameters()])


PLAIN = {
    "sgd": lambda p: torch.optim.SGD(p, 0.01, momentum=0.8, dampening=0, weight_decay=0.002),
    "adam": lambda p: torch.optim.Adam(p, 0.01, betas=(0.85, 0.99), weight_decay=0.002),
    "amsgrad": lambda p: torch.optim.Adam(p, 0.01, betas=(0.85, 0.99), weight_decay=0.002, amsgrad=True),
    "adamw": lambda p: torch.optim.AdamW(p, 0.01, betas=(0.85, 0.99), weight_decay=0.002),
    "rmsprop": lambda p: torch.optim.RMSprop(p, 0.01, alpha=0.95, momentum=0.8, weight_decay=0.002),
    "radam": lambda p: torch.optim.RAdam(p, 0.01, betas=(0.85, 0.99), weight_decay=0.002, decoupled_weight_decay=True),
}


@pytest.mark.parametrize("name", PLAIN)
def test_same_steps_as_torch(name):
    ours, plain = model(), model()
    got = train(ours, build_optimizer(ours, options(NAME=name)))
    assert torch.equal(got, train(plain, PLAIN[name](plain.parameters())))


def test_sgd_nesterov_and_dampening():
    optimizer = build_optimizer(model(), options(NAME="sgd", SGD_NESTEROV=True))
    assert optimizer.defaults["nesterov"] and optimizer.defaults["dampening"] == 0
    with pytest.raises(ValueError):  # torch allows nesterov without dampening only
        build_optimizer(model(), options(NAME="sgd", SGD_NESTEROV=True, SGD_DAMPNING=1))


def test_accepts_parameters_and_groups():
    net = model()
    assert len(build_optimizer(list(net.parameters()), options()).param_groups[0]["params"]) == 4
    groups = [{"params": net[0].parameters(), "lr": 1.0}, {"params": net[2].parameters()}]
    assert [g["lr"] for g in build_optimizer(None, options(), param_groups=groups).param_groups] == [1.0, 0.01]


def test_staged_lr():
    net = model()
    optimizer = build_optimizer(net, options(STAGED_LR=True, NEW_LAYERS=("2",), BASE_LR_MULT=0.5))
    base, new = optimizer.param_groups
    assert base["lr"] == 0.005 and [id(p) for p in base["params"]] == [id(p) for p in net[0].parameters()]
    assert new["lr"] == 0.01 and [id(p) for p in new["params"]] == [id(p) for p in net[2].parameters()]


def test_staged_lr_with_groups_warns():
    with pytest.warns(UserWarning, match="STAGED_LR"):
        build_optimizer(None, options(STAGED_LR=True), param_groups=model().parameters())


def test_user_errors():
    with raises_user_error("OPTIM.NAME", "'adamm'", "'adam'", "sgd"):
        build_optimizer(model(), options(NAME="adamm"))
    with raises_user_error("OPTIM.NEW_LAYERS", "classifier"):
        build_optimizer(model(), options(STAGED_LR=True, NEW_LAYERS=("classifier",)))
    with raises_user_error("OPTIM.STAGED_LR", "module", error=TypeError):
        build_optimizer(list(model().parameters()), options(STAGED_LR=True, NEW_LAYERS=("2",)))
    with pytest.raises(ValueError, match="empty parameter list"):
        build_optimizer([], options())


def plain_radam(weight, gradients, lr, betas, decay, eps=1e-8):
    """Follows https://arxiv.org/abs/1908.03265, algorithm 2, with decoupled weight decay; returns the weight."""
    m = v = 0.0
    longest = 2 / (1 - betas[1]) - 1
    for t, gradient in enumerate(gradients, 1):
        m, v = betas[0] * m + (1 - betas[0]) * gradient, betas[1] * v + (1 - betas[1]) * gradient**2
        weight *= 1 - lr * decay
        length = longest - 2 * t * betas[1] ** t / (1 - betas[1] ** t)
        step = m / (1 - betas[0] ** t)
        if length > 5:
            ratio = (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)
            step *= (ratio * (1 - betas[1] ** t)) ** 0.5 / (v**0.5 + eps)
        weight -= lr * step
    return weight


def test_radam_equals_the_formulas_of_the_paper():
    weight = nn.Parameter(torch.tensor([2.0], dtype=torch.float64))
    optimizer = RAdam([weight], lr=0.1, betas=(0.8, 0.9), weight_decay=0.05)
    gradients = [0.5, -0.2, 0.7, 0.3, 0.9, -0.1, 0.4, 0.6, 0.2, 0.8]
    for gradient in gradients:
        weight.grad = torch.tensor([gradient], dtype=torch.float64)
        optimizer.step()
    assert weight.item() == pytest.approx(plain_radam(2.0, gradients, 0.1, (0.8, 0.9), 0.05), rel=1e-9)
    with raises_user_error("degenerated_to_sgd", "True", "False"):
        RAdam([weight], degenerated_to_sgd=False)
