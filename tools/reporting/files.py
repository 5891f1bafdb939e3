"""Writes a report's files."""

import csv
from pathlib import Path

from .text import seed_count


def write_files(report, out: Path, args) -> Path:
    """Write all files of a report into `out`; returns the one to open."""
    (out / "tables").mkdir(parents=True, exist_ok=True)
    for table in report.tables:
        rows = [row for group in table.groups for row in table_rows(table, group)]
        write_csv(out / "tables" / f"{table.key.name}.csv", rows)
    write_csv(out / "runs.csv", [run_row(run) for run in report.runs])
    return out


def table_rows(table, group) -> list[dict]:
    """A table's rows as a spreadsheet has them: unrounded, a column for each of mean, std and interval."""
    rows = []
    for title, cells in group.cells.items():
        row = {"dataset": group.title, "method": table.row(title).method, "setting": table.row(title).setting}
        for column in table.columns:
            stat = cells.get(column)
            row[column] = stat and stat.mean
            row[f"{column} std"] = stat and stat.std
            row[f"{column} half of 95% interval"] = stat and stat.half
        rows.append({**row, "seeds": seed_count(cells)})
    return rows


def run_row(run) -> dict:
    trained = run.training
    return {
        "folder": run.folder, "method": run.method, "backbone": run.backbone, "dataset": run.dataset,
        "classes": run.classes, "trained_on": trained and trained.dataset,
        "trained_classes": trained and trained.classes,
        "shots": trained and trained.shots, "seed": trained and trained.seed, "accuracy": run.accuracy,
        "finished": run.finished, "eval_only": run.eval_only, "tested_model": run.chosen, "config": run.config,
        "read_from": run.origin, "remark": run.remark,
        **{key: run.extra.get(key) for key in ("git", "written", "train_seconds", "peak_memory_mb", "device")},
    }  # fmt: skip


def write_csv(path: Path, rows: list[dict]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]) if rows else [])
        writer.writeheader()
        writer.writerows(rows)
