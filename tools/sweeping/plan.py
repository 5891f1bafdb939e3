"""Plans the jobs of a protocol: which settings and steps there are."""

import argparse
import itertools
import os
from dataclasses import replace
from functools import partial
from pathlib import Path

from datasets import catalogue
from tools.recipe import CONFIGS

from . import own_images, varying
from .choosing import Choice
from .jobs import Job, Setting, Step, split_name
from .methods import registered_methods, select_methods

NOT_OF_STARTS = ("MODEL.START_", "OPTIM.TUNE_LR")  # beginnings of keys that do not count for --start-from
SHOTS = {  # default shots of the papers; the other protocols use 16
    "fewshot": [1, 2, 4, 8, 16],
    "retrieval": [1000, 2000, 4000, 8000],  # images with captions: our own, no standard was found
}
DATASETS = {"retrieval": ["captions"], "cross_dataset": ["imagenet"], "domain_shift": ["imagenet"]}  # default: digits


def base2new(setting: Setting) -> list[Step]:
    """Trains on the base classes. Tests on the base classes and on the new classes."""
    dataset = setting.name
    base, new = (("DATASET.SUBSAMPLE_CLASSES", classes) for classes in ("base", "new"))
    return [
        Step(f"on {dataset} base", f"train_base/{dataset}", base),
        Step(f"on {dataset} base", f"test_base/{dataset}", base),
        Step(f"on {dataset} new", f"test_new/{dataset}", new),
    ]


def fewshot(setting: Setting) -> list[Step]:
    """Trains and tests on all classes."""
    return [Step(f"on {setting.name}", setting.name)] * 2


def transfer(setting: Setting) -> list[Step]:
    """Trains on all classes of the source dataset. Tests on the source and on the target datasets."""
    source = setting.name
    steps = [Step(f"on {source}", f"train/{source}"), Step(f"on {source}", f"test/{source}/{source}")]
    for target in setting.args.targets or default_targets(setting.args.protocol, setting.dataset):
        if split_name(target, setting.args.root) != (setting.dataset, setting.root):
            name = setting.args.names.get(target, target)
            steps.append(Step(f"{source} to {name}", f"test/{source}/{name}", dataset=target))
    return steps


# protocol -> function that returns its steps: the training; an evaluation on the classes it was trained on, which is a
# run of its own only if the training was not tested; the other evaluations
PROTOCOLS = {
    "base2new": base2new,
    "fewshot": fewshot,
    "cross_dataset": transfer,
    "domain_shift": transfer,
    "retrieval": fewshot,  # on images with captions
}


def jobs_of(settings: list[Setting]) -> list[Job]:
    """Returns the jobs of settings that differ in varied keys only.

    With --choose, those are the candidates; the tests follow when they are finished (`choosing.chosen_tests`).
    """
    settings = list({setting.run: setting for setting in settings}.values())
    protocol = PROTOCOLS[settings[0].args.protocol]
    jobs = []
    for setting in settings:
        jobs += add_start(setting)
    if settings[0].args.choose and len(settings) > 1:
        training, *tests = protocol(settings[0])
        return [*jobs, *Choice(settings, training, tests).candidates]
    for setting in settings:
        training, _, *evaluations = protocol(setting)
        job = setting.job(training.label, f"{training.folder}/{setting.run}", *training.keys)
        jobs.append(job)
        for step in evaluations:
            output = f"{step.folder}/{setting.run}"
            jobs.append(setting.job(step.label, output, *step.keys, dataset=step.dataset, training=job))
    return jobs


def add_start(setting: Setting) -> list[Job]:
    """Sets `setting.start` if it has --start-from: the training of that method with its own recipe. Returns that job.

    Keys after -- count for it too, but those that say how a run is started, and OPTIM.TUNE_LR: it tunes nothing but
    parameters of CLIP, at OPTIM.LR.
    """
    if not setting.starts:
        return []
    args = setting.args
    pairs = zip(args.opts[::2], args.opts[1::2], strict=True)
    opts = [word for key, value in pairs if not key.startswith(NOT_OF_STARTS) for word in (key, value)]
    own = argparse.Namespace(**{**vars(args), "config": None, "start_from": None, "vary": {}, "opts": opts})
    source = Setting(own, args.start_from, setting.named_dataset, setting.shots, setting.seed)
    training = PROTOCOLS[args.protocol](source)[0]
    setting.start = source.job(training.label, f"{training.folder}/{source.run}", *training.keys)
    return [setting.start]


