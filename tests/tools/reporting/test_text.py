"""Tables for a terminal: columns that do not fit side by side are below each other."""

import os
import sys

import pytest

from tools.reporting.text import aligned

LINES = [["", "", "Base", "New", "setting"], ["Digits"], ["  CLIPFit", "16", "86.35", "70.14", "micro"]]


@pytest.fixture
def terminal(monkeypatch):
    """Makes stdout a terminal of this width."""

    def resize(columns):
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
        monkeypatch.setattr("shutil.get_terminal_size", lambda: os.terminal_size((columns, 24)))

    return resize


def test_a_table_is_in_one_piece_if_it_fits(terminal):
    whole = aligned(LINES)
    assert len(whole) == 3 and "70.14  micro" in whole[2]
    width = max(map(len, whole))
    terminal(width)
    assert aligned(LINES, 2) == whole
    terminal(width - 1)
    assert aligned(LINES, 2) != whole


def test_columns_that_do_not_fit_are_below_the_others(terminal):
    terminal(22)
    lines = aligned(LINES, 2)
    assert lines == [
        "               Base",
        "Digits",
        "  CLIPFit  16  86.35",
        "",
        "               New",
        "Digits",
        "  CLIPFit  16  70.14",
        "",
        "               setting",
        "Digits",
        "  CLIPFit  16  micro",
    ]


def test_a_column_wider_than_the_terminal_is_alone(terminal):
    terminal(5)
    assert [line for line in aligned(LINES) if "CLIPFit" in line] == [
        "  CLIPFit  16",
        "  CLIPFit  86.35",
        "  CLIPFit  70.14",
        "  CLIPFit  micro",
    ]
