"""What must stay byte-identical: the log lines, files, fields, names and exit codes that other programs rely on.

Parsers of CoOp's logs, CoOp-family trainers, scripts around the tools and programs that load exports read these. All
else in the output is prose, which may be reworded: no test quotes it.
"""

import contextlib
import importlib
import json
import re
import shutil
import sys

import pytest
import torch

import parse_test_res
import train
from tests.reference.models import random_clip, save_clip
from tests.tools.tuned import rounded
from tests.trainers.helpers import FAST
from tools import export, predict, report, sweep
from tools.recipe import read_table

# Lines of CoOp's log, in their order, of a run with TEST.FINAL_MODEL best_val. Meters print the last value and the
# average: loss 0.4883 (0.4883).
METER = r"-?\d+\.\d+ \(-?\d+\.\d+\)"
RESULT = [
    r"=> result",
    r"\* total: [\d,]+",
    r"\* correct: [\d,]+",
    r"\* accuracy: \d+\.\d+%",
    r"\* error: \d+\.\d+%",
    r"\* macro_f1: \d+\.\d+%",
    r"=> per-class result",
    r"\* class: 0 \(zero\)\ttotal: [\d,]+\tcorrect: [\d,]+\tacc: \d+\.\d+%",
    r"\* average: \d+\.\d+%",
]
EPOCH = (
    r"epoch \[{0}/2\] batch \[1/1\] time %s data %s loss %s acc %s ce %s kd %s lr \d\.\d{{4}}e-\d\d eta \d:\d\d:\d\d"
    % ((METER,) * 6)
)
LOG = [
    r"\*{15}",
    r"\*\* Arguments \*\*",
    r"\*{15}",
    r"trainer: CLIPFit",
    r"\*{12}",
    r"\*\* Config \*\*",
    r"\*{12}",
    r"\*\* System info \*\*",
    r"Loading trainer: CLIPFit",
    r"Loading dataset: Digits",
    r"SUBSAMPLE BASE CLASSES!",
    r"Building transform_train",
    r"Building transform_test",
    r"---------  ------",
    r"Dataset    Digits",
    r"# classes  5",
    r"# train_x  10",
    r"# val      10",
    r"# test     \d+",
    r"---------  ------",
    r"Loading evaluator: Classification",
    r"Initialize tensorboard \(log_dir=.*/run/tensorboard\)",
    EPOCH.format(1),
    r"Evaluate on the \*val\* set",
    *RESULT,
    r"Checkpoint saved to .*/run/clipfit/model-best\.pth\.tar",
    EPOCH.format(2),
    r"Evaluate on the \*val\* set",
    *RESULT,
    r"Checkpoint saved to .*/run/clipfit/model\.pth\.tar-2",
    r"Finish training",
    r"Deploy the model with the best val performance",
    r"Evaluate on the \*test\* set",
    *RESULT,
    r"Elapsed: \d:\d\d:\d\d",
]

RUN_FILES = {
    "log.txt", "result.json", "clipfit/checkpoint", "clipfit/model.pth.tar-2", "clipfit/model-best.pth.tar",
    "clipfit/tuned.safetensors", "curves.jsonl", "predictions.csv", "tensorboard/events.out.tfevents",
}  # fmt: skip
CHECKPOINT_FIELDS = {
    "state_dict", "epoch", "optimizer", "scheduler", "val_result",  # Dassl's
    "meta", "settings", "scaler", "random", "best_result", "train_seconds", "digest",
}  # fmt: skip
META_FIELDS = {
    "trainer", "zero_shot", "backbone", "precision", "template", "fingerprint", "tune", "classnames", "plugins",
    "versions",
}  # fmt: skip
HEADER_FIELDS = {"meta", "settings", "epoch", "val_result", "metrics", "digest"}
RECORD_FIELDS = {
    "format", "finished", "dataset", "classes", "shots", "seed", "root", "metrics", "eval_only", "epochs", "source",
    "evaluation", "identity", "settings", "data", "git", "command", "started", "train_seconds", "test_seconds",
    "peak_memory_mb", "device", "written",
}  # fmt: skip
SOURCE_FIELDS = {"dataset", "classes", "shots", "seed", "settings", "model_dir", "epoch"}
METRICS = {"accuracy", "error_rate", "macro_f1"}

EXPORTS = {  # --to: (package that writes it, files)
    "openai": ("clip", {"classes.json", "clip.pt"}),
    "open_clip": (
        "open_clip", {"classes.json", "clip_tuned.json", "open_clip_config.json", "open_clip_model.safetensors"},
    ),
    "huggingface": (
        "transformers",
        {"classes.json", "config.json", "merges.txt", "model.safetensors", "preprocessor_config.json",
         "special_tokens_map.json", "tokenizer_config.json", "vocab.json"},
    ),
    "head": ("safetensors", {"classes.json", "head.safetensors"}),
    "onnx": ("onnxscript", {"classes.json", "model.onnx"}),
    "delta": ("safetensors", {"classes.json", "tuned.safetensors"}),
}  # fmt: skip

