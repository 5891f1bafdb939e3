"""Plans the jobs of a protocol: the arguments of train.py, the run directories and the settings."""

import itertools
import os
from dataclasses import dataclass
from pathlib import Path

import runtime  # noqa: F401  (makes dassl importable)
from datasets import catalogue
from tools.recipe import CONFIGS, config_file, recipe

from . import own_images
from .methods import select_methods

SHOTS = {"fewshot": [1, 2, 4, 8, 16]}  # default shots of the papers; the other protocols use 16


@dataclass(frozen=True, eq=False)
class Job:
    """One run of train.py.

    Attributes:
        title: Name of the job in the log.
        output: Run directory.
        argv: Arguments of train.py.
        setting: The setting it belongs to.
        training: For an evaluation, the training whose model it evaluates.
    """

    title: str
    output: Path
    argv: list[str]
    setting: "Setting"
    training: "Job | None" = None


class Setting:
    """One combination of method, training dataset, shots and seed. `job` builds its runs of train.py."""

    def __init__(self, args, method: str, dataset: str, shots: int, seed: int):
        self.args = args
        self.method = method
        self.shots = shots
        self.seed = seed
        self.dataset, self.root = split_name(dataset, args.root)
        self.name = args.names[dataset]
        self.backbone = args.backbone or ("micro" if self.dataset == "digits" else "ViT-B/16")
        if args.config:
            self.config, keys = args.config, {}
        else:
            self.config, keys = recipe(method, args.protocol, self.dataset, shots, self.backbone)
        self.file = config_file(method, self.config)
        label = self.config
        if args.best_val:
            label = f"{self.config}_best_val"
            keys = {**keys, "TEST.FINAL_MODEL": "best_val"}
        self.keys = [str(word) for pair in keys.items() for word in pair]  # KEY VALUE pairs of the recipe
        self.run = f"shots_{shots}/{method}/{label}/seed{seed}"  # last part of its run directories

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
        argv = ["--root", root, "--trainer", self.method, "--backbone", self.backbone]
        argv += ["--dataset-config-file", f"configs/datasets/{name}.yaml"]
        argv += ["--config-file", self.file]
        for plugin in self.args.plugin:
            argv += ["--plugin", plugin]
        argv += ["--seed", str(self.seed), "--output-dir", str(folder)]
        if training:
            argv += ["--eval-only", "--model-dir", str(training.output)]
        argv += [*keys, "DATASET.NUM_SHOTS", str(self.shots), *self.keys, *self.args.opts]
        return Job(f"{self.method} {label}, {self.shots} shots, seed {self.seed}", folder, argv, self, training)


def base2new(setting: Setting) -> list[Job]:
    """Trains on the base classes. Tests on the base classes and on the new classes."""
    dataset = setting.name
    run = f"{dataset}/{setting.run}"
    base = setting.job(f"on {dataset} base", f"train_base/{run}", "DATASET.SUBSAMPLE_CLASSES", "base")
    keys = ("DATASET.SUBSAMPLE_CLASSES", "new")
    return [base, setting.job(f"on {dataset} new", f"test_new/{run}", *keys, training=base)]


def fewshot(setting: Setting) -> list[Job]:
    """Trains and tests on all classes."""
    return [setting.job(f"on {setting.name}", f"{setting.name}/{setting.run}")]


def transfer(setting: Setting) -> list[Job]:
    """Trains on all classes of the source dataset. Tests on the source and on the target datasets."""
    source = setting.name
    jobs = [setting.job(f"on {source}", f"train/{source}/{setting.run}")]
    for target in setting.args.targets:
        if split_name(target, setting.args.root) != (setting.dataset, setting.root):
            name = setting.args.names[target]
            output = f"test/{source}/{name}/{setting.run}"
            jobs.append(setting.job(f"{source} to {name}", output, dataset=target, training=jobs[0]))
    return jobs


PROTOCOLS = {"base2new": base2new, "fewshot": fewshot, "cross_dataset": transfer, "domain_shift": transfer}


