"""Plugins: imported unchanged, recorded, resumed, imported again when needed, and never run unless the user names them.

Each test that registers something runs train.py in a separate process.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.user_errors import assert_user_error, raises_user_error
from trainers.common.runs import plugins

ROOT = Path(__file__).resolve().parents[4]
OPTIONS = (
    "--backbone micro --seed 1 --dataset-config-file configs/datasets/digits.yaml "
    "--config-file configs/trainers/CLIPFit/micro_ep100.yaml"
).split()
FAST = "DATASET.NUM_SHOTS 1 OPTIM.MAX_EPOCH 2 DATALOADER.NUM_WORKERS 0".split()

PLAIN = '''
"""A trainer that uses only Dassl, like other people's code: a linear layer on pixels."""
import torch
from torch import nn
from torch.nn import functional as F
from dassl.engine import TRAINER_REGISTRY, TrainerX
from dassl.metrics import compute_accuracy
from dassl.optim import build_lr_scheduler, build_optimizer

from .helpers import SIZE
from . import words


@TRAINER_REGISTRY.register()
class {name}(TrainerX):
    def check_cfg(self, cfg):
        assert cfg.TRAINER.PIXELS.WIDTH == 4

    def build_model(self):
        self.model = nn.Linear(SIZE, self.num_classes)
        self.optim = build_optimizer(self.model, self.cfg.OPTIM)
        self.sched = build_lr_scheduler(self.optim, self.cfg.OPTIM)
        self.register_model("pixels", self.model, self.optim, self.sched)

    def forward_backward(self, batch):
        image, label = self.parse_batch_train(batch)
        output = self.model(image.flatten(1))
        loss = F.cross_entropy(output, label)
        self.model_backward_and_update(loss)
        if (self.batch_idx + 1) == self.num_batches:
            self.update_lr()
        return {{"loss": loss.item(), "acc": compute_accuracy(output, label)[0].item()}}

    def parse_batch_train(self, batch):
        return batch["img"].to(self.device), batch["label"].to(self.device)

    def model_inference(self, image):
        return self.model(image.flatten(1))
'''
EXTEND = """
import nothing_of_this_is_run


def extend_cfg(cfg):
    from yacs.config import CfgNode as CN
    cfg.TRAINER.PIXELS = CN()
    cfg.TRAINER.PIXELS.WIDTH = 4
    cfg.TRAINER.COOP = CN()
    cfg.TRAINER.COOP.PREC = "fp16"
"""
SUBCLASS = '''
from dassl.engine import TRAINER_REGISTRY
from trainers.clipfit import CLIPFit


@TRAINER_REGISTRY.register()
class Mine(CLIPFit):
    """CLIPFit under another name."""
