"""The live display at a terminal: what is printed stays above it, bars are in it, and nothing of it is left."""

import contextlib
import multiprocessing
import sys
import time

import pytest
from rich.text import Text
from tqdm import tqdm

from runtime import display
from tests import terminal

CONTENT = "steps 7"


def shown(block, is_shown=lambda line: True, columns=80, **options):
    """What a terminal shows of a program that runs `block(display)` with a display of CONTENT and of the activity."""

    def program():
        from rich.console import Group

        live = display.Display(display.terminal(), lambda: Group(Text(CONTENT), live.activity()), is_shown)
        live.keep = True
        try:
            with live:
                block(live)
        except KeyboardInterrupt:
            print("interrupted")
            return 130
        print("after it")
        return 0

    return terminal.run(program, columns, **options)


def wait_for_frame() -> None:
    time.sleep(1.5 / display.FRAMES)


def test_printed_lines_stay_and_the_display_goes():
    def block(live):
        print("first\nsecond")
        print("third", end="")
        print(" part", file=sys.stderr)
        wait_for_frame()
        print(", its end")
        sys.stdout.write("no line break")

    result = shown(block)
    assert result.code == 0
    assert result.lines == ["first", "second", " part", "third, its end", "no line break", "after it"]
    assert any(CONTENT in frame for frame in result.frames) and not result.cursor_is_hidden


def test_lines_that_are_not_shown_are_the_status():
    def block(live):
        print("Loading weights")
        wait_for_frame()
        print("a warning", file=sys.stderr)
        print("Loaded")

    result = shown(block, is_shown=lambda line: not line.startswith("Load"))
    assert result.lines == ["a warning", "after it"]
    assert any("Loading weights" in frame for frame in result.frames)


def bars(live):
    for _ in tqdm(range(2), desc="outer", leave=True):
        for _ in tqdm(range(3), desc="inner", leave=False):
            wait_for_frame()
    for _ in tqdm(iter(range(2)), mininterval=0):
        pass
    print("\rdone: 5 files")


@pytest.mark.parametrize("columns", [80, 40, 15])
def test_bars_of_tqdm_are_in_the_display(columns):
    result = shown(bars, columns=columns)
    assert result.lines == ["done: 5 files", "after it"]
    assert any("inner" in frame for frame in result.frames)
    assert all(frame.count("inner") + frame.count("outer") <= 1 for frame in result.frames)
    if columns > 15:
        assert any("2/3" in frame for frame in result.frames)


def test_lines_that_end_with_a_carriage_return():
    def block(live):
        for number in (1, 2):
            print(f"{number}/2 files", end="\r")
            wait_for_frame()
            assert live.bar == f"{number}/2 files"
        print()
        sys.stdout.write("all files\r")

    result = shown(block)
    assert result.lines == ["2/2 files", "all files", "after it"]


def test_a_long_line_is_wrapped_by_the_terminal_only():
    path = "/a folder/" + "with-a-long-name" * 5
    result = shown(lambda live: print(path), columns=40)
    assert "".join(result.lines[:-1]) == path and path in result.output


def test_a_status_wider_than_the_terminal_is_one_line():
    def block(live):
        print("Status " * 20)
        wait_for_frame()

    result = shown(block, is_shown=lambda line: False, columns=40)
    assert result.lines == ["after it"]
    assert max(frame.count("Status") for frame in result.frames) < 40 / len("status")


def test_a_terminal_that_gets_narrower_and_wider():
    widths = iter([40, 100])

    def resize(text, it):
        if CONTENT in text:
            width = next(widths, None)
            if width is None:
                return True
            it.resize(width, 20)
        return False

    def block(live):
        for _ in range(4):
            wait_for_frame()
        print("x" * 90)

    result = shown(block, when=resize)
    assert result.code == 0 and result.lines == ["x" * 90, "after it"]


def test_ctrl_c_leaves_the_last_frame():
    def block(live):
        print("begun")
        time.sleep(60)

    result = shown(block, when=lambda text, it: len(it.frames) > 4 and (it.type(b"\x03") or True))
    assert result.code == 130 and not result.cursor_is_hidden
    assert result.lines[:2] == ["begun", CONTENT] and result.lines[-1] == "interrupted"


def test_ctrl_c_with_a_display_as_wide_as_the_terminal():
    lines = ["=" * 80, "-" * 80]

    def block(live):
        live.content = lambda: Text("\n".join(lines))
        print("begun")
        with contextlib.suppress(KeyboardInterrupt):
            time.sleep(60)
        wait_for_frame()

    result = shown(block, when=lambda text, it: lines[1] in text and (it.type(b"\x03") or True))
    assert result.lines == ["begun", "after it"]


def test_ctrl_c_at_the_start():
    result = shown(lambda live: time.sleep(60), when=lambda text, it: text and (it.type(b"\x03") or True))
    assert result.code == 130 and result.lines[-1] == "interrupted"


def test_a_forked_process_prints_without_the_display():
    def block(live):
        context = multiprocessing.get_context("fork")
        for number in range(5):
            child = context.Process(target=print, args=(f"child {number}",), kwargs={"flush": True})
            child.start()
            child.join(10)
            assert child.exitcode == 0

    result = shown(block)
    assert result.code == 0 and result.lines[-1] == "after it"
    assert all(f"child {number}" in result.output for number in range(5))


@pytest.mark.parametrize("term, colours", [("xterm-256color", True), ("xterm", False)])
def test_no_colour(term, colours):
    def block(live):
        print("WARNING: careful")
        print("\x1b[31mred\x1b[0m")
        wait_for_frame()

    result = shown(block, environ={"TERM": term} if colours else {"TERM": term, "NO_COLOR": "1"})
    codes = set(display.ESCAPES.findall(result.output))
    assert colours == any(code in codes for code in ("\x1b[33m", "\x1b[31m"))
    assert result.lines[:2] == ["WARNING: careful", "red"]


@pytest.mark.parametrize("environ", [{"TERM": "dumb"}, {"TERM": "unknown"}, {"TTY_INTERACTIVE": "0"}])
def test_no_display_where_lines_cannot_be_redrawn(environ):
    result = terminal.run(lambda: print(display.terminal()) or 0, environ=environ)
    assert result.lines == ["None"]


def test_no_display_without_utf_8():
    def program():
        sys.stdout.reconfigure(encoding="ascii")
        return print(display.terminal()) or 0

    assert terminal.run(program).lines == ["None"]


def test_no_display_in_a_pipe(capsys):
    assert display.terminal() is None