TRAINERS = {
    "CLIPFit", "ClipFit", "CoOp", "CoCoOp", "KgCoOp", "ProGrad", "MaPLe", "CLIP_Adapter", "TipAdapter", "TipAdapterF",
    "ZeroshotCLIP", "ZeroshotCLIP2", "Adapter", "Compacter", "CompacterPP",
}  # fmt: skip
DATASETS = {
    "ImageNet", "Caltech101", "OxfordPets", "StanfordCars", "OxfordFlowers", "Food101", "FGVCAircraft", "SUN397",
    "DescribableTextures", "EuroSAT", "UCF101", "ImageNetV2", "ImageNetSketch", "ImageNetA", "ImageNetR", "Digits",
    "Folder", "CapitalLetters", "Symbols", "DigitsRotated", "DigitsNoisy",
}  # fmt: skip
CONFIG_KEYS = {
    "TRAINER.CLIPFIT.PREC": "auto", "TRAINER.CLIPFIT.TUNE": ("text_ffn_output_bias", "image_layernorm"),
    "TRAINER.CLIPFIT.REG": "kd", "TRAINER.CLIPFIT.BETA": 8.0, "TRAINER.COOP.N_CTX": 16, "TRAINER.COOP.CSC": False,
    "TRAINER.COOP.CLASS_TOKEN_POSITION": "end", "DATASET.SUBSAMPLE_CLASSES": "all", "DATASET.TEMPLATE": "",
}  # fmt: skip
IMPORTS = {  # names that CoOp-family code and users' programs import
    "trainers.clipfit": ["CLIPFit", "ClipFit"],
    "trainers.common": ["load_tuned"],
    "dassl.engine": ["TRAINER_REGISTRY", "TrainerX", "build_trainer"],
    "dassl.data.datasets": ["DATASET_REGISTRY", "Datum", "DatasetBase"],
    "dassl.data.datasets.base_dataset": ["Datum"],  # pickled few-shot files name it
    "dassl.config": ["get_cfg_default", "cfg_default"],
    "dassl.utils": ["set_random_seed", "setup_logger", "load_checkpoint"],
}


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    return str(save_clip(rounded(random_clip("tiny")), tmp_path_factory.mktemp("clip") / "tiny.pt"))


@pytest.fixture(scope="module")
def command(digits_root, backbone):
    """command(output, *arguments): runs train.py on the digits and returns the exit code."""

    def run(output, *arguments):
        argv = ["--root", str(digits_root), "--trainer", "CLIPFit", "--backbone", backbone, "--output-dir", str(output)]
        argv += ["--seed", "1", "--dataset-config-file", "configs/datasets/digits.yaml"]
        with contextlib.ExitStack() as restored:
            restored.callback(setattr, sys, "stdout", sys.stdout)  # the logger replaces it
            return train.main([*argv, *arguments])

    return run


