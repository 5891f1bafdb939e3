"""Messages and exit codes after a user error and after the import of a package that is not installed."""

import os
import pty
import signal
import subprocess
import sys

import pytest

from runtime import user_errors
from runtime.user_errors import Terminated, exit_code
from tests.user_errors import assert_user_error


def failing(error):
    def run():
        raise error

    return run


@pytest.fixture
def requirements(tmp_path, monkeypatch):
    monkeypatch.setattr(user_errors, "ROOT", tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "requirements.txt").write_text("# import nothing\nPyYAML>=6,<7  # import yaml; configs\n\nnumpy\n")
    (tmp_path / "requirements-tool.txt").write_text("-r requirements.txt\nsome-tool>=1  # plots\n")
    return tmp_path


@pytest.mark.parametrize(
    "name, package, file",
    [("yaml.nodes", "PyYAML", "requirements.txt"), ("some_tool", "some-tool", "requirements-tool.txt")],
)
def test_a_missing_package_names_its_file(requirements, capsys, monkeypatch, name, package, file):
    error = ModuleNotFoundError(f"No module named {name!r}", name=name)
    assert exit_code(failing(error)) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert package in line and line.endswith(f"pip install -r {file}")
    (requirements / "below").mkdir()
    monkeypatch.chdir(requirements / "below")  # the path in the command is relative to the current folder
    assert exit_code(failing(error)) == 1
    assert capsys.readouterr().err.endswith(f"pip install -r ../{file}\n")


@pytest.mark.parametrize("name", ["nothing", "unknown", "yam", "requirements"])
def test_a_module_of_no_listed_package(requirements, capsys, name):
    assert exit_code(failing(ModuleNotFoundError(f"No module named {name!r}", name=name))) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert repr(name) in line and "requirements" not in line.replace(repr(name), "")


def test_without_requirements_files(tmp_path, monkeypatch, capsys):
    """A CoOp checkout has no requirements files."""
    monkeypatch.setattr(user_errors, "ROOT", tmp_path)
    assert exit_code(failing(ModuleNotFoundError("No module named 'yaml'", name="yaml"))) == 1
    assert "'yaml'" in capsys.readouterr().err


def test_user_errors_and_exit_codes(monkeypatch, capsys):
    assert exit_code(lambda: None) == 0 and exit_code(lambda code: code, 3) == 3
    assert exit_code(failing(ValueError("a\n  b"))) == 1 and capsys.readouterr().err == "error: a b\n"
    for stop, code in ((KeyboardInterrupt(), 130), (Terminated(), 143), (Terminated(signal.SIGHUP), 129)):
        assert exit_code(failing(stop), resume="Run it again.") == code and "Run it again." in capsys.readouterr().err
    with pytest.raises(TypeError):
        exit_code(failing(TypeError("a bug")))
    monkeypatch.setenv("CLIPFIT_DEBUG", "1")
    with pytest.raises(ValueError):
        exit_code(failing(ValueError("a")))


@pytest.mark.parametrize(("stop", "code"), [(Terminated(), 143), (KeyboardInterrupt(), 130)])
def test_a_signal_while_an_error_is_reported(stop, code, monkeypatch, capsys):
    """torchrun stops the other processes as soon as one has failed, and these often report that they lost it."""
    write, left = sys.stderr.write, [stop]

    def interrupted_once(text):
        if left:
            raise left.pop()
        return write(text)

    monkeypatch.setattr(sys.stderr, "write", interrupted_once)
    assert exit_code(failing(ConnectionError("another process ended")), resume="Run it again.") == code
    assert "Run it again." in capsys.readouterr().err and not left


class OutOfMemoryError(RuntimeError):
    """As torch.cuda.OutOfMemoryError."""


RESOURCES = [
    (
        OutOfMemoryError(
            "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.11 GiB.\nSee "
            "documentation for Memory Management (https://pytorch.org/docs)"
        ),
        ("CUDA out of memory", "DATALOADER.TRAIN_X.BATCH_SIZE", "MODEL.ACTIVATION_CHECKPOINTING"),
    ),
    (
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] . DefaultCPUAllocator: can't allocate memory: you tried to "),
        ("can't allocate memory", "DATALOADER.TEST.BATCH_SIZE"),
    ),
    (MemoryError(), ("MemoryError", "BATCH_SIZE")),
    (RuntimeError("CUDA error: no kernel image is available for execution on the device"), ("no kernel", "USE_CUDA")),
    (RuntimeError("Found no NVIDIA driver on your system."), ("NVIDIA driver", "USE_CUDA False")),
]


@pytest.mark.parametrize("error, facts", RESOURCES)
def test_a_lack_of_memory_or_of_a_gpu_is_one_line(error, facts, capsys):
    assert_user_error((exit_code(failing(error)), capsys.readouterr().err), *facts)


@pytest.mark.parametrize("error", [RuntimeError("mat1 and mat2 shapes cannot be multiplied"), NotImplementedError()])
def test_other_errors_of_torch_keep_their_traceback(error):
    with pytest.raises(type(error)):
        exit_code(failing(error))


PROGRAM = """
import sys
from runtime.user_errors import Terminated, exit_code

def run():
    for i in range(100_000):
        print("line", i)
        if i == 0 and {stop}:
            raise {stop}
    print("end", file=sys.stderr)

sys.exit(exit_code(run))
"""


def shell(redirection, stop=None):
    program = PROGRAM.format(stop=stop)
    command = ["bash", "-c", f"set -o pipefail; {sys.executable} - {redirection}"]
    return subprocess.run(command, input=program, capture_output=True, text=True, cwd=user_errors.ROOT)


def test_closed_streams_do_not_stop_a_program():
    for redirection in (">&-", ">&- 2>&-"):
        done = shell(redirection)
        assert done.returncode == 0 and done.stderr == ("end\n" if "2" not in redirection else ""), done.stderr
    done = shell(">&-", "ValueError('mine')")
    assert_user_error(done, "mine")


@pytest.mark.parametrize("reader", ["head -1", "head -c 100000", "true"])
def test_a_reader_that_has_read_enough_ends_a_program_silently(reader):
    done = shell(f"| {reader}")
    assert done.returncode == 1 and done.stderr == ""


def test_a_closed_terminal_ends_a_program_with_129():
    """The terminal of a run is closed: writing to it fails, also while the run is cleaned up."""
    program = """
import os, signal, sys, train
def run(args):
    try:
        os.write(9, b"ready")
        signal.pause()
    finally:
        os.write(1, b"x" * 100)  # fails: the terminal is closed
train.run = run
code = train.main([])
os.write(9, str(code).encode())
sys.exit(code)
"""
    read_end, write_end = os.pipe()
    pid, terminal = pty.fork()
    if pid == 0:
        os.dup2(write_end, 9)
        os.chdir(user_errors.ROOT)
        os.execv(sys.executable, [sys.executable, "-c", program])
    os.close(write_end)
    assert os.read(read_end, 5) == b"ready"
    os.close(terminal)
    assert os.read(read_end, 10) == b"129"
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 129
