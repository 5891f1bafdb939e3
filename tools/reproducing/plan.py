"""Plans the runs of studies: the sweeps of their rows, with each run once, and the cells of the tables they fill."""

import argparse
import itertools
from dataclasses import dataclass, replace

from datasets import catalogue
from tools.reporting.run import FOLDER, dataset_name, option
from tools.shots import shots_name
from tools.sweeping.methods import registered_methods
from tools.sweeping.plan import Job, plan, unique

from .following import resolve
from .rows import MostChanged, Row, follows
from .studies import PAPER, Study, has_method

TRACE = ["TRAIN.TRACE", "True"]


@dataclass(frozen=True)
class Cell:
    """One run of a study, and its place in the study's table.

    Attributes:
        source: Dataset that is trained on, as in reports.
        dataset: Dataset that is tested.
        column: Base, New, Accuracy, or the number of shots (few-shot).
        job: None if its settings follow from a run that is not finished, or cannot follow from it.
        problem: Why they cannot.
    """

    row: str
    source: str
    dataset: str
    column: str
    shots: int
    seed: int
    job: Job | None
    problem: str = ""

    @property
    def is_training(self) -> bool:
        return self.job is not None and self.job.training is None


@dataclass
class Plan:
    """Attributes: `cells` by name of the study; `jobs`, each once, a training before its evaluations."""

    cells: dict[str, list[Cell]]
    jobs: list[Job]

    @property
    def waiting(self) -> list[Cell]:
        """The cells whose settings follow from runs that are not finished."""
        return [cell for cells in self.cells.values() for cell in cells if cell.job is None and not cell.problem]

    @property
    def problems(self) -> list[str]:
        """Why some cells never get a run, each reason once."""
        return list(dict.fromkeys(cell.problem for cells in self.cells.values() for cell in cells if cell.problem))


def plan_studies(studies: list[Study], args, traced: frozenset = frozenset()) -> Plan:
    """Returns the plan of the studies.

    Args:
        args: Arguments of tools/reproduce.py. Those of --datasets, --targets, --seeds, --shots and --methods that are
            set replace the studies' own.
        traced: Run directories of the trainings that write a trace, unless the command line sets TRAIN.TRACE.

    Raises:
        ValueError: as `sweeping.plan.plan`; or if a study has no row with one of the --methods.
    """
    cells = {}
    for study in studies:
        try:
            cells[study.name] = cells_of(study, args)
        except ValueError as error:
            raise ValueError(f"{study.name}: {error}") from error
    jobs = []
    for cell in itertools.chain(*cells.values()):
        if cell.job:
            jobs += [*cell.job.before, cell.job]
    kept = {}  # run directory -> job
    for job in unique(jobs):
        if job.start:
            job = replace(job, start=kept[job.start.output])
        if job.training:
            job = replace(job, training=kept[job.training.output])
        elif job.output in traced and "TRAIN.TRACE" not in args.opts:
            job = replace(job, argv=[*job.argv, *TRACE])
        kept[job.output] = job
    for name, found in cells.items():
        cells[name] = [replace(cell, job=cell.job and kept[cell.job.output]) for cell in found]
    return Plan(cells, list(kept.values()))


def cells_of(study: Study, args) -> list[Cell]:
    """Returns the cells of a study, in the order of its rows."""
    rows = study.rows
    if args.methods and args.methods != ["all"]:
        rows = [row for row in rows if row.method in args.methods]
        if not has_method(study, args.methods):
            methods = ", ".join(dict.fromkeys(row.method for row in study.rows))
            raise ValueError(f"no row with --methods {' '.join(args.methods)}: its methods are {methods}")
    cells = {}
    for row in sorted(rows, key=follows):  # those that follow from other rows come last
        cells[row.name] = following_cells(study, row, args, cells) if follows(row) else row_cells(study, row, args)
    return [cell for row in rows for cell in cells[row.name]]


def row_cells(study: Study, row: Row, args, **only) -> list[Cell]:
    """Returns the cells of a row.

    Args:
        only: arguments of the sweep that replace the study's: datasets, shots, seeds.
    """
    vary = {key: [value] for key, value in row.keys.items()}
    jobs = plan(sweep_args(study, row, args, vary=vary, **only))
    starts = {job.start for job in jobs}  # they are runs of another row
    return [cell_of(study, row, job) for job in jobs if job not in starts]


def sweep_args(study: Study, row: Row, args, **others) -> argparse.Namespace:
    """Returns the arguments of tools/sweep.py for a row."""
    trainer = registered_methods().get(row.method)
    seeds = args.seeds or list(study.seeds)
    own = {
        "protocol": study.protocol, "methods": [row.method], "output": f"{args.output}/{study.protocol}",
        "datasets": args.datasets or (["all"] if study.datasets == PAPER else list(study.datasets)),
        "targets": [], "shots": list(args.shots or study.shots),
        "seeds": seeds[:1] if getattr(trainer, "zero_shot", False) else seeds,
        "start_from": row.start_from or None,
    }  # fmt: skip
    if study.protocol in ("cross_dataset", "domain_shift"):
        own["targets"] = args.targets or list(study.targets)
    return argparse.Namespace(**{**vars(args), **own, **others})


def cell_of(study: Study, row: Row, job: Job) -> Cell:
    setting = job.setting
    column = "Accuracy"
    if study.protocol == "base2new":
        column = "New" if job.training else "Base"
    elif study.protocol == "fewshot":
        column = shots_name(setting.shots)
    source = shown_name(setting.dataset, setting.root)
    tested = option(job.argv, "--dataset-config-file").rpartition("/")[2].removesuffix(".yaml")
    return Cell(
        row.name, source, shown_name(tested, option(job.argv, "--root")), column, setting.shots, setting.seed, job
    )


def shown_name(config: str, root: str) -> str:
    """Returns the name of a dataset in tables: of dtd DescribableTextures, of the user's own images "Folder: pets"."""
    entry = catalogue.by_config().get(config)
    name = entry.name if entry else config
    return dataset_name(name, root.rstrip("/").rpartition("/")[2]) if name == FOLDER else name


def following_cells(study: Study, row: Row, args, cells: dict[str, list[Cell]]) -> list[Cell]:
    """Returns the cells of a row whose settings follow from another row's runs: per dataset, shots and seed."""
    result = []
    sources = next(value.run for value in row.keys.values() if isinstance(value, MostChanged))
    for source in cells[sources]:
        if not source.is_training:
            continue
        try:
            keys, problem = resolve(row, source.job.output), ""
        except ValueError as error:
            keys, problem = None, f"{study.name}: {row.name}: {error}"
        if keys is None:
            result.append(replace(source, row=row.name, job=None, problem=problem))
            continue
        setting = source.job.setting
        dataset = next(name for name in setting.args.datasets if name.partition("=")[0] == setting.dataset)
        only = {"datasets": [dataset], "shots": [setting.shots], "seeds": [setting.seed]}
        result += row_cells(study, replace(row, keys=keys), args, **only)
    return result
