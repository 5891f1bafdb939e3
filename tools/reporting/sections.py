"""The sections of a page: each a figure, a table, a CSV file and a caption."""

from dataclasses import dataclass, field


@dataclass
class Section:
    """A part of the page.

    Attributes:
        name: of its files and of its anchor.
        figure: None if there is nothing to plot.
        csv: rows of its CSV file, unrounded.
        commands: lines that are shown as code.
    """

    name: str
    title: str
    caption: str
    figure: object = None
    csv: list[dict] = field(default_factory=list)
    columns: list[str] = field(default_factory=list)
    table: list[list[str]] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
