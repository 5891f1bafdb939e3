"""Runs a protocol for many methods, datasets, seeds and shots. Skips finished runs and resumes unfinished ones.

python tools/sweep.py base2new --methods CLIPFit CoOp KgCoOp --datasets all --seeds 1 2 3 --root DATA
python tools/sweep.py fewshot --methods all --datasets dtd eurosat --root DATA --dry-run
python tools/sweep.py cross_dataset --methods CLIPFit --root DATA -- TRAINER.CLIPFIT.BETA 4

-- KEY VALUE sets config keys of train.py. Ctrl-C stops the running jobs; the same command resumes them. Prints the
report of tools/report.py at the end. The exit code is 0 if all jobs are finished and 130 after Ctrl-C.
scripts/<protocol>.sh are short forms for one method and one dataset. See docs/experiments.md.
"""

import gc
import os
import shlex
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from runtime.arguments import Parser  # noqa: E402
from runtime.installation import INSTALLED, ROOT  # noqa: E402
from runtime.user_errors import exit_code  # noqa: E402
from tools import choices  # noqa: E402
from tools.recipe import shots_number  # noqa: E402
from tools.sweeping import choosing  # noqa: E402
from tools.sweeping.cost import Costs  # noqa: E402
from tools.sweeping.devices import GPUS, each_on, environments  # noqa: E402
from tools.sweeping.launch import Launcher  # noqa: E402
from tools.sweeping.local import Runner  # noqa: E402
from tools.sweeping.plan import PROTOCOLS, check_folders, plan  # noqa: E402
from tools.sweeping.process import command  # noqa: E402
from tools.sweeping.slurm import AT_A_TIME, gpus_per_job, queued, submit  # noqa: E402
from tools.sweeping.state import expected_record, job_state  # noqa: E402
from tools.sweeping.summary import count_jobs, mark_queued, print_plan, print_results, print_settings  # noqa: E402

RESUME = "The same command resumes the sweep."


def parse_args(argv=None):
    parser = Parser(description=__doc__, usage="%(prog)s PROTOCOL [options] [-- KEY VALUE ...]")
    parser.add_argument("protocol", choices=PROTOCOLS, metavar="PROTOCOL", help=", ".join(PROTOCOLS))
    add_options(parser)
    return parse(parser, argv)


def add_options(parser) -> None:
    """Adds the options of a sweep."""
    runs = parser.add_argument_group("runs")
    runs.add_argument("--methods", nargs="+", default=["CLIPFit"], metavar="NAME", help="CLIPFit, CoOp, ..., or all")
    runs.add_argument(
        "--datasets", nargs="+", metavar="NAME[=DIR]",
        help="training datasets: names of files in configs/datasets, or all for the eleven of the papers; =DIR if the "
        "dataset is not in --root (default: digits, which needs no download; cross_dataset, domain_shift: imagenet)",
    )  # fmt: skip
    runs.add_argument(
        "--targets",
        nargs="+",
        metavar="NAME[=DIR]",
        help="cross_dataset, domain_shift: datasets to test on (default: those of the papers or, if the "
        "training dataset is bundled, the bundled ones)",
    )
    runs.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3], metavar="N", help="seeds (default: 1 2 3)")
    runs.add_argument(
        "--shots",
        nargs="+",
        type=shots_number,
        metavar="N",
        help="training images per class, or all (default: 16; fewshot: 1 2 4 8 16)",
    )
    runs.add_argument(
        "--backbone", metavar="NAME",
        help="a path or a name; python tools/backbones.py lists the names (default: micro for bundled "
        "datasets, else ViT-B/16)",
    )  # fmt: skip
    runs.add_argument(
        "--config", metavar="NAME", help="YAML file of the method, without .yaml (default: from configs/recipes.yaml)"
    )
    runs.add_argument(
        "--start-from", metavar="METHOD",
        help="train METHOD first, such as LayerNormTuning, and start the methods from its parameters of CLIP; they "
        "stay fixed, or are tuned on with -- MODEL.START_TUNE True",
    )  # fmt: skip
    runs.add_argument(
        "--vary", nargs="+", action="append", default=[], metavar=("KEY", "VALUE"),
        help="config key and its values, each of which is a run; repeatable: all combinations are run",
    )  # fmt: skip
    runs.add_argument(
        "--choose", choices=[choices.SPLIT], metavar=choices.SPLIT.upper(),
        help="val: test only the combination of --vary that is best on validation images, per dataset, shots and seed",
    )  # fmt: skip
    runs.add_argument(
        "--plugin", action="append", default=[], metavar="FILE_OR_MODULE",
        help="third-party method or dataset to import; repeatable (or environment variable CLIPFIT_PLUGINS)",
    )  # fmt: skip
    runs.add_argument(
        "--best-val", action="store_true", help="test the epoch with the best validation accuracy, not the last epoch"
    )
    execution = parser.add_argument_group("execution")
    execution.add_argument("--root", "--data", metavar="DIR", help="folder with the datasets (default: data)")
    execution.add_argument("--output", metavar="DIR", help="output folder (default: output/PROTOCOL)")
    execution.add_argument(
        "--jobs",
        type=int,
        metavar="N",
        help="jobs at a time (default: one per GPU; without a GPU: one, or one per core with the micro CLIP)",
    )
    execution.add_argument(
        "--gpus", nargs="+", metavar="GPU", help="GPU numbers, as in CUDA_VISIBLE_DEVICES (default: all)"
    )
    execution.add_argument(
        "--gpus-per-job",
        type=int,
        metavar="N",
        help="run each job with torchrun on N GPUs, which share its batches; without a GPU: in N processes on the CPU",
    )
    execution.add_argument(
        "--slurm", nargs="*", metavar="KEY=VALUE",
        help=f"submit to SLURM, --jobs at a time (default: {AT_A_TIME}), e.g. --slurm partition=gpu timeout_min=600",
    )  # fmt: skip
    execution.add_argument("--dry-run", action="store_true", help="list the jobs with their states and estimated times")
    execution.add_argument("--commands", action="store_true", help="print the commands of the jobs, but run nothing")
    execution.add_argument("--log", action="store_true", help="show the log of the running job; one job at a time")
    execution.add_argument(
        "--table", action="store_true", help="print a table of these jobs only, and write no report files"
    )


