"""The page of a robustness evaluation: sections with tables and figures, CSV files, the record."""

import json
import math
from pathlib import Path

import numpy as np

from tools.reporting import plots, spreadsheet
from tools.reporting.files import render, write_all
from tools.reporting.sections import Section
from tools.reporting.text import number

from .catalogue import ALL, CLEAN, EXTRA, IMAGENET_C, Condition
from .figures import curves, heat_maps, pretty
from .summary import Row, has_mce, in_mean
from .sweeps import SWEEPS

PAGE = "robustness.html"
START = Condition(CLEAN)
PAIRED = (
    "Differences are from the run's zero-shot CLIP in percentage points, with the 95 % interval of the paired "
    "difference over the test images; it does not contain the variance between training seeds."
)


def corruption_names(conditions: list[Condition]) -> list[str]:
    present = {each.name for each in conditions}
    return [name for name in ALL if name in present]


def severities(conditions: list[Condition]) -> list[int]:
    return sorted({each.level for each in conditions if each.name in ALL})


def of_name(conditions: list[Condition], name: str) -> list[Condition]:
    return [each for each in conditions if each.name == name]


def difference_cell(row: Row, conditions: list[Condition]) -> str:
    return "" if row.zero_shot else str(row.difference(*conditions))


def overview(rows: list[Row], conditions: list[Condition], dataset: str, classes: str) -> Section:
    """Clean accuracy, mean accuracy over the corruptions, relative drop, difference from zero-shot CLIP."""
    counted = in_mean(conditions)
    n_names = len({each.name for each in counted})
    with_mce = has_mce(conditions, dataset, classes)
    columns = ["Method", "Clean", "Corrupted", "Relative drop (%)", "Difference clean", "Difference corrupted", "Seeds"]
    if with_mce:
        columns.insert(4, "mCE (%)")
    table, csv = [], []
    for row in rows:
        clean, mean, drop = row.accuracy(START), row.accuracy(*counted), row.drop(*counted)
        cells = [row.label, number(clean), number(mean), number(drop)]
        line = {"method": row.label, "clean": clean.mean, "corrupted": mean.mean, "relative drop": drop.mean}
        if with_mce:
            cells.append(number(row.mce()))
            line["mCE"] = row.mce().mean
        cells += [difference_cell(row, [START]), difference_cell(row, counted), str(len(row.models))]
        for name, own in [] if row.zero_shot else [("clean", [START]), ("corrupted", counted)]:
            found = row.difference(*own)
            line |= {f"difference {name}": found.mean, f"difference {name} half-width": found.half_width}
        table.append(cells)
        csv.append({**line, "seeds": len(row.models)})
    caption = (
        f"Accuracy in %, mean ± standard deviation over seeds. Corrupted: the mean over {n_names} "
        f"{'' if counted[0].name in IMAGENET_C else 'extra '}corruptions and severities "
        f"{', '.join(map(str, severities(counted)))}. Relative drop: the share of the clean accuracy that is lost. "
        f"{PAIRED}"
    )
    if with_mce:
        caption += " mCE: mean corruption error, relative to AlexNet's errors on ImageNet-C."
    return Section("overview", "Overview", caption, None, csv, columns, table)


def severity_section(rows: list[Row], conditions: list[Condition]) -> Section:
    """Mean accuracy per severity, as a curve and a table."""
    counted = in_mean(conditions)
    steps = {"clean": (START,)}
    for severity in severities(counted):
        steps[str(severity)] = tuple(each for each in counted if each.level == severity)
    table, csv = [], []
    for row in rows:
        stats = {step: row.accuracy(*own) for step, own in steps.items()}
        table.append([row.label, *map(number, stats.values())])
        csv += [{"method": row.label, "severity": step, "accuracy": stat.mean, "std": stat.std}
                for step, stat in stats.items()]  # fmt: skip
    figure = curves(rows, {"Mean over the corruptions": steps}, "severity")
    caption = "Mean accuracy in % over the corruptions, by severity. Bands: standard deviation over seeds."
    return Section("severity", "Accuracy by severity", caption, figure, csv, ["Method", *steps], table)


def corruption_section(rows: list[Row], conditions: list[Condition]) -> Section:
    """Mean accuracy per corruption, as a table with differences, and a panel per corruption."""
    names = corruption_names(conditions)
    table, csv, panels = [], [], {}
    for name in names:
        own = of_name(conditions, name)
        panels[pretty(name)] = {"0": (START,), **{str(each.level): (each,) for each in own}}
        cells = [pretty(name) + (" (extra)" if name in EXTRA else "")]
        for row in rows:
            cells.append(number(row.accuracy(*own)))
            line = {"corruption": name, "method": row.label, "accuracy": row.accuracy(*own).mean}
            if not row.zero_shot:
                found = row.difference(*own)
                cells.append(str(found))
                line |= {"difference": found.mean, "half-width": found.half_width}
            csv.append(line)
        table.append(cells)
    columns = ["Corruption"]
    for row in rows:
        columns += [row.label] if row.zero_shot else [row.label, "Difference"]
    caption = f"Accuracy in %, mean over the severities. {PAIRED} Extra corruptions are in no mean of this page."
    figure = curves(rows, panels, "severity, 0: clean")
    return Section("corruptions", "Accuracy by corruption", caption, figure, csv, columns, table)


