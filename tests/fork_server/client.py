"""Runs a program in a fork of the server: python [-u] [-W ignore] (PROGRAM | -m MODULE) [ARGUMENTS].

Replaces itself by a real Python for other options, for environment variables that only a start reads, and if a stream
is closed. Its file begins with the code of `runtime/fork_server/request.py`, as it cannot import that.
"""

import os
import signal
import sys

AFTER_START = {
    "PYTHONDONTWRITEBYTECODE",
    "PYTHONPATH",
    "PYTHONUNBUFFERED",
    "PYTHONWARNINGS",
}  # variables that the server honours
PASSED_ON = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2]


def split(arguments: list[str], environment: dict[str, str]) -> tuple[dict, list[str]]:
    """Returns the options of Python and the command, which is empty if there are options that the server lacks."""
    options = {
        "executable": os.path.abspath(__file__),
        "quiet": environment.get("PYTHONWARNINGS") == "ignore",
        "unbuffered": bool(environment.get("PYTHONUNBUFFERED")),
        "encodings": [(stream.encoding, stream.errors) for stream in (sys.stdin, sys.stdout, sys.stderr) if stream],
    }
    rest = list(arguments)
    while rest[:2] == ["-W", "ignore"] or rest[:1] == ["-u"]:
        options["quiet" if rest[0] == "-W" else "unbuffered"] = True
        del rest[: 2 if rest[0] == "-W" else 1]
    is_known = len(rest) > 1 if rest[:1] == ["-m"] else rest and rest[0][:1] != "-"
    return options, rest if is_known else []


def needs_real_python(environment: dict[str, str]) -> bool:
    names = {name for name in environment if name.startswith("PYTHON") and name != "PYTHON"} - AFTER_START
    return bool(
        names or environment.get("OMP_NUM_THREADS") != "1" or environment.get("PYTHONWARNINGS", "ignore") != "ignore"
    )


def open_files() -> list[int]:
    numbers = []
    for number in map(int, os.listdir("/dev/fd")):
        try:
            os.fstat(number)
        except OSError:  # that of listdir
            continue
        numbers.append(number)
    return numbers


def main() -> None:
    arguments = sys.argv[1:]
    environment = dict(os.environ)
    options, command = split(arguments, environment)
    if not command or needs_real_python(environment):
        os.execv(sys.executable, [sys.executable, *arguments])
    ignored = [number for number in PASSED_ON if signal.getsignal(number) == signal.SIG_IGN]
    path = os.path.join(os.path.dirname(__file__), "socket")
    files = {number: number for number in open_files()}
    connection = send(path, options, command, environment, os.getcwd(), files, ignored)  # noqa: F821
    for number in set(PASSED_ON) - set(ignored):
        signal.signal(number, lambda number, frame: connection.send(bytes([number])))
    connection.recv(4)  # the process id
    finish(connection.recv(4))


def finish(answer: bytes) -> None:
    """Ends as the program did, with its exit code or by its signal."""
    code = int.from_bytes(answer, "big", signed=True) if answer else 1
    if code < 0:
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


main()
