"""Methods and datasets of others: imported as they are, recorded, resumed, found again, and never run unasked.

Each test that registers something runs train.py in a process of its own.
"""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.fork_server import python
from tests.user_errors import assert_user_error, raises_user_error
from trainers.common.runs import known_plugins

ROOT = Path(__file__).resolve().parents[4]
OPTIONS = (
    "--backbone micro --seed 1 --dataset-config-file configs/datasets/digits.yaml "
    "--config-file configs/trainers/CLIPFit/micro_ep100.yaml"
).split()
FAST = "DATASET.NUM_SHOTS 1 OPTIM.MAX_EPOCH 2 DATALOADER.NUM_WORKERS 0".split()

PLAIN = '''
"""A trainer on Dassl alone, as the code of others is: a linear layer on pixels."""
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
    """The folder of somebody's trainers, next to a train.py that sets their config keys."""
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
    """call(program, *arguments, **environment): exit code, output, errors."""
    home = tmp_path / "home"
    home.mkdir()

    def run(program, *arguments, cwd=ROOT, **environment):
        environment = {**os.environ, "HOME": str(home), "OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1", **environment}
        command = [python(), "-W", "ignore", str(ROOT / program), *map(str, arguments)]
        done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300)
        return done.returncode, done.stdout, done.stderr

    run.home = home
    return run


@pytest.fixture
def train(call, digits_root, tmp_path):
    def run(output, *arguments, opts=(), **environment):
        where = ["--root", digits_root, "--output-dir", tmp_path / output]
        return call("train.py", *OPTIONS, *where, *arguments, *FAST, *opts, **environment)

    return run


def record(folder) -> dict:
    return json.loads((folder / "result.json").read_text())


def test_a_plain_trainer_gets_a_record_and_is_resumed(checkout, train, tmp_path):
    """Stopped after one of two epochs it ends with the very tensors of an unbroken run."""
    import torch

    plugin = ("--plugin", checkout / "pixels.py", "--trainer", "Pixels")
    code, out, err = train("whole", *plugin, opts=("TRAIN.CHECKPOINT_FREQ", "1"))
    assert code == 0, err
    found = record(tmp_path / "whole")
    assert found["finished"] and found["identity"]["trainer"] == "Pixels" and found["epochs"] == 2
    assert 0 <= found["metrics"]["test"]["accuracy"] <= 100 and found["settings"]["TRAINER.PIXELS.WIDTH"] == 4
    assert found["settings"]["TRAINER.COOP.PREC"] == "fp16"  # the default of its own train.py
    files = [checkout / name for name in ("pixels.py", "helpers.py", "words.py")] + [checkout.parent / "train.py"]
    (named,) = found["identity"]["plugins"]
    assert named == {"path": str(checkout / "pixels.py"), "sha256": known_plugins.digest(files)}

    files = tmp_path / "whole" / "pixels"
    broken = tmp_path / "broken" / "pixels"
    broken.mkdir(parents=True)
    (broken / "model.pth.tar-1").write_bytes((files / "model.pth.tar-1").read_bytes())
    (broken / "checkpoint").write_text("model.pth.tar-1\n")
    code, out, err = train("broken", *plugin, opts=("TRAIN.CHECKPOINT_FREQ", "1"))
    assert code == 0 and "Resuming after epoch 1" in out, err
    whole, resumed = (torch.load(f / "model.pth.tar-2", weights_only=True)["state_dict"] for f in (files, broken))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    code, _, err = train("broken", *plugin, opts=("OPTIM.LR", "0.5"))
    assert code == 1 and "OPTIM.LR" in err and len(err.splitlines()) == 1

    code, out, err = train(
        "test", *plugin, "--eval-only", "--model-dir", tmp_path / "whole", "--load-epoch", "2", opts=("SEED", "1")
    )
    assert code == 0, err
    assert record(tmp_path / "test")["metrics"] == found["metrics"] and record(tmp_path / "test")["eval_only"]


@pytest.mark.parametrize("way", ["flag", "environment", "config", "config as text", "command line", "one path"])
def test_every_way_to_name_a_plugin(way, checkout, train, tmp_path):
    plugin = str(checkout / "pixels.py")
    arguments, opts, environment = ["--trainer", "Pixels"], (), {}
    if way == "flag":
        arguments += ["--plugin", plugin]
    elif way == "environment":
        environment["CLIPFIT_PLUGINS"] = plugin
    elif way == "command line":
        opts = ("PLUGINS", f"({plugin!r},)")
    elif way == "one path":
        opts = ("PLUGINS", plugin)
    else:
        config = tmp_path / "mine.yaml"
        value = f"[{plugin}]" if way == "config" else f'"({plugin!r},)"'
        config.write_text(f"PLUGINS: {value}\nINPUT:\n  SIZE: (32, 32)\n")
        arguments += ["--config-file", str(config)]
    code, _, err = train("run", *arguments, "--no-train", opts=opts, **environment)
    assert code == 0, err


def test_plugins_are_swept_and_reported_next_to_our_methods(checkout, call, digits_root, tmp_path):
    sweep = ["tools/sweep.py", "fewshot", "--plugin", checkout / "pixels.py", "--methods", "Pixels", "ZeroshotCLIP"]
    sweep += ["--seeds", "1", "--shots", "1", "--root", digits_root, "--output", tmp_path / "out", "--"]
    sweep += ["OPTIM.MAX_EPOCH", "1", "DATALOADER.NUM_WORKERS", "0"]
    code, out, err = call(*sweep)
    assert code == 0, out + err
    rows = [line.split()[0] for line in out.splitlines() if line.startswith("  ")]
    assert {"Pixels", "ZeroshotCLIP"} <= set(rows)
    code, out, _ = call(*sweep[:-5], "--dry-run", *sweep[-5:])
    assert code == 0 and "2 jobs: 2 finished" in out


def test_a_per_class_plugin_is_refused_by_base_to_new_before_anything_runs(call, tmp_path):
    arguments = (
        "base2new",
        "--plugin",
        "examples/text_residual.py",
        "--methods",
        "TextResidual",
        "--output",
        tmp_path / "out",
    )
    code, _, err = call("tools/sweep.py", *arguments)
    assert code == 1 and "TextResidual" in err and "base2new" in err and len(err.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_plugin_takes_the_place_of_ours_in_that_run_only(checkout, train, tmp_path):
    (checkout / "coop.py").write_text(PLAIN.format(name="CoOp"))
    code, out, err = train("theirs", "--plugin", checkout / "coop.py", "--trainer", "CoOp")
    assert code == 0, err
    assert out.count("Note: using the trainer CoOp of the plugin") == 1
    assert (tmp_path / "theirs" / "pixels" / "checkpoint").is_file()
    code, out, err = train("ours", "--trainer", "CoOp")
    assert code == 0 and (tmp_path / "ours" / "prompt_learner" / "checkpoint").is_file(), err


def test_a_tuned_method_is_used_without_naming_its_plugin_again(checkout, train, call, digits_root, tmp_path):
    """By who has named it before; a stranger's file names it in vain, and a changed plugin is not run either."""
    plugin = checkout / "mine.py"
    assert train("run", "--plugin", plugin, "--trainer", "Mine")[0] == 0
    image = next(digits_root.rglob("*.png"))
    predict = ("tools/predict.py", tmp_path / "run", image)
    code, out, err = call(*predict)
    assert code == 0 and "%" in out, err

    stranger = tmp_path / "stranger"
    stranger.mkdir()
    code, _, err = call(*predict, HOME=str(stranger))
    assert code == 1 and str(plugin) in err and "--plugin" in err and len(err.splitlines()) == 1
    code, _, err = call(*predict, HOME=str(stranger), CLIPFIT_PLUGINS=str(plugin))
    assert code == 0, err
    code, _, err = call("tools/predict.py", "--plugin", plugin, tmp_path / "run", image, HOME=str(tmp_path / "third"))
    assert code == 0, err

    plugin.write_text(SUBCLASS + "\nprint('changed')\n")
    code, out, err = call(*predict)
    assert code == 1 and "has changed" in err and "changed\n" not in out
    code, out, err = call(*predict, CLIPFIT_PLUGINS=str(plugin))
    assert code == 0 and "differs from the one" in err


def test_a_record_that_names_foreign_code_runs_nothing(tmp_path, monkeypatch):
    evil = tmp_path / "evil.py"
    evil.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    monkeypatch.setattr(known_plugins, "FOLDER", tmp_path / "home")
    with raises_user_error(str(evil), "--plugin", "CLIPFIT_PLUGINS"):
        known_plugins.require([{"path": str(evil), "sha256": known_plugins.digest([evil])}])
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("entries", ["x", [1], 5, [{"path": "a"}], [{"path": "a", "sha256": "../../x"}], {"path": "a"}])
def test_a_corrupted_list_of_plugins_is_named(entries):
    with raises_user_error("plugins", "corrupted", error=ValueError):
        known_plugins.require(entries)


@pytest.mark.parametrize("changed", ["helpers.py", "../train.py", "../shared.py"])
def test_all_that_was_executed_must_be_unchanged(changed, checkout, train, call, digits_root, tmp_path):
    """Also what is imported absolutely, and the train.py whose `extend_cfg` was called."""
    (checkout.parent / "shared.py").write_text("")
    (checkout / "mine.py").write_text("import shared\nfrom . import helpers\n" + SUBCLASS)
    assert train("run", "--plugin", checkout / "mine.py", "--trainer", "Mine")[0] == 0
    image = next(digits_root.rglob("*.png"))
    assert call("tools/predict.py", tmp_path / "run", image)[0] == 0
    (checkout / changed).write_text((checkout / changed).read_text() + "\n# changed\n")
    assert_user_error(call("tools/predict.py", tmp_path / "run", image), "mine.py", "--plugin")


@pytest.mark.parametrize(
    "content, fact",
    [
        ("import no_such_module_here\n", "no_such_module_here"),
        ("raise SystemError('no luck')\n", "no luck"),
        ("def f(:\n", "SyntaxError"),
        (None, "neither a file nor a module"),
    ],
)
def test_what_cannot_be_imported_is_one_line(content, fact, train, tmp_path):
    file = tmp_path / "broken.py"
    if content:
        file.write_text(content)
    code, _, err = train("run", "--plugin", file, "--trainer", "X")
    assert code == 1 and fact in err and str(file) in err and len(err.splitlines()) == 1


def test_two_models_killed_between_their_checkpoints(checkout, train, tmp_path):
    two = PLAIN.format(name="Two").replace(
        'self.register_model("pixels", self.model, self.optim, self.sched)',
        'self.register_model("pixels", self.model, self.optim, self.sched)\n'
        '        self.register_model("other", nn.Linear(2, 2))',
    )
    (checkout / "two.py").write_text(two)
    plugin, opts = ("--plugin", checkout / "two.py", "--trainer", "Two"), ("TRAIN.CHECKPOINT_FREQ", "1")
    assert train("run", *plugin, opts=opts)[0] == 0
    (tmp_path / "run" / "other" / "model.pth.tar-2").unlink()
    (tmp_path / "run" / "other" / "checkpoint").write_text("model.pth.tar-1\n")
    code, out, err = train("run", *plugin, opts=opts)
    assert code == 0 and "Resuming after epoch 1" in out, err


def test_ways_of_a_plugin_to_save_and_load_are_its_own(checkout, train, tmp_path):
    own = """
    def save_model(self, epoch, directory, is_best=False, val_result=None, model_name=""):
        print("saved by itself", epoch)

    def load_model(self, directory, epoch=None):
        print("loaded by itself", directory)

    def test(self, split=None, more=0):
        return super().test(split)
"""
    (checkout / "own.py").write_text(PLAIN.format(name="Own") + own)
    code, out, err = train("run", "--plugin", checkout / "own.py", "--trainer", "Own")
    assert code == 0 and "saved by itself 1" in out and record(tmp_path / "run")["finished"], err


def test_base_to_new_of_a_plain_trainer_is_finished_and_reported(checkout, call, digits_root, tmp_path):
    """Its evaluation names the run whose checkpoint it tests."""
    sweep = ["tools/sweep.py", "base2new", "--plugin", checkout / "pixels.py", "--methods", "Pixels", "--seeds", "1"]
    sweep += ["--shots", "1", "--root", digits_root, "--output", tmp_path / "out", "--"]
    sweep += ["OPTIM.MAX_EPOCH", "1", "DATALOADER.NUM_WORKERS", "0"]
    code, out, err = call(*sweep)
    assert code == 0 and "Pixels" in out, out + err
    (new,) = (tmp_path / "out" / "test_new").rglob("result.json")
    assert record(new.parent)["source"]["epoch"] == 1 and record(new.parent)["source"]["classes"] == "base"


def test_the_defaults_of_a_plugin_are_not_those_of_our_methods(checkout, call, digits_root, tmp_path):
    sweep = ["tools/sweep.py", "fewshot", "--plugin", checkout / "pixels.py", "--methods", "CoOp", "--seeds", "1"]
    sweep += ["--shots", "1", "--root", digits_root, "--output", tmp_path / "out", "--"]
    sweep += ["OPTIM.MAX_EPOCH", "1", "DATALOADER.NUM_WORKERS", "0"]
    assert call(*sweep)[0] == 0
    (file,) = (tmp_path / "out").rglob("result.json")
    assert record(file.parent)["settings"]["TRAINER.COOP.PREC"] == "auto"


def test_plugins_named_in_a_base_and_relative_to_the_current_folder(checkout, train, call, tmp_path):
    (tmp_path / "base.yaml").write_text(f"PLUGINS: ['{checkout / 'pixels.py'}']\n")
    (tmp_path / "mine.yaml").write_text("_BASE_: base.yaml\nINPUT:\n  SIZE: (32, 32)\n")
    code, _, err = train("run", "--config-file", tmp_path / "mine.yaml", "--trainer", "Pixels", "--no-train")
    assert code == 0, err
    sweep = ["tools/sweep.py", "fewshot", "--methods", "Pixels", "--seeds", "1", "--shots", "1", "--dry-run"]
    code, out, err = call(*sweep, cwd=checkout, CLIPFIT_PLUGINS="pixels.py")
    assert code == 0 and "1 jobs" in out, err


def test_a_run_is_not_resumed_with_another_plugin(checkout, train, tmp_path):
    """Nor is it evaluated silently."""
    (checkout / "mine.py").write_text(
        "from dassl.engine import TRAINER_REGISTRY\nfrom trainers import clipfit\n\n\n"
        "@TRAINER_REGISTRY.register()\nclass CLIPFit(clipfit.CLIPFit):\n    pass\n"
    )
    plugin = ("--plugin", checkout / "mine.py", "--trainer", "CLIPFit")
    assert train("run", *plugin)[0] == 0
    code, _, err = train("run", "--trainer", "CLIPFit")
    assert_user_error((code, err), "mine.py", "none", "--resume")
    evaluation = ("--eval-only", "--model-dir", tmp_path / "run")
    code, out, err = train("test", "--trainer", "CLIPFit", *evaluation)
    assert code == 0 and "Note: " in out and "mine.py" in out, err


def test_names_with_dots_and_plugins_that_register_nothing(train, tmp_path):
    dotted, empty = tmp_path / "a.b.py", tmp_path / "empty.py"
    dotted.write_text("")
    empty.write_text("")
    assert_user_error(train("run", "--plugin", dotted, "--trainer", "X"), str(dotted), "dot")
    code, out, _ = train("run", "--plugin", empty, "--trainer", "ZeroshotCLIP", "--no-train")
    assert code == 0 and str(empty) in out and "registers no trainer" in out
