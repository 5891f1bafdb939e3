"""Reproduces tables, figures and experiments of the CLIPFit paper, and studies of your own, with the paper's numbers.

python tools/reproduce.py                                  list the studies: what they show, runs, runs on record
python tools/reproduce.py table5 figure6 --root DATA       run what is missing, then write the page
python tools/reproduce.py all --root DATA --slurm partition=gpu
python tools/reproduce.py all --rehearse                   everything with the micro CLIP and bundled images, in minutes
python tools/reproduce.py my-study --studies my.yaml --datasets folder=IMAGES

It is a sweep (tools/sweep.py): with the same options, run directories (OUTPUT/PROTOCOL) and records. Runs that several
studies share are run once. --datasets, --shots, --seeds and --methods replace those of the studies. The studies are in
configs/studies.yaml. The page is OUTPUT/studies/studies.html. The exit code is 0 if no run or trace is missing. See
docs/reproducing.md.
"""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from runtime.arguments import Parser  # noqa: E402
from runtime.user_errors import exit_code  # noqa: E402
from tools import sweep  # noqa: E402
from tools.reproducing import rehearsal  # noqa: E402
from tools.reproducing.plan import Plan, plan_studies  # noqa: E402
from tools.reproducing.studies import ALL, has_method, read_studies, select  # noqa: E402
from tools.reproducing.traces import traced_folders, without_trace  # noqa: E402
from tools.sweeping import console  # noqa: E402
from tools.sweeping.methods import registered_methods  # noqa: E402
from tools.sweeping.missing_data import split_by_data  # noqa: E402

OUTPUT = "output"
ONLY_SWEEP = {  # options that studies do not have, and what they have instead
    "vary": "a study varies the keys of its field `vary` in a YAML file (--studies FILE, see configs/studies.yaml)",
    "choose": "studies choose nothing on validation images",
    "table": "here, name the studies: the page has these only",
}
RESUME = "The same command resumes it."


def parse_args(argv=None):
    parser = Parser(description=__doc__, usage="%(prog)s [STUDY ...] [options] [-- KEY VALUE ...]")
    parser.add_argument(
        "names",
        nargs="*",
        metavar="STUDY",
        help="table1, figure3, ..., or all: those of the paper; without: list them",
    )
    studies = parser.add_argument_group("studies")
    studies.add_argument(
        "--studies", action="append", default=[], metavar="FILE", help="YAML file with further studies; repeatable"
    )
    studies.add_argument(
        "--rehearse", action="store_true",
        help=f"micro CLIP, bundled images, {rehearsal.EPOCHS} epochs, one seed (default --output: output/rehearsal)",
    )  # fmt: skip
    studies.add_argument("--out", metavar="DIR", help="folder of the page (default: studies in --output)")
    sweep.add_options(parser)
    parser.set_defaults(methods=None, seeds=None)
    args = sweep.parse(parser, argv)
    for option, instead in ONLY_SWEEP.items():
        if getattr(args, option):
            parser.error(f"--{option} is an option of tools/sweep.py; {instead}")
    return args


def run(args) -> int:
    studies = read_studies([sweep.absolute_path(path) for path in args.studies], args.rehearse)
    requested = select(args.names, studies) if args.names else list(studies.values())
    everything = list(studies.values())
    args.out = sweep.absolute_path(args.out) if args.out else None
    sweep.prepare(args, f"{OUTPUT}/rehearsal" if args.rehearse else OUTPUT)
    if args.methods and (not args.names or ALL in args.names):
        args.methods = known_methods(args.methods)
        requested = [study for study in requested if has_method(study, args.methods)]
    if args.rehearse:
        rehearsal.set_options(args)
        requested, everything = ([rehearsal.rehearsed(study) for study in found] for found in (requested, everything))
    reproduction = Reproduction(args, requested, everything)
    if not args.names:
        from tools.reproducing.listing import list_studies

        print(list_studies(requested, reproduction.plan, Path(args.output)))
        return 0
    return reproduction.run()


