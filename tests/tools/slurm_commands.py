"""Fake commands of SLURM, and submitted tasks run as SLURM would run them."""

import os
import pickle

import pytest


@pytest.fixture
def commands(tmp_path, monkeypatch):
    """Folder of the fake commands: sbatch copies its script to `batch.sh` as job 77; squeue prints the file `queue`."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in (
        ("srun", ""),
        ("sbatch", f"cp $1 {folder}/batch.sh; echo Submitted batch job 77"),
        ("squeue", f"cat {folder}/queue"),
    ):
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


def run_submitted(output) -> int:
    """Runs the tasks that were submitted for an output folder, each once. Returns their number."""
    submitted = sorted((output / ".slurm").glob("*/77*_submitted.pkl"))
    for path in submitted:
        pickle.loads(path.read_bytes()).result()
        path.unlink()
    return len(submitted)
