"""MODEL.START_FROM: starts a method from the parameters of CLIP that another run tuned.

The frozen CLIP gets these values, so that the run equals one on the export of the other run as MODEL.BACKBONE.NAME:
the teacher of a distillation loss is the started CLIP too. With MODEL.START_TUNE True they are tuned on.

Checkpoints hold them under names with the prefix "start.", so that the other run is not needed any more.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch

from dassl.config import cfg_default

from ..finite import require_finite
from . import record

# Run directory, checkpoint or tuned.safetensors of a run that tuned parameters of CLIP
cfg_default.MODEL.START_FROM = ""
cfg_default.MODEL.START_TUNE = False  # True: tune these parameters too, with those of TUNE

PREFIX = "start."
SET = "start"  # their name among the parameter sets of a run, if they are tuned


@dataclass(frozen=True)
class Start:
    """Values of parameters of CLIP from another run.

    Attributes:
        tensors: name of the parameter -> fp32 value, on the CPU.
        source: the run they come from; see `record.source_of`.
    """

    tensors: dict[str, torch.Tensor]
    source: dict

    @property
    def title(self) -> str:
        """Where the values come from: "LayerNormTuning on DTD, 16 shots, seed 1 (output/ln)"."""
        source = self.source
        method = (source["settings"] or {}).get("TRAINER.NAME")
        classes = "" if source["classes"] == "all" else f" {source['classes']}"
        shots = "all images" if source["shots"] == -1 else f"{source['shots']} shots"
        return f"{method} on {source['dataset']}{classes}, {shots}, seed {source['seed']} ({source['model_dir']})"

    def state(self) -> dict[str, torch.Tensor]:
        """Returns the tensors under their names in a checkpoint."""
        return {f"{PREFIX}{name}": tensor for name, tensor in self.tensors.items()}


def of_state(state: dict, path: str) -> Start | None:
    """Returns the start of the run whose checkpoint is `state`, read from `path`; None if it had none."""
    source = (state.get("meta") or {}).get("start")
    tensors = {name[len(PREFIX) :]: tensor for name, tensor in state["state_dict"].items() if name.startswith(PREFIX)}
    return Start(tensors, source) if source else None


def without_start(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Returns the tensors of a checkpoint that the run tuned."""
    return {name: tensor for name, tensor in tensors.items() if not name.startswith(PREFIX)}


def read(cfg, clip_model: torch.nn.Module, identity: dict) -> Start | None:
    """Returns the start that MODEL.START_FROM names; None if it is empty.

    Args:
        clip_model: the CLIP to start.
        identity: hashes of its weights (`Backbone.identity`).

    Raises:
        FileNotFoundError: no run there.
        ValueError: the run is this one, is corrupted, tuned another CLIP, or tuned nothing or more than CLIP.
    """
    path = cfg.MODEL.START_FROM
    if not path:
        return None
    from .finished import read_run  # imports `checkpoint`, which imports this module

    try:
        state, file = read_run(path)
        own = of_state(state, file)
    except (OSError, ValueError) as error:
        raise type(error)(f"MODEL.START_FROM {path}: {error}") from error
    if os.path.realpath(os.path.dirname(os.path.dirname(file))) == os.path.realpath(cfg.OUTPUT_DIR):
        raise ValueError(f"MODEL.START_FROM {path} is this run itself, OUTPUT_DIR {cfg.OUTPUT_DIR}: name another run")
    check_backbone(state, identity, cfg, path)
    tensors = {**(own.tensors if own else {}), **without_start(state["state_dict"])}
    check_tensors(tensors, clip_model, state["meta"]["trainer"], path)
    require_finite(tensors, path, saving=False)
    return Start({name: tensor.float() for name, tensor in tensors.items()}, record.source_of(state, path))


def check_backbone(state: dict, identity: dict, cfg, path: str) -> None:
    """Raises ValueError if a run was not tuned on this CLIP."""
    meta = state["meta"]
    if meta["fingerprint"]:  # a plain Dassl trainer has none
        own = {**identity, "backbone": cfg.MODEL.BACKBONE.NAME}
        record.check_backbone(meta, own, f"MODEL.START_FROM {path}")
    activation = state["settings"].get("MODEL.BACKBONE.ACTIVATION", cfg.MODEL.BACKBONE.ACTIVATION)
    if activation != cfg.MODEL.BACKBONE.ACTIVATION:
        raise ValueError(
            f"MODEL.START_FROM {path} was tuned with MODEL.BACKBONE.ACTIVATION {activation}, this run has "
            f"{cfg.MODEL.BACKBONE.ACTIVATION}"
        )


def check_tensors(tensors: dict[str, torch.Tensor], clip_model: torch.nn.Module, method: str, path: str) -> None:
    """Raises ValueError unless the tensors are parameters of CLIP, at least one."""
    shapes = {name: p.shape for name, p in clip_model.named_parameters(remove_duplicate=False)}
    more = [name for name, tensor in tensors.items() if shapes.get(name) != tensor.shape]
    if more or not tensors:
        reason = f"has parameters of its own ({', '.join(more[:3])})" if more else "tunes nothing"
        raise ValueError(
            f"MODEL.START_FROM {path} is a run of {method}, which {reason}: start from a run that tunes parameters of "
            "CLIP only, such as LayerNormTuning"
        )


def apply(trainer, start: Start) -> None:
    """Sets the parameters of the trainer's frozen CLIP to those of the start, in their dtypes."""
    with torch.no_grad():
        for name, tensor in start.tensors.items():
            trainer.clip.get_parameter(name).copy_(tensor)
    trainer.start = start


def note_differences(trainer) -> None:
    """Prints the start, and whether it has seen other classes or data than this run."""
    start, cfg = trainer.start, trainer.cfg
    use = "tuned on" if cfg.MODEL.START_TUNE else "frozen"
    print(f"Start: {start.title}, {len(start.tensors)} tensors of CLIP, {use}")
    source = start.source
    if source["dataset"] != cfg.DATASET.NAME:
        print(f"Note: the start was trained on {source['dataset']}, this run uses {cfg.DATASET.NAME}")
    elif source["classes"] != cfg.DATASET.SUBSAMPLE_CLASSES:
        warning = "WARNING" if source["classes"] == "all" else "Note"
        print(
            f"{warning}: the start was trained on {source['classes']} classes of {source['dataset']}, this run has "
            f"{cfg.DATASET.SUBSAMPLE_CLASSES}: it has seen images of classes that are not this run's"
        )


def adopt(trainer, state: dict, path: str) -> None:
    """Gives the trainer the start of a checkpoint.

    Raises:
        ValueError: the trainer has another start, or the checkpoint none.
    """
    start = of_state(state, path)
    current = trainer.start
    if current is None and start is None:
        return
    weights = [s.source["weights"] if s else None for s in (start, current)]
    if current is not None and weights[0] != weights[1]:
        theirs = f"was started from {start.title}" if start else "has no start"
        raise ValueError(f"{path} {theirs}, but MODEL.START_FROM is {current.title}: set it as in the run's training")
    if current is None:
        apply(trainer, start)
        trainer.changes.decompose(trainer.clip)
        trainer.join_start()
