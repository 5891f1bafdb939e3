"""Prediction, and the files of a run, without the modules that only POSIX systems have, as on Windows."""

import subprocess
import sys
from pathlib import Path

import pytest

from trainers.common import load_tuned
from trainers.common.runs import files

POSIX = ("fcntl", "resource", "termios", "pwd", "grp", "syslog", "pty", "tty", "readline", "crypt", "nis", "spwd")
BLOCK = f"import sys; sys.modules.update(dict.fromkeys({POSIX}))\n"
RUN = Path("tests/fixtures/earlier/base").resolve()


def run(*arguments):
    command = [sys.executable, "-W", "ignore", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    from PIL import Image

    path = tmp_path_factory.mktemp("images") / "a.png"
    Image.new("RGB", (40, 30), (200, 10, 10)).save(path)
    return path


def test_load_tuned_and_the_program_predict(image):
    program = (
        f"from trainers.common import load_tuned\nprint(load_tuned({str(RUN)!r}).predict({str(image)!r}).names)\n"
        "from trainers.common.runs.provenance import peak_memory\n"
        "import torch\nprint(peak_memory(torch.device('cpu')))\n"
        f"import runpy\nsys.argv = ['predict.py', {str(RUN)!r}, {str(image)!r}]\nsys.path[0] = 'tools'\n"
        "runpy.run_path('tools/predict.py', run_name='__main__')"
    )
    done = run("-c", BLOCK + program)
    assert done.returncode == 0, done.stderr
    names, memory, _, predicted = done.stdout.splitlines()[:4]
    expected = load_tuned(str(RUN)).predict(str(image)).names
    assert names == str(expected) and memory == "None" and expected[0] in predicted


def test_a_lock_on_windows(tmp_path, monkeypatch):
    """Locks a byte behind the text, which another process may still read, and reports a lock that is held."""
    calls = []

    class Msvcrt:
        LK_NBLCK = 2

        @staticmethod
        def locking(handle, mode, n_bytes):
            calls.append((files.os.lseek(handle, 0, files.os.SEEK_CUR), mode, n_bytes))
            if len(calls) > 1:
                raise PermissionError(13, "Permission denied")

    monkeypatch.setitem(sys.modules, "fcntl", None)
    monkeypatch.setitem(sys.modules, "msvcrt", Msvcrt)
    with files.FolderLock(str(tmp_path)):
        with pytest.raises(BlockingIOError, match="process"), files.FolderLock(str(tmp_path)):
            pass
    assert calls == [(2**30, 2, 1)] * 2


def test_a_system_without_locks(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "fcntl", None)
    monkeypatch.setitem(sys.modules, "msvcrt", None)
    with files.FolderLock(str(tmp_path)):
        assert str(tmp_path) in capsys.readouterr().out