def plan(args) -> list[Job]:
    """Returns all jobs of a sweep: seed by seed, each training before its evaluations. No two have one run directory.

    Args:
        args: Arguments of tools/sweep.py, or a namespace with the same names. Defaults and "all" are filled in.
            `args.vary` is {} or {KEY: [value, ...]}, values as text, numbers or lists; or the lists of --vary.
            `args.choose` is "val" or None. With "val", the jobs are the candidates; see `choosing.chosen_tests`.

    `Job.output` is canonical: equal runs have the same directory, whatever keys their sweep varies. So the jobs of
    several sweeps with one `args.output` can be run together, each once: `unique([*plan(one), *plan(other)])`.

    Raises:
        ValueError: If a method, dataset, config or varied key or value is wrong, or if a method does not support the
            protocol.
    """
    fill_defaults(args)
    varied = varying.combinations(args.vary)
    combinations = [(args, *key) for key in itertools.product(args.methods, args.datasets, args.shots)]
    if args.vary:
        varying.check(args.vary, args.opts, [Setting(*combination, seed=0) for combination in combinations])
    jobs = []
    for seed, dataset, shots, method in itertools.product(args.seeds, args.datasets, args.shots, args.methods):
        jobs += jobs_of([Setting(args, method, dataset, shots, seed, vary) for vary in varied])
    return unique(jobs)


def unique(jobs: list[Job]) -> list[Job]:
    """Returns the jobs without repetitions, by run directory; each evaluation with its training among them."""
    kept = {}
    for job in jobs:
        if job.output in kept:
            kept[job.output].choices.extend(job.choices)
            continue
        for name in ("training", "start"):
            other = getattr(job, name)
            if other and kept.get(other.output, other) is not other:
                job = replace(job, **{name: kept[other.output]})
        kept[job.output] = job
    return list(kept.values())


PLACES = {
    "base2new": ("train_base", "test_new"),
    "fewshot": (".",),
    "cross_dataset": ("train",),
    "domain_shift": ("train",),
    "retrieval": (".",),
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
    args.vary = varying.by_key(getattr(args, "vary", None))
    args.choose = getattr(args, "choose", None)
    if args.choose and not args.vary:
        raise ValueError(f"--choose {args.choose} chooses between the values of a key: add --vary KEY VALUE VALUE ...")
    for key in ("TEST.SPLIT", "TEST.NO_TEST"):
        if args.choose and key in args.opts[::2]:
            raise ValueError(f"--choose {args.choose} decides which images are tested: remove {key} after --")
    if args.targets and not transfers:
        raise ValueError(f"--targets is an option of cross_dataset and domain_shift, not of {args.protocol}")
    default = DATASETS.get(args.protocol, ["digits"])
    args.datasets = expand_all(args.datasets or default, catalogue.paper_configs())
    args.targets = expand_all(args.targets or [], [])  # none: those of each source
    args.shots = args.shots or SHOTS.get(args.protocol, [16])
    for option in ("datasets", "targets"):
        check_datasets(option, [split_name(name)[0] for name in getattr(args, option)])
    wrong = [number for number in args.shots if number < 1 and number != -1]
    if wrong:
        raise ValueError(f"--shots must be 1 or more, or all, got {wrong[0]}")
    negative = [seed for seed in args.seeds if seed < 0]
    if negative:
        raise ValueError(f"--seeds must be 0 or more, got {negative[0]}")
    args.seeds, args.shots = list(dict.fromkeys(args.seeds)), list(dict.fromkeys(args.shots))
    args.names = output_names(args)
    args.methods = select_methods(args.methods, args.protocol, partial(backbone_obstacle, args))
    args.start_from = getattr(args, "start_from", None)
    if args.start_from:
        check_start(args)


def backbone_obstacle(args, method: str) -> str:
    """Returns why a method cannot use --backbone with the settings of its first run; "" if it can.

    The backbones that are the defaults fit every method.
    """
    import train
    from trainers.common.models.places import Unsupported

    if not args.backbone:
        return ""
    own = argparse.Namespace(**{**vars(args), "start_from": None})
    setting = Setting(own, method, args.datasets[0], args.shots[0], args.seeds[0])
    try:
        train.setup_cfg(train.parse_args(setting.base_argv()))
    except Unsupported as error:
        return str(error)
    except (ValueError, OSError):  # such as an unknown backbone, which the runs report
        return ""
    return ""


def check_start(args) -> None:
    """Raises ValueError unless --start-from names a method that tunes parameters of CLIP only."""
    select_methods([args.start_from], args.protocol, partial(backbone_obstacle, args))
    methods = registered_methods().items()
    sources = [name for name, method in methods if getattr(method, "tunes_sets_only", lambda: False)()]
    if args.start_from not in sources:
        raise ValueError(
            f"--start-from must name a method that tunes parameters of CLIP only: {', '.join(sources)}; got "
            f"{args.start_from!r}"
        )
    if "MODEL.START_FROM" in args.opts[::2]:
        raise ValueError("--start-from sets MODEL.START_FROM: remove that key after --")


def default_targets(protocol: str, source: str) -> list[str]:
    """Returns the datasets to test on. Raises ValueError if the catalogue has none for this source."""
    known = source in catalogue.by_config()  # not if a plugin's YAML has another name than its module
    targets = catalogue.targets(protocol, source if known else "folder")
    if not targets:
        raise ValueError(f"{protocol}: no distribution shift of {source} is known; name datasets with --targets")
    return targets


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
