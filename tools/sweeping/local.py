"""Runs jobs on this machine, some at a time, and shows how far they are."""

import signal
import sys
import time

from tqdm import tqdm

from . import console
from .cost import Costs, clock
from .follow import Follower
from .plan import Job
from .process import Process, end_all
from .state import State, look, take

POLL = 0.2  # seconds
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Runner:
    """Runs what is not finished; nothing is tried twice.

    Args:
        jobs: what is to run, each after the job that it needs.
        wanted: what `state.expect` says of each job.
        environments: variables of the jobs that run at a time, one set each: which GPU, how many threads.
        log: whether to print the jobs' logs as they come, instead of a progress bar; for one job at a time.

    `outcomes` then holds a State of each job that was settled: "finished", "blocked", "failed", or "left" where the
    training was none of these but finished.
    """

    def __init__(
        self, jobs: list[Job], wanted: dict[Job, dict], environments: list[dict[str, str]], costs: Costs, log=False
    ):
        self.jobs, self.wanted, self.costs = set(jobs), wanted, costs
        self.log, self.follower = log, None  # of the running job
        self.slots = [(environment, None) for environment in environments]  # with a Process, where one is running
        self.waiting, self.elsewhere = list(jobs), []  # elsewhere: run by processes that are not ours
        self.outcomes, self.stops = {}, 0

    def run(self) -> dict[Job, State]:
        """Run until all is settled or we are asked to stop, by Ctrl-C or SIGTERM; returns the outcomes."""
        before = {number: signal.signal(number, self.stop) for number in SIGNALS}
        form = "{percentage:3.0f}%|{bar}| {desc}"
        disable = True if self.log else None  # None: unless stderr is a terminal
        with tqdm(total=len(self.jobs), bar_format=form, disable=disable, dynamic_ncols=True) as self.bar:
            try:
                while not self.stops and (self.waiting or self.elsewhere or self.running()):
                    self.collect()
                    self.fill()
                    self.show()
                    time.sleep(POLL)
            finally:
                end_all(self.running(), impatient=lambda: self.stops > 1)
                self.follow()
                for number, handler in before.items():
                    signal.signal(number, handler)
        return self.outcomes

    def stop(self, number, frame) -> None:
        self.stops += 1
        if self.stops == 1 and self.running():
            self.say(f"Ending {len(self.running())} running jobs; once more to kill them")

    def running(self) -> list[Process]:
        return [process for _, process in self.slots if process]

    def collect(self) -> None:
        """Settle the jobs that have ended."""
        for i, (environment, process) in enumerate(self.slots):
            if process and process.ended():
                self.slots[i] = environment, None
                self.follow()
                state = look(process.job, self.wanted)
                if state.kind == "finished":
                    self.costs.add(process.job, time.time() - process.started)
                else:
                    why = console.failure(process.job.output) or state.note or "it has left no finished result.json"
                    state = State("failed", why)
                self.settle(process.job, state)

    def fill(self) -> None:
        """Start jobs in the free slots; those that run elsewhere use up slots, too."""
        for job in list(self.elsewhere):
            if look(job, self.wanted).kind != "running":
                self.elsewhere.remove(job)
                self.waiting.insert(0, job)
        for i, (environment, process) in enumerate(self.slots):
            if not process and len(self.running()) + len(self.elsewhere) < len(self.slots):
                self.slots[i] = environment, self.start_next(environment)

    def start_next(self, environment: dict[str, str]) -> Process | None:
        """Start the first job that can be started, and settle those before it that need no start."""
        for job in list(self.waiting):
            needed = self.outcomes.get(job.training, State("finished"))
            if job.training in self.jobs and job.training not in self.outcomes:
                continue  # its training is still to come
            self.waiting.remove(job)
            if needed.kind != "finished":
                self.settle(job, State("left", f"its training is {needed.kind}"))
                continue
            try:
                process = self.start(job, environment)
            except OSError as error:
                self.settle(job, State("failed", f"it cannot be started: {error}"))
                continue
            if process or job in self.elsewhere:
                return process
        return None

    def start(self, job: Job, environment: dict[str, str]) -> Process | None:
        """Start a job, or settle it if that is not needed or not possible."""
        lock = take(job.output)
        state = look(job, self.wanted, held=True) if lock else State("running")
        if state.kind not in ("running", "finished", "blocked"):
            if self.log:
                self.say(f"== {job.title}")
                self.follower = Follower(job.output)
            return Process(job, self.wanted[job]["settings"]["OPTIM.MAX_EPOCH"], environment, lock)
        if lock:
            lock.close()
        if state.kind == "running":
            self.elsewhere.append(job)
            self.say(f"{job.title}: another process is running it; waiting for its end")
        else:
            self.settle(job, state)
        return None

    def settle(self, job: Job, state: State) -> None:
        self.outcomes[job] = state
        text = f"{state.kind}: {state.note}" if state.note else state.kind
        if state.kind == "finished":
            accuracy = console.accuracy(job.output)
            text = f"accuracy {accuracy}" if accuracy else text
        left = self.seconds_left()
        left = "" if left is None else f"; time left {clock(left)}"
        self.say(f"[{len(self.outcomes)}/{len(self.jobs)}] {job.title}: {text}{left}")

    def seconds_left(self) -> float | None:
        """Until all is done, as far as durations are known."""
        left = [process.seconds_left(self.costs.seconds(process.job)) for process in self.running()]
        whole = [self.costs.seconds(job) for job in self.waiting + self.elsewhere]
        if None in left or None in whole:
            return None
        return max([sum(left + whole) / len(self.slots), *left])

    def follow(self) -> None:
        if self.follower:
            self.follower.copy()

    def show(self) -> None:
        self.follow()
        failed = sum(state.kind != "finished" for state in self.outcomes.values())
        running = self.running()
        self.bar.n = len(self.outcomes) + sum(console.fraction(process.job.output) for process in running)
        self.bar.desc = (
            f"{len(self.outcomes)} of {len(self.jobs)} done, {len(running)} running"
            + (f", {failed} failed" if failed else "")
            + f", time left {clock(self.seconds_left())}"
        )
        self.bar.refresh()

    def say(self, line: str) -> None:
        tqdm.write(line, file=sys.stdout)
        sys.stdout.flush()
