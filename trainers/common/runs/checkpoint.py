"""Checkpoints of a trainer: saves, loads and resumes its registered models.

They are in `OUTPUT_DIR/<model name>`. `checkpoint_file.py` has the file format.
"""

from __future__ import annotations

import contextlib
import math
import os.path as osp

from ..classes import check_text, shorten
from ..compat import load_scheduler_state, scheduler_state
from ..distributed import is_main
from . import record, tuned_weights
from .checkpoint_file import BEST, names, newest, read, write
from .digest import digest
from .files import write_atomically
from .nearby import hint
from .rng import random_state, set_random_state
from .start import SET, adopt, without_start

PROMPT_KEYS = ("DATASET.TEMPLATES", "DATASET.DESCRIPTIONS_DIGEST")  # several prompts per class
LEARNED_FROM = ("train_x", "val")  # splits that decide what is learned; best_val selects an epoch by val


def save(trainer, epoch: int, directory: str, is_best=False, val_result=None, model_name="") -> None:
    """Saves the state after `epoch` (counted from 0) under `directory`, one file per registered model."""
    trainer.run.epoch = epoch + 1
    scaler = getattr(trainer, "scaler", None)
    for name in trainer.get_model_names():
        optimizer = trainer._optims[name]
        scheduler = trainer._scheds[name]
        state = tuned_state(trainer, name)
        file = model_name or f"model.pth.tar-{epoch + 1}"
        trainer.run.weights[f"{name}/{file}"] = digest(state["state_dict"])
        state = {
            **state,
            "optimizer": optimizer.state_dict() if optimizer else None,
            "scheduler": scheduler_state(scheduler) if scheduler else None,
            "val_result": None if val_result is None else float(val_result),
            "scaler": scaler.state_dict() if scaler else {},
            "method": trainer.training_state(),
            "random": random_state(),
            "best_result": float(trainer.best_result),
            "train_seconds": trainer.run.train_seconds(),
            "weights": dict(trainer.run.weights),
        }
        if getattr(trainer, "trace", None):
            state["trace"] = trainer.trace.state()
        write(state, osp.join(directory, name), is_best, model_name)


def tuned_state(trainer, name: str) -> dict:
    """Returns the weights of the model registered as `name`, with the identity, images and settings of the run."""
    content = record.content(trainer, LEARNED_FROM)
    return {
        "state_dict": weights_of(trainer, name),
        "epoch": trainer.run.epoch,
        "meta": {**record.identity(trainer), "content": content, **trainer.files_read()},
        "settings": record.settings(trainer.cfg, trainer.section),
    }


def weights_of(trainer, name: str) -> dict:
    """Returns the tensors of a checkpoint: those of the model registered as `name`, and the start of the run."""
    start = getattr(trainer, "start", None)
    return {**trainer._models[name].state_dict(), **(start.state() if start else {})}


def load(trainer, directory: str, epoch: int | None = None) -> dict | None:
    """Loads tuned weights for evaluation; see `find`.

    Returns:
        The content of the checkpoint, or None if there is nothing to load.
    """
    if not trainer.get_model_names():
        print(f"{type(trainer).__name__} has no tuned parameters: no checkpoint is loaded")
        return None
    if not directory:
        print("Note: no --model-dir given: evaluating without tuned weights")
        return None
    folders = [osp.join(directory, name) for name in (trainer.model_name, trainer.former_name) if name]
    return load_weights(trainer, find(next(filter(osp.isdir, folders), folders[0]), epoch))


def find(folder: str, epoch: int | None = None) -> str:
    """Returns the path of the checkpoint of `epoch` in `folder`. Without `epoch`: the best one, else the newest.

    If there are no checkpoints, returns the path of tuned.safetensors.
    """
    if epoch is not None:
        name = f"model.pth.tar-{epoch}"
    else:
        name = BEST if osp.isfile(osp.join(folder, BEST)) else newest(folder) or tuned_weights.NAME
    return osp.join(folder, name)


def load_weights(trainer, path: str, name: str = "", state: dict | None = None) -> dict:
    """Loads the weights at `path` into the model `name` (default: the only one). Returns the content of the file.

    `state` is that content, if it has been read already.
    """
    name = name or trainer.get_model_names()[0]
    state = state or read(path)
    for difference in plugin_differences(state):
        print(f"Note: {path} was made with other plugins ({difference})")
    trainer.apply_state(name, state, path)
    print(f"Loaded {path} to {name} (epoch {state.get('epoch')!r}, val_result {state.get('val_result')!r})")
    return state


def apply_state(trainer, state: dict, path: str) -> None:
    """Loads the tuned weights of `state`, which was read from `path`, into a ClipTrainer.

    Raises:
        ValueError: they belong to another backbone, other classes or other tuned parameters.
    """
    state = {**state, "state_dict": dict(state["state_dict"])}
    with explain_content_error(path):
        check_backbone(trainer, state, path)
        adopt(trainer, state, path)
        state["state_dict"] = without_start(state["state_dict"])
        trainer.before_load(state)
        drop_not_loaded(trainer, state["state_dict"])
        check_fits(trainer, state, path)
        trainer.tuned.load_state_dict(state["state_dict"])
    trainer.tuned_changed()
    trainer.run.epoch = state.get("epoch")


