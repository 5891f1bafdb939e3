"""What a table does not show: runs that only others have, mixed revisions, different images, mixed settings."""

from collections import defaultdict

from .labels import shots_text
from .problems import Problem
from .tables import Table, seed_of

NO_SHOTS = ("Base", "New", "Accuracy")  # columns that are not numbers of shots


def check_table(table: Table, asked: dict[str, set]) -> list[Problem]:
    """Problems of a table's rows; `asked` holds the values that the user named: "seeds", "datasets", "shots"."""
    trained = [row for row in table.rows if not row.zero_shot]
    problems = []
    for row in trained:
        where = f"{row.title} ({table.key.title})"
        kind, text = missing_of_others(row, trained, asked)
        problems += [Problem(kind, where, text)] if text else []
        problems += [Problem("stale", where, text) for text in mixed_revisions(row)]
    problems += [Problem("stale", table.key.title, text) for text in different_images(table)]
    return problems + [Problem("stale", where, text) for where, text in mixed_folders(table)]


def missing_of_others(row, rows: list, asked: dict[str, set]) -> tuple[str, str]:
    """(kind, text): datasets, shots and seeds that other rows have, or the user asked for, and this one lacks."""
    have = seeds_by_cell(row)
    every = [seeds_by_cell(other) for other in rows]
    datasets = {dataset for cells in every for dataset, _ in cells} | asked["datasets"]
    columns = {column for cells in every for _, column in cells}
    columns |= asked["shots"] if columns != {""} else set()
    seeds = {seed for cells in every for found in cells.values() for seed in found} | asked["seeds"]
    lost = sorted(datasets - {dataset for dataset, _ in have})
    missing = set(lost) & asked["datasets"]
    gaps = defaultdict(list)  # (dataset, seeds) -> columns
    for dataset in sorted(datasets - set(lost)):
        for column in sorted(columns, key=lambda column: (len(column), column)):
            without = seeds - have.get((dataset, column), set())
            if without == seeds:
                missing |= {column} & asked["shots"]
            missing |= without & asked["seeds"]
            if without:
                gaps[dataset, frozenset(without)].append(column)
    parts = [f"nothing on {', '.join(lost)}"] if lost else []
    for (dataset, without), places in gaps.items():
        what = "nothing" if without == seeds else f"no seed {', '.join(sorted(map(str, without)))}"
        parts.append(f"{what} on {dataset}" + (f" at {shots_text(*places)}" if places != [""] else ""))
    return ("missing" if missing else "uneven"), "; ".join(parts)


def seeds_by_cell(row) -> dict[tuple, set]:
    """(dataset, column) -> seeds. Base and New are one column: what is lacking of a pair is named elsewhere."""
    cells = defaultdict(set)
    for entry in row.entries:
        cells[entry.dataset, "" if entry.column in NO_SHOTS else entry.column].add(seed_of(entry.run))
    return cells


def mixed_revisions(row) -> list[str]:
    """A remark if the runs of one number were made by different revisions of the code."""
    found = defaultdict(lambda: defaultdict(set))
    for entry in row.entries:
        if git := entry.run.extra.get("git"):  # logs do not tell
            found[entry.dataset, entry.column][git].add(str(seed_of(entry.run)))
    texts = set()
    for (dataset, _), seeds in found.items():
        if len(seeds) > 1:
            parts = [f"{git} (seed {', '.join(sorted(numbers))})" for git, numbers in sorted(seeds.items())]
            texts.add(f"{dataset}: seeds of different code revisions: {', '.join(parts)}")
    return sorted(texts)


def different_images(table: Table) -> list[str]:
    """Remarks on datasets where the rows were not tested on the same images, or not trained on the same."""
    tested, trained = defaultdict(set), defaultdict(set)
    for row in table.rows:
        for entry in row.entries:
            data = entry.run.extra.get("data") or {}
            tested[entry.dataset, entry.column].add(data.get("test"))
            if not entry.run.eval_only and not row.zero_shot:
                trained[entry.dataset, entry.column, seed_of(entry.run)].add(data.get("train_x"))
    texts = [f"{d}: tested on different images" for (d, _), hashes in tested.items() if len(hashes - {None}) > 1]
    for (dataset, column, seed), hashes in trained.items():
        if len(hashes - {None}) > 1:
            where = "" if column in NO_SHOTS else f" at {shots_text(column)}"
            texts.append(f"{dataset}: trained on different images with seed {seed}{where}")
    return sorted(set(texts))


def mixed_folders(table: Table) -> list[tuple[str, str]]:
    """(folder, remark) where the seeds of one experiment have different settings, and so are in different rows."""
    folders = defaultdict(lambda: defaultdict(set))
    for row in table.rows:
        for entry in row.entries:
            folders[entry.run.folder.parent][row.method, row.label].add(entry.run.folder.name)
    texts = []
    for folder, found in folders.items():
        if len({method for method, _ in found}) < len(found):
            labels = [(label or "the usual", ", ".join(sorted(names))) for (_, label), names in sorted(found.items())]
            parts = [f"{label} in {names}" for label, names in labels]
            texts.append((str(folder), f"different settings under one name: {'; '.join(parts)}"))
    return texts
