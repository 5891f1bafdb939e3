"""Runs a protocol for many methods, datasets, seeds and shots: skips what is finished, resumes what was cut off.

python tools/sweep.py base2new --methods CLIPFit CoOp KgCoOp --datasets all --seeds 1 2 3 --root DATA
python tools/sweep.py fewshot --methods all --datasets dtd eurosat --root DATA --dry-run
python tools/sweep.py cross_dataset --methods CLIPFit --root DATA -- TRAINER.CLIPFIT.BETA 4

Ctrl-C ends the jobs that are running; the same command goes on. Ends with the report of tools/report.py. The exit code
is 0 if all jobs are finished, 130 after Ctrl-C. scripts/<protocol>.sh are short forms of it for one method and one
dataset. docs/experiments.md tells more.
"""

import argparse
import os
import shlex
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from runtime.user_errors import exit_code  # noqa: E402
from tools.sweeping.cost import Costs  # noqa: E402
from tools.sweeping.local import Runner  # noqa: E402
from tools.sweeping.plan import PROTOCOLS, plan  # noqa: E402
from tools.sweeping.process import PROGRAM  # noqa: E402
from tools.sweeping.slurm import AT_A_TIME, queued, submit  # noqa: E402
from tools.sweeping.state import expect, look  # noqa: E402
from tools.sweeping.summary import conclude, count, overlay, print_plan, print_settings  # noqa: E402

RESUME = "The same command continues."


def parse_args(argv=None):
    argv = sys.argv[1:] if argv is None else list(argv)
    at = argv.index("--") if "--" in argv else len(argv)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="%(prog)s PROTOCOL [options] [-- KEY VALUE ...]",
    )  # fmt: skip
    parser.add_argument("protocol", choices=PROTOCOLS, metavar="PROTOCOL", help=", ".join(PROTOCOLS))
    what = parser.add_argument_group("what to run")
    what.add_argument("--methods", nargs="+", default=["CLIPFit"], metavar="NAME", help="CLIPFit, CoOp, ..., or all")
    what.add_argument(
        "--datasets", nargs="+", metavar="NAME[=DIR]",
        help="to train on: files under configs/datasets, or all: the eleven of the literature; =DIR for one in a "
        "folder of its own (default: digits, which needs no download; cross_dataset and domain_shift: imagenet)",
    )  # fmt: skip
    what.add_argument("--targets", nargs="+", metavar="NAME[=DIR]", help="cross_dataset, domain_shift: to test on")
    what.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3], metavar="N", help="default: 1 2 3")
    what.add_argument("--shots", nargs="+", type=int, metavar="N", help="default: fewshot 1 2 4 8 16, else 16")
    what.add_argument(
        "--backbone", metavar="NAME",
        help="micro, an OpenAI name, or a path (default: micro for digits, ViT-B/16 for any other dataset)",
    )  # fmt: skip
    what.add_argument(
        "--config", metavar="NAME", help="a YAML of the method, without .yaml (default: as configs/recipes.yaml says)"
    )
    what.add_argument(
        "--plugin", action="append", default=[], metavar="FILE_OR_MODULE",
        help="method or dataset of others, as train.py takes it; may be repeated (also CLIPFIT_PLUGINS)",
    )  # fmt: skip
    what.add_argument("--best-val", action="store_true", help="keep the epoch that is best on validation images")
    where = parser.add_argument_group("where and how")
    where.add_argument("--root", "--data", metavar="DIR", help="folder with the datasets (default: data)")
    where.add_argument("--output", metavar="DIR", help="where runs go (default: output/PROTOCOL)")
    where.add_argument(
        "--jobs", type=int, metavar="N", help="at a time (default: one a GPU; on the CPU 1, with micro one a core)"
    )
    where.add_argument("--gpus", nargs="+", metavar="GPU", help="as CUDA_VISIBLE_DEVICES has them (default: all)")
    where.add_argument(
        "--slurm", nargs="*", metavar="KEY=VALUE",
        help=f"submit to SLURM, --jobs at a time ({AT_A_TIME}), e.g. --slurm partition=gpu timeout_min=600",
    )  # fmt: skip
    where.add_argument("--dry-run", action="store_true", help="list the jobs, how far they are and what they may cost")
    where.add_argument("--commands", action="store_true", help="print the jobs' commands and do nothing")
    where.add_argument("--log", action="store_true", help="show each job's log as it comes; one job at a time")
    where.add_argument(
        "--table", action="store_true", help="end with a table of these jobs only, and write no report files"
    )
    args = parser.parse_args(argv[:at])
    args.opts = argv[at + 1 :]
    if args.jobs is not None and args.jobs < 1:
        parser.error(f"--jobs must be 1 or more, got {args.jobs}")
    if args.log:
        if args.jobs not in (None, 1) or args.slurm is not None:
            parser.error("--log shows one job at a time, here: leave out --slurm, and --jobs or make it 1")
        args.jobs = 1
    return args


