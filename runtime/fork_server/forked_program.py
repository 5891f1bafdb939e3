"""Turns a fork of the server into the program that a client asked for."""

import atexit
import builtins
import io
import os
import runpy
import signal
import sys
import threading
import types
import warnings
from typing import NoReturn

import numpy


def run(path: list[str], request: tuple, files: list[int]) -> NoReturn:
    """Makes this process the one that the client asked for, runs the program and ends as it ends.

    Joins its threads and calls its exit handlers, but does not free every object of torch, which takes half a second.

    Args:
        path: `sys.path` of the server, without the folder of its modules.
        request: see `request.send`. The options are
            unbuffered: as `python -u`;
            quiet: as `python -W ignore`;
            encodings: (encoding, errors) of stdin, stdout and stderr (default: those of the server);
            executable: `sys.executable` (default: that of the server);
            survives: whether the program is to run on if the client is killed.
        files: file descriptors of this process.
    """
    options, command, *process = request
    encodings = [(stream.encoding, stream.errors) for stream in (sys.stdin, sys.stdout, sys.stderr)]
    become(files, *process)
    open_streams(options.get("encodings", encodings), options["unbuffered"])
    if options.get("quiet"):
        sys.warnoptions[:] = ["ignore"]
        warnings.simplefilter("ignore")
    sys.dont_write_bytecode = bool(os.environ.get("PYTHONDONTWRITEBYTECODE"))
    sys.executable = options.get("executable", sys.executable)
    numpy.random.seed()  # all forks have the server's state; the module `random` has a seed of its own in each
    code = exit_code(command, path)
    threading._shutdown()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            code = 120  # as Python
    os._exit(code & 255)


def exit_code(command: list[str], path: list[str]) -> int:
    """Runs the program, prints what Python prints if it fails, and returns its exit code."""
    try:
        execute(command, path)
    except SystemExit as stop:
        if stop.code is None or isinstance(stop.code, int):
            return stop.code or 0
        print(stop.code, file=sys.stderr)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    else:
        return 0
    return 1


def become(files: list[int], environment: dict, folder: str, numbers: list[int], ignored: list[int]) -> None:
    """Takes over the client's open files, environment, folder and ignored signals, in a session of its own."""
    os.setsid()
    for file, number in zip(files, numbers, strict=True):
        os.dup2(file, number)
        os.close(file)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)


def open_streams(encodings: list[tuple[str, str]], unbuffered: bool) -> None:
    """Opens stdin, stdout and stderr as Python does at start. Those of the server belong to other files."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        encoding, errors = encodings[number]
        binary = open(number, "wb" if number else "rb", 0 if number and unbuffered else -1, closefd=False)
        lines = not unbuffered and (number == 2 or binary.isatty())
        stream = io.TextIOWrapper(binary, encoding, errors, line_buffering=lines, write_through=unbuffered)
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def execute(command: list[str], path: list[str]) -> None:
    """Runs a program or `-m MODULE` as the main module. `path` is the end of its `sys.path`."""
    path = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry] + path
    if command[0] == "-m":
        sys.argv = command[1:]
        sys.path[:] = [os.getcwd(), *path]
        runpy.run_module(command[1], run_name="__main__", alter_sys=True)
        return
    sys.argv = command
    program = os.path.abspath(command[0])
    sys.path[:] = [os.path.dirname(os.path.realpath(program)), *path]
    main = types.ModuleType("__main__")
    main.__file__, main.__builtins__ = program, builtins
    sys.modules["__main__"] = main
    with open(program, "rb") as file:
        code = compile(file.read(), program, "exec")
    exec(code, main.__dict__)
