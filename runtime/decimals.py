"""Formats numbers for people. Rounding leaves no negative zero: a loss of -6e-8 is 0.0000, not -0.0000."""

from __future__ import annotations


def decimals(value: float, digits: int, sign: str = "") -> str:
    """Returns a number with `digits` decimals, e.g. "-1.25"; with the sign "+", also "+0.17" and "+0.00".

    Python's own format option "z" does the same, but from Python 3.11 on.
    """
    rounded = round(float(value), digits) + 0.0  # -0.0 + 0.0 is 0.0
    return f"{rounded:{sign}.{digits}f}"
