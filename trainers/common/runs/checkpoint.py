"""Checkpoints of a trainer: the weights of its registered models, what they fit, and all that a resumed run needs.

They lie in `OUTPUT_DIR/<model name>`; `checkpoint_file.py` says how they are written and read.
"""

from __future__ import annotations

import contextlib
import math
import os.path as osp

from ..compat import load_scheduler_state, scheduler_state
from . import record, tuned_weights
from .checkpoint_file import BEST, names, newest, read, write
from .files import write_atomically
from .rng import random_state, set_random_state


def save(trainer, epoch: int, directory: str, is_best=False, val_result=None, model_name="") -> None:
    """Save the state after `epoch` (counted from 0) under `directory`, a file for each registered model."""
    trainer.run.epoch = epoch + 1
    for name in trainer.get_model_names():
        optimizer, scheduler, scaler = trainer._optims[name], trainer._scheds[name], getattr(trainer, "scaler", None)
        state = {
            **tuned_state(trainer, name),
            "optimizer": optimizer.state_dict() if optimizer else None,
            "scheduler": scheduler_state(scheduler) if scheduler else None,
            "val_result": None if val_result is None else float(val_result),
            "scaler": scaler.state_dict() if scaler else {},
            "random": random_state(),
            "best_result": float(trainer.best_result),
            "train_seconds": trainer.run.train_seconds(),
        }
        write(state, osp.join(directory, name), is_best, model_name)


def tuned_state(trainer, name: str) -> dict:
    """The weights of the model registered as `name` and what they fit."""
    return {
        "state_dict": trainer._models[name].state_dict(),
        "epoch": trainer.run.epoch,
        "meta": record.identity(trainer),
        "settings": record.settings(trainer.cfg, trainer.section),
    }


def load(trainer, directory: str, epoch: int | None = None) -> dict | None:
    """Load tuned tensors for evaluation; see `find`.

    Returns the content of their file, or None where nothing is to be loaded.
    """
    if not trainer.get_model_names():
        print(f"{type(trainer).__name__} tunes nothing, no checkpoint is loaded")
        return None
    if not directory:
        print("No --model-dir given: evaluating without tuned weights")
        return None
    folders = [osp.join(directory, name) for name in (trainer.model_name, trainer.former_name) if name]
    return load_weights(trainer, find(next(filter(osp.isdir, folders), folders[0]), epoch))


def find(folder: str, epoch: int | None = None) -> str:
    """Path in `folder` of the checkpoint of `epoch`; else of the best on validation data, else the newest.

    Without checkpoints it is that of the tuned tensors alone.
    """
    if epoch is not None:
        name = f"model.pth.tar-{epoch}"
    else:
        name = BEST if osp.isfile(osp.join(folder, BEST)) else newest(folder) or tuned_weights.NAME
    return osp.join(folder, name)


def load_weights(trainer, path: str, name: str = "") -> dict:
    """Give the model `name` (default: the only one) the weights of the file at `path`; returns the file's content."""
    name, state = name or trainer.get_model_names()[0], read(path)
    trainer.put_in_place(name, state, path)
    print(f"Loaded {path} to {name} (epoch {state.get('epoch')}, val_result {state.get('val_result')})")
    return state


def put_in_place(trainer, state: dict, path: str) -> None:
    """Give a ClipTrainer the tuned tensors of `state`, which was read from `path`.

    Raises:
        ValueError: they belong to another backbone, to other classes or to other tuned parameters.
    """
    state = {**state, "state_dict": dict(state["state_dict"])}
    with sound(path):
        leave_out(trainer, state["state_dict"])
        trainer.before_load(state)
        check_fits(trainer, state, path)
        trainer.tuned.load_state_dict(state["state_dict"])
    trainer.tuned_changed()
    trainer.run.epoch = state.get("epoch")


