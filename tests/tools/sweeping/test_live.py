"""The live display of a sweep at a terminal: what is on the screen meanwhile, and what is left on it at the end."""

import contextlib
import os
import pty
import re
import signal

import pytest

from tests import terminal
from tools.sweeping import console, live

SWEEP = ("base2new", "--methods", "CLIPFit", "--seeds", "1", "2", "--jobs", "2")
JOBS = [f"CLIPFit on digits {part}, 16 shots, seed {seed}" for seed in (1, 2) for part in ("base", "new")]
EPOCH = re.compile(r"epoch +\d+/10")
RED = "\x1b[31m"


@pytest.fixture(autouse=True)
def often(monkeypatch):
    """Jobs that take a second are looked at often enough."""
    monkeypatch.setattr(console, "READ_SECONDS", 0.05)
    monkeypatch.setattr(live, "UPDATE_SECONDS", 0.1)


@pytest.fixture
def slow(sandbox):
    """The sandbox, whose trainings take a second."""
    sandbox.orders["train_base"] = {"seconds": 1}
    return sandbox


def shown(sandbox, **options):
    """Runs a sweep at a terminal. Returns a `terminal.Shown`."""
    return terminal.run(lambda: sandbox.run(*SWEEP), **options)


def at_first_epoch(act):
    """Returns what calls `act(terminal)` as soon as both jobs are trained."""

    def when(text, screen):
        if len(EPOCH.findall(text)) < 2:
            return False
        act(screen)
        return True

    return when


@pytest.mark.parametrize("columns", [40, 120])
def test_running_jobs_and_results_are_shown_and_give_way_to_the_lines(slow, columns):
    result = shown(slow, columns=columns)
    assert result.code == 0 and not result.cursor_is_hidden
    frames = "\n".join(result.frames)
    for fact in ("0/4 jobs", "loss 1", "50.00", "0/2", "2/2", "time left"):
        assert fact in frames, fact
    assert max(len(EPOCH.findall(frame)) for frame in result.frames) == 2  # no line is wrapped or left behind
    ends = [line for line in result.lines if line.startswith("[")]
    assert len(ends) == 4 and "━" not in result.text and not EPOCH.search(result.text)
    letters = "".join(result.text.split())  # without the line breaks of a narrow terminal
    assert all("".join(job.split()) in letters for job in JOBS) and result.lines[-1].startswith("4 of 4 jobs")


def test_a_failed_job_stays_on_the_screen_with_its_log(sandbox):
    failed = "train_base/digits/shots_16/CLIPFit/micro_ep100/seed1"
    sandbox.orders[failed] = {"error": "error: no folder /data/digits: pass --root"}
    result = shown(sandbox, columns=200)
    (number,) = [i for i, line in enumerate(result.lines) if line.startswith("[") and f"{JOBS[0]}: failed" in line]
    assert "no folder /data/digits: pass --root" in result.lines[number]
    assert str(sandbox.out / failed / console.FILE) in "".join(result.lines[number + 1 : number + 3])
    assert result.code == 1 and RED in result.output and " failed" in "\n".join(result.frames)


@pytest.mark.parametrize("environ", [{"TERM": "dumb"}, {"NO_COLOR": "1"}])
def test_terminals_without_colours(sandbox, environ):
    sandbox.orders["seed1"] = {"error": "error: no"}
    result = shown(sandbox, environ=environ.items())
    assert result.code == 1 and not re.search(r"\x1b\[[\d;]*3\d", result.output)
    assert ("\x1b" in result.output) == (environ != {"TERM": "dumb"})


def test_without_a_terminal_there_are_only_lines(sandbox, capfd):
    assert sandbox.run(*SWEEP) == 0
    out, errors = capfd.readouterr()
    assert "\x1b" not in out and "\r" not in out and not errors
    assert len(re.findall(r"^\[\d/4\] ", out, re.M)) == 4


def test_the_log_of_one_job_takes_the_place_of_the_display(sandbox):
    result = terminal.run(lambda: sandbox.run(*SWEEP[:3], "--seeds", "1", "--log"))
    assert result.code == 0 and "\x1b" not in result.output and "epoch [10/10] batch [1/1]" in result.text


def test_a_resized_terminal(slow):
    result = shown(slow, rows=30, when=at_first_epoch(lambda screen: screen.resize(40, 15)))
    assert result.code == 0 and result.lines[-1].startswith("4 of 4 jobs")
    assert "━" not in result.text and not EPOCH.search(result.text)  # nothing of the wide display is left


def test_ctrl_c_stops_the_jobs_and_restores_the_terminal(sandbox):
    sandbox.orders["train_base"] = {"seconds": 20}
    result = shown(sandbox, when=at_first_epoch(lambda screen: screen.type(b"\x03")))
    assert result.code == 130 and not result.cursor_is_hidden
    assert re.search(r"\b2 running jobs\b", result.text) and re.search(r"\b4 jobs left\b", result.text)
    assert "━" not in result.text


def test_a_killed_sweep_leaves_a_usable_terminal(slow):
    result = shown(slow, when=at_first_epoch(lambda screen: os.kill(screen.pid, signal.SIGKILL)))
    assert result.code == -signal.SIGKILL and not result.cursor_is_hidden
    assert "\x1b[?1049h" not in result.output  # no other screen


def test_a_closed_terminal_stops_the_jobs(sandbox):
    sandbox.orders["train_base"] = {"seconds": 20}
    pid, master = pty.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            terminal._be(lambda: sandbox.run(*SWEEP), 80, 24, {"TERM": "xterm"})
        os._exit(70)
    seen = ""
    while len(EPOCH.findall(seen)) < 2:
        seen += os.read(master, 65536).decode(errors="replace")
    os.close(master)  # sends SIGHUP
    os.waitpid(pid, 0)
    logs = list(sandbox.out.rglob(console.FILE))
    assert len(logs) == 2
    for log in logs:
        assert console.failure(log.parent) == "" and console.ENDED in log.read_text()  # interrupted, and has ended
