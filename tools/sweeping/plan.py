"""The jobs of a protocol: argument lists of train.py, their folders and settings."""

import itertools
from dataclasses import dataclass
from pathlib import Path

import runtime  # noqa: F401  (makes dassl importable)
from datasets import catalogue
from tools.recipe import CONFIGS, config_file, recipe

from .methods import choose

SHOTS = {"fewshot": [1, 2, 4, 8, 16]}  # of the papers; 16 in the other protocols


@dataclass(frozen=True, eq=False)
class Job:
    """One run of train.py."""

    title: str
    output: Path
    argv: list[str]  # arguments of train.py
    setting: "Setting"  # of its training
    training: "Job | None" = None  # of an evaluation: the run whose model it evaluates


class Setting:
    """A method on a dataset with so many shots and a seed; makes the jobs that a protocol has for it."""

    def __init__(self, args, method: str, dataset: str, shots: int, seed: int):
        self.args, self.method, self.shots, self.seed = args, method, shots, seed
        self.dataset, self.data = split_name(dataset, args.root)
        self.backbone = args.backbone or ("micro" if self.dataset == "digits" else "ViT-B/16")
        if args.config:
            self.config, keys = args.config, {}
        else:
            self.config, keys = recipe(method, args.protocol, self.dataset, shots, self.backbone)
        self.file = config_file(method, self.config)
        label = f"{self.config}_best_val" if args.best_val else self.config
        keys = keys | ({"TEST.FINAL_MODEL": "best_val"} if args.best_val else {})
        self.keys = [str(x) for pair in keys.items() for x in pair]
        self.run = f"shots_{shots}/{method}/{label}/seed{seed}"  # the end of its folders

    def job(self, what: str, output: str, *keys: str, dataset: str = "", training: Job | None = None) -> Job:
        """A run in the folder `output` below the sweep's; on another `dataset`, or an evaluation of `training`."""
        name, data = split_name(dataset, self.args.root) if dataset else (self.dataset, self.data)
        folder = Path(self.args.output) / output
        argv = ["--root", data, "--trainer", self.method, "--backbone", self.backbone]
        argv += ["--dataset-config-file", f"configs/datasets/{name}.yaml"]
        argv += ["--config-file", self.file]
        argv += [part for plugin in self.args.plugin for part in ("--plugin", plugin)]
        argv += ["--seed", str(self.seed), "--output-dir", str(folder)]
        argv += ["--eval-only", "--model-dir", str(training.output)] if training else []
        argv += [*keys, "DATASET.NUM_SHOTS", str(self.shots), *self.keys, *self.args.opts]
        return Job(f"{self.method} {what}, {self.shots} shots, seed {self.seed}", folder, argv, self, training)


def base2new(setting: Setting) -> list[Job]:
    """Train on the first half of the classes; test on both halves."""
    run, dataset = f"{setting.dataset}/{setting.run}", setting.dataset
    base = setting.job(f"on {dataset} base", f"train_base/{run}", "DATASET.SUBSAMPLE_CLASSES", "base")
    keys = ("DATASET.SUBSAMPLE_CLASSES", "new")
    return [base, setting.job(f"on {dataset} new", f"test_new/{run}", *keys, training=base)]


def fewshot(setting: Setting) -> list[Job]:
    """Train and test on all classes."""
    return [setting.job(f"on {setting.dataset}", f"{setting.dataset}/{setting.run}")]


def transfer(setting: Setting) -> list[Job]:
    """Train on all classes of one dataset; test on it and on others."""
    source = setting.dataset
    jobs = [setting.job(f"on {source}", f"train/{source}/{setting.run}")]
    for target in setting.args.targets:
        name = split_name(target)[0]
        if name != source:
            title, output = f"{source} to {name}", f"test/{source}/{name}/{setting.run}"
            jobs.append(setting.job(title, output, dataset=target, training=jobs[0]))
    return jobs


PROTOCOLS = {"base2new": base2new, "fewshot": fewshot, "cross_dataset": transfer, "domain_shift": transfer}


def plan(args) -> list[Job]:
    """All jobs of a sweep: a seed after the other, each training before its evaluations.

    Args:
        args: of tools/sweep.py; lists that were not given are filled in.

    Raises:
        ValueError: an unknown method, dataset or config, or a method that cannot run the protocol.
    """
    fill_in(args)
    jobs = []
    for seed, dataset, shots, method in itertools.product(args.seeds, args.datasets, args.shots, args.methods):
        jobs += PROTOCOLS[args.protocol](Setting(args, method, dataset, shots, seed))
    return jobs


def fill_in(args) -> None:
    """Defaults and "all", then checks."""
    transfers = PROTOCOLS[args.protocol] is transfer
    if args.targets and not transfers:
        raise ValueError(f"--targets is for cross_dataset and domain_shift, not for {args.protocol}")
    args.datasets = every(args.datasets or (["imagenet"] if transfers else ["digits"]), catalogue.paper_configs())
    args.targets = every(args.targets or ["all"], catalogue.targets(args.protocol)) if transfers else []
    args.shots = args.shots or SHOTS.get(args.protocol, [16])
    for what in ("datasets", "targets"):
        check_datasets(what, [split_name(name)[0] for name in getattr(args, what)])
    for what, least in (("shots", 1), ("seeds", 0)):
        wrong = [n for n in getattr(args, what) if n < least]
        if wrong:
            raise ValueError(f"--{what} must be {least} or more, got {wrong[0]}")
        setattr(args, what, list(dict.fromkeys(getattr(args, what))))
    args.methods = choose(args.methods, args.protocol, args.backbone or "")


def every(names: list[str], everything: list[str]) -> list[str]:
    return everything if names == ["all"] else names


def check_datasets(what: str, names: list[str]) -> None:
    known = sorted(path.stem for path in (CONFIGS / "datasets").glob("*.yaml"))
    for name in names:
        if name not in known:
            raise ValueError(f"unknown dataset {name!r}; there are: {', '.join(known)}")
        if names.count(name) > 1:
            raise ValueError(f"--{what} names {name} twice")


def split_name(dataset: str, root: str = "") -> tuple[str, str]:
    """(name, data folder) of NAME, or of NAME=DIR for a dataset that lies in a folder of its own."""
    name, given, folder = dataset.partition("=")
    return name, folder if given else root
