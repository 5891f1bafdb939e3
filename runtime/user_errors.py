"""Reports mistakes of the user as one line on stderr and a non-zero exit code."""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import sys
import urllib.error
from pathlib import Path

from .installation import INSTALLED, ROOT, as_typed

USER_ERRORS = (ValueError, OSError, FloatingPointError, ModuleNotFoundError)
# "pillow>=10.3,<14  # import PIL": the package, and the name of its module if they differ
REQUIREMENT = re.compile(r"(?P<package>[\w.-]+)[^#]*(?:# import (?P<module>\w+))?")


# RuntimeErrors of torch that are no bug: a part of the message, and what to do
RESOURCES = (
    (
        "out of memory",
        "set a smaller DATALOADER.TRAIN_X.BATCH_SIZE or DATALOADER.TEST.BATCH_SIZE (tools: --batch-size), set "
        "MODEL.ACTIVATION_CHECKPOINTING True, or end other programs that use this memory",
    ),
    ("CUDA error", "run nvidia-smi to check the GPU and its driver, or run on the CPU with USE_CUDA False"),
    ("cuDNN error", "run nvidia-smi to check the GPU and its memory, or run on the CPU with USE_CUDA False"),
    ("NVIDIA driver", "update the driver, install a torch for it, or run on the CPU with USE_CUDA False"),
)
OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")  # GPU, CPU on Linux, CPU on Windows


class Terminated(KeyboardInterrupt):
    """Raised on SIGTERM, which SLURM and Docker send before SIGKILL, and on SIGHUP: ends a program as Ctrl-C does."""

    def __init__(self, number: int = signal.SIGTERM):
        super().__init__()
        self.number = number

    @property
    def name(self) -> str:
        return "Terminated" if self.number == signal.SIGTERM else "The terminal was closed"

    @property
    def code(self) -> int:
        return 128 + self.number


def exit_code(run, *args, resume: str = "") -> int:
    """Calls `run(*args)` and returns the exit code of the program.

    The code is what `run` returns (None: 0), 130 after Ctrl-C, 143 after SIGTERM, 129 after SIGHUP, and 1 after a user
    error or if memory runs out. Prints the message of a user error, or its traceback with CLIPFIT_DEBUG=1. Prints
    `resume` after an interruption.
    """
    replace_closed_streams()
    try:
        return error_code(run, *args)
    except KeyboardInterrupt as stop:  # of `run`, or while its error is reported: torchrun stops a run that fails
        name = stop.name if isinstance(stop, Terminated) else "Interrupted"
        complain(f"\n{name}. {resume}".rstrip())
        stdout_is_closed()
        return stop_code(stop)


def error_code(run, *args) -> int:
    """Calls `run(*args)` as a part of a program. Returns what it returns (None: 0), or 1 after a user error."""
    try:
        return run(*args) or 0
    except (*USER_ERRORS, RuntimeError, MemoryError) as error:
        return failed(error)


def failed(error: Exception) -> int:
    """Prints the line of a user error, and returns the program's exit code. Raises other errors again."""
    if stop := cause(error, Terminated):  # a closed terminal cannot be written to, so cleaning up failed
        raise stop
    if isinstance(error, BrokenPipeError) and stdout_is_closed():  # `| head` has read enough
        return 1
    is_bug = isinstance(error, ModuleNotFoundError) and is_ours(error.name)
    message = "" if is_bug else one_line(error)
    if os.environ.get("CLIPFIT_DEBUG") or not message:
        raise error
    complain(f"error: {message}")
    return 1


def stop_code(stop: KeyboardInterrupt) -> int:
    """Returns the exit code of a program that a signal or Ctrl-C has stopped."""
    return stop.code if isinstance(stop, Terminated) else 130


def cause(error: BaseException, kind: type) -> BaseException | None:
    """Returns the exception of this kind during whose handling `error` was raised, or None."""
    while error is not None and not isinstance(error, kind):
        error = error.__context__
    return error


def complain(text: str) -> None:
    """Prints to stderr, if it can still be written to. Programs are named as the user typed them."""
    try:
        print(as_typed(text), file=sys.stderr, flush=True)
    except OSError:
        discard(sys.stderr)


def replace_closed_streams() -> None:
    """Opens os.devnull as stdin, stdout and stderr if they are closed (`>&-`). Otherwise printing would fail."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))


def stdout_is_closed() -> bool:
    """Whether the reader of stdout has closed it. If so, discards buffered output."""
    try:
        sys.stdout.flush()
        closed = has_no_reader(sys.stdout)  # a failed write may have left nothing to flush
    except OSError:
        closed = True
    if closed:
        discard(sys.stdout)
    return closed


def has_no_reader(stream) -> bool:
    """Whether a stream is a pipe that nobody reads, or a terminal that was closed."""
    if not hasattr(select, "poll"):
        return False
    poll = select.poll()
    try:
        poll.register(stream.fileno(), select.POLLOUT)
    except (OSError, ValueError):  # no file, as in tests
        return False
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))


def discard(stream) -> None:
    """Connects a stream that can no longer be written to with os.devnull, so that Python can flush it at exit."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def is_ours(module) -> bool:
    """Whether a module belongs to this repository. A failed import of one is a bug, not a missing package."""
    return bool(module) and (ROOT / module.partition(".")[0]).is_dir()


def one_line(error: BaseException) -> str:
    """Returns the message of a user error as one line with a remedy; "" for a RuntimeError that is a bug.

    The remedy for a missing package is the command to install it.
    """
    message = " ".join(str(error).split())
    if isinstance(error, (RuntimeError, MemoryError)):
        return resource_error(error, message)
    if isinstance(error, urllib.error.URLError):
        return f"a download failed ({message}): check the connection, or put CLIP's weights into ~/.cache/clip by hand"
    if not isinstance(error, ModuleNotFoundError) or not error.name:
        return message
    package, file = find_requirement(error.name.partition(".")[0])
    if file is None:
        return f"{message}: install the package that provides it"
    return f"The package {package} is missing: {install_command(file)}"


def install_command(file: Path) -> str:
    """Returns the command that installs a requirements file: an extra of the installed package, if it is one."""
    extra = file.stem.partition("-")[2]
    return f'pip install "clipfit[{extra}]"' if INSTALLED and extra else f"pip install -r {os.path.relpath(file)}"


def resource_error(error: BaseException, message: str) -> str:
    """Returns the line for an error of the GPU or of memory, else ""."""
    if isinstance(error, MemoryError) or any(words in message for words in OUT_OF_MEMORY):
        kind = "out of memory"
    else:
        kind = next((words for words, _ in RESOURCES if words in message), "")
    # torch's message ends with advice on its own environment variables; its first sentence says what is missing
    reason = re.split(r"(?<=[a-z])\. ", message, maxsplit=1)[0].rstrip(".") or type(error).__name__
    return f"{reason[:200]}: {dict(RESOURCES)[kind]}" if kind else ""


def find_requirement(module: str) -> tuple:
    """Returns (package, path of the requirements file that lists it) for a top-level module, else (None, None)."""
    for file in sorted(ROOT.glob("requirements*.txt")):  # a CoOp checkout has no such files
        for line in file.read_text(encoding="utf-8").splitlines():
            match = REQUIREMENT.match(line)
            if match and module == (match["module"] or match["package"].replace("-", "_")):
                return match["package"], file
    return None, None
