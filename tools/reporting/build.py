"""Builds the content of a report from folders of runs."""

import difflib
import os
from dataclasses import dataclass

from tools.recipe import OFFICIAL_NAMES
from trainers.common.runs.nearby import hint

from .checks import check_table
from .chosen import chosen
from .comparison import Comparison, compare
from .details import Detail
from .details import set_names as set_detail_names
from .image_sets import name_own_images
from .match_runs import link, stale_evaluations
from .problems import Problem
from .protocols import TITLES, sort_into_tables
from .run import FOLDER, Run, known_dataset, registry_name
from .scan import scan
from .tables import Table, make_table, set_names
from .trust import trust
from .varied import varied


@dataclass
class Report:
    tables: list[Table]
    published: bool  # whether published numbers were asked for
    comparisons: list[list[Comparison]]  # with them, one list per table
    details: list[list[Detail]]  # varied keys and choices on validation images, one list per table
    problems: list[Problem]
    runs: list[Run]


def build(args) -> Report:
    """Returns the report for the arguments of tools/report.py.

    Raises:
        ValueError: no run was found, or none matches the filters.
    """
    runs, problems = scan(args.paths)
    if not runs and not any(problem.category == "corrupted" for problem in problems):
        paths, hints = ", ".join(map(str, args.paths)), "".join(map(hint, args.paths))
        raise ValueError(f"no run found in {paths}: a run directory contains result.json or log.txt{hints}")
    name_own_images(runs)
    link(runs)
    problems += stale_evaluations(runs)
    runs, dropped, missing = select(runs, args)
    dropped_subjects = {run.subject for run in dropped}
    problems = [problem for problem in problems if problem.subject not in dropped_subjects] + missing
    entries_of, no_protocol = sort_into_tables(runs)
    candidates = candidate_folders(runs)
    no_protocol = [run for run in no_protocol if os.path.realpath(run.folder) not in candidates]
    problems += [Problem("no_protocol", run.subject, why_no_protocol(run)) for run in no_protocol]
    tables = []
    for key, entries in entries_of.items():
        if not args.protocol or key.protocol in args.protocol:
            table, cell_problems = make_table(key, entries)
            tables.append(table)
            problems += cell_problems + check_table(table, requested_values(args))
    set_names(tables)
    for protocol in args.protocol:
        if not any(table.key.protocol == protocol for table in tables):
            problems.append(Problem("missing", f"--protocol {protocol}", f"no finished {TITLES[protocol].lower()} run"))
    comparisons = [compare(table) if args.published else [] for table in tables]
    named = list(dict.fromkeys(key for keys in args.vary for key in keys))
    details = [trust(table) + varied(table, named) + chosen(table) for table in tables]
    if args.ranks:
        from .rank_details import rank_details

        ranked = [rank_details(table) for table in tables]
        problems += no_ranks(tables, ranked)
        details = [of_table + ranks for of_table, ranks in zip(details, ranked, strict=True)]
    set_detail_names(list(zip(tables, details, strict=True)))
    problems += missing_keys(named, tables, details)
    return Report(tables, args.published, comparisons, details, problems, runs)


def candidate_folders(runs: list[Run]) -> set[str]:
    """Returns the run directories of the runs that were evaluated on validation images for a choice."""
    folders = [candidate.folder for run in runs if run.choice for candidate in run.choice.candidates]
    return {os.path.realpath(folder) for folder in folders}


def no_ranks(tables: list[Table], ranked: list[list[Detail]]) -> list[Problem]:
    """Returns a problem for each table that cannot be ranked."""
    reason = "two methods with the same two datasets are needed"
    return [
        Problem("missing", f"--ranks, {table.key.title}", reason)
        for table, details in zip(tables, ranked, strict=True)
        if not details
    ]


def missing_keys(named: list[str], tables: list[Table], details: list[list[Detail]]) -> list[Problem]:
    """Returns a problem for each key of --vary without a table."""
    shown = {detail.axis for of_table in details for detail in of_table}
    titles = " ".join(detail.title for of_table in details for detail in of_table)
    known = sorted({key for table in tables for row in table.rows for run in row.runs for key in run.settings})
    problems = []
    for key in named:
        if key not in shown and key not in titles.replace(":", " ").split():
            similar = [] if key in known else difflib.get_close_matches(key, known, 1)
            hint = f"; did you mean {similar[0]}?" if similar else ""
            problems.append(Problem("missing", f"--vary {key}", f"no runs that differ in this key only{hint}"))
    return problems


def requested_values(args) -> dict[str, set]:
    """Returns the values named on the command line, in the form that tables use."""
    return {
        "seeds": set(args.seed),
        "shots": set(map(str, args.shots)),
        "datasets": {known_dataset(name) or name for name in args.dataset} - {FOLDER},
    }


def select(runs: list[Run], args) -> tuple[list[Run], list[Run], list[Problem]]:
    """Returns (runs that match all filters, other runs, problems for filter values that no run has).

    --shots and --seed do not apply to zero-shot runs.
    """
    filters = {
        "method": ([OFFICIAL_NAMES.get(name, name).lower() for name in args.method], lambda run: run.method.lower()),
        "dataset": ([known_dataset(name) or name for name in args.dataset], lambda run: registry_name(run.dataset)),
        "shots": (args.shots, lambda run: None if run.zero_shot else (run.training or run.setup).shots),
        "seed": (args.seed, lambda run: None if run.zero_shot else (run.training or run.setup).seed),
    }
    missing = []
    for option, (wanted, value_of) in filters.items():
        values = {value_of(run) for run in runs}
        for value in wanted:
            if value not in values:
                similar = difflib.get_close_matches(str(value), map(str, values), 1)
                hint = f"; did you mean {similar[0]}?" if similar else ""
                missing.append(Problem("missing", f"--{option} {value}", f"no such run{hint}"))
    kept = []
    dropped = []
    for run in runs:
        matches = True
        for wanted, value_of in filters.values():
            value = value_of(run)
            if wanted and value is not None and value not in wanted:
                matches = False
        (kept if matches else dropped).append(run)
    if runs and not kept:
        raise ValueError(f"none of the {len(runs)} runs matches all of --method, --dataset, --shots, --seed; drop one")
    return kept, dropped, missing


def why_no_protocol(run: Run) -> str:
    tested = f"{run.method} on {run.dataset}, {run.classes} classes"
    if run.split != "test":
        return f"{tested}: tested on the {run.split} split"
    if run.training is None:
        return f"{tested}: training of the tested model is unknown"
    trained = run.training
    return f"{tested}: trained on the {trained.classes} classes of {trained.dataset}"
