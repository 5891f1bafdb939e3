"""Runs jobs on this machine, several at a time, and shows their progress."""

import signal
import time
from collections import Counter

from . import console
from .cost import Costs, clock
from .devices import GPUS
from .follow import Follower
from .jobs import Job
from .launch import Launcher
from .live import display_of
from .locks import lock_folder
from .process import Process, stop_all, wait_for_one
from .state import State, job_state, metric_name

POLL_SECONDS = 0.2
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Runner:
    """Runs the jobs that are not finished. A job that fails is not retried.

    Args:
        jobs: The jobs to run; a training comes before its evaluations.
        expected: `state.expected_record` of each job.
        environments: One dict of environment variables (GPU, number of threads) for each job that runs at a time.
        costs: Time estimates.
        log: Whether to print the log of the running job instead of a live display. Only for one job at a time.
        processes: Number of processes of each job.
        launcher: Starts the processes of the jobs (default: each as a new Python).
        finished: The jobs of the sweep that are finished already, whose results the display shows, too.

    Attributes:
        outcomes: State of each job that is done: "finished", "blocked", "failed", or "skipped" because its training
            did not finish.
        stops: Number of stop signals received.
    """

    def __init__(
        self,
        jobs: list[Job],
        expected: dict[Job, dict],
        environments: list[dict[str, str]],
        costs: Costs,
        log: bool = False,
        processes: int = 1,
        launcher: Launcher | None = None,
        finished=(),
    ):
        self.jobs = set(jobs)
        self.expected = expected
        self.costs = costs
        self.log = log
        self.processes = processes
        self.launcher = launcher or Launcher()
        self.finished = finished
        self.follower = None  # prints the log of the running job
        self.slots = [(environment, None) for environment in environments]  # (environment, Process or None)
        self.waiting = list(jobs)
        self.external = []  # jobs that run in processes of another sweep or of the user
        self.outcomes = {}
        self.stops = 0

    def run(self) -> dict[Job, State]:
        """Runs until all jobs are done, or until Ctrl-C or SIGTERM. Returns the outcomes."""
        previous_handlers = {number: signal.signal(number, self.stop) for number in SIGNALS}
        try:
            with display_of(self, plain=self.log) as self.display:
                try:
                    while not self.stops and (self.waiting or self.external or self.running()):
                        self.collect_ended()
                        self.fill_slots()
                        self.copy_log()
                        self.display.update()
                        wait_for_one(self.running(), POLL_SECONDS)
                finally:
                    self.stop_running()
                    self.copy_log()
        finally:
            for number, handler in previous_handlers.items():
                signal.signal(number, handler)
        return self.outcomes

    def stop(self, number, frame) -> None:
        """Signal handler: the first signal stops the jobs, the second one kills them."""
        self.stops += 1

    def stop_running(self) -> None:
        try:
            if self.stops and self.running():
                self.print_line(f"Stopping {len(self.running())} running jobs. Press Ctrl-C again to kill them.")
        finally:  # the terminal may be closed
            stop_all(self.running(), kill_now=lambda: self.stops > 1)

    def running(self) -> list[Process]:
        return [process for _, process in self.slots if process]

    def collect_ended(self) -> None:
        """Records the outcome of the jobs that have ended and frees their slots."""
        for i, (environment, process) in enumerate(self.slots):
            if process and process.ended():
                self.slots[i] = environment, None
                self.copy_log()
                if process.lost:
                    self.waiting.insert(0, process.job)
                    continue
                state = job_state(process.job, self.expected)
                if state.status == "finished":
                    self.costs.add(process.job, time.time() - process.started)
                else:
                    reason = console.failure(process.job.output) or state.note or "result.json is missing or unfinished"
                    state = State("failed", reason)
                self.add_outcome(process.job, state)

    def fill_slots(self) -> None:
        """Starts jobs in the free slots. Jobs that run in other processes use up slots, too."""
        if not self.launcher.is_ready():
            return
        for job in list(self.external):
            if job_state(job, self.expected).status != "running":
                self.external.remove(job)
                self.waiting.insert(0, job)
        for i in self.free_slots():
            if len(self.running()) + len(self.external) < len(self.slots):
                environment, _ = self.slots[i]
                self.slots[i] = environment, self.start_next(environment)

    def free_slots(self) -> list[int]:
        """Returns the numbers of the free slots in the order in which they spread the jobs evenly over the GPUs.

        Example: the slots have the GPUs 0, 1, 0, 1, and only the third one runs a job. Then the order is 1, 0, 3: the
        GPU 1 gets a job first, as GPU 0 has one.
        """
        on_gpu = Counter(environment.get(GPUS) for environment, process in self.slots if process)
        order = []
        for i, (environment, process) in enumerate(self.slots):
            if not process:
                order.append((on_gpu[environment.get(GPUS)], i))
                on_gpu[environment.get(GPUS)] += 1
        return [i for _, i in sorted(order)]

    def start_next(self, environment: dict[str, str]) -> Process | None:
        """Starts the first waiting job that can start. Jobs before it that need no start get their outcome."""
        for job in list(self.waiting):
            if any(other in self.jobs and other not in self.outcomes for other in job.before):
                continue  # a training that it needs has not ended
            self.waiting.remove(job)
            states = [self.outcomes.get(other, State("finished")).status for other in job.before]
            failed = [status for status in states if status != "finished"]
            if failed:
                self.add_outcome(job, State("skipped", f"training {failed[0]}"))
                continue
            try:
                process = self.start(job, environment)
            except OSError as error:
                self.add_outcome(job, State("failed", f"cannot start: {error}"))
                continue
            if process or job in self.external:
                return process
        return None

    def start(self, job: Job, environment: dict[str, str]) -> Process | None:
        """Starts a job. Returns None if it is finished, blocked, or running in another process."""
        lock = lock_folder(job.output)
        state = job_state(job, self.expected, lock_held=True) if lock else State("running")
        if state.status not in ("running", "finished", "blocked"):
            if self.log:
                self.print_line(f"== {job.title}")
                self.follower = Follower(job.output)
            return Process(job, environment, lock, self.launcher, self.processes)
        if lock:
            lock.close()
        if state.status == "running":
            self.external.append(job)
            self.print_line(f"{job.title}: running in another process, waiting for it to end")
        else:
            self.add_outcome(job, state)
        return None

    def add_outcome(self, job: Job, state: State) -> None:
        """Stores and prints the outcome of a job."""
        self.outcomes[job] = state
        text = f"{state.status}: {state.note}" if state.note else state.status
        if state.status == "finished":
            text = console.result(job.output, metric_name(job)) or text
        seconds = self.seconds_left()
        left = "" if seconds is None else f"; time left {clock(seconds)}"
        self.display.add(job, state, f"[{len(self.outcomes)}/{len(self.jobs)}] {job.title}: {text}", left)

    def seconds_left(self) -> float | None:
        """Returns the expected time until all jobs are done, or None if the duration of one is unknown."""
        running = [process.seconds_left(self.costs.seconds(process.job)) for process in self.running()]
        waiting = [self.costs.seconds(job) for job in self.waiting + self.external]
        if None in running or None in waiting:
            return None
        return max([sum(running + waiting) / len(self.slots), *running])

    def copy_log(self) -> None:
        if self.follower:
            self.follower.copy()

    def print_line(self, line: str) -> None:
        """Prints a line, above the display if there is one."""
        print(line, flush=True)
