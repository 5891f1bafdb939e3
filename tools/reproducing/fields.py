"""Checks and converts the fields of a study file. Each error is one line that names the field and the value."""

import string

from tools.recipe import ALL

PLACEHOLDERS = ("dataset", "row", "shots", "regime", "column")  # in `paper`


def text_of(value) -> str:
    """Returns a value as a word of train.py's command line: a list as ('a', 'b')."""
    return str(tuple(value)) if isinstance(value, list) else str(value)


def check_paper(text: str, where: str) -> None:
    """Raises ValueError if a path has another placeholder than those allowed."""
    try:
        names = [name for _, name, _, _ in string.Formatter().parse(text) if name is not None]
    except ValueError as error:
        raise ValueError(f"{where}: {error}, got {text!r}") from None
    for name in names:
        if name not in PLACEHOLDERS:
            allowed = ", ".join(f"{{{other}}}" for other in PLACEHOLDERS)
            raise ValueError(f"{where}: unknown placeholder {{{name}}}; allowed: {allowed}")


def as_tuple(value) -> tuple:
    return tuple(value) if isinstance(value, list) else (value,)


def texts(values: list, where: str) -> tuple[str, ...]:
    for value in values:
        if not isinstance(value, str):
            raise ValueError(f"{where}: {value!r} must be text")
    return tuple(values)


def numbers(values: list, least: int, where: str) -> tuple[int, ...]:
    for value in values:
        if type(value) is not int or value < least:
            raise ValueError(f"{where} must be whole numbers of at least {least}, got {value!r}")
    if not values:
        raise ValueError(f"{where} must not be empty")
    return tuple(values)


def shots(values: list, where: str) -> tuple[int, ...]:
    """Returns numbers of training images per class. The text "all" becomes -1."""
    if values and set(values) <= {ALL}:
        return (-1,)
    numbers([value for value in values if value != ALL], 1, where)
    return tuple(-1 if value == ALL else value for value in values)


def flat(values: list) -> list[str]:
    """Returns lists in a list as one list: YAML's aliases insert a list of notes as one item."""
    result = []
    for value in values:
        result += flat(value) if isinstance(value, list) else [str(value)]
    return result
