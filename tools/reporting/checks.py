"""Checks the rows of a table for missing runs, mixed code revisions, different images and mixed settings."""

from collections import defaultdict

from tools.records import printable
from tools.shots import shots_text

from .images import group, training_images
from .problems import Problem
from .tables import Table, seed_of

NOT_SHOTS = ("Base", "New", "Accuracy")  # columns that are not a number of shots


def check_table(table: Table, requested: dict[str, set]) -> list[Problem]:
    """Returns the problems of a table.

    Args:
        requested: "seeds", "datasets", "shots" -> values named on the command line.
    """
    trained = [row for row in table.rows if not row.zero_shot]
    problems = []
    for row in trained:
        subject = f"{row.title} ({table.key.title})"
        category, message = missing_runs(row, trained, requested)
        if message:
            problems.append(Problem(category, subject, message))
        problems += [Problem("inconsistent", subject, message) for message in mixed_revisions(row)]
    problems += [Problem("inconsistent", table.key.title, message) for message in different_images(table)]
    problems += [Problem("inconsistent", str(folder), message) for folder, message in mixed_folders(table)]
    return problems


def missing_runs(row, rows: list, requested: dict[str, set]) -> tuple[str, str]:
    """Returns (category, message) on runs that a row does not have but other rows have or the user requested.

    The category is "missing" if the user requested any of them, otherwise "incomplete". The message is empty if the
    row has all runs.
    """
    # Example: other rows have EuroSAT and UCF101, 1 and 2 shots, seeds 1 and 2; this row has EuroSAT, 1 shot, seed 1.
    #   missing_datasets: UCF101
    #   gaps:   ("EuroSAT", {2}) -> ["1"], ("EuroSAT", {1, 2}) -> ["2"]
    #   "no runs on UCF101; seed 2 missing on EuroSAT at 1 shot; no runs on EuroSAT at 2 shots"
    row_seeds = seeds_by_cell(row)
    datasets = requested["datasets"] - {entry.name for other in rows for entry in other.entries}
    columns = set()
    seeds = set(requested["seeds"])
    for other in rows:
        for (dataset, column), cell_seeds in seeds_by_cell(other).items():
            datasets.add(dataset)
            columns.add(column)
            seeds |= cell_seeds
    if columns != {""}:
        columns |= requested["shots"]
    missing_datasets = sorted(datasets - {dataset for dataset, _ in row_seeds})
    requested_missing = set(missing_datasets) & requested["datasets"]
    gaps = defaultdict(list)  # (dataset, missing seeds) -> columns
    for dataset in sorted(datasets - set(missing_datasets)):
        for column in sorted(columns, key=lambda column: (len(column), column)):
            missing_seeds = seeds - row_seeds.get((dataset, column), set())
            if missing_seeds == seeds:
                requested_missing |= {column} & requested["shots"]
            requested_missing |= missing_seeds & requested["seeds"]
            if missing_seeds:
                gaps[dataset, frozenset(missing_seeds)].append(column)
    parts = [f"no runs on {', '.join(missing_datasets)}"] if missing_datasets else []
    for (dataset, missing_seeds), gap_columns in gaps.items():
        part = f"{seeds_text(missing_seeds)} missing"
        if missing_seeds == seeds:
            part = "no runs"
        part += f" on {dataset}"
        if gap_columns != [""]:
            part += f" at {shots_text(*gap_columns)}"
        parts.append(part)
    return ("missing" if requested_missing else "incomplete"), "; ".join(parts)


def seeds_text(seeds: set) -> str:
    """Returns e.g. "seed 1", "seeds 1, 2"."""
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(sorted(map(str, seeds)))}"


def seeds_by_cell(row) -> dict[tuple, set]:
    """Returns (dataset, column) -> seeds, with "" for all columns but shots.

    Base and New are one column here: `tables.cells_of_row` reports Base without New, and New without Base.
    """
    cells = defaultdict(set)
    for entry in row.entries:
        cells[entry.dataset, "" if entry.column in NOT_SHOTS else entry.column].add(seed_of(entry.run))
    return cells


def mixed_revisions(row) -> list[str]:
    """Returns messages on numbers whose seeds were run with different revisions of the code."""
    seeds_of = defaultdict(lambda: defaultdict(set))  # (dataset, column) -> revision -> seeds
    for entry in row.entries:
        revision = entry.run.extra.get("git")  # not in logs
        if revision:
            seeds_of[entry.dataset, entry.column][revision].add(str(seed_of(entry.run)))
    messages = set()
    for (dataset, _), revisions in seeds_of.items():
        if len(revisions) > 1:
            parts = [f"{printable(revision)} ({seeds_text(seeds)})" for revision, seeds in sorted(revisions.items())]
            messages.add(f"{dataset}: different code revisions: {', '.join(parts)}")
    return sorted(messages)


def different_images(table: Table) -> list[str]:
    """Returns messages on datasets whose runs were tested, or trained with the same seed, on different images."""
    tested = defaultdict(lambda: defaultdict(set))  # name of a dataset -> dataset with images -> methods
    trained = defaultdict(list)  # (dataset, column, seed) -> (title of a row, images)
    for row in table.rows:
        for entry in row.entries:
            tested[entry.name][entry.dataset].add(row.method)
            images = None if row.zero_shot or entry.run.eval_only else training_images(entry.run)
            if images:
                trained[entry.name, entry.column, seed_of(entry.run)].append((row.title, images))
    messages = set()
    for name, methods_of in tested.items():
        if len(methods_of) > 1:
            parts = [
                f"{dataset[len(name) + 2 :]} by {', '.join(sorted(methods_of[dataset]))}" for dataset in methods_of
            ]
            messages.add(f"{name}: tested on different images: {'; '.join(parts)}")
    for (dataset, column, seed), runs in trained.items():
        numbers = group([{"train_x": images} for _, images in runs])
        if len(set(numbers)) > 1:
            titles_of = defaultdict(list)  # images -> titles of rows
            for (title, _), number in zip(runs, numbers, strict=True):
                titles_of[runs[numbers.index(number)][1].text].append(title)
            parts = [f"{text} by {', '.join(dict.fromkeys(titles))}" for text, titles in titles_of.items()]
            shots = "" if column in NOT_SHOTS else f" at {shots_text(column)}"
            messages.add(f"{dataset}: seed {seed}{shots}: trained on different images: {'; '.join(parts)}")
    return sorted(messages)


def mixed_folders(table: Table) -> list[tuple[str, str]]:
    """Returns (folder, message) for folders whose seeds have different settings and so are in different rows."""
    folders = defaultdict(lambda: defaultdict(set))  # folder -> (method, label) -> names of the seeds' folders
    for row in table.rows:
        for entry in row.entries:
            folders[entry.run.folder.parent][row.method, row.label].add(entry.run.folder.name)
    problems = []
    for folder, rows in folders.items():
        methods = {method for method, _ in rows}
        if len(methods) < len(rows):
            parts = []
            for (_, label), names in sorted(rows.items()):
                parts.append(f"{label or 'default'} in {', '.join(sorted(names))}")
            problems.append((folder, f"different settings in one folder: {'; '.join(parts)}"))
    return problems