def plan(args) -> list[Job]:
    """Returns all jobs of a sweep: seed by seed, each training before its evaluations.

    Args:
        args: Arguments of tools/sweep.py. Defaults and "all" are filled in.

    Raises:
        ValueError: If a method, dataset or config is unknown, or if a method does not support the protocol.
    """
    fill_defaults(args)
    args.names = output_names(args)
    jobs = []
    for seed, dataset, shots, method in itertools.product(args.seeds, args.datasets, args.shots, args.methods):
        jobs += PROTOCOLS[args.protocol](Setting(args, method, dataset, shots, seed))
    return jobs


PLACES = {
    "base2new": ("train_base", "test_new"),
    "fewshot": (".",),
    "cross_dataset": ("train",),
    "domain_shift": ("train",),
}


def output_names(args) -> dict[str, str]:
    """Returns the names of the datasets in output paths, by their names on the command line.

    They are those of configs/datasets, and of the user's own images that of their folder.
    """
    names = {}
    for dataset in args.datasets:
        names[dataset] = output_name(dataset, PLACES[args.protocol], args)
    for target in args.targets:
        if target not in names:
            names[target] = output_name(target, [f"test/{names[source]}" for source in args.datasets], args)
    return names


def output_name(dataset: str, places, args) -> str:
    """Returns the name of a dataset in output paths; `places` are relative to the output folder of the sweep."""
    name, root = split_name(dataset, args.root)
    if name != own_images.CONFIG:
        return name
    return own_images.output_name(root, [Path(args.output) / place for place in places], args)


def fill_defaults(args) -> None:
    """Fills in defaults, replaces "all" by names, removes duplicate shots and seeds, and checks the values."""
    transfers = PROTOCOLS[args.protocol] is transfer
    if args.targets and not transfers:
        raise ValueError(f"--targets is an option of cross_dataset and domain_shift, not of {args.protocol}")
    default = ["imagenet"] if transfers else ["digits"]
    args.datasets = expand_all(args.datasets or default, catalogue.paper_configs())
    args.targets = expand_all(args.targets or ["all"], catalogue.targets(args.protocol)) if transfers else []
    args.shots = args.shots or SHOTS.get(args.protocol, [16])
    for option in ("datasets", "targets"):
        check_datasets(option, [split_name(name)[0] for name in getattr(args, option)])
    for option, minimum in (("shots", 1), ("seeds", 0)):
        values = getattr(args, option)
        too_small = [value for value in values if value < minimum]
        if too_small:
            raise ValueError(f"--{option} must be {minimum} or more, got {too_small[0]}")
        setattr(args, option, list(dict.fromkeys(values)))
    args.methods = select_methods(args.methods, args.protocol, args.backbone or "")


def expand_all(names: list[str], all_names: list[str]) -> list[str]:
    return all_names if names == ["all"] else names


def check_datasets(option: str, names: list[str]) -> None:
    """Raises ValueError if a dataset is unknown or a duplicate."""
    available = sorted(path.stem for path in (CONFIGS / "datasets").glob("*.yaml"))
    for name in names:
        if name not in available:
            raise ValueError(f"--{option}: unknown dataset {name!r}; available: {', '.join(available)}")
        if names.count(name) > 1:
            raise ValueError(f"--{option}: duplicate dataset {name!r}")


def check_folders(option: str, datasets: list[str]) -> None:
    """Raises FileNotFoundError if DIR of a NAME=DIR does not exist."""
    for dataset in datasets:
        folder = split_name(dataset)[1]
        if folder and not os.path.isdir(os.path.expanduser(folder)):
            raise FileNotFoundError(f"--{option} {dataset}: there is no folder {folder}")


def split_name(dataset: str, root: str = "") -> tuple[str, str]:
    """Returns (name, folder). The folder is DIR for NAME=DIR and `root` for NAME."""
    name, equals_sign, folder = dataset.partition("=")
    return name, folder if equals_sign else root