'''


@pytest.fixture
def checkout(tmp_path):
    """The folder `trainers` of another project, whose train.py sets config keys."""
    folder = tmp_path / "Pixels" / "trainers"
    folder.mkdir(parents=True)
    (folder / "pixels.py").write_text(PLAIN.format(name="Pixels"))
    (folder / "helpers.py").write_text("SIZE = 3 * 32 * 32\n")
    (folder / "words.py").write_text("")
    (folder / "mine.py").write_text(SUBCLASS)
    (folder.parent / "train.py").write_text(EXTEND)
    return folder


@pytest.fixture
def call(tmp_path):
    """call(program, *arguments, **environment) returns (exit code, stdout, stderr)."""
    home = tmp_path / "home"
    home.mkdir()

    def run(program, *arguments, cwd=ROOT, **environment):
        environment = {**os.environ, "HOME": str(home), "OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1", **environment}
        command = [sys.executable, "-W", "ignore", str(ROOT / program), *map(str, arguments)]
        done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300)
        return done.returncode, done.stdout, done.stderr

    run.home = home
    return run


@pytest.fixture
def train(call, tmp_path):
    def run(output, *arguments, opts=(), **environment):
        where = ["--root", tmp_path / "data", "--output-dir", tmp_path / output]
        return call("train.py", *OPTIONS, *where, *arguments, *FAST, *opts, **environment)

    return run


def record(folder) -> dict:
    return json.loads((folder / "result.json").read_text())


def test_a_plain_trainer_gets_a_record_and_is_resumed(checkout, train, tmp_path):
    """Resumed after one of two epochs, it has the same final tensors as an uninterrupted run."""
    import torch

    plugin = ("--plugin", checkout / "pixels.py", "--trainer", "Pixels")
    code, out, err = train("whole", *plugin, opts=("TRAIN.CHECKPOINT_FREQ", "1"))
    assert code == 0, err
    assert "TRAINER.COOP.PREC: 'auto' -> 'fp16'" in out  # a default that its train.py changes is logged
    result = record(tmp_path / "whole")
    assert result["finished"] and result["identity"]["trainer"] == "Pixels" and result["epochs"] == 2
    assert 0 <= result["metrics"]["test"]["accuracy"] <= 100 and result["settings"]["TRAINER.PIXELS.WIDTH"] == 4
    (recorded_plugin,) = result["identity"]["plugins"]
    assert recorded_plugin == {"path": str(checkout / "pixels.py"), "sha256": plugins.digest_of(checkout / "pixels.py")}

    files = tmp_path / "whole" / "pixels"
    broken = tmp_path / "broken" / "pixels"
    broken.mkdir(parents=True)
    (broken / "model.pth.tar-1").write_bytes((files / "model.pth.tar-1").read_bytes())
    (broken / "checkpoint").write_text("model.pth.tar-1\n")
    code, out, err = train("broken", *plugin, opts=("TRAIN.CHECKPOINT_FREQ", "1"))
    assert code == 0 and "Resuming after epoch 1" in out, err
    whole, resumed = (torch.load(f / "model.pth.tar-2", weights_only=True)["state_dict"] for f in (files, broken))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert_user_error(train("broken", *plugin, opts=("OPTIM.LR", "0.5")), "OPTIM.LR", "0.5")

    code, out, err = train(
        "test", *plugin, "--eval-only", "--model-dir", tmp_path / "whole", "--load-epoch", "2", opts=("SEED", "1")
    )
    assert code == 0, err
    assert record(tmp_path / "test")["metrics"] == result["metrics"] and record(tmp_path / "test")["eval_only"]


@pytest.mark.parametrize("way", ["flag", "environment", "config", "command line"])
def test_every_way_to_name_a_plugin(way, checkout, train, tmp_path):
    plugin = str(checkout / "pixels.py")
    arguments, opts, environment = ["--trainer", "Pixels"], (), {}
    if way == "flag":
        arguments += ["--plugin", plugin]
    elif way == "environment":
        environment["CLIPFIT_PLUGINS"] = plugin
    elif way == "command line":
        opts = ("PLUGINS", f"({plugin!r},)")
    else:
        config = tmp_path / "mine.yaml"
        config.write_text(f"PLUGINS: [{plugin}]\nINPUT:\n  SIZE: (32, 32)\n")
        arguments += ["--config-file", str(config)]
    code, _, err = train("run", *arguments, "--no-train", opts=opts, **environment)
    assert code == 0, err


def test_plugins_are_swept_and_reported_with_our_methods(checkout, call, tmp_path):
    sweep = ["tools/sweep.py", "fewshot", "--plugin", checkout / "pixels.py", "--methods", "Pixels", "ZeroshotCLIP"]
    sweep += ["--seeds", "1", "--shots", "1", "--root", tmp_path / "data", "--output", tmp_path / "out", "--"]
    sweep += ["OPTIM.MAX_EPOCH", "1", "DATALOADER.NUM_WORKERS", "0"]
    code, out, err = call(*sweep)
    assert code == 0, out + err
    rows = [line.split()[0] for line in out.splitlines() if line.startswith("  ")]
    assert {"Pixels", "ZeroshotCLIP"} <= set(rows)
    code, out, _ = call(*sweep[:-5], "--dry-run", *sweep[-5:])
    assert code == 0 and "2 jobs: 2 finished" in out


def test_a_per_class_plugin_is_refused_by_base_to_new_before_anything_runs(call, tmp_path):
    arguments = ("base2new", "--plugin", "examples/taskres.py", "--methods", "TaskRes", "--output", tmp_path / "out")
    assert_user_error(call("tools/sweep.py", *arguments), "TaskRes", "base2new")
    assert not (tmp_path / "out").exists()


def test_a_plugin_overrides_our_method_in_that_run_only(checkout, train, tmp_path):
    (checkout / "coop.py").write_text(PLAIN.format(name="CoOp"))
    code, out, err = train("theirs", "--plugin", checkout / "coop.py", "--trainer", "CoOp")
    assert code == 0, err
    (line,) = [line for line in out.splitlines() if line.startswith("Note: ") and "trainer CoOp" in line]
    assert str(checkout / "coop.py") in line
    assert (tmp_path / "theirs" / "pixels" / "checkpoint").is_file()
    code, out, err = train("ours", "--trainer", "CoOp")
    assert code == 0 and (tmp_path / "ours" / "prompt_learner" / "checkpoint").is_file(), err


def test_a_run_is_loaded_without_naming_its_plugin_again(checkout, train, call, tmp_path):
    """Only for a user who has named the plugin before, and only if the plugin has not changed since."""
    plugin = checkout / "mine.py"
    assert train("run", "--plugin", plugin, "--trainer", "Mine")[0] == 0
    image = next((tmp_path / "data").rglob("*.png"))
    predict = ("tools/predict.py", tmp_path / "run", image)
    code, out, err = call(*predict)
    assert code == 0 and "%" in out, err

    stranger = tmp_path / "stranger"
    stranger.mkdir()
    assert_user_error(call(*predict, HOME=str(stranger)), plugin, "--plugin", "CLIPFIT_PLUGINS")
    code, _, err = call(*predict, HOME=str(stranger), CLIPFIT_PLUGINS=str(plugin))
    assert code == 0, err
    code, _, err = call("tools/predict.py", "--plugin", plugin, tmp_path / "run", image, HOME=str(tmp_path / "third"))
    assert code == 0, err

    plugin.write_text(SUBCLASS + "\nprint('changed')\n")
    code, out, err = call(*predict)
    assert_user_error((code, err), plugin, "--plugin")
    assert "changed\n" not in out
    code, out, err = call(*predict, CLIPFIT_PLUGINS=str(plugin))
    assert code == 0 and any(line.startswith("Note: ") and str(plugin) in line for line in err.splitlines()), err


def test_a_record_with_an_unknown_plugin_runs_no_code(tmp_path, monkeypatch):
    evil = tmp_path / "evil.py"
    evil.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    monkeypatch.setattr(plugins, "KNOWN", tmp_path / "home" / "plugins.json")
    with raises_user_error(evil, "--plugin"):
        plugins.require([{"path": str(evil), "sha256": plugins.digest_of(evil)}])
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "content, fact",
    [
        ("import no_such_module_here\n", "no_such_module_here"),
        ("raise SystemError('no luck')\n", "no luck"),
        ("def f(:\n", "invalid syntax"),
        (None, "--plugin"),
    ],
)
def test_plugins_that_cannot_be_imported(content, fact, train, tmp_path):
    file = tmp_path / "broken.py"
    if content:
        file.write_text(content)
    assert_user_error(train("run", "--plugin", file, "--trainer", "X"), file, fact)


def test_the_digest_covers_relative_imports(checkout):
    before = plugins.digest_of(checkout / "pixels.py")
    names = {file.name for file in plugins.source_files(checkout / "pixels.py")}
    assert names == {"pixels.py", "helpers.py", "words.py"}
    (checkout / "mine.py").write_text("")
    assert plugins.digest_of(checkout / "pixels.py") == before
    (checkout / "words.py").write_text("WORDS = 1\n")
    assert plugins.digest_of(checkout / "pixels.py") != before
