"""Imports modules once, then forks a process per request: server.py SOCKET MODULE[:FUNCTION] ...

Calls the functions, which load what a module loads later. Prints a line when all is loaded, and ends when its stdin is
closed. Modules of the working directory are found, too.
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
import warnings
from fcntl import F_DUPFD, fcntl

import forked_program

HIGH = 300  # file descriptors below it may be those of the client


def start(path: str, modules: list[str]) -> socket.socket:
    """Loads the modules and returns a socket that listens at `path`."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    sys.path[0] = os.getcwd()  # instead of the folder of this file
    warnings.showwarning, show = lambda *args, **options: None, warnings.showwarning
    with contextlib.redirect_stdout(None):  # a line on stdout means that all is loaded
        for name in modules:
            load(*name.split(":"))
    warnings.showwarning = show
    check_forkable()
    gc.collect()
    gc.freeze()  # collections in a fork leave the pages of these objects shared
    listener.listen(100)
    return listener


def load(module: str, function: str = "") -> None:
    imported = importlib.import_module(module)
    if function:
        getattr(imported, function)()


def check_forkable() -> None:
    """Raises RuntimeError if the imports have started threads, which a fork lacks, or have used a GPU.

    The threads of NumPy's OpenBLAS do not count: it ends them before a fork and starts them again when it needs them.
    """
    torch = sys.modules.get("torch")
    child = os.fork()
    if not child:
        os._exit(torch is not None and getattr(torch.cuda, "_is_in_bad_fork", torch.cuda.is_initialized)())
    _, cannot_use_gpus = os.waitpid(child, 0)
    threads = os.listdir("/proc/self/task")
    if len(threads) > 1:
        raise RuntimeError(f"a fork has only one of the {len(threads)} threads")
    if cannot_use_gpus and torch.cuda.device_count() > 0:  # asking for their number would have the same effect
        raise RuntimeError("a fork cannot use a GPU that its parent has used or counted")


class Server:
    """Starts a program per request, and tells the client its process id and how it ended."""

    def __init__(self, listener: socket.socket):
        self.listener = listener
        self.ended, wake = socket.socketpair()  # a byte arrives if a program has ended
        wake.setblocking(False)
        self.wake = wake
        signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        self.programs = {}  # connection -> process id
        self.surviving = set()  # connections of the programs that survive their client

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
                if (asked := receive(connection)) and self.fork(connection, asked):
                    return asked

    def fork(self, connection: socket.socket, asked: tuple) -> bool:
        """Forks, and tells the client the process id. Returns whether this process is the fork."""
        request, files = asked
        try:
            child = os.fork()
        except OSError:  # the limit of processes, or of memory
            child = None
        if child == 0:
            self.close()
            connection.close()
            return True
        close_all(files)
        if child is None:
            connection.close()
            return False
        self.programs[connection] = child
        if request[0].get("survives"):
            self.surviving.add(connection)
        send(connection, child)
        return False

    def report_ended(self) -> None:
        for connection, child in list(self.programs.items()):
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                send(connection, os.waitstatus_to_exitcode(status))
                self.forget(connection)

    def forget(self, connection: socket.socket) -> None:
        del self.programs[connection]
        self.surviving.discard(connection)
        connection.close()

    def pass_signals_on(self, connection: socket.socket) -> None:
        """If the client was killed, kills the program and what it started, unless it is to survive."""
        child = self.programs[connection]
        if received := connection.recv(1):
            os.kill(child, received[0])
            return
        if connection not in self.surviving:
            with contextlib.suppress(ProcessLookupError):  # it has not come to `setsid` yet
                os.killpg(child, signal.SIGKILL)
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        self.forget(connection)

    def close(self) -> None:
        """In a fork: closes what belongs to the server."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for connection in (self.listener, self.ended, self.wake, *self.programs):
            connection.close()


def main() -> None:
    path, *modules = sys.argv[1:]
    listener = start(path, modules)
    print("ready", flush=True)
    if asked := Server(listener).wait():
        forked_program.run(sys.path[1:], *asked)
    shutil.rmtree(os.path.dirname(path), ignore_errors=True)


def send(connection: socket.socket, number: int) -> None:
    """Sends a number to a client, unless that was killed."""
    with contextlib.suppress(OSError):
        connection.send(number.to_bytes(4, "big", signed=True))


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
