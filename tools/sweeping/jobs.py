"""Settings of a sweep, and their jobs: the arguments of train.py and the run directories."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import runtime  # noqa: F401  (makes dassl importable)
from datasets import catalogue
from tools.recipe import config_file, recipe
from tools.shots import shots_name, shots_text

from . import varying


@dataclass(frozen=True, eq=False)
class Job:
    """One run of train.py.

    Attributes:
        title: Name of the job in the log.
        output: Run directory.
        argv: Arguments of train.py.
        setting: The setting it belongs to.
        training: For an evaluation, the training whose model it evaluates.
        start: For a training with --start-from, the training it starts from.
        choices: The choices on validation images (`choosing.Choice`) in which it is a candidate.
        chosen_from: For a test of a run that was chosen on validation images, the choice.
    """

    title: str
    output: Path
    argv: list[str]
    setting: "Setting"
    training: "Job | None" = None
    choices: list = field(default_factory=list)
    chosen_from: object = None
    start: "Job | None" = None

    @property
    def before(self) -> list["Job"]:
        """The jobs that must be finished before this one, in order."""
        first = (self.training or self).start
        return [job for job in (first, self.training) if job]


class Step(NamedTuple):
    """A training or an evaluation of a protocol, for any setting.

    Attributes:
        label: Text between the method and the shots in the title, such as "on dtd base".
        folder: First part of the run directory.
        keys: KEY VALUE words of the protocol.
        dataset: Dataset to test on, if it is not the training dataset.
    """

    label: str
    folder: str
    keys: tuple = ()
    dataset: str = ""


class Setting:
    """One combination of method, training dataset, shots, seed, and values of varied keys. `job` builds its runs.

    Attributes:
        values: Varied key -> value, of the keys that concern the method, in the order of --vary and in canonical form
            ("8.0" for 8).
        changes: Those of `values` that the run would not have without --vary, sorted by key.
        keys: KEY VALUE words of the recipe and of `changes`, as in the command of a run.
        run: Last part of its run directories. Equal runs have equal ones: a value that the recipe or the default has
            anyway is not in it.
        start: The training that its own training starts from (--start-from), or None. `plan.add_start` sets it.
    """

    start: Job | None = None

    def __init__(self, args, method: str, dataset: str, shots: int, seed: int, vary: dict[str, str] | None = None):
        self.args = args
        self.method = method
        self.shots = shots
        self.seed = seed
        self.named_dataset = dataset
        self.dataset, self.root = split_name(dataset, args.root)
        self.name = args.names[dataset]
        entry = catalogue.by_config().get(self.dataset)
        self.backbone = args.backbone or ("micro" if entry and entry.bundled else "ViT-B/16")
        if args.config:
            self.config, keys = args.config, {}
        else:
            self.config, keys = recipe(method, args.protocol, self.dataset, shots, self.backbone)
        self.file = config_file(method, self.config)
        label = self.config
        if args.best_val:
            label = f"{self.config}_best_val"
            keys = {**keys, "TEST.FINAL_MODEL": "best_val"}
        if self.starts:
            label = f"{label}_START_FROM={args.start_from}"
        self.recipe_keys = words(keys)
        self.values, self.changes = varying.resolve(self.base_argv(), vary or {})
        self.keys = words({**keys, **self.changes})
        self.label = label
        self.run = self.path(self.change_label())

    @property
    def starts(self) -> bool:
        """Whether its training starts from another one. Zero-shot CLIP trains nothing."""
        from dassl.engine import TRAINER_REGISTRY

        chosen = getattr(self.args, "start_from", None)
        return bool(chosen) and not getattr(TRAINER_REGISTRY.get(self.method), "zero_shot", False)

    def change_label(self) -> str:
        """Returns `changes` as a part of a path."""
        return varying.label({key: [value] for key, value in self.changes.items()})

    def path(self, suffix: str) -> str:
        """Returns the last part of a run directory, with a suffix of the config's name."""
        return f"shots_{shots_name(self.shots)}/{self.method}/{self.label}{suffix}/seed{self.seed}"

    def options(self, name: str, root: str) -> list[str]:
        """Returns the options of train.py that all runs with this setting share, to train or test on a dataset."""
        argv = ["--root", root, "--trainer", self.method, "--backbone", self.backbone]
        argv += ["--dataset-config-file", f"configs/datasets/{name}.yaml"]
        argv += ["--config-file", self.file]
        for plugin in self.args.plugin:
            argv += ["--plugin", plugin]
        return argv

    def base_argv(self) -> list[str]:
        """Returns arguments of train.py without seed, run directory and varied keys, for the values of other keys."""
        argv = [*self.options(self.dataset, self.root), "DATASET.NUM_SHOTS", str(self.shots)]
        return [*argv, *self.recipe_keys, *self.args.opts]

    def job(self, label: str, output: str, *keys: str, dataset: str = "", training: Job | None = None) -> Job:
        """Returns one run of train.py.

        Args:
            label: Text between the method and the shots in the title, such as "on dtd base".
            output: Run directory, relative to the sweep's output folder.
            keys: KEY VALUE pairs of the protocol.
            dataset: Dataset to test on, if it is not the training dataset.
            training: Training whose model is evaluated; None for a training.
        """
        name, root = split_name(dataset, self.args.root) if dataset else (self.dataset, self.root)
        folder = Path(self.args.output) / output
        argv = [*self.options(name, root), "--seed", str(self.seed), "--output-dir", str(folder)]
        start = None if training else self.start
        if training:
            argv += ["--eval-only", "--model-dir", str(training.output)]
        if start:
            keys = (*keys, "MODEL.START_FROM", str(start.output))
        argv += [*keys, "DATASET.NUM_SHOTS", str(self.shots), *self.keys, *self.args.opts]
        origin = f" from {self.args.start_from}" if self.starts else ""
        shots = shots_text(shots_name(self.shots))
        title = f"{self.method}{origin} {label}, {shots}, seed {self.seed}{varying.title(self.values)}"
        return Job(title, folder, argv, self, training, start=start)


def words(keys: dict) -> list[str]:
    """Returns KEY VALUE words of a command line."""
    return [str(word) for pair in keys.items() for word in pair]


def split_name(dataset: str, root: str = "") -> tuple[str, str]:
    """Returns (name, folder). The folder is DIR for NAME=DIR and `root` for NAME."""
    name, equals_sign, folder = dataset.partition("=")
    return name, folder if equals_sign else root
