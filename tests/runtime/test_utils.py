"""Registry, logger, meters, files and parameter helpers."""

import errno
import os
import random
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from dassl import utils
from dassl.utils import AverageMeter, Logger, MetricMeter, Registry, setup_logger
from tests.user_errors import raises_user_error


def test_registry():
    registry = Registry("THINGS")

    @registry.register()
    class First:
        pass

    def second():
        pass

    registry.register(second)
    assert registry.get("First") is First and registry.get("second") is second
    assert registry.registered_names() == ["First", "second"]
    with raises_user_error("'second'", "THINGS", "force=True", error=KeyError):
        registry.register(second)
    registry.register(second, force=True)
    with raises_user_error("THINGS", "['First', 'second']", "'Frist'", "'First'?", error=KeyError):
        registry.get("Frist")


def test_check_availability():
    utils.check_availability("a", ["a", "b"])
    with raises_user_error("KEY", "['CoOp', 'Other']", "'coop'", "'CoOp'?"):
        utils.check_availability("coop", ["Other", "CoOp"], key="KEY")
    with raises_user_error("[]", "'x'") as caught:
        utils.check_availability("x", [])
    assert "?" not in str(caught.value)  # no name to suggest
    assert utils.get_most_similar_str_to_a_from_b("dct", ["dtd", "eurosat"]) == "dtd"
    assert utils.get_most_similar_str_to_a_from_b("dct", []) is None


@pytest.fixture
def restore_stdout():
    before = sys.stdout
    yield before
    if isinstance(sys.stdout, Logger):
        sys.stdout.close()
    sys.stdout = before


def test_logger_copies_and_keeps_old_logs(tmp_path, restore_stdout, capsys):
    folder = tmp_path / "new" / "run"
    setup_logger(str(folder))
    print("first é")
    assert (folder / "log.txt").read_text(encoding="utf-8") == "first é\n"  # written immediately, for `tail -f`
    setup_logger(str(folder))
    print("second")
    setup_logger(str(folder))
    print("third")
    assert (folder / "log.txt").read_text(encoding="utf-8") == "first é\n"
    others = sorted(path for path in folder.iterdir() if path.name != "log.txt")
    assert [path.read_text() for path in others] == ["second\n", "third\n"]
    assert all(path.name.startswith("log.txt-20") for path in others)
    assert capsys.readouterr().out == "first é\nsecond\nthird\n"


def test_logger_is_a_stream(tmp_path, restore_stdout):
    setup_logger(str(tmp_path / "a.log"))
    assert sys.stdout.isatty() in (True, False) and sys.stdout.encoding
    sys.stdout.flush()
    logger = sys.stdout
    logger.close()
    print("after closing")
    assert (tmp_path / "a.log").read_text() == ""
    assert not restore_stdout.closed
    with Logger(str(tmp_path / "b.txt")) as logger:
        logger.write("x")
    assert (tmp_path / "b.txt").read_text() == "x"
    setup_logger(None)
    assert sys.stdout is not None


