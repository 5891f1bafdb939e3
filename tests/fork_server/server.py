"""Imports the packages of the programs once, then forks a process per request of client.py.

Prints the path of the client, and ends when its stdin is closed.
"""

import contextlib
import gc
import importlib
import marshal
import os
import select
import shutil
import signal
import socket
import sys
import tempfile
import warnings
from fcntl import F_DUPFD, fcntl
from pathlib import Path

import forked_program

# What train.py imports at its start. Nothing of this repository or of a CoOp checkout, which has its own `clip`, and no
# package that may be missing.
PACKAGES = (
    "torch", "torch.utils.data", "torch.utils.tensorboard", "torchvision.transforms", "numpy", "PIL.Image", "ftfy",
    "packaging.version", "regex", "safetensors.torch", "tqdm", "yacs.config",
)  # fmt: skip
CLIENT = Path(__file__).with_name("client.py")
HIGH = 300  # file descriptors below it may be those of the client


def start() -> tuple[str, socket.socket]:
    """Imports the packages and listens. Returns the folder of the socket and of the client, and the socket."""
    warnings.showwarning, show = lambda *args, **options: None, warnings.showwarning
    for name in PACKAGES:
        importlib.import_module(name)
    warnings.showwarning = show
    threads = os.listdir("/proc/self/task")
    assert len(threads) == 1, f"a fork has only one of the {len(threads)} threads"
    folder = tempfile.mkdtemp(prefix="fork-server-")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"{folder}/socket")
    listener.listen(100)
    client = Path(folder, "python")
    client.write_text(f"#!{sys.executable} -IS\n{CLIENT.read_text()}")
    client.chmod(0o755)
    return folder, listener


class Server:
    """Starts a program per request, and tells the client how it ended."""

    def __init__(self, listener: socket.socket):
        self.listener = listener
        self.ended, wake = socket.socketpair()  # a byte arrives if a program has ended
        wake.setblocking(False)
        self.wake = wake
        signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        self.programs = {}  # connection -> process id

    def wait(self) -> tuple | None:
        """Serves until a request arrives, in a fork of which it returns (request, files), or until stdin is closed."""
        while True:
            ready, _, _ = select.select([self.listener, self.ended, sys.stdin, *self.programs], [], [])
            if sys.stdin in ready:
                return None
            if self.ended in ready:
                self.ended.recv(1000)
                self.report_ended()
            for connection in self.programs.keys() & set(ready):
                self.pass_signals_on(connection)
            if self.listener in ready:
                connection, _ = self.listener.accept()
                if asked := receive(connection):
                    self.programs[connection] = child = os.fork()
                    if not child:
                        self.close()
                        return asked
                    close_all(asked[1])

    def report_ended(self) -> None:
        for connection, child in list(self.programs.items()):
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                del self.programs[connection]
                with contextlib.suppress(OSError):  # the client was killed
                    connection.send(os.waitstatus_to_exitcode(status).to_bytes(4, "big", signed=True))
                connection.close()

    def pass_signals_on(self, connection: socket.socket) -> None:
        """Kills the program and what it started if the client was killed."""
        child = self.programs[connection]
        if received := connection.recv(1):
            os.kill(child, received[0])
        else:
            with contextlib.suppress(ProcessLookupError):  # it has not come to `setsid` yet
                os.killpg(child, signal.SIGKILL)
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            del self.programs[connection]
            connection.close()

    def close(self) -> None:
        """In a fork: closes what belongs to the server."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for connection in (self.listener, self.ended, self.wake, *self.programs):
            connection.close()


def main() -> None:
    path = sys.path[1:]
    folder, listener = start()
    client = f"{folder}/python"
    gc.collect()
    gc.freeze()  # collections in a fork leave the pages of these objects shared
    print(client, flush=True)
    if asked := Server(listener).wait():
        forked_program.run(client, path, *asked)
    shutil.rmtree(folder)


def receive(connection: socket.socket) -> tuple[list, list[int]] | None:
    """Returns the request of a client, and its open files as file descriptors of this process from HIGH on."""
    header, files, _, _ = socket.recv_fds(connection, 4, 250)
    size, data = int.from_bytes(header, "big"), b""
    while len(data) < size and (part := connection.recv(size - len(data))):
        data += part
    high = [fcntl(file, F_DUPFD, HIGH) for file in files]
    close_all(files)
    if header and len(data) == size:
        return marshal.loads(data), high
    close_all(high)
    connection.close()  # the client was killed
    return None


def close_all(files: list[int]) -> None:
    for file in files:
        os.close(file)


main()
