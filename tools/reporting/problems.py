"""What a report names beside its tables: runs that did not finish, are damaged, missing, stale or there twice."""

from typing import NamedTuple

KINDS = {  # kind: (heading, whether it makes the exit code 1)
    "missing": ("Asked for and not there", True),
    "damaged": ("Damaged", True),
    "unfinished": ("Unfinished or crashed", True),
    "unpaired": ("Half of a base/new pair", True),
    "stale": ("Stale or in conflict", False),
    "duplicate": ("There twice", False),
    "uneven": ("Not run, though other methods or seeds are there", False),
    "unplaced": ("Of no protocol shown here", False),
}


class Problem(NamedTuple):
    kind: str  # a key of KINDS
    where: str  # a path, or the row of a table
    text: str


def failed(problems: list[Problem]) -> bool:
    return any(KINDS[problem.kind][1] for problem in problems)


def by_kind(problems: list[Problem]) -> list[tuple[str, list[Problem]]]:
    """(heading, problems) of each kind there is, the gravest first."""
    kinds = [(heading, [p for p in problems if p.kind == kind]) for kind, (heading, _) in KINDS.items()]
    return [(heading, found) for heading, found in kinds if found]
