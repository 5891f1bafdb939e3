"""A run: what was trained, what was tested, and the accuracy. Read from its `result.json`."""

import json
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from datasets import catalogue
from trainers.common.runs.record_schema import FINAL_MODEL, ZERO_SHOT, check

LAST = "last_step"
FOLDER = "Folder"  # dataset of the user's own images, named after their folder
EXTRA = ("git", "written", "epochs", "train_seconds", "peak_memory_mb", "device", "data")
OFFICIAL_NAMES = {"ClipFit": "CLIPFit"}  # trainer name in the authors' code -> name here


@dataclass
class Training:
    """What a model was trained on. A field is None if it is not known."""

    dataset: str | None
    classes: str | None
    shots: int | None
    seed: int | None
    settings: dict | None  # config keys that affect the trained model


@dataclass
class Run:
    folder: Path
    method: str
    backbone: str
    dataset: str  # tested on
    classes: str  # tested on
    seed: int
    setup: Training  # from the run's own config
    training: Training | None  # training of the tested model; None if an evaluation does not record it
    accuracy: float | None = None  # in percent, unrounded; None without a result
    finished: bool = True
    eval_only: bool = False
    split: str = "test"
    tested_model: str = LAST  # epoch of the tested model: last_step, best_val, or "epoch 50"
    model_dir: str = ""  # of an evaluation: run directory of the training, as named on the command line
    source_run: "Run | None" = None  # of an evaluation: the training run, if it was found
    origin: str = "ours"  # "ours": this project; "others": other code based on Dassl, which writes only logs
    untrained: bool = False  # an evaluation of pretrained CLIP with a trainable method
    config: str = ""  # name of the method's config file
    command: list = field(default_factory=list)  # command line, as far as recorded
    zero_shot: bool = False  # uses no training images, so the result does not depend on seed or shots
    remark: str = ""  # of an unfinished run: where it ended
    extra: dict = field(default_factory=dict)  # code revision, time, memory, ...


def read_record(path: Path) -> Run:
    """Returns the run of a `result.json`.

    Raises:
        ValueError: the file is not JSON or not a valid record.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # also bytes that are not UTF-8
        raise ValueError(f"not JSON ({error})") from error
    check(record)
    return from_record(record, path.parent)


def from_record(record: dict, folder: Path) -> Run:
    """Returns the run of a record that has passed `check`."""
    identity = record["identity"]
    evaluation = record.get("evaluation") or {}
    settings = {**record["settings"], "precision": identity["precision"], "weights": identity["fingerprint"]}
    settings.pop(FINAL_MODEL, None)  # recorded in `tested_model`
    command = [str(part) for part in record.get("command") or []]
    dataset = dataset_name(record["dataset"], option(command, "--root", "DATASET.ROOT"))
    setup = Training(dataset, record["classes"], record["shots"], record["seed"], settings)
    run = Run(
        folder=folder,
        method=OFFICIAL_NAMES.get(identity["trainer"], identity["trainer"]),
        backbone=identity["backbone"],
        dataset=setup.dataset,
        classes=setup.classes,
        seed=setup.seed,
        setup=setup,
        training=setup,
        finished=record["finished"],
        eval_only=record["eval_only"],
        split=evaluation.get("split") or "test",
        tested_model=evaluation.get("final_model") or LAST,
        config=config_name(command),
        command=command,
        zero_shot=is_zero_shot(identity["trainer"], identity.get("zero_shot")),
        extra={key: record.get(key) for key in EXTRA},
    )
    if run.finished:
        metrics = record["metrics"].get(run.split)
        run.accuracy = metrics.get("accuracy") if isinstance(metrics, dict) else None
        if not isinstance(run.accuracy, (int, float)) or not 0 <= run.accuracy <= 100:  # also rejects nan
            key = f"metrics.{run.split}.accuracy"
            raise ValueError(f"not a valid record: {key} must be from 0 to 100, got {run.accuracy!r:.60}")
    if run.eval_only:
        set_source(run, record.get("source"))
        run.untrained = record.get("source", run) is None and not run.zero_shot  # older records have no `source`
    return run


def set_source(run: Run, source: dict | None) -> None:
    """Sets the training of an evaluation's model from the record's `source`."""
    if run.zero_shot:
        return
    source = source or {}
    run.training = None
    run.model_dir = source.get("model_dir") or ""
    settings = source.get("settings")
    if not settings:  # an older record, or a checkpoint of another program
        return
    settings = {**settings, "precision": run.setup.settings["precision"], "weights": run.setup.settings["weights"]}
    run.tested_model = str(settings.pop(FINAL_MODEL, run.tested_model))
    if run.tested_model == LAST and source.get("epoch") is not None:
        run.tested_model = f"epoch {source['epoch']}"  # `match_runs.link` replaces it by LAST if it is the last epoch
    run.training = Training(
        source.get("dataset"), source.get("classes"), source.get("shots"), source.get("seed"), settings
    )  # fmt: skip


def is_zero_shot(trainer: str, recorded: bool | None = None) -> bool:
    """Returns whether a method uses no training images. Older records do not say so; then its name decides."""
    return trainer in ZERO_SHOT if recorded is None else recorded


def config_name(command: list) -> str:
    """Returns the name of the method's config file on a command line, without .yaml."""
    return Path(option(command, "--config-file")).stem


def option(command: list, *names: str) -> str:
    """Returns the value of the last of these options on a command line, or "" if none is set."""
    values = [value for name, value in zip(command, command[1:], strict=False) if name in names]
    return values[-1] if values else ""


def dataset_name(name: str, root: str) -> str:
    """Returns the name of a dataset, for the user's own images with their folder: "Folder: pets"."""
    folder = Path(root).name
    return f"{FOLDER}: {folder}" if name == FOLDER and folder else name


def registry_name(dataset: str) -> str:
    """Returns the registry name of a dataset: "Folder: pets" -> "Folder"."""
    return dataset.partition(": ")[0]


@cache
def known_dataset(text: str) -> str | None:
    """Returns the registry name for a registry or config name, ignoring case: "dtd" -> "DescribableTextures"."""
    try:
        return catalogue.resolve(text).name
    except ValueError:
        return None