@contextlib.contextmanager
def explain_content_error(path: str):
    """Reports errors in the block as a ValueError that says that the checkpoint at `path` is invalid."""
    try:
        yield
    except (AttributeError, IndexError, KeyError, RuntimeError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"invalid checkpoint {path} ({type(error).__name__}: {reason})") from error


def resume(trainer, directory: str) -> int:
    """Resumes from the newest checkpoints under `directory`, if any. Returns the number of finished epochs."""
    directory = resume_directory(trainer, directory)
    folders = {name: osp.join(directory, name) for name in trainer.get_model_names()}
    files = newest_of_all(list(folders.values()))
    if not files:
        if trainer.cfg.RESUME:
            raise FileNotFoundError(
                f"--resume {directory}: no checkpoint in {', '.join(folders.values())}{hint(directory)}"
            )
        print("No checkpoint found, train from scratch")
        return 0
    epochs = [resume_model(trainer, name, osp.join(folders[name], file)) for name, file in zip(folders, files)]
    epoch = epochs[0]
    copy_best(trainer, directory)
    if (
        BEST in files and is_due(trainer, epoch) and is_main()
    ):  # killed after saving the best, before the epoch's checkpoint
        save(trainer, epoch - 1, trainer.output_dir)
    print(f"Resuming after epoch {epoch}")
    return epoch


def newest_of_all(folders: list[str]) -> list[str]:
    """Returns the checkpoint to resume from in each folder, all of the same epoch; [] if there is none.

    A kill between the files of two models leaves one of them an epoch behind.
    """
    files = [newest(folder) for folder in folders]
    if None in files or len(set(files)) <= 1:
        return [] if None in files else files
    common = set.intersection(*(set(names(folder)) for folder in folders)) - {BEST}
    chosen = next((name for name in names(folders[0]) if name in common), None)
    return [chosen] * len(folders) if chosen else []


def resume_model(trainer, name: str, path: str) -> int:
    """Restores a model and its training state from the file at `path`. Returns the epoch of the file."""
    state = read(path)
    check_settings(trainer, state, osp.dirname(osp.dirname(path)))
    load_weights(trainer, path, name, state)
    if trainer._optims[name] and not state.get("optimizer"):
        raise ValueError(
            f"cannot resume from {path}: it is from another program and has no readable optimiser state; evaluate it "
            "(--eval-only --model-dir), or set another --output-dir"
        )
    with explain_content_error(path):
        restore(trainer, name, state)
        return int(state["epoch"])


def restore(trainer, name: str, state: dict) -> None:
    """Restores everything but the weights: optimiser, schedule, loss scale, best result, random generators."""
    if trainer._optims[name]:
        trainer._optims[name].load_state_dict(state["optimizer"])
    if trainer._scheds[name]:
        load_scheduler_state(trainer._scheds[name], state["scheduler"])
    if "random" in state:  # missing in checkpoints of other programs
        if getattr(trainer, "scaler", None):
            trainer.scaler.load_state_dict(state["scaler"])
        if state.get("method"):
            trainer.load_training_state(state["method"])
        trainer.best_result = state["best_result"]
        trainer.run.earlier_seconds = state.get("train_seconds", 0.0)
        trainer.run.weights.update(state.get("weights", {}))
        if getattr(trainer, "trace", None):
            trainer.trace.load(state.get("trace"), state["epoch"])
        set_random_state(state["random"])


def is_due(trainer, epoch: int) -> bool:
    """Whether a checkpoint is saved after `epoch` (counted from 1)."""
    frequency = getattr(trainer, "checkpoint_frequency", trainer.cfg.TRAIN.CHECKPOINT_FREQ)  # not in upstream Dassl
    return epoch == trainer.max_epoch or (frequency > 0 and epoch % frequency == 0)


def resume_directory(trainer, directory: str) -> str:
    """Returns the directory to resume from: the run's own if it has checkpoints, else `directory` (of --resume)."""
    output_dir = trainer.output_dir
    has_checkpoints = any(newest(osp.join(output_dir, name)) for name in trainer.get_model_names())
    if has_checkpoints and osp.abspath(directory) != osp.abspath(output_dir):
        print(f"Note: {output_dir} has checkpoints: resuming from these, not from --resume {directory}")
        return output_dir
    return directory


def copy_best(trainer, directory: str) -> None:
    """Checks the best checkpoint so far, and copies it if it is in the directory of another run."""
    if trainer.cfg.TEST.FINAL_MODEL != "best_val" or not (math.isfinite(trainer.best_result) and is_main()):
        return
    for name in trainer.get_model_names():
        source = osp.join(directory, name, BEST)
        target = osp.join(trainer.output_dir, name, BEST)
        trainer.run.weights[f"{name}/{BEST}"] = digest(check_best(source, directory)["state_dict"])
        if osp.abspath(source) != osp.abspath(target):
            with open(source, "rb") as file:
                write_atomically(target, file.read())


