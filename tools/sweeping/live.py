"""The live display of the jobs that run on this machine; without a terminal, nothing but what is printed."""

import sys
import time

from . import console
from .jobs import Job
from .state import State

UPDATE_SECONDS = 0.5  # between two looks at the running jobs
RED, PLAIN = "\x1b[31m", "\x1b[39m"  # the display leaves out colours where NO_COLOR is set


class NoDisplay:
    """Takes the place of the display where nothing can be redrawn: lines that are printed tell all."""

    def __enter__(self) -> "NoDisplay":
        return self

    def __exit__(self, *error) -> None:
        pass

    def update(self) -> None:
        pass

    def add(self, job: Job, state: State, line: str, left: str) -> None:
        print(line + left, flush=True)


def display_of(runner, plain: bool = False):
    """Returns the display of a `local.Runner`, as a context.

    Args:
        plain: whether to show none, as the log of the job is printed.
    """
    screen = None if plain else screen_of_stdout()
    return LiveDisplay(runner, screen) if screen else NoDisplay()


def screen_of_stdout():
    """Returns the terminal that stdout is, as `runtime.display.terminal`; None if it is none."""
    if not sys.stdout.isatty():
        return None
    from runtime.display import terminal  # imports rich

    return terminal()


class LiveDisplay:
    """Shows the running jobs, the total and the results so far below the lines that are printed.

    A thread draws `snapshot` several times per second. Only `update` looks at the jobs, in the thread of the runner.
    """

    def __init__(self, runner, screen):
        from runtime.display import Display

        from .results import Results
        from .view import Snapshot

        self.runner = runner
        self.screen = screen
        self.results = Results(runner.expected, runner.finished)
        self.rows = self.results.rows()
        self.updated_at = 0.0
        self.snapshot = Snapshot(total=len(runner.jobs))
        self.display = Display(screen, self.draw)

    def __enter__(self) -> "LiveDisplay":
        self.display.__enter__()
        return self

    def __exit__(self, *error) -> None:
        self.display.__exit__(*error)

    def draw(self):
        from .view import draw

        return draw(self.snapshot, self.screen.width, self.screen.height - 1)  # a line is left for the cursor

    def add(self, job: Job, state: State, line: str, left: str) -> None:
        """Takes over the outcome of a job, and prints its line above the display, which has the time left."""
        finished = state.status == "finished"
        self.results.add(job, finished)
        self.rows = self.results.rows()
        print(line if finished else f"{RED}{line}{PLAIN}")
        if state.status == "failed":
            print(f"    log: {job.output / console.FILE}")
        self.updated_at = 0.0

    def update(self) -> None:
        """Looks at the running jobs, unless that was just done."""
        if time.monotonic() - self.updated_at < UPDATE_SECONDS:
            return
        from .view import RunningJob, Snapshot

        runner = self.runner
        running = []
        for process in runner.running():
            trains = not runner.costs.group(process.job)[0]
            left = process.seconds_left(runner.costs.seconds(process.job))
            running.append(RunningJob(process.job.title, process.watch.progress(), trains, left))
        done, total = len(runner.outcomes), len(runner.jobs)
        self.snapshot = Snapshot(
            running=running,
            done=done,
            total=total,
            failed=sum(state.status != "finished" for state in runner.outcomes.values()),
            share=(done + sum(job.progress.share for job in running if job.progress)) / total,
            external=len(runner.external),
            seconds_left=runner.seconds_left(),
            columns=self.results.columns,
            rows=self.rows,
        )
        self.updated_at = time.monotonic()