@pytest.fixture(scope="module")
def run(command, tmp_path_factory):
    """The directory of a run on base classes that deploys the best epoch."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    options = "OPTIM.MAX_EPOCH 2 TRAIN.PRINT_FREQ 1 TEST.FINAL_MODEL best_val TEST.PER_CLASS_RESULT True"
    assert command(folder, *FAST, *options.split(), "DATASET.SUBSAMPLE_CLASSES", "base") == 0
    return folder


def test_log_lines_of_a_training_run(run):
    lines = iter((run / "log.txt").read_text().splitlines())
    for pattern in LOG:
        assert any(re.fullmatch(pattern, line) for line in lines), f"no line, or none in this order: {pattern}"


def test_log_lines_of_the_last_epoch_and_of_an_evaluation(command, run, tmp_path):
    last = tmp_path / "last"
    assert command(last, *FAST, "OPTIM.MAX_EPOCH", "1") == 0
    assert "Deploy the last-epoch model" in (last / "log.txt").read_text().splitlines()
    evaluate = ("--eval-only", "--model-dir", str(run), "--load-epoch", "2")
    assert command(tmp_path / "new", *evaluate, *FAST, "DATASET.SUBSAMPLE_CLASSES", "new") == 0
    lines = (tmp_path / "new" / "log.txt").read_text().splitlines()
    assert "SUBSAMPLE NEW CLASSES!" in lines and "Evaluate on the *test* set" in lines and "=> result" in lines
    assert not any(line.startswith(("epoch [", "Finish training", "Deploy the")) for line in lines)
    record = json.loads((tmp_path / "new" / "result.json").read_text())
    assert set(record) >= RECORD_FIELDS and record["eval_only"]
    assert set(record["source"]) >= SOURCE_FIELDS and record["source"]["epoch"] == 2


def test_lines_of_parse_test_res(run, tmp_path, capsys):
    shutil.copytree(run, tmp_path / "seed1")
    accuracy = json.loads((run / "result.json").read_text())["metrics"]["test"]["accuracy"]
    assert parse_test_res.main([str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"Parsing files in {tmp_path}",
        f"file: {tmp_path}/seed1/log.txt. accuracy: {accuracy:.2f}%. ",
        "===",
        f"Summary of directory: {tmp_path}",
        f"* accuracy: {accuracy:.2f}% +- 0.00%",
        "===",
    ]


def test_files_of_a_run(run):
    files = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file() and path.name != ".lock"}
    assert {re.sub(r"(tfevents).*", r"\1", name) for name in files} == RUN_FILES
    assert (run / "clipfit" / "checkpoint").read_text().strip() == "model.pth.tar-2"


def test_fields_of_checkpoint_and_tuned_weights(run):
    safetensors = pytest.importorskip("safetensors")
    state = torch.load(run / "clipfit" / "model.pth.tar-2", weights_only=True)
    assert set(state) >= CHECKPOINT_FIELDS and state["epoch"] == 2
    assert set(state["meta"]) >= META_FIELDS
    with safetensors.safe_open(str(run / "clipfit" / "tuned.safetensors"), "pt") as file:
        assert set(file.metadata()) - {"format"} == HEADER_FIELDS
        assert set(json.loads(file.metadata()["meta"])) >= META_FIELDS
        assert set(file.keys()) == set(state["state_dict"])
    names = set(state["state_dict"])
    assert "transformer.resblocks.0.mlp.c_proj.bias" in names and "visual.ln_pre.weight" in names


def test_fields_of_the_record(run):
    record = json.loads((run / "result.json").read_text())
    assert set(record) >= RECORD_FIELDS and record["format"] == 2 and record["finished"] is True
    assert set(record["identity"]) >= META_FIELDS
    assert set(record["evaluation"]) == {"split", "final_model"} and set(record["data"]) == {"train_x", "val", "test"}
    assert METRICS <= set(record["metrics"]["test"])


@pytest.mark.parametrize("target", EXPORTS)
def test_files_of_an_export(run, tmp_path, target):
    package, files = EXPORTS[target]
    pytest.importorskip(package)
    assert export.main([str(run), "--to", target, "--out", str(tmp_path / target)]) == 0
    assert {path.name for path in (tmp_path / target).iterdir()} == files
    assert {"classnames", "template", "prompts"} <= set(json.loads((tmp_path / target / "classes.json").read_text()))


def test_columns_of_predictions(run, tmp_path):
    from PIL import Image

    Image.new("RGB", (32, 32)).save(tmp_path / "a.png")
    argv = [str(run), str(tmp_path / "a.png"), "--top", "2", "--csv", str(tmp_path / "p.csv")]
    assert predict.main([*argv, "--json", str(tmp_path / "p.json")]) == 0
    header, row = (tmp_path / "p.csv").read_text().splitlines()
    assert header == "image,class,probability,class_2,probability_2" and row.startswith(str(tmp_path / "a.png"))
    (entry,) = json.loads((tmp_path / "p.json").read_text())
    assert set(entry) == {"image", "classes"} and set(entry["classes"][0]) == {"name", "probability"}


def test_files_of_a_report(run, tmp_path):
    pytest.importorskip("matplotlib")
    report.main([str(run), "--out", str(tmp_path / "report")])
    names = {path.name for path in (tmp_path / "report").iterdir()}
    assert {"report.html", "report.md", "results.csv", "runs.csv", "tables", "plots", "written.json"} >= names
    assert {"report.html", "report.md", "results.csv", "runs.csv", "tables"} <= names


def interrupted(signal):
    def stop(args):
        raise signal

    return stop


def test_exit_codes(command, run, tmp_path, monkeypatch, capsys):
    from runtime.user_errors import Terminated

    assert command(tmp_path / "a", *FAST, "OPTIM.LR_SCHEDULER", "none") == 1  # a mistake
    assert report.main([str(tmp_path / "none"), "--no-files"]) == 1  # a missing directory
    assert predict.main([str(run), str(tmp_path / "none.png")]) == 1
    for program in (train, sweep, report, predict, export):
        with pytest.raises(SystemExit) as stop:
            program.main(["--no-such-option"])
        assert stop.value.code == 2, program
    for signal, code in ((KeyboardInterrupt, 130), (Terminated, 143)):
        monkeypatch.setattr(train, "run", interrupted(signal))
        assert train.main([]) == code


def test_registered_names():
    import datasets  # noqa: F401
    from dassl.data.datasets import DATASET_REGISTRY
    from dassl.engine import TRAINER_REGISTRY
    from trainers import register_all

    register_all()
    assert set(TRAINER_REGISTRY.registered_names()) >= TRAINERS
    assert set(DATASET_REGISTRY.registered_names()) >= DATASETS
    assert set(read_table()) >= {"default", "CLIPFit", "CoOp"}


@pytest.mark.parametrize("key", CONFIG_KEYS)
def test_config_keys_and_defaults(key):
    node = train.setup_cfg(train.parse_args([]))
    for name in key.split("."):
        node = node[name]
    assert node == CONFIG_KEYS[key]


@pytest.mark.parametrize("module", IMPORTS)
def test_imports(module):
    assert not [name for name in IMPORTS[module] if not hasattr(importlib.import_module(module), name)]
