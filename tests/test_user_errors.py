"""The checks of user errors find what they are for."""

import pytest

from tests.user_errors import assert_user_error, raises_user_error


def fail(message, kind=ValueError):
    raise kind(message)


def test_facts_are_found():
    with raises_user_error("KEY", 3):
        fail("KEY must be 1 or 2, got 3")
    assert_user_error((1, "out", "error: no such file: x.txt\n"), "x.txt")


@pytest.mark.parametrize("message", ["KEY must be 1 or 2, got 4", "KEY must be\n1 or 2, got 3"])
def test_a_missing_fact_and_a_second_line_are_found(message):
    with pytest.raises(AssertionError), raises_user_error("KEY", 3):
        fail(message)


@pytest.mark.parametrize(
    "result", [(0, "error: x\n"), (2, "error: x\n"), (1, "x\n"), (1, "error: y\n"), (1, "error: x\nx\n")]
)
def test_what_is_no_user_error(result):
    with pytest.raises(AssertionError):
        assert_user_error(result, "x")


def test_other_errors_pass_through():
    with pytest.raises(TypeError), raises_user_error("x"):
        fail("x", TypeError)
