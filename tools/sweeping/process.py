"""One job as a process of this machine."""

import contextlib
import os
import signal
import subprocess
import sys
import time

from . import console
from .plan import Job

PROGRAM = "train.py"
PATIENCE = 20  # seconds that a job has to end when it is asked to


class Process:
    """A running job, in a process group of its own, which a Ctrl-C at the terminal does not reach.

    Args:
        epochs: of the training, which writes ten checkpoints on the way to be resumed from.
        environment: variables besides ours.
        lock: of the job's folder, an open file; the job keeps it as long as it runs, even if we are killed.
    """

    def __init__(self, job: Job, epochs: int, environment: dict[str, str], lock):
        self.job, self.lock, self.started, self.first_seen = job, lock, time.time(), None
        self.on_the_way = job.training is None and "TRAIN.CHECKPOINT_FREQ" not in job.argv
        more = ["TRAIN.CHECKPOINT_FREQ", str(max(1, epochs // 10))] if self.on_the_way else []
        command = [sys.executable, PROGRAM, *job.argv, *more]
        environment = {**os.environ, **environment, "PYTHONUNBUFFERED": "1", "TQDM_DISABLE": "1"}
        with console.begin(job.output, command) as out:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=environment,
                start_new_session=True, pass_fds=(lock.fileno(),),
            )  # fmt: skip

    def ended(self) -> bool:
        """Whether the job has ended; if so, its end is noted in its console.log."""
        code = self.process.poll()
        if code is None:
            return False
        self.note_end(code)
        if code == 0 and self.on_the_way:
            remove_on_the_way(self.job)
        return True

    def note_end(self, code: int) -> None:
        self.lock.close()
        self.kill()  # loader processes that it may have left behind
        with contextlib.suppress(OSError):  # a full disk must not end the sweep
            console.end(self.job.output, code)

    def ask_to_end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def seconds_left(self, expected: float | None) -> float | None:
        """From the epochs trained so far, else from the job's expected seconds; None if both are unknown."""
        now, done = time.time(), console.fraction(self.job.output)
        if done and self.first_seen is None:
            self.first_seen = now, done  # a resumed job starts in the middle
        elif done and done > self.first_seen[1]:
            then, before = self.first_seen
            return (1 - done) * (now - then) / (done - before)
        return None if expected is None else max(0.0, expected - (now - self.started))


def remove_on_the_way(job: Job) -> None:
    """Remove a finished run's checkpoints before the last: they were there to resume from."""
    from trainers.common.runs.checkpoint_file import BEST, POINTER, names

    for pointer in job.output.glob(f"*/{POINTER}"):
        last_first = [name for name in names(str(pointer.parent)) if name != BEST]
        for name in last_first[1:]:
            (pointer.parent / name).unlink(missing_ok=True)


def end_all(processes: list[Process], impatient) -> None:
    """End jobs that are cut off: asked first, killed after a while, or at once if `impatient()`."""
    for process in processes:
        process.ask_to_end()
    deadline = time.time() + PATIENCE
    while time.time() < deadline and not impatient() and any(p.process.poll() is None for p in processes):
        time.sleep(0.1)
    for process in processes:
        process.kill()
        process.process.wait()
        process.note_end(console.CUT_OFF)
