"""Checkpoint files: names, content, loading without running code, and one line per error."""

import os
import pickle
import random

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR

from dassl.utils import (
    load_checkpoint,
    load_pretrained_weights,
    resume_from_checkpoint,
    save_checkpoint,
    set_random_seed,
)
from tests.user_errors import assert_facts, raises_user_error


def net(width=3):
    return nn.Sequential(nn.Linear(2, width), nn.Linear(width, 2))


def save(folder, epoch=1, model=None, **extra):
    model = model or net()
    save_checkpoint({"state_dict": model.state_dict(), "epoch": epoch, **extra}, str(folder))
    return model


def test_names_and_content(tmp_path, capsys):
    model = save(tmp_path, epoch=3, val_result=None)
    save_checkpoint({"state_dict": model.state_dict(), "epoch": 4}, str(tmp_path), is_best=True, model_name="x.tar")
    assert sorted(os.listdir(tmp_path)) == ["checkpoint", "model-best.pth.tar", "model.pth.tar-3", "x.tar"]
    assert (tmp_path / "checkpoint").read_text() == "x.tar\n"
    assert f"Checkpoint saved to {tmp_path / 'model.pth.tar-3'}" in capsys.readouterr().out
    state = torch.load(tmp_path / "model.pth.tar-3", weights_only=True)
    assert state["epoch"] == 3 and state["val_result"] is None
    assert list(state["state_dict"]) == list(model.state_dict())


def test_module_prefix_is_stripped(tmp_path):
    state = {"state_dict": nn.DataParallel(net()).state_dict(), "epoch": 1}
    save_checkpoint(state, str(tmp_path))
    loaded = load_checkpoint(str(tmp_path / "model.pth.tar-1"))["state_dict"]
    assert list(loaded) == list(net().state_dict())
    assert list(state["state_dict"])[0].startswith("module.")  # the dict of the caller has not changed


def is_corrupted(path, content):
    """Returns whether loading `content` fails, with one line that names the file; else it must give a dict."""
    path.write_bytes(content)
    try:
        assert isinstance(load_checkpoint(str(path)), dict)
    except ValueError as error:
        assert_facts(str(error), path)
        assert len(str(error)) < 500
        return True
    return False


@pytest.mark.parametrize("content", [b"this is not a checkpoint", b"", b"PK\x03\x04", pickle.dumps(3, protocol=2)])
def test_other_files(tmp_path, content):
    assert is_corrupted(tmp_path / "x", content)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_corrupted_files(tmp_path):
    save(tmp_path)
    path = tmp_path / "model.pth.tar-1"
    content = path.read_bytes()
    assert not is_corrupted(path, content)
    for size in range(0, len(content), 97):
        assert is_corrupted(path, content[:size])
    generator = random.Random(0)
    for _ in range(100):
        start = generator.randrange(len(content))
        is_corrupted(path, content[:start] + generator.randbytes(40) + content[start + 40 :])


def test_files_without_weights(tmp_path):
    torch.save({"epoch": 3}, tmp_path / "model.pth.tar-3")
    (tmp_path / "checkpoint").write_text("model.pth.tar-3\n")
    with raises_user_error("model.pth.tar-3", "state_dict"):
        resume_from_checkpoint(str(tmp_path), net())
    torch.save(3, tmp_path / "model.pth.tar-3")
    with raises_user_error("model.pth.tar-3", "int", "dict"):
        load_checkpoint(str(tmp_path / "model.pth.tar-3"))


def test_missing_files(tmp_path):
    with raises_user_error(tmp_path / "none", error=FileNotFoundError):
        load_checkpoint(str(tmp_path / "none"))
    with raises_user_error("None"):
        load_checkpoint(None)
    with raises_user_error(tmp_path, "'checkpoint'", error=FileNotFoundError):
        resume_from_checkpoint(str(tmp_path), net())
    (tmp_path / "checkpoint").write_text("model.pth.tar-7\n")
    with raises_user_error(tmp_path / "model.pth.tar-7", error=FileNotFoundError):
        resume_from_checkpoint(str(tmp_path), net())