def heat_sections(rows: list[Row], conditions: list[Condition]) -> list[Section]:
    """Heat maps of the accuracy, and of the difference from zero-shot CLIP, by corruption and severity."""
    names, levels = corruption_names(conditions), severities(conditions)

    def array(value_of) -> np.ndarray:
        """Returns the numbers (corruptions, severities)."""
        present = set(conditions)
        cells = [[Condition(name, level) for level in levels] for name in names]
        return np.array([[value_of(cell) if cell in present else math.nan for cell in line] for line in cells])

    labels = [pretty(name) for name in names], [str(level) for level in levels]
    accuracies = {row.label: array(lambda each, row=row: row.accuracy(each).mean) for row in rows}
    sections = [
        Section(
            "heat-map", "Accuracy by corruption and severity", "Accuracy in %.",
            heat_maps(accuracies, *labels, differences=False),
        )
    ]  # fmt: skip
    differences = {
        row.label: array(lambda each, row=row: row.difference(each).mean) for row in rows if not row.zero_shot
    }
    if differences:
        caption = (
            "Accuracy of the run minus that of its zero-shot CLIP, in percentage points. Blue: better; red: worse."
        )
        figure = heat_maps(differences, *labels, differences=True)
        sections.append(Section("heat-map-difference", "Difference from zero-shot CLIP", caption, figure))
    return sections


def sweep_section(rows: list[Row], conditions: list[Condition], name: str) -> Section:
    """Accuracy over the levels of a sweep, as a curve and a table."""
    own = of_name(conditions, name)
    sweep = SWEEPS[name]
    steps = {"original": (START,), **{str(each.level): (each,) for each in own}}
    table, csv = [], []
    for row in rows:
        table.append([row.label, *(number(row.accuracy(*step)) for step in steps.values())])
        if not row.zero_shot:
            table.append(["  difference", *(str(row.difference(*step)) for step in steps.values())])
        for level, step in steps.items():
            line = {"method": row.label, "level": level, "accuracy": row.accuracy(*step).mean}
            found = None if row.zero_shot else row.difference(*step)
            csv.append({**line, **({"difference": found.mean, "half-width": found.half_width} if found else {})})
    caption = f"Accuracy in % by {sweep.title.lower()}, in {sweep.unit}. {PAIRED}"
    figure = curves(rows, {sweep.title: steps}, sweep.unit)
    return Section(f"sweep-{name}", sweep.title, caption, figure, csv, ["Method", *steps], table)


def sections_of(rows: list[Row], conditions: list[Condition], dataset: str, classes: str) -> list[Section]:
    sections = []
    if corruption_names(conditions):
        sections += [overview(rows, conditions, dataset, classes), severity_section(rows, conditions)]
        sections += [corruption_section(rows, conditions), *heat_sections(rows, conditions)]
    return sections + [sweep_section(rows, conditions, name) for name in SWEEPS if of_name(conditions, name)]


def result_rows(rows: list[Row], conditions: list[Condition]) -> list[dict]:
    """Returns a row per run and condition, with McNemar's test against its zero-shot CLIP."""
    from trainers.common.metrics import mcnemar

    lines = []
    for row in rows:
        for model in row.models:
            own = {"run": "", "seed": ""} if row.zero_shot else {"run": model.path, "seed": model.seed}
            for condition in conditions:
                result = row.evaluation[model, condition]
                line = {
                    "method": row.label, **own, "condition": condition.name, "level": condition.level,
                    "accuracy": result.accuracy, "images": len(result.correct), "pixels": result.pixels,
                }  # fmt: skip
                if model.reference is not None:
                    zero = row.evaluation[model.reference, condition]
                    gained, lost, p = mcnemar(result.correct, zero.correct)
                    line |= {"zero-shot": zero.accuracy, "only run correct": gained, "only zero-shot correct": lost}
                    line["McNemar p"] = p
                lines.append(line)
    return lines


def write_files(rows: list[Row], sections: list[Section], notes: list[str], record: dict, folder: Path) -> Path:
    """Writes the page, the figures, the CSV files and the record. Returns the path of the HTML page."""
    write_all(contents(rows, sections, notes, record), folder)
    return folder / PAGE


def contents(rows: list[Row], sections: list[Section], notes: list[str], record: dict):
    """Yields (path relative to the output folder, content) of each file."""
    yield "results.csv", spreadsheet.text(record["results"])
    yield "robustness.json", json.dumps(record, indent=1) + "\n"
    for section in sections:
        if section.csv:
            yield f"{section.name}.csv", spreadsheet.text(section.csv)
        yield from plots.files(section.figure, section.name)
    models = [model for row in rows for model in row.models]
    content = {
        "runs": models, "sections": sections, "notes": notes, "title": "Robustness", "program": "tools/robustness.py",
        "inline_svg": lambda section: plots.inline_svg(section.figure, section.name, section.title),
    }  # fmt: skip
    yield "robustness.md", render("sections.md.j2", **content)
    yield PAGE, render("sections.html.j2", autoescape=True, **content)
