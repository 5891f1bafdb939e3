"""`Block`, a part of the page: a table, a figure, or both."""

import itertools
from dataclasses import dataclass, field


@dataclass
class Block:
    """A part of the page.

    Attributes:
        name: Of its files and its anchor.
        study: Name of its study: "table5".
        columns, table: Titles and cells, as text. The first `text_columns` columns are text, the others numbers.
        csv: The same numbers, unrounded, one dict per row.
        figure: None if there is nothing to plot.
        notes: What the paper leaves open, what was chosen, and which runs are missing.
        holes: Number of cells without a number.
    """

    name: str
    study: str
    title: str
    caption: str
    columns: list[str] = field(default_factory=list)
    table: list[list[str]] = field(default_factory=list)
    text_columns: int = 1
    csv: list[dict] = field(default_factory=list)
    figure: object = None
    notes: list[str] = field(default_factory=list)
    holes: int = 0

    @property
    def groups(self) -> list[list[list[str]]]:
        """The rows of the table, grouped by their first cell if several columns are text."""
        if self.text_columns < 2:
            return [self.table]
        return [list(rows) for _, rows in itertools.groupby(self.table, key=lambda row: row[0])]

    @property
    def heading(self) -> str:
        return f"{display_name(self.study)}: {self.title}"


def display_name(study: str) -> str:
    """Returns "Table 5" for table5, "Figure 11" for figure11, and other names as they are."""
    for kind in ("table", "figure"):
        number = study.removeprefix(kind)
        if number != study and number.isdigit():
            return f"{kind.title()} {number}"
    return study
