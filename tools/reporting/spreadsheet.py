"""The CSV files of a report: unrounded numbers, one value a cell."""

import pandas as pd

from .tables import Table
from .text import seed_count


def text(rows: list[dict]) -> str:
    """Rows as CSV; columns are those of any row, in the order of their first use."""
    return pd.DataFrame(rows, dtype=object).to_csv(index=False)


def table_rows(table: Table) -> list[dict]:
    """A table as it is printed, with a column each for mean, std and half of the 95 % interval."""
    rows = []
    for group in table.groups:
        for title, cells in group.cells.items():
            method, setting = table.row(title).method, table.row(title).setting(group.datasets)
            row = {"dataset": group.title, "method": method, "setting": setting}
            for column in table.columns:
                stat = cells.get(column)
                row[column] = stat and stat.mean
                row[f"{column} std"] = stat and stat.std
                row[f"{column} ci95"] = stat and stat.confidence_half_width
            rows.append({**row, "seeds": seed_count(cells)})
    return rows


def long_rows(section) -> list[dict]:
    """A row for each number of a table, as plotting libraries want them, with the paper's number where there is one."""
    table, rows = section.table, []
    printed = {(item.group, item.row.title, item.column): item for item in section.comparisons}
    for group in table.groups:
        for title, cells in group.cells.items():
            for column in (column for column in table.columns if column in cells):
                stat, paper = cells[column], printed.get((group.title, title, column))
                rows.append({
                    "protocol": table.key.protocol, "backbone": table.key.backbone, "source": table.key.source,
                    "shots": column if table.key.protocol == "fewshot" else table.key.shots,
                    "dataset": group.title, "average": group.average, "method": table.row(title).method,
                    "setting": table.row(title).setting(group.datasets),
                    "metric": "Accuracy" if table.key.protocol == "fewshot" else column,
                    "mean": stat.mean, "std": stat.std, "ci95": stat.confidence_half_width, "n": stat.n,
                    "seeds": " ".join(map(str, stat.seeds)), "paper": paper and paper.printed,
                    "difference": paper and paper.difference, "beyond_seeds": paper and paper.outside,
                    "recipe": table.row(title).recipe(group.datasets),
                })  # fmt: skip
    return rows


def run_row(run) -> dict:
    trained = run.training
    return {
        "folder": run.folder, "method": run.method, "backbone": run.backbone, "dataset": run.dataset,
        "classes": run.classes, "trained_on": trained and trained.dataset,
        "trained_classes": trained and trained.classes, "shots": trained and trained.shots,
        "seed": trained and trained.seed, "accuracy": run.accuracy, "finished": run.finished,
        "eval_only": run.eval_only, "tested_model": run.tested_model, "config": run.config,
        "read_from": run.extra.get("log", "result.json"), "remark": run.remark,
        **{key: run.extra.get(key) for key in ("git", "written", "train_seconds", "peak_memory_mb", "device")},
        **((trained or run.own).settings or {}),
    }  # fmt: skip
