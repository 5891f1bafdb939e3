"""What scripts/*.sh take, as a command line of tools/sweep.py. As a program, it runs that:

python -m tools.sweeping.script_arguments base2new CLIPFit dtd 1 2 3 --shots 4
"""

import argparse
import os
import sys

from runtime.user_errors import exit_code
from tools import sweep
from tools.sweeping.plan import PROTOCOLS, fewshot, plan, transfer

DESCRIPTION = """  METHOD           CLIPFit, CoOp, MaPLe, ..., or all
  {dataset:<16} name of a file under configs/datasets, to train on (default: {default}){shots}
  SEED ...         default: 1 2 3"""
AFTER = """Environment variables in brackets do the same as their options. -- KEY VALUE sets config keys of train.py,
e.g. -- TRAINER.CLIPFIT.BETA 2.0. Logs, checkpoints and result.json go to folders in OUTPUT whose names end in
shots_N/METHOD/CONFIG/seedS; with --best-val CONFIG ends in _best_val. Started again, it continues where it stopped.
tools/sweep.py runs many methods, datasets and shots at once."""


class Parser(argparse.ArgumentParser):
    """Answers a mistake with one line and exit code 2."""

    def error(self, message):
        print(f"error: {message} (see --help)", file=sys.stderr)
        sys.exit(2)


def positive(text: str) -> int:
    if not (text.isdecimal() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"must be a positive number, got {text}")
    return int(text)


def make_parser(protocol: str, env: dict[str, str]) -> Parser:
    """The parser of a protocol's script; `env` holds the environment variables."""
    transfers, few = PROTOCOLS[protocol] is transfer, PROTOCOLS[protocol] is fewshot
    dataset, default = ("SOURCE", "imagenet") if transfers else ("DATASET", "digits, which needs no download")
    shots = "\n  SHOTS            training images per class (default: 16)" if few else ""
    words = f"METHOD [{dataset}]{' [SHOTS]' if few else ''} [SEED ...]"
    parser = Parser(
        usage=f"bash scripts/{protocol}.sh {words} [options] [-- KEY VALUE ...]",
        description=DESCRIPTION.format(dataset=dataset, default=default, shots=shots), epilog=AFTER,
        formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False,
    )  # fmt: skip
    parser.add_argument("words", nargs="*", help=argparse.SUPPRESS)

    def add(flag, variable, text, **kwargs):
        shown = argparse.SUPPRESS if flag == "--targets" and not transfers else f"{text} [{variable}]"
        parser.add_argument(flag, default=env.get(variable) or None, help=shown, **kwargs)

    add("--data", "DATA", "folder with the datasets in CoOp's layout (default: data)", metavar="DIR")
    add("--shots", "SHOTS", "training images per class (default: 16)", metavar="N", type=positive)
    backbones = "micro, an OpenAI name such as ViT-B/16, or a path"
    add("--backbone", "BACKBONE", f"{backbones} (default: micro for digits, else ViT-B/16)", metavar="NAME")
    add("--config", "CFG", "a YAML, without .yaml (default: as configs/recipes.yaml says)", metavar="NAME")
    add("--targets", "TARGETS", 'datasets to test on, "A B=DIR" if B has a folder of its own', metavar="NAMES")
    add("--output", "OUTPUT", f"where runs go (default: output/{protocol})", metavar="DIR")
    add("--best-val", "BEST_VAL", "keep the epoch that is best on validation images", action="store_true")
    add("--quiet", "QUIET", "one progress bar instead of the whole log", action="store_true")
    parser.add_argument("--plugin", action="append", default=[], metavar="FILE", help="a method of others")
    parser.add_argument("--jobs", type=positive, default=1, metavar="N", help="runs at a time (default: 1)")
    return parser


def sweep_arguments(parser: Parser, protocol: str, argv: list[str]) -> list[str]:
    """Arguments of tools/sweep.py for those of a protocol's script."""
    at = argv.index("--") if "--" in argv else len(argv)
    args = parser.parse_intermixed_args(argv[:at])
    method, dataset, *rest = args.words + [""] * (2 - len(args.words))
    if PROTOCOLS[protocol] is fewshot and rest:
        try:
            args.shots = positive(rest.pop(0))
        except argparse.ArgumentTypeError as error:
            parser.error(f"SHOTS {error}")
    for seed in rest:
        if not seed.isdecimal():
            parser.error(f"seeds are numbers, got {seed!r}")
    line = [protocol, "--methods", method, "--shots", str(args.shots or 16), "--jobs", str(args.jobs), "--table"]
    given = {
        "--datasets": [dataset] if dataset else [], "--seeds": rest, "--targets": (args.targets or "").split(),
        "--root": [args.data], "--output": [args.output], "--backbone": [args.backbone], "--config": [args.config],
    }  # fmt: skip
    for flag, values in given.items():
        line += [flag, *values] if any(values) else []
    line += [part for name in args.plugin for part in ("--plugin", name)]
    line += ["--best-val"] if args.best_val else []
    line += ["--log"] if args.jobs == 1 and not args.quiet else []
    return [*line, "--", *argv[at + 1 :]]


def run(parser: Parser, protocol: str, argv: list[str]) -> int:
    args = sweep.parse_args(sweep_arguments(parser, protocol, argv))
    try:
        sweep.prepare(args)
        jobs = plan(args)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return sweep.carry_out(args, jobs)


def main(argv=None) -> int:
    """Run; returns the exit code: 1 if a run is not finished. A wrong argument ends the program with 2."""
    protocol, *argv = sys.argv[1:] if argv is None else argv
    return exit_code(run, make_parser(protocol, dict(os.environ)), protocol, argv, resume=sweep.RESUME)


if __name__ == "__main__":
    sys.exit(main())
