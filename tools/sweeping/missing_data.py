"""Tells which jobs have their images on this machine."""

import os
from collections import Counter

from dassl.data.datasets import DATASET_REGISTRY
from datasets import catalogue
from tools.reporting.run import option
from tools.sweeping.plan import Job
from tools.sweeping.state import read_record
from trainers.common.runs.record_schema import FILE


def split_by_data(jobs: list[Job]) -> tuple[list[Job], list[str]]:
    """Returns the jobs that can run or are finished, and a line per dataset that others need."""
    missing = Counter()
    kept = {}
    for job in jobs:
        absent = missing_dataset(job)
        if absent is None and (job.training is None or job.training.output in kept or is_finished(job.training)):
            kept[job.output] = job
        elif is_finished(job):
            kept[job.output] = job
        elif absent:
            missing[absent] += 1
    lines = []
    for (name, root), number in missing.items():
        lines.append(
            f"{name} is not in {root}: {number} of its jobs cannot run. "
            f"Get it with `python tools/prepare_data.py {name} --root {root}`"
        )
    return list(kept.values()), lines


def missing_dataset(job: Job) -> tuple[str, str] | None:
    """Returns (name, root) of the dataset of a job if its images are missing, else None."""
    root = option(job.argv, "--root")
    config = option(job.argv, "--dataset-config-file").rpartition("/")[2].removesuffix(".yaml")
    entry = catalogue.by_config().get(config)
    if entry is None or entry.bundled:  # a plugin's dataset, or one that the first run writes
        return None
    dataset = DATASET_REGISTRY.get(entry.name).at_root(root)
    return None if os.path.isdir(dataset.image_dir) else (config, root)


def is_finished(job: Job) -> bool:
    return bool((read_record(job.output / FILE) or {}).get("finished"))
