"""Estimates how long jobs take: from the finished jobs of this sweep, else from the records of similar runs.

Without a run on the same dataset, the parts of runs on other datasets are added up (parts.py).
"""

import datetime
from collections import defaultdict
from pathlib import Path
from statistics import mean

from .jobs import Job
from .parts import Parts
from .state import read_record

# Runs with the same values of these take about the same time. Seeds and other settings hardly matter.
COST_KEYS = ("TRAINER.NAME", "DATASET.NAME", "DATASET.SUBSAMPLE_CLASSES")


class Costs:
    """Durations of jobs.

    A group holds jobs of the same method, dataset, classes and backbone, either trainings or evaluations. If there is
    no run of the same length in a group, the training time is scaled. Example: a recorded run took 8 s for training
    with 2 shots and 2 s for the test. A job with 4 shots is then expected to take 4 / 2 * 8 + 2 = 18 s.

    Args:
        expected: `state.expected_record` of each job.
    """

    def __init__(self, expected: dict[Job, dict]):
        self.expected = expected
        self.measured = defaultdict(list)  # (group, training length) -> seconds of finished jobs of this sweep
        self.recorded = defaultdict(list)  # group -> (training length, training seconds, test seconds) of past runs
        self.parts = Parts()  # of past runs and finished jobs
        self.startup_seconds = []  # seconds that finished jobs of this sweep spent outside training and test

    def read_records(self, output: Path, on_gpu: bool | None = None, processes: int = 1) -> None:
        """Reads the durations of the finished runs below `output`.

        Args:
            output: Output folder of a sweep.
            on_gpu: Only runs on a GPU (True), only runs on the CPU (False), or both (None).
            processes: Only runs with this number of processes.
        """
        from trainers.common.runs import record

        for path in output.glob(f"**/{record.FILE}"):
            result = read_record(path) or {}
            ran_on_gpu = not str(result.get("device")).startswith("cpu")
            alike = on_gpu in (None, ran_on_gpu) and result.get("processes", 1) == processes
            if result.get("finished") and alike:
                settings = result["settings"]
                backbone = result["identity"].get("backbone")
                group = (result.get("eval_only"), backbone, *cost_values(settings))
                seconds = (result.get("train_seconds") or 0.0, result.get("test_seconds") or 0.0)
                self.recorded[group].append((training_length(settings), *seconds))
                self.parts.add(result)

    def group(self, job: Job) -> tuple:
        expected = self.expected[job]
        evaluation = job.training is not None or expected["zero_shot"]
        return (evaluation, expected["backbone"], *cost_values(expected["settings"]))

    def add(self, job: Job, seconds: float) -> None:
        """Adds a finished job of this sweep.

        Args:
            job: The job.
            seconds: Its duration, with startup.
        """
        from trainers.common.runs import record

        self.measured[self.group(job), self.length(job)].append(seconds)
        result = read_record(job.output / record.FILE) or {}
        recorded = (result.get("train_seconds") or 0.0) + (result.get("test_seconds") or 0.0)
        self.startup_seconds.append(max(0.0, seconds - recorded))
        if result:
            self.parts.add(result)

    def length(self, job: Job) -> float:
        return training_length(self.expected[job]["settings"]) if job.training is None else 0.0

    def seconds(self, job: Job) -> float | None:
        """Returns the expected duration of a job, or None if no similar run is known."""
        group = self.group(job)
        length = self.length(job)
        measured = self.measured.get((group, length))
        if measured:
            return mean(measured)
        recorded = self.recorded.get(group, [])
        recorded = [run for run in recorded if run[0] == length] or recorded
        if recorded:
            durations = []
            for recorded_length, train_seconds, test_seconds in recorded:
                scale = length / recorded_length if train_seconds else 0.0
                durations.append(train_seconds * scale + test_seconds)
            startup = mean(self.startup_seconds) if self.startup_seconds else 0.0
            return startup + mean(durations)
        by_parts = self.parts.seconds(self.expected[job], training=not group[0])
        if by_parts is not None:
            return by_parts
        # Last resort: all trainings, or all evaluations, of this sweep.
        evaluation = group[0]
        others = [s for (other, _), seconds in self.measured.items() if other[0] == evaluation for s in seconds]
        return mean(others) if others else None


def cost_values(settings: dict) -> tuple:
    return (*(settings.get(key) for key in COST_KEYS), bool(settings.get("OPTIM.ITERATIONS")))


def training_length(settings: dict) -> float:
    """Returns the iterations, or epochs times shots; the training time is proportional to either.

    A group has runs of one of the two kinds: the number of iterations in an epoch is not known here.
    """
    from trainers.common.schedule import iterations

    shots = max(1, settings.get("DATASET.NUM_SHOTS", 1))
    return float(iterations(settings.get("OPTIM.ITERATIONS", ""), shots) or settings.get("OPTIM.MAX_EPOCH", 1) * shots)


def clock(seconds: float | None) -> str:
    """Formats a duration as H:MM:SS."""
    return "unknown" if seconds is None else str(datetime.timedelta(seconds=round(seconds)))
