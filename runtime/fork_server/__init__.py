"""`ForkServer`: starts Python programs in milliseconds, as forks of a process that has imported their modules.

    with ForkServer(PACKAGES, os.environ, folder) as server:
        program = server.start(["train.py", "--help"], os.environ, {1: 1, 2: 2})
        code = program.wait()

Importing torch and other packages takes seconds, more than many programs need for their own work. `server.py` imports
them once. `forked_program.py` turns a fork of it into the program, with its own arguments, environment, folder, open
files and process group. A crash of one fork touches no other. The server computes nothing: a fork has none of the
threads that PyTorch and OpenMP start for that, and it could not use a GPU that the server has used.

What libraries read from the environment when they are loaded is that of the server, such as OMP_NUM_THREADS.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from .request import send

FOLDER = Path(__file__).resolve().parent
IS_POSSIBLE = sys.platform == "linux"
# What train.py imports at its start. Nothing of this repository or of a CoOp checkout, which has its own `clip`, and no
# package that may be missing.
PACKAGES = (
    "torch", "torch.utils.data", "torch.utils.tensorboard", "torchvision.transforms", "numpy", "PIL.Image", "ftfy",
    "packaging.version", "regex", "safetensors.torch", "tqdm", "yacs.config",
)  # fmt: skip
# OpenAI's clip calls `torch.cuda.is_available` on import. A fork could not use the GPUs after the default way to count.
COUNT_GPUS = {"PYTORCH_NVML_BASED_CUDA_CHECK": "1"}
SECONDS_TO_DIE = 5.0  # until a killed process has ended


class ForkServer:
    """Starts the server, which then imports `modules` in the background. Ends it at the end of the context.

    Args:
        modules: names of modules, in order. "MODULE:FUNCTION" also calls a function.
        environment: environment variables of the server.
        folder: folder of the modules that are no installed packages.
    """

    def __init__(self, modules, environment, folder):
        self.place = tempfile.mkdtemp(prefix="fork-server-")  # only its owner can enter it
        self.socket = os.path.join(self.place, "socket")
        command = [sys.executable, str(FOLDER / "server.py"), self.socket, *modules]
        self.process = subprocess.Popen(
            command, cwd=folder, env={**environment, **COUNT_GPUS}, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C ends this process, whose end ends the server
        )  # fmt: skip

    def __enter__(self) -> ForkServer:
        return self

    def __exit__(self, *error) -> None:
        self.close()

    def close(self) -> None:
        """Ends the server. Programs that it has started run on."""
        self.process.kill()  # it may be importing
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()
        shutil.rmtree(self.place, ignore_errors=True)

    def is_ready(self) -> bool:
        """Whether the server has imported its modules, or has ended."""
        return bool(select.select([self.process.stdout], [], [], 0)[0])

    def wait_until_ready(self) -> None:
        """Waits until the server has imported its modules, or has ended."""
        select.select([self.process.stdout], [], [])

    def start(self, command: list[str], environment, files: dict[int, int], folder: str = "") -> Program:
        """Runs a program in a session of its own. It survives this process. Waits until the server is ready.

        The arguments are those of `request.send`; `folder` is the current one by default.

        Raises:
            OSError: the server has ended, or the system refuses to fork.
        """
        self.wait_until_ready()
        unbuffered = bool(environment.get("PYTHONUNBUFFERED"))
        options = {"unbuffered": unbuffered, "survives": True}
        connection = send(self.socket, options, command, dict(environment), folder or os.getcwd(), files)
        process_id = connection.recv(4)
        if not process_id:
            connection.close()
            raise ConnectionError("the fork server has ended, or the system starts no more processes")
        return Program(int.from_bytes(process_id, "big"), connection)


class Program:
    """A program that the server has started, with those attributes and methods of `subprocess.Popen` that are used.

    Attributes:
        lost: whether the server ended before the program, which was killed then, as its exit code was unknown.
    """

    def __init__(self, pid: int, connection):
        self.pid = pid
        self.connection = connection
        self.returncode = None
        self.lost = False

    def fileno(self) -> int:
        """Returns a file descriptor that can be read when the program has ended."""
        return self.connection.fileno()

    def poll(self) -> int | None:
        """Returns the exit code, negative after a signal; None if the program runs."""
        if self.returncode is None and select.select([self.connection], [], [], 0)[0]:
            self.wait()
        return self.returncode

    def wait(self) -> int:
        """Waits for the end of the program. Returns its exit code."""
        if self.returncode is None:
            answer = b""
            with contextlib.suppress(ConnectionError):
                answer = self.connection.recv(4)
            self.lost = not answer
            self.returncode = self._kill() if self.lost else int.from_bytes(answer, "big", signed=True)
            self.connection.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Sends a signal, if the program runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def _kill(self) -> int:
        """Kills the process group and waits until the program has ended. Returns its exit code."""
        with contextlib.suppress(OSError, AttributeError):  # it has ended, or this Python cannot wait for it
            os.killpg(self.pid, signal.SIGKILL)
            process = os.pidfd_open(self.pid)
            select.select([process], [], [], SECONDS_TO_DIE)
            os.close(process)
        return -signal.SIGKILL
