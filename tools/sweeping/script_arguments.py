"""Translates the arguments of scripts/<protocol>.sh to those of tools/sweep.py. As a program, it runs the sweep:

python -m tools.sweeping.script_arguments base2new CLIPFit dtd 1 2 3 --shots 4
"""

import argparse
import os
import sys

from runtime.arguments import Parser
from runtime.user_errors import USER_ERRORS, exit_code, one_line
from tools import sweep
from tools.recipe import shots_number
from tools.shots import shots_name
from tools.sweeping.live import screen_of_stdout
from tools.sweeping.plan import PROTOCOLS, fewshot, plan, transfer
from tools.sweeping.state import expected_record

DESCRIPTION = """  METHOD           CLIPFit, CoOp, MaPLe, ..., or all
  {dataset:<16} training dataset: name of a file in configs/datasets (default: {default}){shots}
  SEED ...         seeds (default: 1 2 3)"""
EPILOG = """An environment variable in brackets sets the same value as its option. -- KEY VALUE sets config keys of
train.py, e.g. -- TRAINER.CLIPFIT.BETA 2.0. Run directories in OUTPUT end in shots_N/METHOD/CONFIG/seedS and contain
logs, checkpoints and result.json. With --best-val, CONFIG ends in _best_val. The same command resumes unfinished runs.
tools/sweep.py runs many methods, datasets and shots at once."""


def positive(text: str) -> int:
    if not (text.isdecimal() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"must be a positive integer, got {text!r}")
    return int(text)


def make_parser(protocol: str, env: dict[str, str]) -> Parser:
    """Returns the parser of a protocol's script.

    Args:
        protocol: A key of `PROTOCOLS`.
        env: Environment variables, which give the defaults of the options.
    """
    transfers = PROTOCOLS[protocol] is transfer
    takes_shots = PROTOCOLS[protocol] is fewshot
    dataset, default = ("SOURCE", "imagenet") if transfers else ("DATASET", "digits, which needs no download")
    shots_help = "\n  SHOTS            training images per class, or all (default: 16)" if takes_shots else ""
    positionals = f"METHOD [{dataset}]{' [SHOTS]' if takes_shots else ''} [SEED ...]"
    parser = Parser(
        usage=f"bash scripts/{protocol}.sh {positionals} [options] [-- KEY VALUE ...]",
        description=DESCRIPTION.format(dataset=dataset, default=default, shots=shots_help), epilog=EPILOG,
        allow_abbrev=False,
    )  # fmt: skip
    parser.add_argument("positionals", nargs="*", help=argparse.SUPPRESS)

    def add(flag, variable, text, **kwargs):
        hidden = flag == "--targets" and not transfers
        description = argparse.SUPPRESS if hidden else f"{text} [{variable}]"
        parser.add_argument(flag, default=env.get(variable) or None, help=description, **kwargs)

    add("--data", "DATA", "folder with the datasets in CoOp's layout (default: data)", metavar="DIR")
    add("--shots", "SHOTS", "training images per class, or all (default: 16)", metavar="N", type=shots_number)
    backbones = "a path or a name; python tools/backbones.py lists the names"
    add("--backbone", "BACKBONE", f"{backbones} (default: micro for bundled datasets, else ViT-B/16)", metavar="NAME")
    add(
        "--config", "CFG", "YAML file of the method, without .yaml (default: from configs/recipes.yaml)", metavar="NAME"
    )
    add("--start-from", "START_FROM", "train METHOD first, and start from its parameters of CLIP", metavar="METHOD")
    add("--targets", "TARGETS", 'datasets to test on, e.g. "A B=DIR"; DIR is a folder outside --data', metavar="NAMES")
    add("--output", "OUTPUT", f"output folder (default: output/{protocol})", metavar="DIR")
    add(
        "--best-val",
        "BEST_VAL",
        "test the epoch with the best validation accuracy, not the last epoch",
        action="store_true",
    )
    parser.add_argument("--log", action="store_true", help="show the logs at a terminal, too, not the live display")
    add("--quiet", "QUIET", "without a terminal: show a line per run instead of the logs", action="store_true")
    parser.add_argument(
        "--plugin",
        action="append",
        default=[],
        metavar="FILE",
        help="third-party method or dataset to import; repeatable (or environment variable CLIPFIT_PLUGINS)",
    )
    parser.add_argument(
        "--vary", nargs="+", action="append", default=[], metavar=("KEY", "VALUE"),
        help="config key and its values, each of which is a run; repeatable: all combinations are run",
    )  # fmt: skip
    parser.add_argument(
        "--choose", metavar="val", help="test only the values of --vary that are best on validation images"
    )
    parser.add_argument("--jobs", type=positive, default=1, metavar="N", help="runs at a time (default: 1)")
    return parser


