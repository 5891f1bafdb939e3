"""Runs one job as a process of this machine."""

import contextlib
import os
import select
import signal
import sys
import time

from runtime.installation import INSTALLED, ROOT

from . import console
from .jobs import Job
from .launch import Launcher

PROGRAM = str(ROOT / "train.py") if INSTALLED else "train.py"
GRACE_SECONDS = 20  # between SIGTERM and SIGKILL


def command(processes: int = 1) -> list[str]:
    """Returns the command that starts train.py in one process, or in several with torchrun, before its arguments.

    With --standalone, torchrun uses a free port: several jobs may run on one machine.
    """
    if processes == 1:
        return [sys.executable, PROGRAM]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    return [*torchrun, "--nproc-per-node", str(processes), PROGRAM]


class Process:
    """A running job. It has its own process group, so Ctrl-C at the terminal does not reach it.

    A training writes ten checkpoints on the way, to resume from.

    Args:
        job: The job to start.
        environment: Environment variables to add to those of this process.
        lock: Open lock file of the run directory. The job inherits it and holds the lock even if the sweep is killed.
        launcher: Starts the process.
        processes: Number of processes that share the batches of the job.
    """

    def __init__(self, job: Job, environment: dict[str, str], lock, launcher: Launcher, processes: int = 1):
        self.job = job
        self.lock = lock
        self.started = time.time()
        self.watch = console.Watch(job.output)
        self.first_progress = None  # (time, share of the epochs) when the first progress was seen
        self.adds_checkpoints = job.training is None and "TRAIN.CHECKPOINT_FREQ" not in job.argv
        words = [*command(processes), *job.argv]
        if self.adds_checkpoints:
            words += ["TRAIN.CHECKPOINT_FREQ", "-10"]
        with console.start_attempt(job.output, words) as out:
            self.process = launcher.start(words, environment, out, lock)

    @property
    def lost(self) -> bool:
        """Whether it was killed because the process that is forked has ended."""
        return getattr(self.process, "lost", False)

    def ended(self) -> bool:
        """Returns whether the job has ended. If so, releases its lock and completes its console.log."""
        code = self.process.poll()
        if code is None:
            return False
        self.clean_up(code)
        if code == 0 and self.adds_checkpoints:
            remove_intermediate_checkpoints(self.job)
        return True

    def clean_up(self, code: int) -> None:
        self.lock.close()
        self.kill()  # loader processes that the job may have left running
        with contextlib.suppress(OSError):  # a full disk must not end the sweep
            console.end_attempt(self.job.output, code)

    def terminate(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Kills the whole process group."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def seconds_left(self, expected: float | None) -> float | None:
        """Estimates the remaining time from the speed of the last epochs, else from the expected duration.

        Example: 20 % of the epochs were trained at the first call with progress, 50 % are trained 60 s later.
        The remaining 50 % then take 60 * 0.5 / 0.3 = 100 s. A resumed job does not start at 0 %.

        Args:
            expected: Expected duration of the job in seconds; None if unknown.
        """
        now = time.time()
        progress = self.watch.progress()
        share = progress.share if progress else 0.0
        if share and self.first_progress is None:
            self.first_progress = now, share
        elif share and share > self.first_progress[1]:
            first_time, first_share = self.first_progress
            return (1 - share) * (now - first_time) / (share - first_share)
        return None if expected is None else max(0.0, expected - (now - self.started))


def remove_intermediate_checkpoints(job: Job) -> None:
    """Removes the checkpoints of a finished run, except the last and the best."""
    from trainers.common.runs.checkpoint_file import BEST, POINTER, names

    for pointer in job.output.glob(f"*/{POINTER}"):
        newest_first = [name for name in names(str(pointer.parent)) if name != BEST]
        for name in newest_first[1:]:
            (pointer.parent / name).unlink(missing_ok=True)


def wait_for_one(processes: list[Process], seconds: float) -> None:
    """Waits, but not after a forked job has ended."""
    forked = [process.process for process in processes if hasattr(process.process, "fileno")]
    select.select(forked, [], [], seconds)


def stop_all(processes: list[Process], kill_now) -> None:
    """Stops jobs with SIGTERM. Kills them after `GRACE_SECONDS`, or at once if `kill_now()` returns True."""
    for process in processes:
        process.terminate()
    deadline = time.time() + GRACE_SECONDS
    while time.time() < deadline and not kill_now() and any(p.process.poll() is None for p in processes):
        time.sleep(0.1)
    for process in processes:
        process.kill()
        process.process.wait()
        process.clean_up(console.INTERRUPTED)
