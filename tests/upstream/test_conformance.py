"""CLIPFit on the bundled Dassl, on upstream's, and in a CoOp checkout has equal batches, learning rates and losses.

The CoOp checkout is used as its users do: install, train, evaluate, parse, uninstall.
"""

import hashlib
import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.fork_server import python as fast_python
from tests.reference.models import random_clip, save_clip
from tools import install_into_coop

from .checkouts import COOP, DASSL, ROOT, make_coop, make_dassl, python_path, write_textures

SHOTS, EPOCHS, STEPS = 4, 5, 15
OPTIONS = (
    f"DATALOADER.NUM_WORKERS 0 DATALOADER.TRAIN_X.BATCH_SIZE 4 OPTIM.MAX_EPOCH {EPOCHS} INPUT.SIZE (32,32) "
    "TRAIN.PRINT_FREQ 1"
).split()
TRACE = ROOT / "tests" / "upstream" / "trace_run.py"
RUN = Path("dtd") / f"shots_{SHOTS}" / "CLIPFit" / "vit_b16_ep100"
# The fork of Dassl in KgCoOp and ProGrad does not print `batch`.
PROGRESS = re.compile(r"^epoch \[(\d+)/\d+\]\s*(?:batch )?\[(\d+)/\d+\].*\sloss (\S+) .*\sacc (\S+) .*\slr (\S+)", re.M)
ACCURACY = re.compile(r"^\* accuracy: ([\.\deE+-]+)%", re.M)


def test_upstream_was_tested():
    missing = [name for name, path in (("UPSTREAM_COOP", COOP), ("UPSTREAM_DASSL", DASSL)) if not path]
    if missing:
        pytest.skip(f"{' and '.join(missing)} not set: stand-ins were tested, upstream was not")


def run(checkout: Path, command: list, **environment) -> str:
    """Runs a command in the folder of a checkout. Returns its stdout."""
    done = subprocess.run(
        list(map(str, command)),
        cwd=checkout,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:] + done.stdout[-3000:]
    return done.stdout


def base2new_in_coop(checkout: Path, data: Path, backbone: str, output: Path, **environment) -> str:
    """Runs scripts/clipfit/base2new.sh of a CoOp checkout with seed 1, and traces its Python processes."""
    python = output.parent / "python"
    python.parent.mkdir(parents=True, exist_ok=True)
    python.write_text(f'#!/bin/sh\nexec "{fast_python()}" "{TRACE}" "$@"\n')
    python.chmod(0o755)
    flags = ["--data", data, "--shots", SHOTS, "--backbone", backbone, "--output", output]
    command = ["bash", "scripts/clipfit/base2new.sh", "dtd", 1, *flags, "--", *OPTIONS]
    return run(checkout, command, PYTHON=str(python), **environment)


def base2new_in_this_repository(data: Path, backbone: str, output: Path, **environment) -> None:
    """Runs the same trainings and evaluations in this repository."""
    base, new = (output / part / RUN / "seed1" for part in ("train_base", "test_new"))
    flags = ["--root", data, "--trainer", "CLIPFit", "--backbone", backbone, "--seed", 1]
    flags += ["--dataset-config-file", "configs/datasets/dtd.yaml"]
    flags += ["--config-file", "configs/trainers/CLIPFit/vit_b16_ep100.yaml"]
    keys = ["DATASET.NUM_SHOTS", SHOTS, "TRAINER.CLIPFIT.BETA", 8.0, *OPTIONS, "DATASET.SUBSAMPLE_CLASSES"]
    train = [fast_python(), TRACE, "train.py", *flags]
    run(ROOT, [*train, "--output-dir", base, *keys, "base"], **environment)
    run(ROOT, [*train, "--output-dir", new, "--eval-only", "--model-dir", base, *keys, "new"], **environment)


def trace(output: Path, part: str) -> dict:
    return json.loads((output / part / RUN / "seed1" / "trace.json").read_text())


def log(output: Path, part: str) -> str:
    return (output / part / RUN / "seed1" / "log.txt").read_text()


def files_in(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_install_train_evaluate_parse_uninstall(tmp_path):
    """In a CoOp checkout on upstream Dassl, compared with this repository; each has its own copy of the data."""
    backbone = save_clip(random_clip("tiny"), tmp_path / "tiny.pt")
    coop, dassl = make_coop(tmp_path / "checkout"), make_dassl(tmp_path / "dassl")
    before = files_in(coop)
    assert install_into_coop.main([str(coop)]) == 0

    environments = {"bundled": {"CLIPFIT_DASSL": "bundled"}, "coop": python_path(dassl)}
    if DASSL:  # the stand-in is tested in the CoOp checkout already
        environments["ours"] = python_path(DASSL)
    outputs = {name: tmp_path / name / "output" for name in environments}
    for name, environment in environments.items():
        data = write_textures(tmp_path / name / "data")
        if name == "coop":
            printed = base2new_in_coop(coop, data, backbone, outputs[name], **environment)
        else:
            base2new_in_this_repository(data, backbone, outputs[name], **environment)

    for name in list(environments)[1:]:
        for part in ("train_base", "test_new"):
            bundled, other = trace(outputs["bundled"], part), trace(outputs[name], part)
            check_trace(bundled, other, steps=STEPS if part == "train_base" else 0)
            check_log(log(outputs["bundled"], part), log(outputs[name], part), bundled)

            record = json.loads((outputs[name] / part / RUN / "seed1" / "result.json").read_text())
            rows = (outputs[name] / part / RUN / "seed1" / "predictions.csv").read_text().splitlines()
            assert (
                len(rows) == 1 + record["metrics"]["test"]["total"] and record["trust"]["zero_shot"]["metrics"]["ece"]
            )

    assert list((tmp_path / "coop" / "data").rglob(f"shot_{SHOTS}-seed_1.pkl"))  # CoOp's few-shot files
    parsed = [float(value) for value in re.findall(r"^\* accuracy: (\S+)% \+- 0.00%$", printed, re.M)]
    accuracies = [trace(outputs["coop"], part)["accuracy"] for part in ("test_new", "train_base")]
    assert parsed == pytest.approx(accuracies, abs=0.051)  # printed with one decimal

    assert install_into_coop.main([str(coop), "--uninstall"]) == 0
    assert files_in(coop) == before and not (coop / "trainers" / "common").exists()


def check_trace(bundled: dict, other: dict, steps: int) -> None:
    assert other["splits"] == bundled["splits"]
    assert len(bundled["steps"]) == len(other["steps"]) == steps
    for expected, actual in zip(bundled["steps"], other["steps"], strict=True):
        assert actual["images"] == expected["images"]
        assert actual["lr"] == expected["lr"]
        assert actual["loss"] == pytest.approx(expected["loss"], abs=1e-5)
    assert other["accuracy"] == bundled["accuracy"]


def check_log(bundled: str, other: str, trace: dict) -> None:
    lines = PROGRESS.findall(bundled), PROGRESS.findall(other)
    assert len(lines[0]) == len(lines[1]) == len(trace["steps"])
    for expected, actual in zip(*lines, strict=True):
        assert list(map(float, actual)) == pytest.approx(list(map(float, expected)), abs=2e-4)
    assert [float(x) for x in ACCURACY.findall(other)] == pytest.approx([trace["accuracy"]], abs=0.051)