def parse(parser, argv=None):
    """Returns the arguments; `opts` has the words after --."""
    argv = sys.argv[1:] if argv is None else list(argv)
    end = argv.index("--") if "--" in argv else len(argv)
    args = parser.parse_args(argv[:end])
    args.opts = argv[end + 1 :]
    if args.jobs is not None and args.jobs < 1:
        parser.error(f"--jobs must be 1 or more, got {args.jobs}")
    if args.gpus_per_job is not None and args.gpus_per_job < 1:
        parser.error(f"--gpus-per-job must be 1 or more, got {args.gpus_per_job}")
    if args.log:
        if args.jobs not in (None, 1) or args.slurm is not None:
            parser.error("--log shows one local job at a time: remove --slurm, and --jobs or set it to 1")
        args.jobs = 1
    return args


def absolute_path(path: str) -> str:
    """Returns a path that stays valid after a change to the repository's folder."""
    return path if Path.cwd() == ROOT else os.path.abspath(os.path.expanduser(path))


def default_path(path: str) -> str:
    """Returns a default: relative to the repository's folder, or if the code is installed, to the current folder."""
    return absolute_path(path) if INSTALLED else path


def prepare(args, output: str = "") -> None:
    """Imports the plugins, makes paths absolute, fills in default paths, and changes to the repository's folder.

    Args:
        output: default of --output, see `default_path` (default: output/PROTOCOL).
    """
    from trainers.common.runs.known_plugins import VARIABLE, requested
    from trainers.common.runs.plugins import load_all

    sources = requested(args.plugin)
    args.plugin = [absolute_path(name) if os.path.exists(os.path.expanduser(name)) else name for name in sources]
    os.environ.pop(VARIABLE, None)  # its paths may be relative to another folder; the jobs get them as --plugin
    load_all(args.plugin)
    args.root = absolute_path(args.root) if args.root else default_path("data")
    args.output = absolute_path(args.output) if args.output else default_path(output or f"output/{args.protocol}")
    if args.backbone and os.path.isfile(os.path.expanduser(args.backbone)):
        args.backbone = absolute_path(args.backbone)
    for option in ("datasets", "targets"):
        datasets = []
        for dataset in getattr(args, option) or []:
            name, equals_sign, folder = dataset.partition("=")
            datasets.append(f"{name}={absolute_path(folder)}" if equals_sign else name)
        setattr(args, option, datasets)
    os.chdir(ROOT)


def sweep(args) -> int:
    """Runs a sweep. Returns the exit code."""
    gc.disable()  # looking for garbage among the objects that imports leave takes half a second
    try:
        prepare(args)
    finally:
        gc.enable()
    return run_or_show(args, plan(args))


