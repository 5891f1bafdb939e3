"""The jobs of a protocol: argument lists of train.py, in the folders and with the settings of the scripts."""

import itertools
from dataclasses import dataclass
from pathlib import Path

from tools.recipe import read_table, recipe

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
TEN = "caltech101 oxford_pets stanford_cars oxford_flowers food101 fgvc_aircraft sun397 dtd eurosat ucf101".split()
ELEVEN = ["imagenet", *TEN]
SHIFTED = "imagenetv2 imagenet_sketch imagenet_a imagenet_r".split()
SHOTS = {"fewshot": [1, 2, 4, 8, 16]}  # of the papers; 16 in the other protocols


@dataclass(frozen=True, eq=False)
class Job:
    """One run of train.py."""

    title: str
    output: Path
    argv: list[str]  # arguments of train.py
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
        if not (CONFIGS / "trainers" / method / f"{self.config}.yaml").is_file():
            there = names_in(CONFIGS / "trainers" / method)
            raise ValueError(f"unknown config {self.config!r} for {method}; there are: {there}")
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
        argv += ["--config-file", f"configs/trainers/{self.method}/{self.config}.yaml"]
        argv += ["--seed", str(self.seed), "--output-dir", str(folder)]
        argv += ["--eval-only", "--model-dir", str(training.output)] if training else []
        argv += [*keys, "DATASET.NUM_SHOTS", str(self.shots), *self.keys, *self.args.opts]
        return Job(f"{self.method} {what}, {self.shots} shots, seed {self.seed}", folder, argv, training)


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
        ValueError: an unknown method, dataset or config; the message names those there are.
    """
    fill_in(args)
    jobs = []
    for seed, dataset, shots, method in itertools.product(args.seeds, args.datasets, args.shots, args.methods):
        jobs += PROTOCOLS[args.protocol](Setting(args, method, dataset, shots, seed))
    return jobs


def fill_in(args) -> None:
    """Defaults and "all", then checks."""
    trained = ["imagenet"] if PROTOCOLS[args.protocol] is transfer else ["digits"]
    targets = SHIFTED if args.protocol == "domain_shift" else TEN
    args.methods = every(args.methods, list(read_table()))
    args.datasets = every(args.datasets or trained, ELEVEN)
    if args.targets and PROTOCOLS[args.protocol] is not transfer:
        raise ValueError(f"--targets is for cross_dataset and domain_shift, not for {args.protocol}")
    args.targets = every(args.targets or ["all"], targets)
    args.shots = args.shots or SHOTS.get(args.protocol, [16])
    check("method", args.methods, [folder.name for folder in (CONFIGS / "trainers").iterdir()])
    for what in ("datasets", "targets"):
        names = [split_name(name)[0] for name in getattr(args, what)]
        check("dataset", names, [path.stem for path in (CONFIGS / "datasets").glob("*.yaml")])
        if len(set(names)) < len(names):
            raise ValueError(f"--{what} names {next(n for n in names if names.count(n) > 1)} twice")
    for what, least in (("shots", 1), ("seeds", 0)):
        wrong = [n for n in getattr(args, what) if n < least]
        if wrong:
            raise ValueError(f"--{what} must be {least} or more, got {wrong[0]}")
    for what in ("methods", "shots", "seeds"):
        setattr(args, what, list(dict.fromkeys(getattr(args, what))))


def every(names: list[str], everything: list[str]) -> list[str]:
    return everything if names == ["all"] else names


def check(what: str, names: list[str], known: list[str]) -> None:
    for name in names:
        if name not in known:
            raise ValueError(f"unknown {what} {name!r}; there are: {', '.join(sorted(known))}")


def names_in(folder: Path) -> str:
    return ", ".join(sorted(path.stem for path in folder.glob("*.yaml")))


def split_name(dataset: str, root: str = "") -> tuple[str, str]:
    """(name, data folder) of NAME, or of NAME=DIR for a dataset that lies in a folder of its own."""
    name, given, folder = dataset.partition("=")
    return name, folder if given else root
