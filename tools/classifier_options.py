"""Command-line options that all tools share which load a trained run."""

import os
from pathlib import Path

from runtime.config_files import read_text
from trainers.common import load_tuned
from trainers.common.classes import check_text

ZERO_SHOT = "zero-shot"  # what users give in place of a run
OPTIONS = {
    "classes": dict(help="class names: a,b,c or @FILE with one name per line (default: those of the run)"),
    "template": dict(default="", help="prompt template, with {} for the class name (default: that of the run)"),
    "epoch": dict(type=int, help="epoch of the checkpoint to load (default: the best checkpoint, else the newest)"),
    "device": dict(help="e.g. cpu or cuda:1 (default: CUDA if available)"),
    "precision": dict(default="", help="fp32, fp16, bf16 or amp (default: that of the run)"),
    "backbone": dict(
        default="", help="a path or a name; python tools/backbones.py lists the names (default: that of the run)"
    ),
}


def add_options(parser, *names: str, several: bool = False) -> None:
    """Adds the argument RUN, or several, and the named options to a parser; all options if no name is given."""
    count = {"dest": "runs", "nargs": "+"} if several else {"dest": "run"}
    parser.add_argument(metavar="RUN", help="run directory, checkpoint, or tuned.safetensors", **count)
    parser.add_argument(
        "--plugin", action="append", default=[], metavar="FILE_OR_MODULE",
        help="plugin that defines the method of the run, if it was never loaded on this machine "
        "(or environment variable CLIPFIT_PLUGINS)",
    )  # fmt: skip
    for name in names or OPTIONS:
        parser.add_argument(f"--{name}", **OPTIONS[name])


def output_folder(args, name: str) -> Path:
    """Returns the folder --out of a tool for several runs: by default RUN/name, or output/name for several runs."""
    if args.out:
        return Path(args.out)
    if len(args.runs) > 1:
        return Path("output") / name
    run = Path(args.runs[0])
    return (run if os.path.isdir(run) else run.parent) / name


def check_distinct(paths: list[str]) -> None:
    """Raises ValueError if two paths are the same run."""
    places = [os.path.realpath(path) for path in paths]
    for path, place in zip(paths, places, strict=True):
        if places.count(place) > 1:
            raise ValueError(f"the run {path} is given twice")


def load_plugins(args) -> None:
    """Imports the plugins given by --plugin."""
    if args.plugin:
        from trainers.common.runs.plugins import load_all

        load_all(args.plugin)


def load(args, **fixed):
    """Returns the classifier that the options describe. `fixed` sets options that the tool does not have."""
    load_plugins(args)
    options = {name: getattr(args, name) for name in OPTIONS if hasattr(args, name)} | fixed
    return load_tuned(args.run, read_classes(options.pop("classes")), **options)


def read_classes(text: str | None) -> list[str] | None:
    """Returns the class names of `a,b,c`, or those in the lines of `@file`; None if `text` is None."""
    if text is None:
        return None
    if text.startswith("@"):
        names = read_text(text[1:]).splitlines()
    else:
        names = text.split(",")
    return [check_text(name.strip(), "class name", "--classes") for name in names if name.strip()]
