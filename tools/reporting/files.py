"""Writes the files of a report: HTML, Markdown, LaTeX, CSV and plots."""

import re
from dataclasses import dataclass
from pathlib import Path

import jinja2

from tools.records import printable
from trainers.common.runs.files import write_atomically

from . import captions, plots, spreadsheet
from .paper import Comparison, distinct_notes
from .problems import by_category, failed
from .tables import Table
from .text import number, seed_count

PAGE = "report.html"
TEMPLATES = Path(__file__).with_name("templates")
# Without braces, * and [ at the start of a row would be options of the line break before it.
TEX = {"&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}",
       "^": r"\textasciicircum{}", "\\": r"\textbackslash{}", "<": r"\textless{}", ">": r"\textgreater{}",
       "|": r"\textbar{}", "[": "{[}", "]": "{]}", "*": "{*}"}  # fmt: skip


@dataclass
class Section:
    """A table, its comparison with the paper, and its plot."""

    table: Table
    comparisons: list[Comparison]
    figure: object  # None if there is nothing to plot

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
    for name, content in contents(report):
        if isinstance(content, str):  # names of files that are not UTF-8 cannot be encoded
            content = content.encode("utf-8", "backslashreplace")
        write_atomically(str(out / name), content)
    return out / PAGE


def contents(report):
    """Yields (path relative to the output folder, content) for each file of a report."""
    styles = plots.row_styles(report.tables)
    sections = [
        Section(table, comparisons, plots.draw(table, styles))
        for table, comparisons in zip(report.tables, report.comparisons, strict=True)
    ]
    content = {
        "sections": sections, "problems": by_category(report.problems), "failed": failed(report.problems),
        "runs": report.runs, "captions": captions,
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
            yield f"tables/{name}_paper.tex", render("paper.tex.j2", section=section, captions=captions)
        if section.figure:
            for file_format in ("png", "pdf"):
                yield f"plots/{name}.{file_format}", plots.save(section.figure, file_format)


def render(template: str, autoescape: bool = False, **content) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=autoescape,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(number=number, seeds=seed_count, tex=tex, md=md, interval=interval, svg=svg)
    return environment.get_template(template).render(**content)


def interval(stat) -> str:
    """Returns e.g. "[85.43, 87.27]"; empty for a single seed, or if all seeds have the same value."""
    half_width = stat.confidence_half_width
    return f"[{stat.mean - half_width:.2f}, {stat.mean + half_width:.2f}]" if half_width else ""


def svg(section: Section) -> str:
    return plots.inline_svg(section.figure, section.table.name, section.table.key.title)


def tex(text) -> str:
    """Escapes text for LaTeX."""
    return "".join(TEX.get(letter, letter) for letter in printable(text))


def md(text) -> str:
    """Escapes text for Markdown: a cell of a table, a heading, or an item of a list."""
    text = re.sub(r"([\\|*_`~$#\[\]])", r"\\\1", printable(text).replace("&", "&amp;"))
    text = re.sub(r"^([-+]|\d+(?=[.)]))", r"\\\1" if text[:1] in "-+" else r"\1\\", text)  # not a list
    return text.replace("<", "&lt;").replace(">", "&gt;")
