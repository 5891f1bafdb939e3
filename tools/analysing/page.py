"""Runs analyses, and writes their page, figures and CSV files."""

import difflib
from pathlib import Path

from tools.reporting import plots, spreadsheet
from tools.reporting.files import render, write_all
from tools.reporting.sections import Section
from tools.reporting.text import aligned

from .runs import AnalysedRun
from .sections import ANALYSES, Options

PAGE = "analysis.html"


def check_names(names: list[str]) -> None:
    """Raises ValueError for an unknown analysis."""
    for name in names:
        if name not in ANALYSES:
            near = difflib.get_close_matches(name, ANALYSES, 1)
            hint = f"did you mean {near[0]}? " if near else ""
            raise ValueError(f"--only: unknown analysis {name!r}; {hint}There are {', '.join(ANALYSES)}")


def analyse(runs: list[AnalysedRun], names: list[str], options: Options) -> tuple[list[Section], list[str]]:
    """Returns the sections of the named analyses, and notes.

    Without names, all analyses that are possible; a note says why another is not.

    Raises:
        ValueError, OSError, ModuleNotFoundError: a named analysis is not possible, or none is.
    """
    sections, notes = [], []
    for name, section_of in ANALYSES.items():
        if names and name not in names:
            continue
        try:
            sections += section_of(runs, options, notes)
        except (ValueError, OSError, ModuleNotFoundError) as error:
            if names:
                raise
            notes.append(f"No {name}: {' '.join(str(error).split())}")
    if not sections:
        raise ValueError(notes[0])
    return sections, notes


def print_sections(sections: list[Section], notes: list[str]) -> None:
    for section in sections:
        if section.table or section.commands:
            print(f"{section.title}:")
            print("\n".join(aligned([section.columns, *section.table])))
            print("".join(f"{command}\n" for command in section.commands))
    for note in notes:
        print(f"Note: {note}")


def write_files(runs: list[AnalysedRun], sections: list[Section], notes: list[str], folder: Path) -> Path:
    """Writes the page, the figures and the CSV files. Everything is computed before the first file is written.

    Returns the path of the HTML page. Raises OSError if `folder` is not writable.
    """
    write_all(contents(runs, sections, notes), folder)
    return folder / PAGE


def contents(runs: list[AnalysedRun], sections: list[Section], notes: list[str]):
    """Yields (path relative to the output folder, content) of each file."""
    for section in sections:
        if section.csv:
            yield f"{section.name}.csv", spreadsheet.text(section.csv)
        yield from plots.files(section.figure, section.name)
    content = {"runs": runs, "sections": sections, "notes": notes, "inline_svg": inline_svg}
    content |= {"title": "Analysis", "program": "tools/analyse.py"}
    yield "analysis.md", render("sections.md.j2", **content)
    yield PAGE, render("sections.html.j2", autoescape=True, **content)


def inline_svg(section: Section) -> str:
    return plots.inline_svg(section.figure, section.name, section.title)