def run_or_show(args, jobs, expected=None, finish=print_results) -> int:
    """Runs the jobs, submits them, or prints them, as the options say. Returns the exit code.

    Args:
        finish: called with the state of each job, and `args`, when no job is left; returns the exit code.
    """
    args.gpus_per_job = gpus_per_job(args.gpus_per_job, args.slurm)
    if args.commands:
        for job in jobs:
            print(shlex.join([*command(args.gpus_per_job), *job.argv]))
        return 0
    output = Path(args.output)
    expected = expected or {job: expected_record(job) for job in jobs}
    states = {job: job_state(job, expected) for job in jobs}
    add_tests(expected, states)
    jobs = list(states)
    costs = Costs(expected)
    if args.slurm is None:
        slots = environments(args, expected)
        at_a_time = len(slots)
        on_gpu = GPUS in slots[0]
    else:
        states = mark_queued(states, queued(output))
        at_a_time = args.jobs or AT_A_TIME
        on_gpu = None  # the nodes may have any
    costs.read_records(output, on_gpu, args.gpus_per_job)
    print_settings(jobs)
    if args.dry_run:
        print_plan(states, costs, at_a_time)
        return 0
    for option in ("datasets", "targets"):
        check_folders(option, getattr(args, option))
    waiting = choosing.waiting_tests(jobs)
    follow = f"; then {waiting} tests of chosen runs" if waiting else ""
    print(f"{count_jobs(states)}; {at_a_time} at a time{each_on(args.gpus_per_job, on_gpu)}{follow}", flush=True)
    if args.slurm is not None:
        return submit_or_report(args, expected, states, at_a_time, finish)
    to_run = [job for job in jobs if states[job].status != "finished"]
    check_data(to_run)
    choosing.write_choices(jobs)
    forked = [] if args.gpus_per_job > 1 else [expected[job] for job in to_run]  # torchrun starts new processes
    with Launcher(forked, slots[0]) as launcher:
        while to_run:
            finished = [job for job, state in states.items() if state.status == "finished"]
            runner = Runner(to_run, expected, slots, costs, args.log, args.gpus_per_job, launcher, finished)
            outcomes = runner.run()
            if runner.stops:
                print(f"\nInterrupted with {len(runner.jobs) - len(outcomes)} jobs left. {RESUME}")
                return 130
            states |= outcomes
            to_run = add_tests(expected, states)
            choosing.write_choices(to_run)
    return finish(states, args)


def check_data(jobs: list) -> None:
    """Raises FileNotFoundError if no job can run, since all their datasets are missing."""
    from tools.sweeping.missing_data import split_by_data

    runnable, missing = split_by_data(jobs)
    if missing and not runnable:
        raise FileNotFoundError("; ".join(missing))


def add_tests(expected: dict, states: dict) -> list:
    """Adds the tests of the choices that can be made now to `expected` and `states`. Returns those to run."""
    finished = {job for job, state in states.items() if state.status == "finished"}
    known = {job.output for job in states}
    tests = [job for job in choosing.chosen_tests(list(states), finished) if job.output not in known]
    expected.update((job, expected_record(job)) for job in tests)
    states.update((job, job_state(job, expected)) for job in tests)
    return [job for job in tests if states[job].status != "finished"]


def submit_or_report(args, expected: dict, states: dict, at_a_time: int, finish) -> int:
    """Calls `finish` if all jobs are finished, else submits those that are not queued. Returns the exit code."""
    if all(state.status == "finished" for state in states.values()):
        return finish(states, args)
    blocked = {job for job, state in states.items() if state.status == "blocked"}
    to_run = [job for job, state in states.items() if state.status not in ("finished", "queued")]
    to_run = [job for job in to_run if not blocked & {job, *job.before}]
    choosing.write_choices(list(states))
    if to_run:
        print(submit(to_run, expected, Path(args.output), args.slurm, at_a_time, args.gpus_per_job))
    print(
        "The same command submits the remaining jobs, or prints the report if none are left; --dry-run lists the jobs."
    )
    if waiting := choosing.waiting_tests(list(states)):
        print(f"Then it submits the {waiting} tests of the runs that are best on validation images")
    for job in blocked:
        print(f"blocked: {job.title}: {states[job].note}")
    return 1 if blocked else 0


def main(argv=None) -> int:
    """Runs the command line. Returns the exit code."""
    return exit_code(sweep, parse_args(argv), resume=RESUME)


if __name__ == "__main__":
    sys.exit(main())
