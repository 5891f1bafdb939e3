"""Checks of user errors by the facts in a message (key, value, path, remedy), so that a rewording breaks no test.

    with raises_user_error("TRAINER.CLIPFIT.REG", "'l2'", "kd", "mse"):
        make("CLIPFit", "TRAINER.CLIPFIT.REG", "l2")

    assert_user_error(run("tools/predict.py", "no/run"), "no/run")

A fact is what the user needs to find and mend the mistake: a config key, a flag, a value, a path, a command. Sentences
are no facts.
"""

from __future__ import annotations

import contextlib

import pytest


def assert_facts(message: str, *facts) -> None:
    """`message` is one line that holds each of the facts."""
    assert len(message.strip().splitlines()) == 1, message
    missing = [str(fact) for fact in facts if str(fact) not in message]
    assert not missing, f"not in the message: {missing}\n{message}"


def assert_user_error(result, *facts, code: int = 1) -> None:
    """A program that ended with `code` and one line "error: ..." on stderr that holds the facts.

    Args:
        result: (exit code, ..., stderr), or a finished process of `subprocess.run(..., text=True)`.
    """
    found, err = (result.returncode, result.stderr) if hasattr(result, "returncode") else (result[0], result[-1])
    assert found == code, err
    assert err.startswith("error: "), err
    assert_facts(err, *facts)


@contextlib.contextmanager
def raises_user_error(*facts, error=(ValueError, OSError, FloatingPointError)):
    """The block raises a user error, whose message is one line with the facts; gives pytest's ExceptionInfo."""
    with pytest.raises(error) as caught:
        yield caught
    assert_facts(str(caught.value), *facts)