class Bomb:
    """Creates a file when unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


def test_code_in_a_file_is_not_run(tmp_path):
    bomb, path = Bomb(str(tmp_path / "ran")), tmp_path / "evil"
    torch.save({"scheduler": bomb, "state_dict": net().state_dict(), "epoch": 5}, path)
    with raises_user_error(path, "Python objects", "weights_only=False"):
        load_checkpoint(str(path))
    assert not os.path.exists(tmp_path / "ran")


def training_state(steps=0, epochs=5, lr=0.1):
    """Returns a model, its optimiser and its schedule after some training steps."""
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    scheduler = CosineAnnealingLR(optimizer, epochs)
    for _ in range(steps):
        optimizer.zero_grad()
        model(torch.randn(4, 2)).square().sum().backward()
        optimizer.step()
        scheduler.step()
    return model, optimizer, scheduler


def test_resuming_restores_everything(tmp_path, capsys):
    set_random_seed(1)
    model, optimizer, scheduler = training_state(steps=2)
    state = {"optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict()}
    save(tmp_path, epoch=2, model=model, **state)
    other = training_state()
    assert resume_from_checkpoint(str(tmp_path), *other) == 2
    assert all(torch.equal(a, b) for a, b in zip(other[0].parameters(), model.parameters(), strict=True))
    assert other[1].state_dict()["param_groups"] == optimizer.state_dict()["param_groups"]
    assert other[2].state_dict() == scheduler.state_dict()
    lines = capsys.readouterr().out.splitlines()[-5:]
    assert lines[0].startswith("Loading checkpoint from") and lines[-1] == "Previous epoch: 2"


@pytest.mark.parametrize(
    "change,facts",
    [
        (lambda model: training_state(epochs=9), ("T_max", "5", "9")),
        (lambda model: training_state(lr=0.2), ("base_lrs", "[0.1]", "[0.2]")),
        (lambda model: (net(4), *training_state()[1:]), ("state_dict", "size mismatch")),
        (lambda model: (nn.Sequential(nn.Linear(2, 3)), *training_state()[1:]), ("state_dict", "Unexpected key")),
        (lambda model: (net().append(nn.Linear(2, 2)), None, None), ("state_dict", "Missing key")),
        (lambda model: (net(), torch.optim.SGD([model[0].bias], lr=1), None), ("optimizer", "size of optimizer")),
    ],
)
def test_checkpoints_that_do_not_match(tmp_path, change, facts):
    model, optimizer, scheduler = training_state(steps=1)
    save(tmp_path, model=model, optimizer=optimizer.state_dict(), scheduler=scheduler.state_dict())
    with raises_user_error(tmp_path / "model.pth.tar-1", "OUTPUT_DIR", *facts):
        resume_from_checkpoint(str(tmp_path), *change(model))


def test_without_a_schedule_in_the_file(tmp_path):
    model, optimizer, scheduler = training_state(steps=1)
    save(tmp_path, model=model, optimizer=optimizer.state_dict(), scheduler=None)
    with raises_user_error("model.pth.tar-1", "scheduler"):
        resume_from_checkpoint(str(tmp_path), model, optimizer, scheduler)
    assert resume_from_checkpoint(str(tmp_path), model, optimizer) == 1


def test_a_data_parallel_model_resumes_from_its_checkpoint(tmp_path):
    model, target = nn.DataParallel(net()), nn.DataParallel(net())
    save(tmp_path, epoch=3, model=model)
    assert resume_from_checkpoint(str(tmp_path), target) == 3
    assert torch.equal(target.module[0].weight, model.module[0].weight)


def test_pretrained_weights(tmp_path, capsys):
    model, target = save(tmp_path), net().append(nn.Linear(2, 5))
    path = str(tmp_path / "model.pth.tar-1")
    load_pretrained_weights(target, path)
    assert torch.equal(target[0].weight, model[0].weight)
    out = capsys.readouterr().out
    assert f"Successfully loaded pretrained weights from {path}" in out and "discarded" not in out
    wider = nn.Sequential(nn.Linear(2, 4), nn.Linear(4, 2))
    load_pretrained_weights(wider, path)
    out = capsys.readouterr().out
    assert "discarded due to unmatched keys or size: ['0.weight', '0.bias', '1.weight']" in out
    assert torch.equal(wider[1].bias, model[1].bias)
    torch.save({f"module.{k}": v for k, v in model.state_dict().items()}, tmp_path / "raw")
    load_pretrained_weights(target, str(tmp_path / "raw"))
    assert torch.equal(target[1].weight, model[1].weight)
    with raises_user_error(path, "0.weight"):
        load_pretrained_weights(nn.Conv2d(1, 1, 1), path)