def check_best(best: str, directory: str) -> dict:
    """Returns the best checkpoint. Raises FileNotFoundError or ValueError, with a remedy, if it cannot be read."""
    try:
        return read(best)
    except (FileNotFoundError, ValueError) as error:
        problem = "corrupted" if osp.isfile(best) else "missing"
        raise type(error)(
            f"the best checkpoint so far is {problem}: {best}; restore a copy, resume without it (--resume "
            f"{directory} ... TEST.FINAL_MODEL last_step), or train again in another --output-dir"
        ) from error


def drop_not_loaded(trainer, tensors: dict) -> None:
    """Removes tensors of upstream's checkpoints that the trainer recomputes, by the prefixes in `not_loaded`."""
    dropped = [name for name in tensors if name.startswith(trainer.not_loaded)]
    for name in dropped:
        del tensors[name]
    if dropped:
        print(f"Note: {len(dropped)} tensors of the checkpoint are not tuned and not loaded: {shorten(dropped)}")


def check_backbone(trainer, state: dict, path: str) -> None:
    """Raises ValueError if a checkpoint belongs to another backbone."""
    meta = state.get("meta", {})
    for key in ("backbone", "template") if meta else ():  # printed below
        check_text(meta[key], key, path)
    if meta:
        record.check_backbone(meta, record.identity(trainer), path)


def check_fits(trainer, state: dict, path: str) -> None:
    """Raises ValueError if a checkpoint belongs to other classes or has other tuned parameters."""
    meta = state.get("meta", {})
    identity = record.identity(trainer)
    if meta and trainer.per_class and meta["classnames"] != identity["classnames"]:
        raise ValueError(
            f"{path} has parameters per class for {shorten(meta['classnames'])}, and cannot be used for other classes, "
            f"got {shorten(identity['classnames'])}: evaluate it on the classes it was trained on"
        )
    shapes = {name: tuple(t.shape) for name, t in trainer.tuned.state_dict().items()}
    saved_shapes = {name: tuple(t.shape) for name, t in state["state_dict"].items()}
    if shapes != saved_shapes:
        differ = sorted(n for n in shapes.keys() | saved_shapes.keys() if shapes.get(n) != saved_shapes.get(n))
        saved_shape = saved_shapes.get(differ[0], "missing")
        shape = shapes.get(differ[0], "missing")
        sets = tuple(entry for entry in meta.get("tune", ()) if entry != SET)
        tunes_start = SET in meta.get("tune", ())
        remedy = f'; set TRAINER.{trainer.section}.TUNE "{sets}" as in its training' if meta else ""
        if tunes_start or trainer.cfg.MODEL.START_TUNE:
            remedy += f", and MODEL.START_TUNE {tunes_start}"
        raise ValueError(
            f"{path} has other tuned parameters than this run: {len(differ)} differ, e.g. {differ[0]} is {saved_shape} "
            f"in the checkpoint and {shape} in this run{remedy}"
        )
    if meta and meta["template"] != identity["template"]:
        print(f'Note: tuned with the prompt "{meta["template"]}", evaluated with "{identity["template"]}"')
    settings = record.settings(trainer.cfg, trainer.section)
    saved = {**dict.fromkeys(PROMPT_KEYS), **(state.get("settings") or {})}
    for key in PROMPT_KEYS:
        if meta and (saved[key] or None) != (settings.get(key) or None):
            print(f"Note: tuned with {key} {saved[key]}, evaluated with {settings.get(key)}")


def check_settings(trainer, state: dict, directory: str) -> None:
    """Raises ValueError if a run would be resumed with other settings or data, unless --resume names its folder."""
    if state.get("settings") is None or not is_main():
        return
    differ = record.differences(state["settings"], record.settings(trainer.cfg, trainer.section))
    differ += plugin_differences(state)
    differ += record.start_differences(state.get("meta") or {}, record.identity(trainer))
    learned_from = {"identity": state.get("meta"), "content": (state.get("meta") or {}).get("content")}
    run = {"identity": record.identity(trainer), "content": record.content(trainer, LEARNED_FROM)}
    other_data = record.data_differences(learned_from, run, LEARNED_FROM)
    if not differ and not other_data:
        return
    kind = "settings" if differ else "data"
    message = f"{directory} holds a run with other {kind} ({'; '.join(differ + other_data)})"
    if not trainer.cfg.RESUME or osp.abspath(trainer.cfg.RESUME) != osp.abspath(directory):
        raise ValueError(
            f"{message}: set another --output-dir, remove that folder, or resume it with --resume {directory}"
        )
    print(f"Note: {message}")


def plugin_differences(state: dict) -> list[str]:
    """Returns ["plugins mine.py (4f2a...) -> none"] if a checkpoint was made with other plugins than those loaded."""
    saved = (state.get("meta") or {}).get("plugins") or []
    if {plugin["sha256"] for plugin in saved} == {plugin["sha256"] for plugin in record.loaded_plugins}:
        return []
    texts = []
    for plugins in (saved, record.loaded_plugins):
        names = [f"{osp.basename(plugin['path'])} ({plugin['sha256'][:8]})" for plugin in plugins]
        texts.append(", ".join(names) or "none")
    return [f"plugins {texts[0]} -> {texts[1]}"]
