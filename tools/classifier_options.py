"""The options of all tools that work with what a run tuned."""

from pathlib import Path

from trainers.common import load_tuned

OPTIONS = {
    "classes": dict(help="other classes: a,b,c or @FILE with a name a line (default: the run's)"),
    "template": dict(default="", help="other prompt, with {} for the class name"),
    "epoch": dict(type=int, help="which checkpoint of a run (default: the best, else the newest)"),
    "device": dict(help="e.g. cpu or cuda:1 (default: CUDA where there is one)"),
    "precision": dict(default="", help="fp32, fp16, bf16 or amp (default: the run's)"),
    "backbone": dict(default="", help="path or name of the CLIP, if it is not the run's any more"),
}


def add_options(parser, *names: str) -> None:
    """Add RUN and the options of these names to a parser; all of them where none is named."""
    parser.add_argument("run", metavar="RUN", help="output folder of a run, a checkpoint, or a tuned.safetensors")
    parser.add_argument(
        "--plugin", action="append", default=[], metavar="FILE_OR_MODULE",
        help="plugin that the run was made with, if it was never named on this machine (also CLIPFIT_PLUGINS)",
    )  # fmt: skip
    for name in names or OPTIONS:
        parser.add_argument(f"--{name}", **OPTIONS[name])


def load_plugins(args) -> None:
    """Import the plugins named by --plugin."""
    if args.plugin:
        from trainers.common.runs.plugins import load_all

        load_all(args.plugin)


def load(args, **fixed):
    """The classifier that the options ask for; `fixed` are those that a tool does not offer."""
    load_plugins(args)
    options = {name: getattr(args, name) for name in OPTIONS if hasattr(args, name)} | fixed
    return load_tuned(args.run, read_classes(options.pop("classes")), **options)


def read_classes(text: str | None) -> list[str] | None:
    """Class names from `a,b,c` or from the lines of `@file`; None where no text is given."""
    if text is None:
        return None
    if text.startswith("@"):
        try:
            names = Path(text[1:]).read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError:
            raise ValueError(f"--classes {text}: the file is not UTF-8 text") from None
    else:
        names = text.split(",")
    return [name.strip() for name in names if name.strip()]
