"""The scripts call the sweep with the protocol and the method of their name, and return its exit code."""

import os
import subprocess
from pathlib import Path

import pytest

from tests import fork_server
from tests.user_errors import assert_user_error
from tools.recipe import DEFAULT, EVERY, read_table
from tools.sweeping.plan import PROTOCOLS

# Method -> folder of its scripts
FOLDERS = {name: name.lower() for name in read_table() if name not in (DEFAULT, EVERY, "ZeroshotCLIP", "ZeroshotCLIP2")}
FOLDERS |= {"TipAdapter": "tip_adapter", "TipAdapterF": "tip_adapter_f", "ZeroshotCLIP": "zeroshot_clip"}
FOLDERS |= {"LayerNormTuning": "layernorm_tuning", "FullFineTuning": "full_fine_tuning", "TwoStage": "two_stage"}
FOLDERS |= {"SkipTuning": "skip_tuning"}
FOLDERS |= {"CLIPLoRA": "clip_lora", "CLIPSVD": "clip_svd"}
FOLDERS |= {"LinearProbe": "linear_probe", "PromptTuning": "prompt_tuning", "LPPlusPlus": "lp_plus_plus"}


def call(script, *arguments, python=None, cwd=None):
    environment = {"PATH": os.environ["PATH"], "PYTHON": str(python or fork_server.python()), "OMP_NUM_THREADS": "1"}
    command = ["bash", os.path.abspath(script), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=cwd)


@pytest.fixture
def python_call(tmp_path):
    """python_call(SCRIPT, *arguments): working directory and arguments that a script starts Python with."""
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\npwd\nprintf "%s\\n" "$@"\n')
    python.chmod(0o755)

    def run(script, *arguments):
        return call(script, *arguments, python=python, cwd=tmp_path).stdout.splitlines()

    return run


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_scripts_pass_protocol_and_method(python_call, protocol):
    module = [os.getcwd(), "-m", "tools.sweeping.script_arguments", protocol]
    arguments = ["dtd", "1", "--data", "a b", "--", "OPTIM.LR", "0.1"]
    assert python_call(f"scripts/{protocol}.sh", "CoOp", *arguments) == [*module, "CoOp", *arguments]
    if protocol == "retrieval":  # not for every method
        return
    for method, folder in {**FOLDERS, "ZeroshotCLIP": "zsclip"}.items():  # zsclip: the former name
        assert python_call(f"scripts/{folder}/{protocol}.sh", *arguments) == [*module, method, *arguments]
    for method, folder in FOLDERS.items():
        assert python_call(f"scripts/{folder}/{protocol}.sh") == [*module, method]


def test_every_script_folder_is_tested():
    folders = {path.parent.name for protocol in PROTOCOLS for path in Path("scripts").glob(f"*/{protocol}.sh")}
    assert folders - {"coop_checkout"} == {*FOLDERS.values(), "zsclip"}


def test_a_user_error_is_one_line():
    done = call("scripts/clipfit/fewshot.sh", "imagenet1k")
    assert done.stdout == ""
    assert_user_error(done, "'imagenet1k'", code=2)


def test_a_failed_run_gives_exit_code_1(tmp_path):
    argv = ("digits", "1", "--data", str(tmp_path / "data"), "--output", str(tmp_path / "out"))
    done = call("scripts/clipfit/base2new.sh", *argv, "--", "OPTIM.NAME", "none")
    assert done.returncode == 1
    (log,) = (tmp_path / "out" / "train_base").rglob("console.log")
    for text in (log.read_text(), done.stdout):  # the reason is in the log and at the end
        assert "OPTIM.NAME" in text


def test_missing_images_start_no_run(tmp_path):
    argv = ("folder", "1", "--data", str(tmp_path / "none"), "--output", str(tmp_path / "out"), "--backbone", "micro")
    done = call("scripts/clipfit/base2new.sh", *argv)
    assert done.returncode == 1 and not (tmp_path / "out").exists()
    assert str(tmp_path / "none") in done.stdout + done.stderr
