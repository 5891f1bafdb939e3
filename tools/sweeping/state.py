"""Tells the state of a job from its run directory: finished, running, to resume, to run, or blocked by another run."""

import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tools.records import instant, read_json
from trainers.common.runs.record_schema import record_digest

from . import console
from .data import data_key, differing_data
from .jobs import Job
from .locks import is_running


@dataclass(frozen=True)
class State:
    """State of a job.

    Attributes:
        status: A key of `STATUSES`; for a job that has ended in this sweep also "failed" or "skipped".
        note: The reason, if the status alone does not tell it.
    """

    status: str
    note: str = ""


STATUSES = {
    "finished": "finished",
    "running": "running in another process",
    "queued": "queued on SLURM",
    "resume": "to resume",
    "run": "to run",
    "retry": "to retry after a failure",
    "blocked": "blocked by a run with other settings or images",
}


def metric_name(job: Job) -> str:
    """Returns the name of the metric that the finished run of a job is compared by."""
    from trainers.common.runs import record

    return read_json(job.output / record.FILE).get("metric") or "accuracy"


def expected_record(job: Job) -> dict:
    """Returns what the run record of a job must contain: the settings as train.py would write them.

    Raises:
        ValueError: If train.py would reject the settings.
    """
    import train
    from dassl.engine import TRAINER_REGISTRY
    from trainers.common.runs import record

    cfg = train.setup_cfg(train.parse_args(job.argv))
    trainer = TRAINER_REGISTRY.get(cfg.TRAINER.NAME)
    expected = {
        "settings": record.settings(cfg, getattr(trainer, "section", "")),
        "zero_shot": getattr(trainer, "zero_shot", False),
        "evaluation": {"split": cfg.TEST.SPLIT, "final_model": cfg.TEST.FINAL_MODEL},
        "backbone": cfg.MODEL.BACKBONE.NAME,
        "images": os.path.abspath(cfg.DATASET.ROOT) if cfg.DATASET.NAME == "Folder" else None,
        "data": data_key(cfg),
    }
    return record.as_read(expected)


def job_state(job: Job, expected: dict[Job, dict], lock_held: bool = False) -> State:
    """Returns the state of a job from its run directory.

    Args:
        job: The job.
        expected: `expected_record` of each job.
        lock_held: Whether this process holds the lock of the run directory.
    """
    from trainers.common.runs import record

    if is_running(job.output, lock_held):
        return State("running")
    path = job.output / record.FILE
    result = read_record(path)
    note = f"{path} is corrupted and will be replaced" if result is None and path.exists() else ""
    has_checkpoint = not job.training and any(job.output.glob("*/checkpoint"))
    # Another run blocks the job only if it has a result or a checkpoint to lose.
    if result and (result.get("finished") or has_checkpoint):
        if other := other_run(job, result, expected):
            if job.chosen_from and chose_other_value(job, result, expected):
                return State("run", "another value is chosen now")
            return State("blocked", f"{job.output} {other}: use another --output, or remove that folder")
        note = why_outdated(job, result)
        if result.get("finished") and not note:
            return State("finished")
    if failure := console.failure(job.output):
        return State("retry", failure)
    return State("resume" if has_checkpoint else "run", note)


def read_record(path: Path) -> dict | None:
    """Returns the run record at `path`, or None if the file is missing or corrupted."""
    try:
        result = read_json(path)
    except (OSError, ValueError):
        return None
    complete = isinstance(result, dict) and all(isinstance(result.get(key), dict) for key in ("settings", "identity"))
    changed = complete and "digest" in result and result["digest"] != record_digest(result)
    return result if complete and not changed else None


def other_run(job: Job, result: dict, expected: dict[Job, dict]) -> str:
    """Returns what a run directory holds if it is another run than the job, with the differences; "" if it is not."""
    settings = differing_settings(result, expected[job], expected.get(job.training))
    data = differing_data(job.argv, expected[job]["data"], result)
    root = result.get("root")
    if data is None and None not in (expected[job]["images"], root) and root != expected[job]["images"]:
        data = [f"DATASET.ROOT {root!r} -> {expected[job]['images']!r}"]
    settings += differing_start(job, result)
    parts = [f"other settings ({'; '.join(settings)})"] if settings else []
    parts += [f"other images ({'; '.join(data)})"] if data else []
    return f"holds a run with {' and '.join(parts)}" if parts else ""


