"""The options of all tools that work with what a run tuned."""

from pathlib import Path

from trainers.common import load_tuned


def add_options(parser) -> None:
    parser.add_argument("run", metavar="RUN", help="output folder of a run, a checkpoint, or a tuned.safetensors")
    parser.add_argument("--classes", help="other classes: a,b,c or @FILE with a name a line (default: the run's)")
    parser.add_argument("--template", default="", help="other prompt, with {} for the class name")
    parser.add_argument("--epoch", type=int, help="which checkpoint of a run (default: the best, else the newest)")
    parser.add_argument("--device", help="e.g. cpu or cuda:1 (default: CUDA where there is one)")
    parser.add_argument("--precision", default="", help="fp32, fp16, bf16 or amp (default: the run's)")
    parser.add_argument("--backbone", default="", help="path or name of the CLIP, if it is not the run's any more")


def load(args, **changes):
    """The classifier that the options ask for."""
    names = ("template", "epoch", "device", "precision", "backbone")
    options = {name: getattr(args, name) for name in names} | changes
    return load_tuned(args.run, read_classes(args.classes), **options)


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