@contextlib.contextmanager
def sound(path: str):
    """Turn what a file made by hand can cause into a ValueError that names it."""
    try:
        yield
    except (AttributeError, IndexError, KeyError, RuntimeError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{path} does not hold what a checkpoint does ({type(error).__name__}: {reason})") from error


def resume(trainer, directory: str) -> int:
    """Continue from the newest checkpoints under `directory`, if any; returns the epoch to start with."""
    directory = where_to_resume(trainer, directory)
    folders = {name: osp.join(directory, name) for name in trainer.get_model_names()}
    files = newest_of_all(list(folders.values()))
    if not files:
        if trainer.cfg.RESUME:
            raise FileNotFoundError(f"--resume {directory}: no checkpoint in {', '.join(folders.values())}")
        print("No checkpoint found, train from scratch")
        return 0
    epochs = [resume_model(trainer, name, osp.join(folders[name], file)) for name, file in zip(folders, files)]
    epoch = epochs[0]
    bring_best(trainer, directory)
    if BEST in files and is_due(trainer, epoch):  # killed between saving the best and its own checkpoint
        save(trainer, epoch - 1, trainer.output_dir)
    print(f"Resuming after epoch {epoch}")
    return epoch


def newest_of_all(folders: list[str]) -> list[str]:
    """Name of the checkpoint to resume from in each folder, all of one epoch; none if a folder has no such file.

    A kill between the files of two models leaves one of them an epoch behind.
    """
    files = [newest(folder) for folder in folders]
    if None in files or len(set(files)) <= 1:
        return [] if None in files else files
    common = set.intersection(*(set(names(folder)) for folder in folders)) - {BEST}
    chosen = next((name for name in names(folders[0]) if name in common), None)
    return [chosen] * len(folders) if chosen else []


def resume_model(trainer, name: str, path: str) -> int:
    """Restore a model, its optimiser and all that goes with them from the file at `path`; returns its epoch."""
    state = load_weights(trainer, path, name)
    check_settings(trainer, state, osp.dirname(osp.dirname(path)))
    if trainer._optims[name] and not state.get("optimizer"):
        raise ValueError(
            f"{path} comes from another program and has no optimiser state that can be read: "
            "it can be evaluated (--eval-only --model-dir) but not trained further; give another --output-dir"
        )
    with sound(path):
        restore(trainer, name, state)
        return int(state["epoch"])


def restore(trainer, name: str, state: dict) -> None:
    """Put everything but the weights in place."""
    if trainer._optims[name]:
        trainer._optims[name].load_state_dict(state["optimizer"])
    if trainer._scheds[name]:
        load_scheduler_state(trainer._scheds[name], state["scheduler"])
    if "random" in state:  # not in those of other programs
        if getattr(trainer, "scaler", None):
            trainer.scaler.load_state_dict(state["scaler"])
        trainer.best_result = state["best_result"]
        trainer.run.earlier_seconds = state.get("train_seconds", 0.0)
        set_random_state(state["random"])


def is_due(trainer, epoch: int) -> bool:
    """Whether Dassl saves a checkpoint after `epoch` (counted from 1)."""
    frequency = trainer.cfg.TRAIN.CHECKPOINT_FREQ
    return epoch == trainer.max_epoch or (frequency > 0 and epoch % frequency == 0)


def where_to_resume(trainer, directory: str) -> str:
    """`directory`, but where --resume names another run's folder and this run has got further: its own."""
    own = trainer.output_dir
    begun = any(newest(osp.join(own, name)) for name in trainer.get_model_names())
    if begun and osp.abspath(directory) != osp.abspath(own):
        print(f"Note: {own} holds checkpoints of its own, so this run goes on from these and not from {directory}")
        return own
    return directory


def bring_best(trainer, directory: str) -> None:
    """Check that the best epoch so far can be deployed at the end; bring it along from another run's folder."""
    if trainer.cfg.TEST.FINAL_MODEL != "best_val" or not math.isfinite(trainer.best_result):
        return
    for name in trainer.get_model_names():
        best, own = (osp.join(place, name, BEST) for place in (directory, trainer.output_dir))
        check_best(best, directory)
        if osp.abspath(best) != osp.abspath(own):
            with open(best, "rb") as file:
                write_atomically(own, file.read())


def check_best(best: str, directory: str) -> None:
    """Raise FileNotFoundError or ValueError, with what can be done, if the best epoch's file cannot be read."""
    try:
        read(best)
    except (FileNotFoundError, ValueError) as error:
        raise type(error)(
            f"{best}, the best epoch so far, is {'damaged' if osp.isfile(best) else 'missing'}: restore a copy, go on "
            f"without it (--resume {directory} ... TEST.FINAL_MODEL last_step), or train again in another --output-dir"
        ) from error


def leave_out(trainer, tensors: dict) -> None:
    """Remove the tensors that CoOp-family files hold beside the tuned ones; the trainer makes them anew itself."""
    left_out = [name for name in tensors if name.startswith(trainer.left_out)]
    for name in left_out:
        del tensors[name]
    if left_out:
        print(f"Note: {len(left_out)} tensors of the checkpoint are not tuned and not loaded: {shorten(left_out)}")


def check_fits(trainer, state: dict, path: str) -> None:
    """Raise ValueError if a checkpoint belongs to another backbone or to other tuned tensors."""
    meta, own = state.get("meta", {}), record.identity(trainer)
    if meta and meta["fingerprint"] != own["fingerprint"]:
        raise ValueError(
            f"{path} was tuned on the backbone {meta['backbone']} ({meta['fingerprint']}), but this run has "
            f"{own['backbone']} ({own['fingerprint']}): pass --backbone {meta['backbone']}"
        )
    if meta and trainer.per_class and meta["classnames"] != own["classnames"]:
        raise ValueError(
            f"{path} holds tensors of its own for every class it was tuned on ({shorten(meta['classnames'])}), which "
            f"cannot be used for other classes ({shorten(own['classnames'])}); evaluate it on the same classes"
        )
    ours = {name: tuple(t.shape) for name, t in trainer.tuned.state_dict().items()}
    theirs = {name: tuple(t.shape) for name, t in state["state_dict"].items()}
    if ours != theirs:
        differ = sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name))
        example = f"{differ[0]}: {theirs.get(differ[0], 'absent')} there, {ours.get(differ[0], 'absent')} here"
        tune = f'; it was made with TRAINER.{trainer.section}.TUNE "{tuple(meta["tune"])}"' if meta else ""
        raise ValueError(f"{path} holds other tuned tensors: {len(differ)} differ, e.g. {example}{tune}")
    if meta and meta["template"] != own["template"]:
        print(f'Note: tuned with the prompt "{meta["template"]}", evaluated with "{own["template"]}"')


def shorten(names: list[str]) -> str:
    """The first three names, as one text."""
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def check_settings(trainer, state: dict, directory: str) -> None:
    """Raise ValueError if a run is about to be continued with other settings than it began with."""
    then, now = state.get("meta", {}).get("plugins") or [], record.loaded_plugins
    if {plugin["sha256"] for plugin in then} != {plugin["sha256"] for plugin in now}:
        print(f"Note: {directory} was begun with other plugins, or with another version of them")
    old, new = state.get("settings"), record.settings(trainer.cfg, trainer.section)
    differ = [] if old is None else record.differences(old, new)
    if not differ:
        return
    message = f"{directory} holds a run with other settings ({'; '.join(differ)})"
    asked = trainer.cfg.RESUME and osp.abspath(trainer.cfg.RESUME) == osp.abspath(directory)
    if not asked:  # continuing with other settings must be asked for
        raise ValueError(f"{message}: give another --output-dir, remove that folder, or ask for it with --resume")
    print(f"Note: {message}")