def differing_start(job: Job, result: dict) -> list[str]:
    """Returns how the start of a run differs from the job's: ["MODEL.START_FROM none -> output/a"], or []."""
    from trainers.common.runs import record

    start = (job.training or job).start
    weights = record.start_weights(result["identity"])
    if start is None or weights is None:
        names = [(result["identity"].get("start") or {}).get("model_dir", "none"), start.output if start else "none"]
        return [f"MODEL.START_FROM {names[0]} -> {names[1]}"] if names[0] != names[1] else []
    saved = (read_record(start.output / record.FILE) or {}).get("weights") or {}
    return [f"MODEL.START_FROM {start.output} has other weights now"] if saved and weights not in saved.values() else []


def chose_other_value(job: Job, result: dict, expected: dict[Job, dict]) -> bool:
    """Whether a test of a chosen run differs from the recorded one in the chosen values only.

    It is repeated then. The record of the old test is kept under another name, see record.begin.
    """
    own = expected[job]
    keys = job.setting.values.keys()
    settings = {**result["settings"], **{key: own["settings"].get(key) for key in keys}}
    source = dict((result.get("source") or {}).get("settings") or {})
    source.update({key: expected[job.training]["settings"].get(key) for key in keys})
    same = {**result, "settings": settings, "source": {**(result.get("source") or {}), "settings": source}}
    return not other_run(job, same, expected)


def differing_settings(result: dict, expected: dict, expected_training: dict | None) -> list[str]:
    """Returns the differences between a run record and the expected one, as "KEY old -> new".

    Args:
        result: The record.
        expected: The expected record of the same job.
        expected_training: The expected record of the training run, if the job is an evaluation.
    """
    from trainers.common.runs.record import differences

    source = result.get("source")
    found = differences(result["settings"], expected["settings"])
    found += differences(result.get("evaluation") or {}, expected["evaluation"])
    found += backbone_differences(result["identity"], expected["backbone"])
    if expected_training and source:
        changed = differences(source.get("settings") or {}, expected_training["settings"])
        found += [f"evaluated {text}" for text in changed]
    return list(dict.fromkeys(found))


def backbone_differences(identity: dict, backbone: str) -> list[str]:
    """Compares the backbone of a record with the expected one: by its weights if it is a file, else by its name."""
    recorded = identity.get("fingerprint")  # empty for trainers on plain Dassl
    weights = fingerprint(backbone) if recorded else None
    same_name = identity.get("backbone") == backbone
    if weights is not None:
        same = recorded == weights
    else:
        same = same_name
    if same:
        return []
    if same_name:
        return [f"the weights of {backbone} have changed"]
    return [f"MODEL.BACKBONE.NAME {identity.get('backbone')!r} -> {backbone!r}"]


def why_outdated(job: Job, result: dict) -> str:
    """Returns why a finished evaluation must be repeated: its training run has changed. "" if it need not.

    The digest of the evaluated weights decides; for older records without it, the times at which they were written.
    """
    from trainers.common.runs import record

    if not job.training:
        return ""
    training = read_record(job.training.output / record.FILE) or {}
    if not training.get("finished"):
        return "its training run is not finished"
    if not result.get("source") and not training.get("eval_only"):  # zero-shot CLIP has no training run
        return "its run record does not name the training run"
    weights = training.get("weights")
    evaluated = (result.get("source") or {}).get("weights")
    if weights and evaluated:
        return "" if evaluated in weights.values() else "its training run has other weights now"
    trained_at = instant(training.get("written"))
    evaluated_at = instant(result.get("written"))
    return "its training run is newer" if None not in (trained_at, evaluated_at) and trained_at > evaluated_at else ""


@cache
def fingerprint(backbone: str) -> str | None:
    """Returns the hash of a backbone's weights, or None for a name that is no path: its weights never change."""
    paths = [Path(path).expanduser() for path in (backbone, backbone.partition(":")[2]) if path]
    folder = next((path for path in paths if path.is_dir()), None)
    if folder:
        from trainers.common.models.weights_digest import folder_hashes

        return folder_hashes(str(folder))["fingerprint"]
    if backbone != "micro" and not paths[0].is_file():
        return None
    from trainers.common.models import loading

    return loading.fingerprint(loading.read_state_dict(backbone))
