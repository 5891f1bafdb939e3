"""Writes the files of a report: HTML, Markdown, LaTeX, CSV and plots."""

import re
from dataclasses import dataclass
from pathlib import Path

import jinja2

from runtime.decimals import decimals
from tools.records import printable
from trainers.common.runs.files import write_atomically

from . import captions, plots, spreadsheet, varied_plots, written
from .comparison import Comparison, distinct_notes, unpublished
from .details import Detail
from .problems import by_category, failed
from .run_pages import RunPages
from .stats import Stat
from .tables import Table
from .text import cell_text, number, seed_count
from .written import PAGE

TEMPLATES = Path(__file__).with_name("templates")
# Without braces, * and [ at the start of a row would be options of the line break before it.
TEX = {"&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}",
       "^": r"\textasciicircum{}", "\\": r"\textbackslash{}", "<": r"\textless{}", ">": r"\textgreater{}",
       "|": r"\textbar{}", "[": "{[}", "]": "{]}", "*": "{*}"}  # fmt: skip


@dataclass
class DetailSection:
    """A Detail and its plot."""

    detail: Detail
    figure: object  # None if there is nothing to plot


@dataclass
class Section:
    """A table, its comparison with published numbers, its plot, and the details below it."""

    table: Table
    comparisons: list[Comparison]
    figure: object  # None if there is nothing to plot
    details: list[DetailSection]
    unpublished: list[str]  # methods without a published number, if they were asked for

    @property
    def notes(self) -> list[str]:
        return distinct_notes(self.comparisons)

    def note_numbers(self, item: Comparison) -> list[int]:
        """Returns the numbers of a comparison's notes, from 1."""
        return [self.notes.index(note) + 1 for note in item.notes]

    @property
    def blocks(self) -> list[tuple[str, list[Comparison]]]:
        """Comparisons by dataset and average."""
        names = dict.fromkeys(item.group for item in self.comparisons)
        return [(name, [item for item in self.comparisons if item.group == name]) for name in names]


def write_files(report, out: Path) -> Path:
    """Writes all files of a report to `out`. Returns the path of the HTML page.

    Raises:
        OSError: `out` is not writable.
    """
    written.note(report, out, write_all(contents(report, out), out))
    return out / PAGE


def write_all(files, out: Path) -> list[str]:
    """Writes (path relative to `out`, content) pairs. All contents are computed before the first file is written.

    Returns the relative paths.

    Raises:
        OSError: `out` is not writable.
    """
    files = list(files)
    for name, content in files:
        write_atomically(str(out / name), content)
    return [name for name, _ in files]


def contents(report, out: Path):
    """Yields (path relative to the output folder `out`, content) for each file of a report."""
    styles = plots.row_styles(report.tables)
    sections = [
        Section(
            table,
            comparisons,
            plots.draw(table, styles),
            [DetailSection(d, draw_detail(d)) for d in details],
            unpublished(table, comparisons) if report.published else [],
        )
        for table, comparisons, details in zip(report.tables, report.comparisons, report.details, strict=True)
    ]
    content = {
        "sections": sections, "problems": by_category(report.problems), "failed": failed(report.problems),
        "runs": report.runs, "captions": captions, "pages": RunPages(out),
    }  # fmt: skip
    yield PAGE, render("report.html.j2", autoescape=True, **content)
    yield "report.md", render("report.md.j2", **content)
    yield "runs.csv", spreadsheet.text([spreadsheet.run_row(run) for run in report.runs])
    yield "results.csv", spreadsheet.text([row for s in sections for row in spreadsheet.long_rows(s)])
    for section in sections:
        name = section.table.name
        yield f"tables/{name}.csv", spreadsheet.text(spreadsheet.table_rows(section.table))
        yield f"tables/{name}.tex", render("table.tex.j2", section=section, captions=captions)
        if section.comparisons:
            yield f"tables/{name}_published.tex", render("published.tex.j2", section=section, captions=captions)
        for item in section.details:
            yield f"tables/{item.detail.name}.csv", spreadsheet.text(spreadsheet.detail_rows(item.detail))
            yield f"tables/{item.detail.name}.tex", render("detail.tex.j2", detail=item.detail)
        figures = {name: section.figure, **{item.detail.name: item.figure for item in section.details}}
        for name, figure in figures.items():
            yield from plots.files(figure, name)


def draw_detail(detail: Detail):
    """Returns the plot of a Detail, or None if there is nothing to plot."""
    return detail.picture() if detail.picture else varied_plots.draw(detail)


def render(template: str, autoescape: bool = False, **content) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=autoescape,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.tests["stat"] = lambda cell: isinstance(cell, Stat)
    environment.filters.update(
        decimals=decimals, number=number, cell=cell_text, md_cell=md_cell, seeds=seed_count, tex=tex, md=md,
        interval=interval, svg=svg,
    )  # fmt: skip
    return environment.get_template(template).render(**content)


def interval(stat) -> str:
    """Returns e.g. "[85.43, 87.27]"; empty for a single seed, or if all seeds have the same value."""
    half_width = stat.confidence_half_width
    return f"[{decimals(stat.mean - half_width, 2)}, {decimals(stat.mean + half_width, 2)}]" if half_width else ""


def svg(section) -> str:
    if isinstance(section, DetailSection):
        return plots.inline_svg(section.figure, section.detail.name, section.detail.title)
    return plots.inline_svg(section.figure, section.table.name, section.table.key.title)


def tex(text) -> str:
    """Escapes text for LaTeX."""
    return "".join(TEX.get(letter, letter) for letter in printable(text))


def md_cell(cell) -> str:
    """Returns a cell of a Detail for Markdown."""
    text = cell_text(cell)
    return md(text) if isinstance(cell, str) and not spreadsheet.NUMBER.fullmatch(text) else text


def md(text) -> str:
    """Escapes text for Markdown: a cell of a table, a heading, or an item of a list."""
    text = re.sub(r"([\\|*_`~$#\[\]])", r"\\\1", printable(text).replace("&", "&amp;"))
    text = re.sub(r"^([-+]|\d+(?=[.)]))", r"\\\1" if text[:1] in "-+" else r"\1\\", text)  # not a list
    return text.replace("<", "&lt;").replace(">", "&gt;")
