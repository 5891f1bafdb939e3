"""Starts the processes of jobs: as forks of a process that has imported the modules of train.py, or as new ones."""

import contextlib
import os
import subprocess

from tqdm import tqdm

from runtime.fork_server import IS_POSSIBLE, PACKAGES, ForkServer

VARIABLES = {"PYTHONUNBUFFERED": "1", "TQDM_DISABLE": "1"}  # of all jobs
FALL_BACK = "Falling back to a new Python for each job, seconds slower: the process that is forked has ended"


class Launcher:
    """Starts jobs. Several jobs are forked from one process, which imports the modules of train.py only once.

    Without `fork` (Windows, macOS), for a single job, and if that process ends, each job is a new Python.

    Args:
        expected: `state.expected_record` of each job to start.
        environment: environment variables to add to those of this process. Libraries read some when they are loaded,
            so `start` forks only a job with the same OMP_NUM_THREADS.
    """

    def __init__(self, expected: list[dict] = (), environment: dict[str, str] | None = None):
        self.expected = expected
        self.environment = environment or {}
        self.server = None
        self.may_fork = IS_POSSIBLE and len(expected) > 1

    def __enter__(self) -> "Launcher":
        return self

    def __exit__(self, *error) -> None:
        if self.server:
            self.server.close()

    def is_ready(self) -> bool:
        """Whether `start` starts a job at once. The first call starts the imports."""
        if self.may_fork and self.server is None:
            try:
                self.server = ForkServer(modules(self.expected), self._complete(self.environment), os.getcwd())
            except OSError:  # no folder for temporary files, or too many processes
                self.may_fork = False
        return self.server is None or self.server.is_ready()

    def start(self, command: list[str], environment: dict[str, str], out, lock):
        """Starts a job in a session of its own. Returns a `subprocess.Popen`, or an object like it.

        Args:
            command: `sys.executable`, the program and its arguments.
            environment: environment variables to add to those of this process.
            out: open file for stdout and stderr.
            lock: open lock file, which the job inherits.
        """
        complete = self._complete(environment)
        threads = "OMP_NUM_THREADS"
        if self.server and environment.get(threads) == self.environment.get(threads):
            try:
                return self._fork(command[1:], complete, out.fileno(), lock.fileno())
            except OSError:
                tqdm.write(FALL_BACK)  # above the progress bar
                self.server.close()
                self.server = None
                self.may_fork = False
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=complete, start_new_session=True,
            pass_fds=(lock.fileno(),),
        )  # fmt: skip

    def _fork(self, command: list[str], environment: dict[str, str], out: int, lock: int):
        with open(os.devnull, "rb") as nothing:
            return self.server.start(command, environment, {0: nothing.fileno(), 1: out, 2: out, lock: lock})

    def _complete(self, environment: dict[str, str]) -> dict[str, str]:
        return {**os.environ, **environment, **VARIABLES}


def modules(expected: list[dict]) -> list[str]:
    """Returns what each of the jobs loads, in the order in which it does; see `ForkServer`.

    Without the modules of this repository if there are plugins: one may bring a `clip` that must be imported first.
    """
    import trainers
    from trainers.common.runs.record import loaded_plugins

    if loaded_plugins:
        return [*PACKAGES]
    revision = "trainers.common.runs.provenance:git_revision"  # that of the code, which may change during the sweep
    return [*PACKAGES, "train", "datasets", *trainers.modules(), revision, *of_the_loader(expected)]


def of_the_loader(expected: list[dict]) -> list[str]:
    """Returns the functions that prepare loading images: `reserve` reserves memory for test images that jobs share,
    `preload` loads the compiled loops if a job has images that are large enough for them.

    Raises ValueError if the environment variable with the limit of that memory is no number.
    """
    with contextlib.suppress(ImportError):  # they are part of the bundled Dassl only
        from dassl.data.fast_loader import fast_pixels, shared_images

        shared_images.limit()
        functions = [shared_images.reserve]
        if any(min(record["settings"]["INPUT.SIZE"]) >= fast_pixels.SMALLEST for record in expected):
            functions.append(fast_pixels.preload)
        return [f"{function.__module__}:{function.__name__}" for function in functions]
    return []
