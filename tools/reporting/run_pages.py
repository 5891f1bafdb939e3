"""Links from the numbers of a report to the pages of their runs (tools/show.py)."""

import os
from pathlib import Path
from urllib.parse import quote

from trainers.common.runs.record_schema import FILE

from .run import Run
from .tables import Group, Table, newest_runs

PAGE = "page.html"


def page_name(record: str) -> str:
    """Returns the name of the page of a record: page.html for result.json.

    That of `evaluation-DTD-new-test.json` is `evaluation-DTD-new-test-page.html`.
    """
    return PAGE if record == FILE else f"{os.path.splitext(record)[0]}-{PAGE}"


def page_of(run: Run) -> Path:
    return run.folder / page_name(run.file if run.file.endswith(".json") else FILE)


class RunPages:
    """The pages of the runs of a report, as links from a page in the folder `out`."""

    def __init__(self, out: Path):
        self.out = out
        self.links: dict[tuple, dict] = {}  # (table, row, dataset) -> column -> seed -> link

    def link(self, run: Run) -> str:
        """Returns the link to the page of a run; "" if it has none."""
        page = page_of(run)
        return quote(os.path.relpath(page, self.out).replace(os.sep, "/")) if page.is_file() else ""

    def of(self, table: Table, group: Group, title: str, column: str) -> dict:
        """Returns seed -> link of the pages of a number; {} for averages, H, and runs without a page."""
        if group.average:
            return {}
        key = table.name, title, group.title
        if key not in self.links:
            entries = [entry for entry in table.row(title).entries if entry.dataset == group.title]
            self.links[key] = {
                column: {seed: link for seed, run in sorted(runs.items(), key=str) if (link := self.link(run))}
                for column, runs in newest_runs(entries).items()
            }
        return self.links[key].get(column, {})
