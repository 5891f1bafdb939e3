"""Fixtures: tools/reproduce.py with runs of train.py in this process, which start faster than processes."""

import pytest

from tests.scripts.commands import run
from tools import reproduce, sweep
from tools.reproducing import following, results
from tools.sweeping.state import job_state


class Runner:
    """Replaces `sweeping.local.Runner`: runs the jobs one after the other in this process.

    Attributes:
        limit: number of jobs after which it stops as with Ctrl-C; None: no limit.
        started: run directories of all jobs so far.
    """

    limit = None
    started = []

    def __init__(self, jobs, expected, slots, costs, log=False, processes=1, launcher=None, finished=()):
        self.waiting = jobs
        self.jobs = set(jobs)
        self.expected = expected
        self.stops = 0

    def run(self):
        outcomes = {}
        for job in self.waiting:
            if Runner.limit is not None and len(Runner.started) >= Runner.limit:
                self.stops = 1
                break
            Runner.started.append(job.output)
            with pytest.MonkeyPatch.context() as patch:
                run(job.argv, patch)
            outcomes[job] = job_state(job, self.expected)
        return outcomes


@pytest.fixture(scope="session")
def data(digits_root):
    """Folder for the bundled datasets."""
    return digits_root


@pytest.fixture(scope="module")
def in_process(data):
    """in_process(*argv, limit=None) runs tools/reproduce.py with the data folder; returns (exit code, started)."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sweep, "Runner", Runner)

        def call(*argv, limit=None):
            Runner.limit = limit
            Runner.started = []
            results.finished_run.cache_clear()
            following.most_changed.cache_clear()
            options = list(argv)
            end = options.index("--") if "--" in options else len(options)
            code = reproduce.main([*options[:end], "--root", str(data), *options[end:]])
            return code, Runner.started

        yield call
