"""Checks of class names, labels and image paths, and names for classes whose names are equal."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from numbers import Integral

PARTS = ("train", "val", "test")
# Control characters (newline, tab, NUL, ESC), line and paragraph separators, embeddings, overrides and isolates (they
# change the order in which a terminal shows the rest of a line), and bytes that are not UTF-8
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def check_text(text: str, what: str, source: str = "") -> str:
    """Returns a class name, a prompt template or a path that is safe to print.

    A newline in it could fake a line of the log, such as "* accuracy: 99.99%".

    Args:
        what: what the text is, for the error.
        source: the file or dataset that it comes from, for the error.

    Raises:
        ValueError: it is not a string, or has a control character.
    """
    prefix = f"{source}: " if source else ""
    if not isinstance(text, str):
        raise ValueError(f"{prefix}{what} must be a text, got {text!r}")
    control = CONTROL.search(text)
    if control:
        raise ValueError(f"{prefix}{what} {text!r} has the control character U+{ord(control[0]):04X}: remove it")
    return text


def whole_number(value) -> int:
    """Returns a label as int, for an integer or a float such as 3.0.

    Raises:
        ValueError: it is another value, such as -1, 1.5, infinity, True or "3".
    """
    integer = isinstance(value, Integral) and not isinstance(value, bool)
    if not (integer or isinstance(value, float) and value.is_integer()) or value < 0:
        raise ValueError(f"a label must be a whole number from 0, got {value!r}")
    return int(value)


def check_rows(parts: dict[str, Iterable[tuple]], source: str) -> dict[int, str]:
    """Checks the labels, class names and paths of all images. Returns {label: class name}.

    Args:
        parts: rows (path, label, class name) of train, val and test.
        source: the split file or the dataset, for the errors.

    Raises:
        ValueError: a label is no whole number, or has two class names; a class has no train images; the labels are not
            0 to C-1; a class name or a path has a control character.
    """
    found = {}  # label -> (class name, first part with this label)
    for part in PARTS:
        rows = parts.get(part) or ()
        for path, _, _ in rows:
            if not path.isprintable():
                check_text(path, "image path", source)
        for _, label, name in dict.fromkeys((type(label), label, name) for _, label, name in rows):
            try:
                label = whole_number(label)
            except ValueError as error:
                raise ValueError(f"{source}: {error} in {part}") from None
            check_text(name, "class name", source)
            first_name, first_part = found.setdefault(label, (name, part))
            if first_name != name:
                raise ValueError(
                    f"{source}: label {label} has two class names, {first_name!r} in {first_part} and {name!r} in "
                    f"{part}: number the classes alike in train, val and test"
                )
    for label, (name, part) in sorted(found.items()):
        if part != "train":
            raise ValueError(f"{source}: class {name!r} (label {label}) is in {part} but has no train images")
    gaps = sorted(set(range(len(found))) - set(found))
    if gaps:
        raise ValueError(
            f"{source}: labels of {len(found)} classes must be 0 to {len(found) - 1}, missing label {gaps[0]} in train"
        )
    return {label: name for label, (name, _) in found.items()}


def dataset_rows(dataset) -> dict[str, list[tuple]]:
    """Returns the rows (path, label, class name) of the images of a Dassl dataset, by part."""
    items = {"train": dataset.train_x, "val": dataset.val, "test": dataset.test}
    return {part: [(item.impath, item.label, item.classname) for item in items[part] or ()] for part in PARTS}


def numbered(classnames: list[str]) -> list[tuple[str, int]]:
    """Returns each class name with its occurrence: (crane, fox, crane) gives (crane, 0), (fox, 0), (crane, 1)."""
    counts = Counter()
    pairs = []
    for name in classnames:
        pairs.append((name, counts[name]))
        counts[name] += 1
    return pairs


def as_in_prompts(name: str) -> str:
    """Returns a class name as prompts have it: `_` becomes a space."""
    return name.replace("_", " ")


def distinct(classnames: list[str]) -> list[str]:
    """Returns the class names; those that occur more than once get their label: "sunglasses (class 837)"."""
    counts = Counter(classnames)
    return [name if counts[name] == 1 else f"{name} (class {label})" for label, name in enumerate(classnames)]


def shorten(names: list[str]) -> str:
    """Joins the first three names: "cat, dog, fox, ..."."""
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
