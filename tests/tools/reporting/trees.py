"""Writes run records and log.txt files like those of CoOp, KgCoOp, ProGrad and MaPLe, and reads reports on them."""

import json
from pathlib import Path

import pytest

from tests.user_errors import assert_facts
from tools.report import parse_args
from tools.reporting.build import build

METHODS = {  # trainer: (config file, settings from the method's scripts)
    "CoOp": ("vit_b16_ctxv1", {"TRAINER.COOP.N_CTX": 16, "TRAINER.COOP.CTX_INIT": "", "OPTIM.MAX_EPOCH": 50}),
    "CoCoOp": ("vit_b16_c4_ep10_batch1_ctxv1", {"TRAINER.COCOOP.N_CTX": 4, "OPTIM.MAX_EPOCH": 10}),
    "KgCoOp": ("vit_b16_ep100_ctxv1", {"TRAINER.COOP.N_CTX": 4, "TRAINER.COOP.W": 8.0, "OPTIM.MAX_EPOCH": 100}),
    "ProGrad": ("rn50_ep100", {"TRAINER.COOP.N_CTX": 16, "LOSS.LAMBDA": 1.0, "OPTIM.MAX_EPOCH": 100}),
    "MaPLe": ("vit_b16_c2_ep5_batch4_2ctx", {"TRAINER.MAPLE.N_CTX": 2, "OPTIM.MAX_EPOCH": 5}),
    "MultiModalAdapter": ("vit_b16_ep5", {"TRAINER.MMADAPTER.ADAPTER_DIM": 32, "OPTIM.MAX_EPOCH": 5}),
    "ClipFit": ("vit_b16_ep100_ctxv1", {"TRAINER.COOP.W1": 1.0, "OPTIM.MAX_EPOCH": 100}),
    "ZeroshotCLIP": ("vit_b16", {"OPTIM.MAX_EPOCH": 200}),
}
FORK = ("KgCoOp", "ProGrad")  # use a fork of Dassl that prints two decimals and "Finished training"


def write_log(
    folder, trainer="CoOp", dataset="DescribableTextures", seed=1, shots=16, classes="base", correct=80, total=100,
    model_dir="", load_epoch=None, name="log.txt", stop=None, tail="", **settings,
) -> Path:  # fmt: skip
    """Writes a log, of an evaluation if `model_dir` is set or the trainer is zero-shot. Returns the folder.

    Args:
        stop: the last epoch in the log of an unfinished run.
    """
    config_file, method_settings = METHODS[trainer]
    eval_only = bool(model_dir) or trainer == "ZeroshotCLIP"
    arguments = {
        "backbone": "", "config_file": f"configs/trainers/{trainer}/{config_file}.yaml",
        "dataset_config_file": "configs/datasets/dtd.yaml", "eval_only": eval_only, "head": "",
        "load_epoch": load_epoch, "model_dir": model_dir,
        "no_train": False, "opts": ["DATASET.NUM_SHOTS", str(shots)], "output_dir": "output/x",
        "resume": "", "root": "/path/to/datasets", "seed": seed, "source_domains": None, "trainer": trainer,
    }  # fmt: skip
    config = {
        "DATALOADER.TRAIN_X.BATCH_SIZE": 32, "DATASET.NAME": dataset, "DATASET.NUM_SHOTS": shots,
        "DATASET.ROOT": "/path/to/datasets", "DATASET.SUBSAMPLE_CLASSES": classes, "INPUT.SIZE": (224, 224),
        "INPUT.TRANSFORMS": ("random_resized_crop", "random_flip", "normalize"), "MODEL.BACKBONE.NAME": "ViT-B/16",
        "OPTIM.LR": 0.002, "OUTPUT_DIR": "output/x", "RESUME": "", "SEED": seed, "TEST.FINAL_MODEL": "last_step",
        "TEST.SPLIT": "test", "TRAINER.NAME": trainer, **method_settings, **settings,
    }  # fmt: skip
    lines = ["***************", "** Arguments **", "***************", *(f"{k}: {v}" for k, v in arguments.items())]
    lines += ["************", "** Config **", "************", *yacs(nested(config)), "Collecting env info ..."]
    lines += ["** System info **", "PyTorch version: 1.13.1", "        Pillow (9.4.0)", ""]
    lines += [f"Loading trainer: {trainer}", "Reading split from /path/to/datasets/dtd/split_zhou_DTD.json"]
    if not eval_only:
        lines += training(config["OPTIM.MAX_EPOCH"] if stop is None else stop, config["OPTIM.MAX_EPOCH"])
        if stop is None:
            lines += ["Finished training" if trainer in FORK else "Finish training", "Deploy the last-epoch model"]
    if stop is None:
        lines += result(correct, total, 2 if trainer in FORK else 1)
        lines += [] if eval_only else ["Elapsed: 0:01:23"]
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("\n".join([*lines, tail]), encoding="utf-8")
    return folder


