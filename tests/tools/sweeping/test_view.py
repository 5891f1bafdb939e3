"""What the display of a sweep draws from a state, in terminals of different sizes."""

import io
import re

import pytest
from rich.cells import cell_len
from rich.console import Console

from tools.reporting.stats import harmonic, over_seeds
from tools.sweeping.console import Progress
from tools.sweeping.results import Row
from tools.sweeping.view import RunningJob, Snapshot, draw

BASE, NEW = over_seeds({1: 80.0, 2: 82.0}), over_seeds({1: 60.0})
SIZES = [(40, 15), (80, 24), (200, 60), (20, 6), (8, 3)]


def job(number=1, **changes):
    values = {
        "title": f"CLIPFit on digits base, 16 shots, seed {number}", "trains": True, "seconds_left": 62.0,
        "progress": Progress(0.43, 43, 100, 0.5742, 78.125),
    }  # fmt: skip
    return RunningJob(**{**values, **changes})


def rows(count):
    """Returns rows of four datasets each; the first third has all results, the second one some, the others none."""
    found = []
    for i in range(count):
        stats = [{"Base": BASE, "New": NEW, "H": harmonic(BASE, NEW)}, {"Base": BASE}, {}][3 * i // count]
        found.append(Row(f"Dataset {i // 4}", f"Method{i}", stats, "1/2", 3 * i < count))
    return found


def lines_of(state, width=80, height=24):
    screen = io.StringIO()
    Console(file=screen, width=width, height=height).print(draw(state, width, height))
    return [line.rstrip() for line in screen.getvalue().splitlines()]


def state_of(jobs, n_rows):
    running = [job(i) for i in range(min(jobs, 40))]
    return Snapshot(running, jobs // 2, max(jobs, 1), 0, 0.5, 0, 70.0, ["Base", "New", "H"], rows(n_rows))


@pytest.mark.parametrize("width, height", SIZES)
@pytest.mark.parametrize("jobs, n_rows", [(0, 0), (1, 1), (12, 2), (400, 130)])
def test_all_fits_and_what_does_not_is_counted(width, height, jobs, n_rows):
    state = state_of(jobs, n_rows)
    lines = lines_of(state, width, height)
    assert len(lines) <= height and all(cell_len(line) <= width for line in lines)
    text = "\n".join(lines)
    if width >= 40:
        assert f"{state.done}/{state.total} jobs" in text and "0:01:10" in text
        more = {what: int(number) for number, what in re.findall(r"and (\d+) more (.*)", text)}
        assert text.count("epoch  43/100") + more.get("running jobs", 0) == len(state.running)
        assert len(re.findall(r"Method\d+ ", text)) + more.get("rows", 0) == n_rows


def test_a_running_job():
    for width in (40, 80, 200):
        text = "\n".join(lines_of(Snapshot([job()], total=1), width))
        for fact in ("CLIPFit on digi", "seed 1", "epoch  43/100", "loss 0.574", "acc 78.1%", "0:01:02"):
            assert fact in text, (width, fact)


@pytest.mark.parametrize("changes, fact, absent", [
    ({"progress": None}, "starting", "epoch"),
    ({"progress": None, "trains": False}, "testing", "epoch"),
    ({"progress": Progress(1.0, 100, 100, 0.5, 90.0)}, "testing", "epoch"),
    ({"progress": Progress(0.1, 1, 10, None, None)}, "epoch  1/10", "loss"),
    ({"seconds_left": None}, "epoch", "0:"),
])  # fmt: skip
def test_phases_of_a_job(changes, fact, absent):
    text = lines_of(Snapshot([job(**changes)], total=1))[0:2]
    assert fact in " ".join(text) and absent not in " ".join(text)


def test_failed_and_external_jobs_are_counted():
    text = "\n".join(lines_of(Snapshot(done=5, total=12, failed=2, external=1)))
    assert "5/12 jobs" in text and "2 failed" in text and "1 in other processes" in text and "unknown" in text


def test_cells_show_mean_and_std_of_the_seeds_that_are_there():
    lines = lines_of(Snapshot(columns=["Base", "New", "H"], rows=rows(3)))
    assert lines[0].split() == ["Base", "New", "H", "seeds"] and lines[1] == "Dataset 0"
    assert re.split(r"  +", lines[2].strip()) == ["Method0", "81.00 ± 1.00", "60.00", "68.94", "1/2"]
    assert re.split(r"  +", lines[3].strip()) == ["Method1", "81.00 ± 1.00", "-", "-", "1/2"]
    assert re.split(r"  +", lines[4].strip()) == ["Method2", "-", "-", "-", "1/2"]


def test_a_narrow_table_has_means_only_then_fewer_columns():
    state = Snapshot(columns=["Base", "New", "H"], rows=rows(3))
    narrow = lines_of(state, 45)
    assert "81.00" in narrow[2] and "±" not in "\n".join(narrow)
    narrowest = "\n".join(lines_of(state, 30))
    assert "Base" in narrowest and "more columns" in narrowest


def test_rows_with_waiting_jobs_come_first():
    text = "\n".join(lines_of(Snapshot(columns=["Base"], rows=rows(60)), 80, 20))
    assert "Method19 " not in text and "Method20 " in text
    ended = [row._replace(ended=True) for row in rows(60)]
    assert "Method59 " in "\n".join(lines_of(Snapshot(columns=["Base"], rows=ended), 80, 20))


def test_control_characters_and_wide_letters():
    hostile = "CLIPFit on \x1b[2J\nfolder: 猫猫猫猫猫猫猫猫猫猫, seed 1"
    row = Row(hostile, hostile, {}, "0/1", False)
    lines = lines_of(Snapshot([job(title=hostile)], total=1, columns=["Base"], rows=[row]), 40)
    assert "\x1b" not in "\n".join(lines) and len(lines) <= 8 and all(cell_len(line) <= 40 for line in lines)
