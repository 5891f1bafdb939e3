"""Numbers for people: no negative zero, wherever a value can be negative."""

import math
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dassl.utils import MetricMeter
from runtime.decimals import decimals
from tools.corrupting.summary import Difference
from tools.predicting import search
from tools.reporting import text
from tools.reporting.stats import over_seeds

ROOT = Path(__file__).resolve().parents[2]
NEGATIVE_ZERO = re.compile(r"-0(?:\.0*)?(?![\d.])")
TINY = -6e-8  # 1 - cos of equal features, by rounding
WRITTEN = {  # a value in the form in which a program prints or writes it
    "log line": lambda value: str((lambda meter: (meter.update({"kd": value}), meter)[1])(MetricMeter())),
    "robustness": lambda value: str(Difference(value, 0.5)),
    "report": lambda value: text.number(over_seeds({1: value, 2: value})),
    "search, text": lambda value: search.as_text({"a dog": [("a.jpg", value)]}),
    "search, CSV": lambda value: search.as_csv({"a dog": [("a.jpg", value)]}),
    "search, JSON": lambda value: search.as_json({"a dog": [("a.jpg", value)]}),
}


@given(st.floats(allow_nan=False, allow_infinity=False, width=32), st.integers(0, 6))
def test_equals_the_plain_format_but_for_the_sign_of_zero(value, digits):
    plain = f"{value:.{digits}f}"
    assert decimals(value, digits) == (plain[1:] if float(plain) == 0 and plain[0] == "-" else plain)
    assert decimals(value, digits, "+").lstrip("+") == decimals(value, digits)


def test_infinite_and_nan():
    assert [decimals(value, 2) for value in (math.inf, -math.inf, math.nan)] == ["inf", "-inf", "nan"]


@pytest.mark.parametrize("name", WRITTEN)
def test_no_negative_zero_is_printed(name):
    assert NEGATIVE_ZERO.search("kd -0.0000") and not NEGATIVE_ZERO.search("-0.0012 -0.50")
    assert not NEGATIVE_ZERO.search(WRITTEN[name](TINY)), WRITTEN[name](TINY)
    assert "-0.5" in WRITTEN[name](-0.5)


def test_every_signed_number_is_formatted_by_decimals():
    """A format with a sign is for differences, which may round to zero from below."""
    signed = re.compile(r":\+[,.\d]*[fg]|%\+\.")
    files = [path for folder in ("clipfit", "runtime", "tools", "trainers") for path in (ROOT / folder).rglob("*.*")]
    files = [path for path in files if path.suffix in (".py", ".j2") and "__pycache__" not in path.parts]
    assert len(files) > 300 and signed.search('f"{x:+.2f}"') and signed.search('"%+.2f" % x')
    assert [str(path) for path in files if signed.search(path.read_text(encoding="utf-8"))] == []
