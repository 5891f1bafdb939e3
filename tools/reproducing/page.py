"""Writes the page of studies: HTML and Markdown, and each table as CSV and LaTeX, each figure as PNG and PDF."""

from pathlib import Path

from tools.reporting import plots, spreadsheet
from tools.reporting.files import render, write_all
from tools.reporting.text import aligned

from .blocks import Block

PAGE = "studies.html"
TITLE = "CLIPFit: tables, figures and studies"


def write_page(blocks: list[Block], notes: list[str], folder: Path) -> Path:
    """Writes all files. Returns the path of the HTML page.

    Raises:
        ValueError: `folder` is not writable.
    """
    try:
        write_all(contents(blocks, notes), folder)
    except OSError as error:
        reason = error.__cause__.strerror if error.__cause__ else error
        raise ValueError(f"cannot write the page to {folder}: {reason}; pass --out DIR") from error
    return folder / PAGE


def contents(blocks: list[Block], notes: list[str]):
    """Yields (path relative to the folder, content) of each file."""
    for block in blocks:
        if block.csv:
            yield f"tables/{block.name}.csv", spreadsheet.text(block.csv)
        if block.table:
            yield f"tables/{block.name}.tex", render("studies.tex.j2", block=block)
        yield from plots.files(block.figure, block.name)
    content = {"blocks": blocks, "notes": notes, "title": TITLE, "inline_svg": inline_svg}
    yield "studies.md", render("studies.md.j2", **content)
    yield PAGE, render("studies.html.j2", autoescape=True, **content)


def inline_svg(block: Block) -> str:
    return plots.inline_svg(block.figure, block.name, block.heading)


def print_blocks(blocks: list[Block]) -> None:
    """Prints the tables and notes."""
    for block in blocks:
        print(f"{block.heading}")
        if block.table:
            print("\n".join(aligned([block.columns, *block.table])))
        for note in block.notes:
            print(f"* {note}")
        print()