def environments(args, wanted: dict) -> list[dict[str, str]]:
    """Environment variables of the jobs that run at a time, one set each."""
    import torch

    gpus = args.gpus or [g for g in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if g]
    gpus = gpus or [str(i) for i in range(torch.cuda.device_count())]  # counting takes no memory of theirs
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    micro = {what["backbone"] for what in wanted.values()} == {"micro"}
    count = args.jobs or len(gpus) or (cores if micro else 1)
    threads = os.environ.get("OMP_NUM_THREADS") or str(1 if micro else max(1, cores // count))
    own = [{"CUDA_VISIBLE_DEVICES": gpus[i % len(gpus)]} if gpus else {} for i in range(count)]
    return [{**variables, "OMP_NUM_THREADS": threads} for variables in own]


def from_here(path: str) -> str:
    """A path of the user's, so that it still holds when we have changed to the repository's folder."""
    return path if Path.cwd() == ROOT else os.path.abspath(os.path.expanduser(path))


def prepare(args) -> None:
    """Import the plugins, and fill in where data and runs are."""
    from trainers.common.runs import plugins

    args.plugin = [from_here(name) if os.path.exists(os.path.expanduser(name)) else name for name in args.plugin]
    plugins.load_all(plugins.requested(args.plugin))
    args.root = from_here(args.root) if args.root else "data"
    args.output = from_here(args.output) if args.output else f"output/{args.protocol}"
    if args.backbone and os.path.isfile(os.path.expanduser(args.backbone)):
        args.backbone = from_here(args.backbone)
    for what in ("datasets", "targets"):
        names = [name.partition("=") for name in getattr(args, what) or []]
        setattr(args, what, [name + (sign and sign + from_here(folder)) for name, sign, folder in names])
    os.chdir(ROOT)


def sweep(args) -> int:
    """Everything between the command line and the exit code."""
    prepare(args)
    return carry_out(args, plan(args))


def carry_out(args, jobs) -> int:
    """Run the jobs, or show them; returns the exit code."""
    if args.commands:
        for job in jobs:
            print(shlex.join([sys.executable, PROGRAM, *job.argv]))
        return 0
    wanted, output = {job: expect(job) for job in jobs}, Path(args.output)
    states, costs = {job: look(job, wanted) for job in jobs}, Costs(wanted)
    if args.slurm is None:
        slots = environments(args, wanted)
        at_a_time = len(slots)
        costs.read_records(output, on_gpu="CUDA_VISIBLE_DEVICES" in slots[0])
    else:
        states = overlay(states, queued(output))
        at_a_time = args.jobs or AT_A_TIME
        costs.read_records(output)
    print_settings(jobs)
    if args.dry_run:
        print_plan(states, costs, at_a_time)
        return 0
    print(f"{count(states)}; {at_a_time} at a time", flush=True)
    if args.slurm is not None:
        return to_slurm(args, wanted, states, at_a_time)
    runner = Runner([job for job in jobs if states[job].kind != "finished"], wanted, slots, costs, args.log)
    outcomes = runner.run()
    if runner.stops:
        print(f"\nInterrupted with {len(runner.jobs) - len(outcomes)} jobs left. The same command goes on.")
        return 130
    return conclude(states, outcomes, args)


def to_slurm(args, wanted: dict, states: dict, at_a_time: int) -> int:
    """Submit what is neither finished nor queued, or report where all is finished; returns the exit code."""
    if all(state.kind == "finished" for state in states.values()):
        return conclude(states, {}, args)
    blocked = {job for job, state in states.items() if state.kind == "blocked"}
    to_run = [job for job, state in states.items() if state.kind not in ("finished", "queued")]
    to_run = [job for job in to_run if not blocked & {job, job.training}]
    if to_run:
        print(submit(to_run, wanted, Path(args.output), args.slurm, at_a_time))
    print("The same command goes on, and makes the report when all are finished; --dry-run tells how far they are")
    for job in blocked:
        print(f"blocked: {job.title}: {states[job].note}")
    return 1 if blocked else 0


def main(argv=None) -> int:
    """Run; returns the exit code."""
    return exit_code(sweep, parse_args(argv), resume=RESUME)


if __name__ == "__main__":
    sys.exit(main())
