"""A run: what was trained and tested, and what came out; read from its `result.json`."""

import json
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from datasets import catalogue
from trainers.common.runs.record_schema import FINAL_MODEL, ZERO_SHOT, check

LAST = "last_step"
FOLDER = "Folder"  # the dataset of one's own images: what it is depends on where it lies
EXTRA = ("git", "written", "epochs", "train_seconds", "peak_memory_mb", "device", "data")
OFFICIAL_NAMES = {"ClipFit": "CLIPFit"}  # trainer names of the methods' own code


@dataclass
class Training:
    """What a tested model was trained on; None where it is not known."""

    dataset: str | None
    classes: str | None
    shots: int | None
    seed: int | None
    settings: dict | None  # config keys that decide what is learned


@dataclass
class Run:
    folder: Path
    method: str
    backbone: str
    dataset: str  # what it is tested on, as the two below
    classes: str
    seed: int
    own: Training  # what the run's own command says
    training: Training | None  # what made the tested model; None for an evaluation that does not tell
    accuracy: float | None = None  # on test images, in percent, unrounded; None without a result
    finished: bool = True
    eval_only: bool = False
    split: str = "test"
    tested_model: str = LAST  # which epoch's model is tested: last_step, best_val, or "epoch 50"
    model_dir: str = ""  # of an evaluation: where its model came from, as the command named it
    source_run: "Run | None" = None  # of an evaluation: the run in that folder, if it is there
    origin: str = "ours"  # the code it is of: "ours", or "others" on Dassl, of which there are only logs
    untrained: bool = False  # an evaluation of CLIP as it is with a method that could be trained
    config: str = ""  # name of the method's config file
    command: list = field(default_factory=list)  # the command line, as far as it is known
    zero_shot: bool = False  # no training images are used: the result does not depend on the seed or the shots
    remark: str = ""  # how far it came, if it is not finished
    extra: dict = field(default_factory=dict)  # revision, time, memory, ...


def read_record(path: Path) -> Run:
    """The run of a `result.json`.

    Raises:
        ValueError: it is not JSON, or not a valid record; the message says what is wrong.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # also bytes that are not UTF-8
        raise ValueError(f"not JSON ({error})") from error
    check(record)
    return from_record(record, path.parent)


def from_record(record: dict, folder: Path) -> Run:
    """The run of a record that `check` has passed."""
    identity, evaluation = record["identity"], record.get("evaluation") or {}
    settings = {**record["settings"], "precision": identity["precision"], "weights": identity["fingerprint"]}
    settings.pop(FINAL_MODEL, None)  # it is in `tested_model`
    command = [str(part) for part in record.get("command") or []]
    dataset = dataset_name(record["dataset"], option(command, "--root", "DATASET.ROOT"))
    own = Training(dataset, record["classes"], record["shots"], record["seed"], settings)
    run = Run(
        folder=folder,
        method=OFFICIAL_NAMES.get(identity["trainer"], identity["trainer"]),
        backbone=identity["backbone"],
        dataset=own.dataset,
        classes=own.classes,
        seed=own.seed,
        own=own,
        training=own,
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
        numbers = record["metrics"].get(run.split)
        run.accuracy = numbers.get("accuracy") if isinstance(numbers, dict) else None
        if not isinstance(run.accuracy, (int, float)) or not 0 <= run.accuracy <= 100:  # nan fails, too
            where = f"metrics.{run.split}.accuracy"
            raise ValueError(f"not a valid record: {where} must be from 0 to 100, got {run.accuracy!r:.60}")
    if run.eval_only:
        set_source(run, record.get("source"))
        run.untrained = record.get("source", run) is None and not run.zero_shot  # older records have no `source`
    return run


def set_source(run: Run, source: dict | None) -> None:
    """Enter which training an evaluated model comes from, as far as the record's `source` tells."""
    if run.zero_shot:
        return
    source = source or {}
    run.training, run.model_dir = None, source.get("model_dir") or ""
    settings = source.get("settings")
    if not settings:  # an older record, or a checkpoint of another program
        return
    settings = {**settings, "precision": run.own.settings["precision"], "weights": run.own.settings["weights"]}
    run.tested_model = str(settings.pop(FINAL_MODEL, run.tested_model))
    if run.tested_model == LAST and source.get("epoch") is not None:
        run.tested_model = f"epoch {source['epoch']}"  # until `link` knows whether it is the last
    run.training = Training(*(source.get(key) for key in ("dataset", "classes", "shots", "seed")), settings)


def is_zero_shot(trainer: str, recorded: bool | None = None) -> bool:
    """Whether a method uses no training images; known by its name where that was not recorded."""
    return trainer in ZERO_SHOT if recorded is None else recorded


def config_name(command: list) -> str:
    """Name of the method's config file in a command line, without .yaml."""
    return Path(option(command, "--config-file")).stem


def option(command: list, *names: str) -> str:
    """Value of the last of these options in a command line, empty if there is none."""
    values = [value for name, value in zip(command, command[1:], strict=False) if name in names]
    return values[-1] if values else ""


def dataset_name(name: str, root: str) -> str:
    """Name of a dataset; one's own images go by their folder, too: "Folder: pets"."""
    place = Path(root).name
    return f"{FOLDER}: {place}" if name == FOLDER and place else name


def registry_name(dataset: str) -> str:
    """The registry name of a dataset."""
    return dataset.partition(": ")[0]


@cache
def known_dataset(text: str) -> str | None:
    """Registry name of the dataset with this registry or config name, in any case: "dtd" -> "DescribableTextures"."""
    try:
        return catalogue.resolve(text).name
    except ValueError:
        return None