def known_methods(names: list[str]) -> list[str]:
    """Returns our names of methods. Raises ValueError for an unknown method."""
    from trainers import our_name

    known = registered_methods()
    names = [our_name(name) for name in names]
    for name in names:
        if name not in known and name != ALL:
            raise ValueError(f"--methods: unknown method {name!r}; available: {', '.join(known)}")
    return names


class Reproduction:
    """Runs the jobs of a plan, then those that follow from their results, and writes the page.

    Args:
        studies: The requested ones.
        everything: All studies, also those that are not requested: they decide which trainings write a trace.
    """

    def __init__(self, args, studies: list, everything: list):
        self.args = args
        self.studies = studies
        self.everything = everything
        self.plan = self.make_plan()
        self.states = {}  # run directory -> state of its job, of all jobs so far
        self.notes = []  # what is missing, and cannot be run: datasets, traces, ...

    def make_plan(self) -> Plan:
        """Returns the plan, with the jobs that follow from the results so far."""
        return plan_studies(self.studies, self.args, traced_folders(self.everything, self.args))

    def run(self) -> int:
        """Runs the jobs of the plan whose state is not known yet. Returns the exit code."""
        jobs = [job for job in self.plan.jobs if job.output not in self.states]
        with_data, notes = split_by_data(jobs)
        if not self.args.dry_run:  # which also estimates the time of jobs whose data are still to be prepared
            jobs = with_data
        self.add_notes([*notes, *without_trace(self.studies, self.plan)])
        shown_only = self.args.dry_run or self.args.commands
        waiting = len(self.plan.waiting)
        if waiting and (shown_only or self.args.slurm is not None):
            again = "" if shown_only else ": when these have ended, the same command submits them"
            print(f"{waiting} more jobs follow from the results of these{again}", file=sys.stderr)
        if not jobs and not shown_only:
            return self.finish({}, self.args)
        return sweep.run_or_show(self.args, jobs, finish=self.finish)

    def add_notes(self, notes: list[str]) -> None:
        """Keeps the notes for the page and the end, and prints those that are new."""
        for note in notes:
            if note not in self.notes:
                self.notes.append(note)
                print(note, file=sys.stderr if self.args.commands else sys.stdout, flush=True)

    def finish(self, states: dict, args) -> int:
        """Continues with the jobs that follow from the results; without any, writes the page."""
        waited = len(self.plan.waiting)
        self.states.update({job.output: state for job, state in states.items()})
        if waited:
            self.plan = self.make_plan()
        return self.run() if len(self.plan.waiting) < waited else self.write()

    def is_finished(self, job) -> bool:
        state = self.states.get(job.output)
        return state is not None and state.status == "finished"

    def write(self) -> int:
        """Prints and writes the page. Returns the exit code."""
        from tools.reproducing.build import blocks_of
        from tools.reproducing.page import print_blocks, write_page

        blocks = blocks_of(self.studies, self.plan, self.is_finished, self.args)
        print()
        print_blocks(blocks)
        self.add_notes([*self.plan.problems, *without_trace(self.studies, self.plan)])
        notes = [rehearsal.MARK] if self.args.rehearse else []
        folder = Path(self.args.out or os.path.join(self.args.output, "studies"))
        print(f"Page: {write_page(blocks, [*notes, *self.notes], folder)}")
        return self.print_unfinished()

    def print_unfinished(self) -> int:
        unfinished = [job for job in self.plan.jobs if not self.is_finished(job)]
        number = len(self.plan.jobs) - len(unfinished)
        print(f"{number} of {len(self.plan.jobs) + len(self.plan.waiting)} jobs are finished")
        for job in unfinished:
            state = self.states.get(job.output)
            if state:
                print(f"{state.status}: {job.title}: {state.note}")
                if state.status == "failed":
                    print(f"    log: {job.output / console.FILE}")
        for note in self.notes:
            print(note)
        return 1 if unfinished or self.plan.waiting or self.notes else 0


def main(argv=None) -> int:
    """Runs the command line. Returns the exit code."""
    return exit_code(run, parse_args(argv), resume=RESUME)


if __name__ == "__main__":
    sys.exit(main())
