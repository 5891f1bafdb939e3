"""What the doctor finds: one line each, with the remedy if there is a problem."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable, Iterator
from typing import NamedTuple

from runtime.user_errors import USER_ERRORS, one_line

OK, NOTE, ERROR = "ok", "note", "error"


class Finding(NamedTuple):
    """One line of the report.

    Attributes:
        state: OK; NOTE: something a user may want to know or mend; ERROR: no run can start.
        remedy: what to do; "" if there is nothing to do.
    """

    text: str
    state: str = OK
    remedy: str = ""


def findings_of(name: str, check: Callable[[], Iterator[Finding]]) -> list[Finding]:
    """Returns the findings of a check. An error in it is a finding too: the other checks are run.

    What the check prints, such as the log of a training, and its warnings are dropped.
    """
    found = []
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found.extend(check())
    except (Exception, SystemExit) as error:  # a broken library can raise anything
        found.append(Finding(f"{name}: not checked ({explain(error)})", NOTE))
    return found


def explain(error: BaseException) -> str:
    """Returns an error as one line, with the remedy if it is a user error."""
    text = one_line(error) if isinstance(error, (*USER_ERRORS, RuntimeError)) else ""
    return text or f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
