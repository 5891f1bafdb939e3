"""Helpers: the train.py commands of a script, without running it, and train.py in this process."""

import json
import os
import sys

import train
from tools import sweep
from tools.sweeping.plan import plan
from tools.sweeping.script_arguments import make_parser, sweep_arguments


def commands(protocol, *arguments):
    """Returns the argument lists of train.py for the arguments of a protocol's script."""
    args = sweep.parse_args(sweep_arguments(make_parser(protocol, {}), protocol, list(arguments)))
    sweep.prepare(args)
    return [job.argv for job in plan(args)]


def run(argv, monkeypatch):
    """Runs train.py in this process. Returns the run record."""
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", sys.stdout)  # the logger replaces sys.stdout
        patch.setattr(sys, "argv", ["train.py", *argv])  # it is part of the record
        assert train.main(argv) == 0
    return json.loads(open(os.path.join(train.parse_args(argv).output_dir, "result.json")).read())
