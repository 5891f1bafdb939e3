"""How far a job is: finished with the same settings, cut off, to run, or in the way of another run."""

import fcntl
import json
import os
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from . import console
from .plan import Job

LOCK = ".sweep.lock"


@dataclass(frozen=True)
class State:
    """`kind` is one of KINDS; `note` says why, where that is not plain."""

    kind: str
    note: str = ""


KINDS = {
    "finished": "finished",
    "running": "running in another process",
    "queued": "queued on SLURM",
    "resume": "to resume",
    "run": "to run",
    "again": "to run again, failed before",
    "blocked": "blocked by a run with other settings",
}


def expect(job: Job) -> dict:
    """What the record of the job must say: its settings, as train.py would see them; and whether it is zero-shot.

    Raises:
        ValueError: train.py would refuse them.
    """
    import train
    from dassl.engine import TRAINER_REGISTRY
    from trainers.common.runs import record

    cfg = train.setup_cfg(train.parse_args(job.argv))
    trainer = TRAINER_REGISTRY.get(cfg.TRAINER.NAME)
    wanted = {
        "settings": record.settings(cfg, getattr(trainer, "section", "")),
        "zero_shot": getattr(trainer, "zero_shot", False),
        "evaluation": {"split": cfg.TEST.SPLIT, "final_model": cfg.TEST.FINAL_MODEL},
        "backbone": cfg.MODEL.BACKBONE.NAME,
        "images": os.path.abspath(cfg.DATASET.ROOT) if cfg.DATASET.NAME == "Folder" else None,
    }
    return json.loads(json.dumps(wanted))  # as a record is read


def look(job: Job, wanted: dict[Job, dict], held: bool = False) -> State:
    """The state of a job, from its folder.

    Args:
        wanted: what `expect` says of each job.
        held: whether we have the folder's lock ourselves.
    """
    from trainers.common.runs import record

    if busy(job.output, held):
        return State("running")
    path = job.output / record.FILE
    result = read(path)
    note = f"{path} cannot be read, it is made anew" if result is None and path.exists() else ""
    begun = not job.training and any(job.output.glob("*/checkpoint"))
    if result and (result.get("finished") or begun):  # else nothing would be lost
        other = other_settings(result, wanted[job], wanted.get(job.training))
        if other:
            what = f"{job.output} holds a run with other settings ({'; '.join(other)})"
            return State("blocked", f"{what}: give another --output, or remove that folder")
        note = out_of_date(job, result)
        if result.get("finished") and not note:
            return State("finished")
    if failed := console.failure(job.output):
        return State("again", failed)
    return State("resume" if begun else "run", note)


def read(path: Path) -> dict | None:
    """The record at `path`; None where there is none, or not a whole one."""
    from trainers.common.runs import record

    result = record.read(str(path))
    whole = result and all(isinstance(result.get(key), dict) for key in ("settings", "identity"))
    return result if whole else None


def other_settings(result: dict, wanted: dict, training: dict | None) -> list[str]:
    """In what a record differs from what is wanted: of its own run and of the training that it evaluates."""
    from trainers.common.runs.record import differences

    source = result.get("source")
    differ = differences(result["settings"], wanted["settings"])
    differ += differences(result.get("evaluation") or {}, wanted["evaluation"])
    differ += other_backbone(result["identity"], wanted["backbone"])
    if None not in (wanted["images"], result.get("root")):  # other datasets may be moved
        differ += differences({"DATASET.ROOT": result["root"]}, {"DATASET.ROOT": wanted["images"]})
    if training and source:
        differ += [f"evaluated {text}" for text in differences(source.get("settings") or {}, training["settings"])]
    return list(dict.fromkeys(differ))


def other_backbone(identity: dict, backbone: str) -> list[str]:
    """Compares weights, where they are in a file, and else names: those of OpenAI do not change."""
    weights = fingerprint(backbone) if identity.get("fingerprint") else None  # plain Dassl trainers have none
    if identity["fingerprint"] == weights if weights else identity.get("backbone") == backbone:
        return []
    if identity.get("backbone") == backbone:
        return [f"the weights of {backbone} have changed"]
    return [f"MODEL.BACKBONE.NAME {identity.get('backbone')!r} -> {backbone!r}"]


def out_of_date(job: Job, result: dict) -> str:
    """Why a finished evaluation is not of the model that is there now; "" if it is, or is no evaluation."""
    from trainers.common.runs import record

    if not job.training:
        return ""
    trained = read(job.training.output / record.FILE) or {}
    if not trained.get("finished"):
        return "its training is not finished"
    if not result.get("source") and not trained.get("eval_only"):  # zero-shot CLIP trains nothing
        return "its record does not tell what was evaluated"
    return "its training is newer" if trained.get("written", "") > result.get("written", "") else ""


@cache
def fingerprint(backbone: str) -> str | None:
    """Hash of a backbone's weights; None for OpenAI's names, whose weights do not change."""
    if backbone != "micro" and not Path(backbone).expanduser().is_file():
        return None
    from trainers.common.models import loading

    return loading.fingerprint(loading.read_state_dict(backbone))


def take(folder: Path):
    """An open file that holds the lock of a job's folder, for its process to inherit; None while another one holds it.

    The system gives the lock back when all processes that hold it have ended: a job that has outlived a killed sweep
    keeps the next sweep out. Not on NFS, whose locks are not inherited; there train.py's own lock does that.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = open(folder / LOCK, "a")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    except OSError as error:
        print(f"Note: {file.name} cannot be locked ({error.strerror}); let no second sweep run here", file=sys.stderr)
    return file


def busy(folder: Path, held: bool = False) -> bool:
    """Whether a process has locked a job's folder: a sweep, unless that is us (`held`), or train.py itself."""
    from trainers.common.runs import files

    return (not held and locked(folder / LOCK, fcntl.flock)) or locked(folder / files.LOCK, fcntl.lockf)


def locked(path: Path, lock) -> bool:
    try:
        with open(path) as file:
            lock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return True
    except OSError:  # there is no such file, or there are no locks here
        return False
    return False