def test_logger_in_a_real_process(tmp_path):
    """Printing works until the process exits; `fileno` and `isatty` are those of the console."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[2]); import runtime\n"
        "from dassl.utils import setup_logger\n"
        "setup_logger(sys.argv[1]); print('line', sys.stdout.fileno(), sys.stdout.isatty())\n"
        "import atexit; atexit.register(lambda: print('last'))\n"
    )
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    command = [sys.executable, "-c", code, str(tmp_path), root]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "line 1 False\nlast\n" and done.stderr == ""
    assert (tmp_path / "log.txt").read_text() == done.stdout


def fail_read_only(*args, **kwargs):
    raise OSError(errno.EROFS, "Read-only file system")


def test_folders_that_cannot_be_written(tmp_path, monkeypatch, restore_stdout):
    (tmp_path / "file").touch()
    with raises_user_error(tmp_path / "file" / "sub", error=NotADirectoryError):
        utils.mkdir_if_missing(str(tmp_path / "file" / "sub"))
    with raises_user_error(tmp_path / "file", error=NotADirectoryError):
        utils.mkdir_if_missing(str(tmp_path / "file"))
    monkeypatch.setattr(os, "makedirs", fail_read_only)
    with raises_user_error("'/readonly/out'", error=PermissionError):
        setup_logger("/readonly/out")
    monkeypatch.setattr("builtins.open", fail_read_only)
    with raises_user_error("'x.json'", error=PermissionError):
        utils.write_json([1], "x.json")
    monkeypatch.setattr(os, "makedirs", lambda *args, **kwargs: None)
    with raises_user_error("'/readonly/log.txt'", error=PermissionError):
        Logger("/readonly/log.txt")
    utils.mkdir_if_missing("")


def test_json(tmp_path, monkeypatch):
    path = tmp_path / "new" / "x.json"
    utils.write_json({"a": [1, "é"]}, str(path))
    assert utils.read_json(str(path)) == {"a": [1, "é"]}
    with pytest.raises(TypeError):  # the old file is kept
        utils.write_json({"a": 1, "b": object()}, str(path))
    assert utils.read_json(str(path)) == {"a": [1, "é"]}
    monkeypatch.chdir(tmp_path)
    utils.write_json([1], "here.json")
    assert utils.read_json("here.json") == [1]
    path.write_text('{"a": ')
    with raises_user_error(path, "JSON"):
        utils.read_json(str(path))


def test_files(tmp_path):
    for name in ("b", "a", ".hidden"):
        (tmp_path / name).touch()
    assert utils.listdir_nohidden(str(tmp_path), sort=True) == ["a", "b"]
    assert set(utils.listdir_nohidden(str(tmp_path))) == {"a", "b"}
    assert utils.check_isfile(str(tmp_path / "a"))
    with pytest.warns(UserWarning, match=str(tmp_path / "c")):
        assert not utils.check_isfile(str(tmp_path / "c"))
    target = tmp_path / "copies" / "a"
    (tmp_path / "a").write_text("x")
    utils.download_url(f"file://{tmp_path / 'a'}", str(target))
    assert target.read_text() == "x"


def test_seed():
    def random_numbers():
        return random.random(), np.random.rand(), torch.rand(()).item()

    utils.set_random_seed(3)
    first = random_numbers()
    assert random_numbers() != first
    utils.set_random_seed(3)
    assert random_numbers() == first
    utils.set_random_seed(0)
    with raises_user_error("SEED", str(2**32)):
        utils.set_random_seed(2**32)


def test_environment():
    info = utils.collect_env_info()
    assert f"torch: {torch.__version__}"[:12] in info and "Python: 3." in info and "numpy: " in info


def test_meters():
    meter = AverageMeter()
    meter.update(1.0, n=3)
    meter.update(torch.tensor(5.0))
    assert (meter.val, meter.avg, meter.sum, meter.count) == (5.0, 2.0, 8.0, 4)
    moving = AverageMeter(ema=True)
    moving.update(10)
    moving.update(20)
    assert moving.avg == pytest.approx(0.9 * 1.0 + 2.0)
    metrics = MetricMeter()
    metrics.update({"loss": torch.tensor(1.65078), "acc": 15.625})
    metrics.update(None)
    metrics.update({"loss": 0.5, "acc": 20.0})
    assert str(metrics) == "loss 0.5000 (1.0754) acc 20.0000 (17.8125)"
    with raises_user_error("dict", "list", error=TypeError):
        metrics.update([1])


def test_tolist():
    assert utils.tolist_if_not("a") == ["a"] and utils.tolist_if_not(["a"]) == ["a"]
    assert utils.tolist_if_not(("a",)) == [("a",)]


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
        self.head = nn.Linear(4, 2)


def test_opening_layers():
    net = Net()
    utils.open_specified_layers(net, "head")
    assert [p.requires_grad for p in net.parameters()] == [False] * 4 + [True] * 2
    assert net.head.training and not net.body.training and not net.body[1].training
    utils.open_all_layers(net)
    assert all(p.requires_grad for p in net.parameters()) and net.body[1].training
    net.apply(utils.set_bn_to_eval)
    assert not net.body[1].training and net.body[0].training
    with raises_user_error("['body', 'head']", "['fc']"):
        utils.open_specified_layers(net, ["fc"])


def test_counting():
    net = Net()
    total = 3 * 4 * 9 + 4 + 4 + 4 + 4 * 2 + 2
    assert utils.count_num_param(net) == total
    assert utils.count_num_param(params=net.parameters()) == total
    assert utils.count_num_param(params=[{"params": net.head.weight}, {"params": list(net.body.parameters())}]) == 128
    with pytest.raises(ValueError):
        utils.count_num_param()


@pytest.mark.parametrize("init_type", ["normal", "xavier", "kaiming", "orthogonal"])
def test_initialization(init_type):
    net = Net()
    nn.init.constant_(net.body[1].weight, 7)
    utils.init_network_weights(net, init_type, gain=0.02)
    assert (net.body[1].weight == 1).all() and not net.head.bias.any() and not net.body[0].bias.any()
    assert net.body[0].weight.std() > 0
    if init_type == "normal":
        assert net.body[0].weight.std().item() == pytest.approx(0.02, rel=0.4)
    with raises_user_error("init_type", "'zeros'", "orthogonal"):
        utils.init_network_weights(net, "zeros")
