"""Formats the CSV files of a report: unrounded numbers, one value per cell."""

import re

import pandas as pd

from tools.records import printable

from .details import Detail
from .run import Training
from .stats import Stat
from .tables import Table
from .text import seed_count

FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")  # also the full-width forms
NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")


def text(rows: list[dict]) -> str:
    """Returns rows as CSV. The columns are those of all rows, in order of first use."""
    rows = [{cell(key): cell(value) for key, value in row.items()} for row in rows]
    return pd.DataFrame(rows, dtype=object).to_csv(index=False)


def cell(value):
    """Returns the content of a cell. A text that a spreadsheet would compute gets an apostrophe: '=1+1.

    Numbers stay numbers, also those that are written as text.
    """
    if value is None or isinstance(value, (bool, int, float)):
        return value
    text = printable(value)
    if not text.strip().startswith(FORMULA) or NUMBER.fullmatch(text):
        return text
    return f"'{text}"


def table_rows(table: Table) -> list[dict]:
    """Returns the rows of a table, with columns for mean, std and half-width of the 95 % confidence interval."""
    rows = []
    for group in table.groups:
        for title, cells in group.cells.items():
            table_row = table.row(title)
            setting = table_row.setting(group.datasets)
            row = {"dataset": group.title, "method": table_row.method, "setting": setting}
            for column in table.columns:
                stat = cells.get(column)
                row[column] = stat.mean if stat else None
                row[f"{column} std"] = stat.std if stat else None
                row[f"{column} ci95"] = stat.confidence_half_width if stat else None
            rows.append({**row, "seeds": seed_count(cells)})
    return rows


def detail_rows(detail: Detail) -> list[dict]:
    """Returns the rows of a Detail, with columns for mean, std and half-width of the 95 % confidence interval."""
    rows = list(detail.csv_rows)
    for block in detail.blocks if not rows else ():
        for cells in block.rows:
            row = {"block": block.title}
            for column, cell in zip(detail.columns, cells, strict=True):
                row[column] = cell.mean if isinstance(cell, Stat) else cell
                if isinstance(cell, Stat):
                    row |= {f"{column} std": cell.std, f"{column} ci95": cell.confidence_half_width}
            rows.append(row)
    return rows


def long_rows(section) -> list[dict]:
    """Returns one row per number of a table (long format), with the published number if there is one."""
    table = section.table
    rows = []
    comparisons = {(item.group, item.row.title, item.column): item for item in section.comparisons}
    for group in table.groups:
        for title, cells in group.cells.items():
            for column in table.columns:
                if column not in cells:
                    continue
                stat = cells[column]
                printed = comparisons.get((group.title, title, column))
                rows.append({
                    "protocol": table.key.protocol, "backbone": table.key.backbone, "source": table.key.source,
                    "shots": column if table.key.protocol == "fewshot" else table.key.shots,
                    "dataset": group.title, "average": group.average, "method": table.row(title).method,
                    "setting": table.row(title).setting(group.datasets),
                    "metric": "Accuracy" if table.key.protocol == "fewshot" else column,
                    "mean": stat.mean, "std": stat.std, "ci95": stat.confidence_half_width, "n": stat.n,
                    "seeds": " ".join(map(str, stat.seeds)), "published": printed.number.value if printed else None,
                    "published_source": printed.source if printed else None,
                    "also_printed": printed.others if printed else None,
                    "difference": printed.difference if printed else None,
                    "beyond_seeds": printed.outside if printed else None,
                    "recipe": table.row(title).recipe(group.datasets),
                })  # fmt: skip
    return rows


def run_row(run) -> dict:
    """Returns the row of a run in runs.csv. What is unknown about its training is empty."""
    trained = run.training or Training(None, None, None, None, None)
    return {
        "folder": run.folder, "method": run.method, "backbone": run.backbone, "dataset": run.dataset,
        "classes": run.classes, "trained_on": trained.dataset, "trained_classes": trained.classes,
        "shots": trained.shots, "seed": trained.seed, "accuracy": run.accuracy,
        "metric": run.metric, "score": run.score, "finished": run.finished,
        "split": run.split, "eval_only": run.eval_only, "tested_model": run.tested_model, "config": run.config,
        "read_from": run.file, "remark": run.remark,
        **{key: run.extra.get(key) for key in ("git", "written", "train_seconds", "peak_memory_mb", "device")},
        **((run.training or run.setup).settings or {}),
    }  # fmt: skip
