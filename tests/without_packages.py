"""Runs programs as if some packages were not installed: python tests/without_packages.py < JSON.

Takes {"missing": names of modules, "commands": lists of a program and its arguments} and prints a list of
{code, out, err}. All commands run in this one process, so that torch is imported once.
"""

import contextlib
import io
import json
import runpy
import sys
import traceback
from importlib.machinery import PathFinder
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)  # in place of tests/, which has a `tools` too


class OtherModules:
    """Finds modules as Python does, except those named `missing`."""

    def __init__(self, missing: list[str]):
        self.missing = missing

    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in self.missing else PathFinder.find_spec(name, path, target)


def run(command: list[str]) -> dict:
    sys.argv = command
    out, err, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            runpy.run_path(command[0], run_name="__main__")
        except SystemExit as stop:
            code = stop.code or 0
        except Exception:
            code = 1
            traceback.print_exc()
    return {"code": code, "out": out.getvalue(), "err": err.getvalue()}


if __name__ == "__main__":
    asked = json.load(sys.stdin)
    sys.meta_path[sys.meta_path.index(PathFinder)] = OtherModules(asked["missing"])
    json.dump([run(command) for command in asked["commands"]], sys.stdout)
