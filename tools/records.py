"""Reads what others wrote into run directories: JSON files of any content, and times. Used by report and sweep."""

import datetime
import json
import math
import re
from pathlib import Path

from trainers.common.classes import CONTROL
from trainers.common.runs.log_lines import read_text

MAX_BYTES = 2**25  # 32 MB; a record with the names of 10,000 classes has less than 1 MB
MAX_DEPTH = 30  # of nested values; records have at most 5


def read_json(path: Path):
    """Returns the content of a JSON file.

    Raises:
        OSError: it cannot be read, or is no regular file.
        ValueError: it is too large, not JSON, nested too deeply, or holds a number that is not finite.
    """
    try:
        value = json.loads(read_text(path, MAX_BYTES))
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON ({error})") from error
    except RecursionError as error:
        raise ValueError(f"nested deeper than {MAX_DEPTH} levels") from error
    check_values(value)
    return value


def check_values(document) -> None:
    """Raises ValueError for a number that is not finite, and for values nested so deeply that json.dumps may fail."""
    waiting = [("", 0, document)]
    while waiting:
        path, depth, value = waiting.pop()
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{printable(path):.200} is not a finite number: {value}")
        if isinstance(value, (dict, list)) and depth == MAX_DEPTH:
            raise ValueError(f"nested deeper than {MAX_DEPTH} levels")
        if isinstance(value, dict):
            waiting += [(f"{path}.{key}" if path else key, depth + 1, item) for key, item in value.items()]
        elif isinstance(value, list):
            waiting += [(f"{path}[{index}]", depth + 1, item) for index, item in enumerate(value)]


def printable(text) -> str:
    r"""Returns a text in one line, with control characters, and bytes of file names that are not UTF-8, as escapes.

    Example: a method named "A", line break, "B" is printed as A\nB.
    """
    return CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), str(text))


def instant(time) -> float | None:
    """Returns the seconds since 1970 of a time in a record, in any time zone; None if there is none.

    Examples: "2026-11-26T19:47:59Z"; "2026-11-26T21:47:59+0200" in older records is the same instant.
    """
    text = re.sub(r"([+-]\d\d)(\d\d)$", r"\1:\2", str(time).replace("Z", "+00:00"))  # as Python 3.10 reads it
    try:
        parsed = datetime.datetime.fromisoformat(text)
        if parsed.tzinfo is None:
            parsed = parsed.replace(tzinfo=datetime.timezone.utc)
        return parsed.timestamp()
    except (ValueError, OverflowError):
        return None