def sweep_arguments(parser: Parser, protocol: str, argv: list[str]) -> list[str]:
    """Returns the arguments of tools/sweep.py.

    Example: base2new with CLIPFit dtd 1 2 --shots 4 becomes
    base2new --methods CLIPFit --shots 4 --jobs 1 --table --datasets dtd --seeds 1 2 --log --
    """
    end = argv.index("--") if "--" in argv else len(argv)
    args = parser.parse_intermixed_args(argv[:end])
    if len(argv[end + 1 :]) % 2:
        parser.error(f"-- must be followed by KEY VALUE pairs, got {' '.join(argv[end + 1 :])}")
    if not args.positionals:
        parser.error("missing METHOD, for example CLIPFit")
    method, dataset, *seeds = args.positionals + [""] * (2 - len(args.positionals))
    if PROTOCOLS[protocol] is fewshot and seeds:
        try:
            args.shots = shots_number(seeds.pop(0))
        except argparse.ArgumentTypeError as error:
            parser.error(f"SHOTS {error}")
    for seed in seeds:
        if not seed.isdecimal():
            parser.error(f"SEED must be a non-negative integer, got {seed!r}")
    result = [
        protocol,
        "--methods",
        method,
        "--shots",
        shots_name(16 if args.shots is None else args.shots),
        "--jobs",
        str(args.jobs),
        "--table",
    ]
    options = {
        "--datasets": [dataset], "--seeds": seeds, "--targets": (args.targets or "").split(),
        "--root": [args.data], "--output": [args.output], "--backbone": [args.backbone], "--config": [args.config],
        "--start-from": [args.start_from],
    }  # fmt: skip
    for flag, values in options.items():
        if any(values):
            result += [flag, *values]
    for plugin in args.plugin:
        result += ["--plugin", plugin]
    for words in args.vary:
        result += ["--vary", *words]
    if args.choose:
        result += ["--choose", args.choose]
    if args.best_val:
        result.append("--best-val")
    if args.log or (args.jobs == 1 and not args.quiet and not screen_of_stdout()):
        result.append("--log")
    return [*result, "--", *argv[end + 1 :]]


def run(parser: Parser, protocol: str, argv: list[str]) -> int:
    """Runs the sweep. Returns the exit code: 2 if an argument is wrong."""
    args = sweep.parse_args(sweep_arguments(parser, protocol, argv))
    try:
        sweep.prepare(args)
        jobs = plan(args)
        expected = {job: expected_record(job) for job in jobs}  # what train.py would refuse
    except USER_ERRORS as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        return 2
    return sweep.run_or_show(args, jobs, expected)


def main(argv=None) -> int:
    """Runs the command line. Returns the exit code: 1 if a run is not finished, 2 if an argument is wrong."""
    protocol, *argv = sys.argv[1:] if argv is None else argv
    return exit_code(run, make_parser(protocol, dict(os.environ)), protocol, argv, resume=sweep.RESUME)


if __name__ == "__main__":
    sys.exit(main())
