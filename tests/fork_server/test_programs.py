"""A program in a fork of the server finds what it finds in a process of its own, and ends in the same way."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from . import IS_POSSIBLE, python

pytestmark = pytest.mark.skipif(not IS_POSSIBLE, reason="no server on this system")
LOOK = """
import json, locale, os, signal, sys, warnings
names = ("stdin", "stdout", "stderr")
found = {
    "argv": sys.argv, "path": sys.path, "folder": os.getcwd(), "environment": dict(os.environ),
    "stdin": sys.stdin.read(),
    "name": __name__, "file": __file__, "main": sys.modules["__main__"].__dict__ is globals(),
    "streams": [(s.encoding, s.errors, s.line_buffering, s.write_through) for s in map(vars(sys).get, names)],
    "hidden": warnings.filters[0][0] == "ignore" and warnings.filters[0][2] is Warning, "options": sys.warnoptions,
    "ignored": [n for n in signal.valid_signals() if signal.getsignal(n) == signal.SIG_IGN],
    "bytecode": sys.dont_write_bytecode, "threads": len(os.listdir("/proc/self/task")),
    "files": sorted(n for n in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{n}")),
}
print(json.dumps(found))
print("error", file=sys.stderr)
"""
TORCH = "import sys; print('torch' in sys.modules, 'train' in sys.modules, sys.executable)"


@pytest.fixture
def program(tmp_path):
    """program(text) -> path of a program."""

    def write(text):
        (tmp_path / "program.py").write_text(text)
        return str(tmp_path / "program.py")

    return write


def run(interpreter, *arguments, **options):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **options.pop("environment", {})}
    return subprocess.run(
        [interpreter, *arguments], capture_output=True, text=True, timeout=60, env=environment, **options
    )


def test_torch_is_imported_and_nothing_of_this_repository(program):
    assert run(python(), program(TORCH)).stdout == f"True False {python()}\n"


@pytest.mark.parametrize(
    "options, environment",
    [
        ([], {}),
        (["-W", "ignore", "-u"], {}),
        ([], {"PYTHONPATH": "/one:/two", "PYTHONUNBUFFERED": "1", "PYTHONWARNINGS": "ignore", "HOME": "/nowhere"}),
        (["-m"], {"PYTHONDONTWRITEBYTECODE": "1"}),
    ],
)
def test_it_finds_the_same(program, tmp_path, options, environment):
    path = program(LOOK)
    command = [*options, "program" if options == ["-m"] else os.path.basename(path), "--x", "a b", ""]
    environment = {"PYTHONUNBUFFERED": "", "PYTHONDONTWRITEBYTECODE": "", **environment}
    with open(tmp_path / "lock", "w") as lock:
        settings = {"input": "ä\n", "cwd": tmp_path, "environment": environment, "pass_fds": [lock.fileno()]}
        expected, done = (run(interpreter, *command, **settings) for interpreter in (sys.executable, python()))
    assert done.stderr == expected.stderr == "error\n"
    assert json.loads(done.stdout) == json.loads(expected.stdout)


def test_it_ignores_the_signals_that_its_client_ignores(program):
    """A program that `nohup` starts ignores SIGHUP."""
    path = program("import signal\nprint(signal.getsignal(signal.SIGHUP) == signal.SIG_IGN)")
    assert run("nohup", python(), path).stdout == "True\n"


@pytest.mark.parametrize(
    "end", ["", "sys.exit(3)", "sys.exit('text')", "sys.exit()", "1 / 0", "os.kill(os.getpid(), 9)", "os._exit(4)",
            "atexit.register(print, 1); threading.Thread(target=lambda: time.sleep(0.1) or print('done')).start()"]
)  # fmt: skip
def test_it_ends_in_the_same_way(program, end):
    path = program(f"import atexit, os, sys, threading, time\nprint('begun', flush=True)\n{end}\n")
    expected, done = run(sys.executable, path), run(python(), path)
    assert (done.returncode, done.stdout) == (expected.returncode, expected.stdout)
    assert done.stderr.splitlines()[-1:] == expected.stderr.splitlines()[-1:]


@pytest.mark.parametrize("arguments, environment", [(["-c", TORCH], {}), ([], {"OMP_NUM_THREADS": "2"})])
def test_a_real_python_for_what_is_read_at_its_start(program, arguments, environment):
    done = run(python(), *(arguments or [program(TORCH)]), environment=environment)
    assert done.stdout == f"False False {sys.executable}\n"


WAIT = """
import fcntl, os, signal, sys, time
def stop(number, frame): os.write(1, b"stopped %d\\n" % number); sys.exit(7)
signal.signal(signal.SIGTERM, stop)
fcntl.flock(open(sys.argv[1], "w"), fcntl.LOCK_EX)
os.write(1, b"ready\\n")  # a handler may not print while `print` is running
time.sleep(60)
"""


def start_waiting(program, lock):
    command = [python(), program(WAIT), lock]
    process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    return process


def test_signals_are_passed_on(program, tmp_path):
    with start_waiting(program, tmp_path / "lock") as process:
        process.terminate()
        assert process.communicate() == (f"stopped {signal.SIGTERM.value}\n", None) and process.returncode == 7


def test_a_killed_client_takes_its_program_along(program, tmp_path):
    with start_waiting(program, tmp_path / "lock") as process, open(tmp_path / "lock", "w") as lock:
        process.kill()
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:  # until the program no longer holds the lock
            try:
                return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(0.01)
    pytest.fail("the program runs on")
