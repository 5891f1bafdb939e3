"""The patterns match Dassl's log lines."""

import subprocess
import sys
from pathlib import Path

import pytest

from trainers.common.runs import log_lines

ROOT = Path(__file__).resolve().parents[4]
LINE = (
    "epoch [2/4] batch [5/10] time 0.407 (0.407) data 0.082 (0.082) loss_kd 0.1 (0.1) loss 1.6508 (1.7) "
    "acc 15.6250 (15.6250) lr 1.0000e-05 eta 0:00:02"
)


def test_progress():
    match = log_lines.BATCH.match(LINE)
    assert match.groups() == ("2", "4", "5", "10") and log_lines.share_trained(match) == 1.5 / 4
    assert log_lines.LOSS.search(LINE)[1] == "loss 1.6508"
    assert [m[3] for m in log_lines.BATCH.finditer(f"x\n{LINE}\n{LINE.replace('[5/10]', '[10/10]')}\n")] == ["5", "10"]


@pytest.mark.parametrize(
    "keyword, line, number",
    [("accuracy", "* accuracy: 81.2%", "81.2"), ("macro_f1", "* macro_f1: 4e1%", "4e1"),
     ("error", "* error: --%", "--"),
     ("accuracy", "* accuracy: ?%", None), ("accuracy", "* macro_f1: 1%", None),
     ("accuracy", "class * accuracy: 1%", None), ("a|accuracy", "* accuracy: 2%", "2"),
     ("a|accuracy", "accuracy: 2%", None)],
)  # fmt: skip
def test_results(keyword, line, number):
    match = log_lines.metric(keyword).search(line)
    assert (match and match[1]) == number


def test_the_body_of_a_log_has_no_names():
    lines = [
        "** Arguments **", "output_dir: x", "* accuracy: 1%", "** Config **", "TEMPLATE: a", "* accuracy: 2%",
        "** System info **", "Evaluate on the *val* set", "=> result", "* accuracy: 3%", "=> per-class result",
        "* class: 0 (cat", "=> result", "* accuracy: 4%)", "* average: 5%", "Finish training",
        "Evaluate on the *test* set", "=> result",
        "* accuracy: 6%",
    ]  # fmt: skip
    kept = list(log_lines.body(lines))
    assert "Finish training" in kept
    assert [line for line in kept if "%" in line] == ["* accuracy: 3%", "* average: 5%", "* accuracy: 6%"]
    assert list(log_lines.body(iter(["epoch [1/2]", "* accuracy: 1%"]))) == ["epoch [1/2]", "* accuracy: 1%"]


def test_counts():
    assert log_lines.COUNT.match("* total: 12,345").groups() == ("total", "12,345")


def test_progress_bar(tmp_path):
    """scripts/coop_checkout/progress.py reads a log with the same patterns, in any current folder."""
    command = [sys.executable, str(ROOT / "scripts" / "coop_checkout" / "progress.py"), "TITLE"]
    run = subprocess.run(command, input=f"{LINE}\n* accuracy: 81.2%\n", capture_output=True, text=True, cwd=tmp_path)
    assert run.returncode == 0 and "TITLE: 100%" in run.stdout and "accuracy 81.2%" in run.stdout
