"""Reports mistakes of the user as one line on stderr and a non-zero exit code."""

import os
import re
import sys
import urllib.error
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
USER_ERRORS = (ValueError, OSError, FloatingPointError, ModuleNotFoundError)
# "pillow>=10.3,<14  # import PIL": the package, and the name of its module if they differ
REQUIREMENT = re.compile(r"(?P<package>[\w.-]+)[^#]*(?:# import (?P<module>\w+))?")


class Terminated(KeyboardInterrupt):
    """Raised on SIGTERM, which SLURM and Docker send before SIGKILL: ends a program as Ctrl-C does."""


def exit_code(run, *args, resume: str = "") -> int:
    """Calls `run(*args)` and returns the exit code of the program.

    The code is what `run` returns (None: 0), 130 after Ctrl-C, 143 after SIGTERM, and 1 after a user error. Prints the
    message of a user error, or its traceback with CLIPFIT_DEBUG=1. Prints `resume` after an interruption.
    """
    try:
        return run(*args) or 0
    except KeyboardInterrupt as stop:
        name, code = ("Terminated", 143) if isinstance(stop, Terminated) else ("Interrupted", 130)
        print(f"\n{name}. {resume}".rstrip(), file=sys.stderr)
        return code
    except USER_ERRORS as error:
        if isinstance(error, BrokenPipeError) and stdout_is_closed():  # `| head` has read enough
            return 1
        if os.environ.get("CLIPFIT_DEBUG") or (isinstance(error, ModuleNotFoundError) and is_ours(error.name)):
            raise
        print(f"error: {one_line(error)}", file=sys.stderr)
        return 1


def stdout_is_closed() -> bool:
    """Whether the reader of stdout has closed it. If so, discards buffered output."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True
    return False


def is_ours(module) -> bool:
    """Whether a module belongs to this repository. A failed import of one is a bug, not a missing package."""
    return bool(module) and (ROOT / module.partition(".")[0]).is_dir()


def one_line(error: Exception) -> str:
    """Returns the message of an error as one line; for a missing package, its name and the command to install it."""
    message = " ".join(str(error).split())
    if isinstance(error, urllib.error.URLError):
        return f"a download failed ({message}): check the connection, or put CLIP's weights into ~/.cache/clip by hand"
    if not isinstance(error, ModuleNotFoundError) or not error.name:
        return message
    package, file = find_requirement(error.name.partition(".")[0])
    if file is None:
        return f"{message}: install the package that provides it"
    return f"The package {package} is missing: pip install -r {os.path.relpath(file)}"


def find_requirement(module: str) -> tuple:
    """Returns (package, path of the requirements file that lists it) for a top-level module, else (None, None)."""
    for file in sorted(ROOT.glob("requirements*.txt")):  # a CoOp checkout has no such files
        for line in file.read_text(encoding="utf-8").splitlines():
            match = REQUIREMENT.match(line)
            if match and module == (match["module"] or match["package"].replace("-", "_")):
                return match["package"], file
    return None, None
