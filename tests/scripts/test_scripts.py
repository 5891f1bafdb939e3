"""The scripts are short forms of the sweep: which protocol and method they name, and how they end."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tools.recipe import DEFAULT, read_table
from tools.sweeping.plan import PROTOCOLS

# Script folder of each method
FOLDERS = {name: name.lower() for name in read_table() if name not in (DEFAULT, "ZeroshotCLIP", "ZeroshotCLIP2")}
FOLDERS |= {"TipAdapter": "tip_adapter", "TipAdapterF": "tip_adapter_f", "ZeroshotCLIP": "zeroshot_clip"}


def call(script, *arguments, python=sys.executable, cwd=None):
    environment = {"PATH": os.environ["PATH"], "PYTHON": str(python), "OMP_NUM_THREADS": "1"}
    command = ["bash", os.path.abspath(script), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=cwd)


@pytest.fixture
def passed_on(tmp_path):
    """passed_on(SCRIPT, *arguments): the folder that Python is started in, and its arguments."""
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\npwd\nprintf "%s\\n" "$@"\n')
    python.chmod(0o755)

    def names(script, *arguments):
        return call(script, *arguments, python=python, cwd=tmp_path).stdout.splitlines()

    return names


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_they_name_protocol_and_method(passed_on, protocol):
    module = [os.getcwd(), "-m", "tools.sweeping.script_arguments", protocol]
    arguments = ["dtd", "1", "--data", "a b", "--", "OPTIM.LR", "0.1"]
    assert passed_on(f"scripts/{protocol}.sh", "CoOp", *arguments) == [*module, "CoOp", *arguments]
    for method, folder in {**FOLDERS, "ZeroshotCLIP": "zsclip"}.items():  # the former name
        assert passed_on(f"scripts/{folder}/{protocol}.sh", *arguments) == [*module, method, *arguments]
    for method, folder in FOLDERS.items():
        assert passed_on(f"scripts/{folder}/{protocol}.sh") == [*module, method]


def test_every_folder_is_tried():
    folders = {path.parent.name for protocol in PROTOCOLS for path in Path("scripts").glob(f"*/{protocol}.sh")}
    assert folders - {"coop_checkout"} == {*FOLDERS.values(), "zsclip"}


def test_a_mistake_ends_with_one_line():
    done = call("scripts/clipfit/fewshot.sh", "imagenet1k")
    assert done.returncode == 2 and done.stdout == "" and len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("error: ") and "'imagenet1k'" in done.stderr


def test_a_failed_run_is_no_success(tmp_path):
    argv = ("folder", "1", "--data", str(tmp_path / "none"), "--output", str(tmp_path / "out"), "--backbone", "micro")
    done = call("scripts/clipfit/base2new.sh", *argv)
    assert done.returncode == 1
    run = "folder/shots_16/CLIPFit/micro_ep100/seed1"
    assert (tmp_path / "out" / "train_base" / run / "console.log").is_file()
    assert str(tmp_path / "none") in done.stdout  # of the run's own log, and of the reason at the end
