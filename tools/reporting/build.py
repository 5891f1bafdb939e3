"""From folders to the content of a report."""

import difflib
from dataclasses import dataclass

from .checks import check_table
from .match_runs import link
from .paper import Comparison, compare
from .problems import Problem
from .protocols import TITLES, sort_into_tables
from .run import FOLDER, Run, known_dataset, registry_name
from .scan import scan
from .tables import Table, make_table


@dataclass
class Report:
    tables: list[Table]
    comparisons: list[list[Comparison]]  # with the paper, a list a table
    problems: list[Problem]
    runs: list[Run]


def build(args) -> Report:
    """Everything a report says, from the arguments of tools/report.py.

    Raises:
        ValueError: there is no run at all, or none that fits the filters.
    """
    runs, problems = scan(args.paths)
    if not runs and not any(p.kind == "damaged" for p in problems):
        raise ValueError(f"no result.json and no log.txt of a run below {', '.join(map(str, args.paths))}")
    link(runs)
    runs, dropped, missing = select(runs, args)
    left_out = {str(run.folder) for run in dropped}
    problems = [problem for problem in problems if problem.where not in left_out] + missing
    placed, unplaced = sort_into_tables(runs)
    problems += [Problem("unplaced", str(run.folder), why_unplaced(run)) for run in unplaced]
    tables = []
    for key, entries in placed.items():
        if not args.protocol or key.protocol in args.protocol:
            table, wrong = make_table(key, entries)
            tables.append(table)
            problems += wrong + check_table(table, asked(args))
    for protocol in args.protocol:
        if not any(table.key.protocol == protocol for table in tables):
            problems.append(Problem("missing", f"--protocol {protocol}", f"no finished {TITLES[protocol].lower()} run"))
    comparisons = [compare(table) if args.paper else [] for table in tables]
    return Report(tables, comparisons, problems, runs)


def asked(args) -> dict[str, set]:
    """Values named on the command line, as tables have them."""
    return {
        "seeds": set(args.seed),
        "shots": set(map(str, args.shots)),
        "datasets": {known_dataset(name) or name for name in args.dataset} - {FOLDER},
    }


def select(runs: list[Run], args) -> tuple[list[Run], list[Run], list[Problem]]:
    """(runs that fit all filters, the others, values that no run has)."""
    filters = {
        "method": ([name.lower() for name in args.method], lambda run: run.method.lower()),
        "dataset": ([known_dataset(name) or name for name in args.dataset], lambda run: registry_name(run.dataset)),
        "shots": (args.shots, lambda run: None if run.zero_shot else (run.training or run.own).shots),
        "seed": (args.seed, lambda run: None if run.zero_shot else (run.training or run.own).seed),
    }
    missing = []
    for name, (wanted, value) in filters.items():
        there = {value(run) for run in runs}
        for item in wanted:
            if item not in there:
                near = difflib.get_close_matches(str(item), map(str, there), 1)
                hint = f" (did you mean {near[0]}?)" if near else ""
                missing.append(Problem("missing", f"--{name} {item}", f"no run has it{hint}"))
    kept, dropped = [], []
    for run in runs:
        fits = all(not wanted or value(run) is None or value(run) in wanted for wanted, value in filters.values())
        (kept if fits else dropped).append(run)
    if runs and not kept:
        raise ValueError(f"none of the {len(runs)} runs fits --method, --dataset, --shots and --seed together")
    return kept, dropped, missing


def why_unplaced(run: Run) -> str:
    what = f"{run.method} on {run.dataset}, {run.classes} classes"
    if run.split != "test":
        return f"{what}: tested on the {run.split} images"
    if run.training is None:
        return f"{what}: not known what the tested model was trained on"
    trained = run.training
    return f"{what}: trained on the {trained.classes} classes of {trained.dataset}"
