"""A run: what was trained and tested, and what came out; read from the `result.json` of trainers/common/record.py."""

import json
import math
from dataclasses import dataclass, field
from pathlib import Path

RECORD = "result.json"
CLASSES = ("all", "base", "new")
LAST = "last_step"
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
    chosen: str = LAST  # which epoch's model is tested: last_step, best_val, or "epoch 50"
    model_dir: str = ""  # of an evaluation: where its model came from, as the command named it
    maker: "Run | None" = None  # of an evaluation: the run in that folder, if it is there
    origin: str = "ours"  # the code it is of: "ours", or "others" on Dassl, of which there are only logs
    untrained: bool = False  # an evaluation of CLIP as it is with a method that could be trained
    config: str = ""  # name of the method's config file
    remark: str = ""  # how far it came, if it is not finished
    extra: dict = field(default_factory=dict)  # revision, time, memory, ...

    @property
    def zero_shot(self) -> bool:
        """Nothing is trained: the result does not depend on the seed or the shots."""
        return self.method.startswith("ZeroshotCLIP")


def read_record(path: Path) -> Run:
    """The run of a `result.json`.

    Raises:
        ValueError: it is not JSON, or not a complete record; the message says what is wrong.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # also bytes that are not UTF-8
        raise ValueError(f"not JSON ({error})") from error
    if not isinstance(record, dict):
        raise ValueError("not a record of a run")
    try:
        return from_record(record, path.parent)
    except KeyError as error:
        raise ValueError(f"not a complete record: {error} is missing") from error
    except (TypeError, AttributeError) as error:
        raise ValueError(f"not a record of a run: {error}") from error


def from_record(record: dict, folder: Path) -> Run:
    identity, source, evaluation = record["identity"], record.get("source"), record.get("evaluation") or {}
    settings = {**record["settings"], "precision": identity["precision"], "weights": identity["fingerprint"]}
    settings.pop("TEST.FINAL_MODEL", None)  # it is in `chosen`
    own = Training(record["dataset"], record["classes"], record["shots"], record["seed"], settings)
    run = Run(
        folder=folder,
        method=OFFICIAL_NAMES.get(identity["trainer"], identity["trainer"]),
        backbone=identity["backbone"],
        dataset=own.dataset,
        classes=own.classes,
        seed=own.seed,
        own=own,
        training=own,
        finished=bool(record["finished"]),
        eval_only=bool(record["eval_only"]),
        split=evaluation.get("split", "test"),
        chosen=evaluation.get("final_model", LAST),
        config=config_name(record.get("command", [])),
        extra={key: record.get(key) for key in EXTRA},
    )
    if run.classes not in CLASSES or not all(isinstance(x, int) for x in (own.shots, own.seed)):
        raise ValueError(f"not a valid record: classes {run.classes!r}, shots {own.shots!r}, seed {own.seed!r}")
    if run.finished:
        run.accuracy = record["metrics"][run.split]["accuracy"]
        if not isinstance(run.accuracy, (int, float)) or not 0 <= run.accuracy <= 100 or math.isnan(run.accuracy):
            raise ValueError(f"not a valid record: accuracy {run.accuracy!r}")
    if run.eval_only:
        tested_from(run, source)
        run.untrained = source is None and "source" in record and not run.zero_shot  # older records have no `source`
    return run


def tested_from(run: Run, source: dict | None) -> None:
    """Enter which training an evaluated model comes from, as far as the record's `source` tells."""
    if run.zero_shot:
        return
    source = source or {}
    run.training, run.model_dir = None, source.get("model_dir") or ""
    settings = source.get("settings")
    if not settings:  # an older record, or a checkpoint of another program
        return
    settings = {**settings, "precision": run.own.settings["precision"], "weights": run.own.settings["weights"]}
    run.chosen = settings.pop("TEST.FINAL_MODEL", run.chosen)
    if run.chosen == LAST and source.get("epoch") is not None:
        run.chosen = f"epoch {source['epoch']}"  # until `link` knows whether it is the last
    run.training = Training(*(source[key] for key in ("dataset", "classes", "shots", "seed")), settings)


def config_name(command: list) -> str:
    """Name of the method's config file in a command line, without .yaml."""
    for flag, value in zip(command, command[1:], strict=False):
        if flag == "--config-file":
            return Path(value).stem
    return ""