def nested(flat: dict) -> dict:
    """Returns {"A": {"B": 1}} for {"A.B": 1}."""
    tree = {}
    for key, value in flat.items():
        *path, leaf = key.split(".")
        node = tree
        for part in path:
            node = node.setdefault(part, {})
        node[leaf] = value
    return tree


def yacs(node: dict, depth=0) -> list[str]:
    """Returns the lines that yacs prints for a config: sorted, indented by two spaces per level."""
    lines = []
    for key in sorted(node):
        if isinstance(node[key], dict):
            lines += ["  " * depth + f"{key}:", *yacs(node[key], depth + 1)]
        else:
            lines.append("  " * depth + f"{key}: {node[key]}")
    return lines


def training(until: int, epochs: int) -> list[str]:
    return [
        f"epoch [{e}/{epochs}] batch [{b}/10] time 0.407 (0.407) data 0.082 (0.082) loss 1.6508 (1.6508) "
        f"acc 15.6250 (15.6250) lr 1.0000e-05 eta 0:00:02"
        for e in range(1, until + 1)
        for b in (5, 10)
    ]


def result(correct: int, total: int, decimals: int) -> list[str]:
    accuracy = 100 * correct / total
    return [
        "Evaluate on the *test* set", "=> result", f"* total: {total:,}", f"* correct: {correct:,}",
        f"* accuracy: {accuracy:.{decimals}f}%", f"* error: {100 - accuracy:.{decimals}f}%", "* macro_f1: 40.0%",
    ]  # fmt: skip


def write_record(
    folder, method="CLIPFit", dataset="Digits", seed=1, shots=16, classes="all", accuracy=80.0, source=None, git="abc",
    backbone="micro", eval_only=False, finished=True, config="micro_ep100", changes=None, **settings,
) -> Path:  # fmt: skip
    """Writes a record. Returns the folder.

    Args:
        source: makes the record an evaluation of the run that it describes.
        changes: replace keys of the whole record.
    """
    keys = {
        "DATASET.NAME": dataset,
        "DATASET.NUM_SHOTS": shots,
        "DATASET.SUBSAMPLE_CLASSES": classes,
        "SEED": seed,
    }
    keys |= {"OPTIM.MAX_EPOCH": 100, "TRAINER.CLIPFIT.BETA": 8.0, **settings}
    if source is not None:
        source = {"dataset": dataset, "classes": "base", "shots": shots, "seed": seed, "epoch": keys["OPTIM.MAX_EPOCH"],
                  **source}  # fmt: skip
        source.setdefault("settings", {**keys, "DATASET.NAME": source["dataset"], "DATASET.SUBSAMPLE_CLASSES": "base"})
    record = {
        "format": 1, "finished": finished, "dataset": dataset, "classes": classes, "shots": shots, "seed": seed,
        "metrics": {"test": {"accuracy": accuracy}} if finished else {}, "eval_only": eval_only or source is not None,
        "source": source, "evaluation": {"split": "test", "final_model": "last_step"},
        "identity": {"trainer": method, "backbone": backbone, "fingerprint": "f00d", "precision": "fp32"},
        "settings": keys, "git": git,
        "data": {"train_x": f"{dataset}{seed}{shots}{classes}", "test": dataset + classes},
        "command": ["train.py", "--config-file", f"configs/trainers/{method}/{config}.yaml"],
        "written": "2026-01-01T00:00:00+0000", **(changes or {}),
    }  # fmt: skip
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "result.json").write_text(json.dumps(record), encoding="utf-8")
    return folder


def write_pair(root, name, base=80.0, new=70.0, **run) -> None:
    """Writes the records of a base and a new run in CoOp's layout; `name` is DATASET/shots_N/METHOD/CONFIG/seedS."""
    write_record(Path(root) / "train_base" / name, classes="base", accuracy=base, **run)
    write_record(Path(root) / "test_new" / name, classes="new", accuracy=new, source={}, **run)


def report(*paths, options=()):
    """Returns the report of tools/report.py on the paths."""
    return build(parse_args([*map(str, paths), *options]))


def numbers(table, dataset, title) -> dict:
    """Returns column -> (mean, number of seeds) of a row."""
    group = next(group for group in table.groups if group.title == dataset)
    return {column: (pytest.approx(stat.mean), stat.n) for column, stat in group.cells[title].items()}


def problems(result) -> list[tuple[str, str, str]]:
    """Returns (category, last part of the subject, message) of each problem in a report."""
    return [(problem.category, problem.subject.rpartition("/")[2], problem.message) for problem in result.problems]


def assert_problems(result, *expected) -> None:
    """Asserts that a report has exactly the expected problems, in any order.

    Args:
        expected: (category, last part of the subject, facts in the message ...) per problem.
    """
    remaining = problems(result)
    for category, subject, *facts in expected:
        candidates = [problem for problem in remaining if problem[:2] == (category, subject)]
        matches = [problem for problem in candidates if all(str(fact) in problem[2] for fact in facts)]
        assert matches, f"not in the report: {(category, subject, *facts)}; candidates: {candidates or remaining}"
        assert_facts(matches[0][2])  # one line
        remaining.remove(matches[0])
    assert not remaining
