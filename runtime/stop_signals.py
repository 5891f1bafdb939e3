"""SIGTERM, which SLURM and Docker send before SIGKILL, and SIGHUP end a program as Ctrl-C does."""

import contextlib
import signal

from .user_errors import Terminated

STOP_SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


def terminate(number, frame) -> None:
    """Handles SIGTERM and SIGHUP: raises Terminated in the main thread."""
    signal.signal(number, signal.SIG_IGN)  # a second signal must not interrupt the shutdown
    if hasattr(signal, "SIGCHLD"):
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch would report that the loader processes were stopped, too
    raise Terminated(number)


@contextlib.contextmanager
def handled():
    """Raises Terminated in the block when a stop signal arrives that is not ignored."""
    handlers = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    for number, handler in handlers.items():
        if handler != signal.SIG_IGN:  # nohup ignores SIGHUP
            signal.signal(number, terminate)
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
