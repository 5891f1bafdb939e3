"""The script for a GPU, and the estimate of Table 1 from runs on made images."""

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

sys.path.insert(0, str(Path("benchmarks").resolve()))
import table1  # noqa: E402


def gpu_script(*arguments, **environment):
    """Runs benchmarks/gpu.sh with `echo` instead of Python."""
    env = {"PATH": "/usr/bin:/bin", "PYTHON": "echo", **environment}
    return subprocess.run(["bash", "benchmarks/gpu.sh", *arguments], capture_output=True, text=True, env=env)


def test_all_parts_run_within_15_minutes_in_their_order(tmp_path):
    done = gpu_script(str(tmp_path / "my results"))
    assert done.returncode == 0 and done.stderr == ""
    summary = (tmp_path / "my results/summary.txt").read_text().splitlines()
    parts = [line.partition(":")[0] for line in summary]
    assert parts == ["tests", "steps", "steps128", "methods", "evaluation", "loading", "table1"]
    assert all("exit code 0 " in line for line in summary)
    steps = (tmp_path / "my results/steps.txt").read_text()
    assert "--precision fp16 bf16 --classes 100 1000" in steps and "--batch 32 --plain 1000" in steps
    limits = [int(word.partition("=")[2]) for word in Path("benchmarks/gpu.sh").read_text().split() if "limit=" in word]
    assert len(limits) == len(parts) and sum(limits) < 15 * 60


def test_a_part_that_fails_does_not_stop_the_others(tmp_path):
    done = gpu_script(str(tmp_path), "evaluation", "loading", PYTHON="false")
    assert done.returncode == 1
    assert (tmp_path / "summary.txt").read_text().count("exit code 1 ") == 2


def test_unknown_part(tmp_path):
    done = gpu_script(str(tmp_path), "steps", "stepps")
    assert done.returncode == 2 and "stepps" in done.stderr and len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "steps.txt").exists()


def test_made_images_differ_in_bytes_and_can_be_read(tmp_path, monkeypatch):
    monkeypatch.setattr(table1, "DIFFERENT_JPEGS", 2)
    root = table1.make_classes(tmp_path, 3, tested=7)
    assert sorted(folder.name for folder in root.iterdir()) == ["test", "train"]
    files = [path for path in root.rglob("*.jpg")]
    assert len(files) == 3 * 16 + 3 * 2 and len({path.read_bytes() for path in files}) == len(files)
    image = Image.open(files[0])
    image.load()
    assert image.size == (500, 375)
    assert len(list((root / "train").iterdir())) == 3  # classes


@pytest.mark.parametrize(("n_cls", "steps", "expected"), [(10, 200, 100), (100, 200, 8), (1000, 200, 1), (4, 2, 2)])
def test_epochs_for_a_number_of_steps(n_cls, steps, expected):
    assert table1.epochs(n_cls, steps) == expected
