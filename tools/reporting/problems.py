"""Problems that a report lists below its tables: missing, corrupted, unfinished, inconsistent and duplicate runs."""

from typing import NamedTuple

CATEGORIES = {  # category: (heading, whether the exit code is 1)
    "missing": ("Missing", True),
    "corrupted": ("Corrupted", True),
    "unfinished": ("Unfinished or crashed", True),
    "unpaired": ("Base without New, or New without Base", True),
    "inconsistent": ("Stale or inconsistent", False),
    "duplicate": ("Duplicate", False),
    "incomplete": ("Incomplete compared with other methods or seeds", False),
    "no_protocol": ("Not part of any protocol", False),
}


class Problem(NamedTuple):
    category: str  # a key of CATEGORIES
    subject: str  # a path, an option, or a row of a table
    message: str


def failed(problems: list[Problem]) -> bool:
    """Returns whether any of the problems makes the exit code 1."""
    return any(CATEGORIES[problem.category][1] for problem in problems)


def by_category(problems: list[Problem]) -> list[tuple[str, list[Problem]]]:
    """Returns (heading, problems) for each category that has problems, the most severe first."""
    groups = []
    for category, (heading, _) in CATEGORIES.items():
        members = [problem for problem in problems if problem.category == category]
        if members:
            groups.append((heading, members))
    return groups
