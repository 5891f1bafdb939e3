"""A run: what was trained, what was tested, and the accuracy. Read from its `result.json`."""

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from datasets import catalogue
from tools.choices import Choice
from tools.records import printable, read_json
from trainers.common.runs.dataset_metrics import ACCURACY
from trainers.common.runs.record_schema import FILE, FINAL_MODEL, ZERO_SHOT, check

from .consistency import check_metric, check_numbers

EVALUATION = "evaluation-"  # start of the names of records of evaluations in the folder of a training
LAST = "last_step"
FOLDER = "Folder"  # dataset of the user's own images, named after their folder
EXTRA = (
    "git", "written", "epochs", "train_seconds", "peak_memory_mb", "device", "data", "content", "weights", "metrics",
    "trust",
)  # fmt: skip
ALIASES = {"ClipFit": "CLIPFit"}  # second name of a trainer here -> its name


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
    metric: str = ACCURACY  # what runs on the dataset are compared by
    own_score: float | None = None  # its value, if it is not the accuracy
    finished: bool = True
    eval_only: bool = False
    split: str = "test"
    tested_model: str = LAST  # epoch of the tested model: last_step, best_val, or "epoch 50"
    file: str = FILE  # name of the record or log in the folder
    root: str = ""  # folder with the datasets; of the user's own images: the folder of images
    classnames: list | None = None  # None if not known
    source: dict = field(default_factory=dict)  # of an evaluation: digests of the weights and of the training images
    model_dir: str = ""  # of an evaluation: run directory of the training, as named on the command line
    source_run: "Run | None" = None  # of an evaluation: the training run, if it was found
    origin: str = "ours"  # "ours": this project; "others": other code based on Dassl, which writes only logs
    untrained: bool = False  # an evaluation of pretrained CLIP with a trainable method
    config: str = ""  # name of the method's config file
    command: list = field(default_factory=list)  # command line, as far as recorded
    backbone_input: dict = field(default_factory=dict)  # config keys with the values that the backbone expects
    zero_shot: bool = False  # uses no training images, so the result does not depend on seed or shots
    choice: Choice | None = None  # of a test: how its training was chosen on validation images
    start: dict | None = None  # the run whose parameters of CLIP it was started from, as in identity.start
    remark: str = ""  # of an unfinished run: where it ended
    extra: dict = field(default_factory=dict)  # code revision, time, memory, ...

    @property
    def score(self) -> float | None:
        """The number in the tables, in percent: the accuracy, or the dataset's own metric."""
        return self.accuracy if self.metric == ACCURACY else self.own_score

    @property
    def subject(self) -> str:
        """The folder; for an evaluation in the folder of its training, its record."""
        return str(self.folder / self.file) if self.file.startswith(EVALUATION) else str(self.folder)


def read_record(path: Path) -> Run:
    """Returns the run of a `result.json`, or of an evaluation's record.

    Raises:
        OSError: the file cannot be read.
        ValueError: the file is not JSON, not a valid record or was changed, or its numbers contradict each other.
    """
    record = read_json(path)
    check(record)
    return from_record(record, path)


def from_record(record: dict, path: Path) -> Run:
    """Returns the run of a record that has passed `check`."""
    identity = record["identity"]
    evaluation = record.get("evaluation") or {}
    settings = {**record["settings"], "precision": identity["precision"], "weights": identity["fingerprint"]}
    settings.pop(FINAL_MODEL, None)  # recorded in `tested_model`
    settings = {printable(key): value for key, value in settings.items()}
    command = [printable(part) for part in record.get("command") or []]
    root = record.get("root") or option(command, "--root", "DATASET.ROOT")
    dataset = dataset_name(record["dataset"], record.get("name") or Path(root).name)
    setup = Training(dataset, record["classes"], record["shots"], record["seed"], settings)
    run = Run(
        folder=path.parent,
        file=path.name,
        method=printable(ALIASES.get(identity["trainer"], identity["trainer"])),
        backbone=printable(identity["backbone"]),
        dataset=setup.dataset,
        classes=setup.classes,
        seed=setup.seed,
        setup=setup,
        training=setup,
        finished=record["finished"],
        eval_only=record["eval_only"],
        split=printable(evaluation.get("split") or "test"),
        tested_model=printable(evaluation.get("final_model") or LAST),
        root=root,
        classnames=identity.get("classnames"),
        config=config_name(command),
        command=command,
        backbone_input={f"INPUT.{key}": value for key, value in (identity.get("input") or {}).items()},
        zero_shot=is_zero_shot(identity["trainer"], identity.get("zero_shot")),
        start=identity.get("start"),
        extra={key: record.get(key) for key in EXTRA},
    )
    if run.finished:
        run.accuracy = check_numbers(record, run.split)
        run.metric = printable(record.get("metric") or ACCURACY)
        run.own_score = check_metric(record, run.split)
    if run.eval_only:
        set_source(run, record.get("source"))
        run.untrained = record.get("source", run) is None and not run.zero_shot  # older records have no `source`
    return run


def set_source(run: Run, source: dict | None) -> None:
    """Sets the training of an evaluation's model from the record's `source`."""
    if run.zero_shot:
        return
    source = source or {}
    run.source = {key: source.get(key) for key in ("weights", "content")}
    run.training = None
    run.model_dir = source.get("model_dir") or ""
    settings = source.get("settings")
    if not settings:  # an older record, or a checkpoint of another program
        return
    settings = {**settings, "precision": run.setup.settings["precision"], "weights": run.setup.settings["weights"]}
    settings = {printable(key): value for key, value in settings.items()}
    run.tested_model = printable(settings.pop(FINAL_MODEL, run.tested_model))
    if run.tested_model == LAST and source.get("epoch") is not None:
        run.tested_model = f"epoch {source['epoch']}"  # `match_runs.link` replaces it by LAST if it is the last epoch
    dataset = source.get("dataset") and printable(source["dataset"])
    run.training = Training(dataset, source.get("classes"), source.get("shots"), source.get("seed"), settings)


def is_zero_shot(trainer: str, recorded: bool | None = None) -> bool:
    """Returns whether a method uses no training images. Older records do not say so; then its name decides."""
    return trainer in ZERO_SHOT if recorded is None else recorded


def config_name(command: list) -> str:
    """Returns the name of the method's config file on a command line, without .yaml."""
    return Path(option(command, "--config-file")).stem


def option(command: list, *names: str) -> str:
    """Returns the value of the last of these options on a command line, or "" if none is set.

    Examples: "--root", "data" and "--root=data".
    """
    values = [""]
    for word, value in zip(command, [*command[1:], ""], strict=True):
        name, equals_sign, attached = word.partition("=")
        if word in names:
            values.append(value)
        elif equals_sign and name in names:
            values.append(attached)
    return values[-1]


def dataset_name(name: str, own_name: str) -> str:
    """Returns the name of a dataset in tables, for the user's own images with their name: "Folder: pets"."""
    return printable(f"{FOLDER}: {own_name}" if name == FOLDER and own_name else name)


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
