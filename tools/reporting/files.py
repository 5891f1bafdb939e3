"""Writes a report's files: a web page, Markdown, LaTeX, CSV and plots."""

import re
from dataclasses import dataclass
from pathlib import Path

import jinja2

from trainers.common.runs.files import write_atomically

from . import captions, plots, spreadsheet
from .paper import Comparison, distinct_notes
from .problems import by_kind, failed
from .tables import Table
from .text import number, seed_count

PAGE = "report.html"
TEMPLATES = Path(__file__).with_name("templates")
TEX = {"&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}",
       "^": r"\textasciicircum{}", "\\": r"\textbackslash{}"}  # fmt: skip


@dataclass
class Section:
    """A table with all that goes with it."""

    table: Table
    comparisons: list[Comparison]
    figure: object  # None where there is nothing to draw

    @property
    def notes(self) -> list[str]:
        return distinct_notes(self.comparisons)

    def places(self, item: Comparison) -> list[int]:
        """Numbers of the notes on a comparison."""
        return [self.notes.index(note) + 1 for note in item.notes]

    @property
    def blocks(self) -> list[tuple[str, list[Comparison]]]:
        """The comparisons of each dataset and average."""
        names = dict.fromkeys(item.group for item in self.comparisons)
        return [(name, [item for item in self.comparisons if item.group == name]) for name in names]


def write_files(report, out: Path) -> Path:
    """Write all files of a report into `out`; returns the web page.

    Raises:
        OSError: `out` cannot be written.
    """
    for name, content in contents(report):
        write_atomically(str(out / name), content)
    return out / PAGE


def contents(report):
    """Yield each file of a report: its path below the output folder, and its content."""
    styles = plots.row_styles(report.tables)
    sections = [
        Section(table, comparisons, plots.draw(table, styles))
        for table, comparisons in zip(report.tables, report.comparisons, strict=True)
    ]
    content = {
        "sections": sections, "problems": by_kind(report.problems), "failed": failed(report.problems),
        "runs": report.runs, "captions": captions,
    }  # fmt: skip
    yield PAGE, render("report.html.j2", autoescape=True, **content)
    yield "report.md", render("report.md.j2", **content)
    yield "runs.csv", spreadsheet.text([spreadsheet.run_row(run) for run in report.runs])
    yield "results.csv", spreadsheet.text([row for s in sections for row in spreadsheet.long_rows(s)])
    for section in sections:
        name = section.table.key.name
        yield f"tables/{name}.csv", spreadsheet.text(spreadsheet.table_rows(section.table))
        yield f"tables/{name}.tex", render("table.tex.j2", section=section, captions=captions)
        if section.comparisons:
            yield f"tables/{name}_paper.tex", render("paper.tex.j2", section=section, captions=captions)
        for kind in ("png", "pdf") if section.figure else ():
            yield f"plots/{name}.{kind}", plots.save(section.figure, kind)


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
    """[85.43, 87.27]; empty for a single seed, and where all seeds agree."""
    half = stat and stat.confidence_half_width
    return f"[{stat.mean - half:.2f}, {stat.mean + half:.2f}]" if half else ""


def svg(section: Section) -> str:
    return plots.inline_svg(section.figure, section.table)


def tex(text) -> str:
    return "".join(TEX.get(letter, letter) for letter in str(text))


def md(text) -> str:
    """Text in a cell of a Markdown table."""
    return re.sub(r"([\\|*_`])", r"\\\1", str(text)).replace("<", "&lt;")
