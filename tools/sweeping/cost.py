"""How long jobs take: as the finished jobs of this sweep, else as similar runs on record, else unknown."""

import datetime
from collections import defaultdict
from pathlib import Path
from statistics import mean

from .plan import Job
from .state import read

# What runs of the same cost have in common; seeds and the method's other settings hardly matter.
SAME = ("TRAINER.NAME", "DATASET.NAME", "DATASET.SUBSAMPLE_CLASSES")


class Costs:
    """Seconds of jobs; `wanted` is what `state.expect` says of each."""

    def __init__(self, wanted: dict[Job, dict]):
        self.wanted = wanted
        self.measured = defaultdict(list)  # kind of job -> seconds of finished jobs of this sweep
        self.recorded = defaultdict(list)  # kind of job -> (length of training, its seconds, seconds of the test)
        self.starting = []  # seconds that finished jobs of this sweep took besides training and test

    def read_records(self, output: Path, on_gpu: bool | None = None) -> None:
        """Learn from the finished runs below `output` that ran on GPUs, or on the CPU (`on_gpu`), or on either."""
        from trainers.common.runs import record

        for path in output.glob(f"**/{record.FILE}"):
            result = read(path) or {}
            ran_on_gpu = not str(result.get("device")).startswith("cpu")
            if result.get("finished") and on_gpu in (None, ran_on_gpu):
                settings, backbone = result["settings"], result["identity"].get("backbone")
                kind = (result.get("eval_only"), backbone, *(settings.get(key) for key in SAME))
                seconds = (result.get("train_seconds") or 0.0, result.get("test_seconds") or 0.0)
                self.recorded[kind].append((length(settings), *seconds))

    def kind(self, job: Job) -> tuple:
        wanted = self.wanted[job]
        evaluation = job.training is not None or wanted["zero_shot"]
        return (evaluation, wanted["backbone"], *(wanted["settings"][key] for key in SAME))

    def add(self, job: Job, seconds: float) -> None:
        """Take note of how long a finished job of this sweep took, all in all."""
        from trainers.common.runs import record

        self.measured[self.kind(job), self.length(job)].append(seconds)
        result = read(job.output / record.FILE) or {}
        inside = (result.get("train_seconds") or 0.0) + (result.get("test_seconds") or 0.0)
        self.starting.append(max(0.0, seconds - inside))

    def length(self, job: Job) -> float:
        return length(self.wanted[job]["settings"]) if job.training is None else 0.0

    def seconds(self, job: Job) -> float | None:
        """Expected seconds of a job; None if nothing similar is known."""
        kind, wanted = self.kind(job), self.length(job)
        if measured := self.measured.get((kind, wanted)):
            return mean(measured)
        known = self.recorded.get(kind, [])
        known = [run for run in known if run[0] == wanted] or known
        if known:
            starting = mean(self.starting) if self.starting else 0.0
            return starting + mean(train * (wanted / long if train else 0) + test for long, train, test in known)
        like = [s for (other, _), times in self.measured.items() if other[0] == kind[0] for s in times]
        return mean(like) if like else None


def length(settings: dict) -> float:
    """What training time grows with: epochs times images, and images with shots."""
    return float(settings.get("OPTIM.MAX_EPOCH", 1) * max(1, settings.get("DATASET.NUM_SHOTS", 1)))


def clock(seconds: float | None) -> str:
    return "unknown" if seconds is None else str(datetime.timedelta(seconds=round(seconds)))
