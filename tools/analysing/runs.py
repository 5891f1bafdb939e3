"""Loads finished runs for an analysis: tuned weights, frozen CLIP, trace, and labels for plots."""

import functools
import json
import os
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from dassl.config import get_cfg_default
from tools.classifier_options import check_distinct
from tools.reporting.labels import setting_name
from trainers.common.inference.saved_run import find_method
from trainers.common.models.backbones import load_backbone
from trainers.common.runs import record, trace_file
from trainers.common.runs.digest import digest
from trainers.common.runs.finished import read_run
from trainers.common.runs.record_schema import PER_RUN
from trainers.common.runs.start import of_state, without_start

NAMED_BY_VALUE = ("TRAINER.NAME", "DATASET.NAME", "DATASET.SUBSAMPLE_CLASSES")
HOW_TO_TRACE = "train it with TRAIN.TRACE True"


class OfState:
    """What the state of a run says; see `checkpoint.tuned_state`."""

    state: dict

    @property
    def method(self) -> str:
        return self.state["meta"]["trainer"]

    @property
    def seed(self) -> int | str:
        """The seed of the run; "-" if its weights do not say it."""
        return self.state["settings"].get("SEED", "-")


@dataclass
class AnalysedRun(OfState):
    """A finished run.

    Attributes:
        path: the run as the user named it.
        state: the tuned weights with their metadata; see `checkpoint.tuned_state`.
        clip: the frozen CLIP on the CPU, in the precision of the run.
        trace: None if the run was not traced.
        label: what distinguishes the run from the others of an analysis; see `load_runs`.
    """

    path: str
    state: dict
    clip: nn.Module
    trace: trace_file.Traced | None
    label: str = field(default="")

    @property
    def tensors(self) -> dict[str, torch.Tensor]:
        return without_start(self.state["state_dict"])

    @functools.cached_property
    def initial(self) -> dict[str, torch.Tensor]:
        """The initial values of those tuned tensors that are parameters of CLIP, in forward order.

        They are those of the frozen CLIP, or of the run that this one was started from (MODEL.START_FROM).
        """
        start = of_state(self.state, self.label)
        values = start.tensors if start else {}
        return {
            name: values.get(name, p).detach().float()
            for name, p in self.clip.named_parameters()
            if name in self.tensors
        }

    def need_trace(self) -> trace_file.Traced:
        """Returns the trace. Raises ValueError if there is none."""
        if self.trace is None:
            raise ValueError(f"{self.path} has no {trace_file.NAME}: {HOW_TO_TRACE}")
        return self.trace


def load_run(path: str, epoch: int | None = None, backbone: str = "") -> AnalysedRun:
    """Loads a run.

    Args:
        path, epoch: as in `read_run`.
        backbone: name or path of the CLIP, if it differs from that in training.

    Raises:
        FileNotFoundError: no run at `path`.
        ValueError: the run tunes nothing, its files are corrupted, or `backbone` is another CLIP.
    """
    state, file = read_run(path, epoch)
    meta = state["meta"]
    if not state["state_dict"] or not find_method(meta["trainer"]).trainable:
        raise ValueError(
            f"{path} tunes nothing: {meta['trainer']} has no trained parameters; give a run that trains some"
        )
    clip = frozen_clip(backbone or meta["backbone"], meta["precision"])
    if clip.fingerprint != meta["fingerprint"]:
        raise ValueError(
            f"{path} was tuned on {meta['backbone']} ({meta['fingerprint']}), but {backbone or meta['backbone']} is "
            f"another CLIP ({clip.fingerprint}): pass --backbone"
        )
    return AnalysedRun(path, state, clip, read_trace(path, file, state))


@functools.lru_cache(maxsize=2)
def frozen_clip(backbone: str, precision: str) -> nn.Module:
    return load_backbone(backbone, precision).model


def read_trace(path: str, file: str, state: dict) -> trace_file.Traced | None:
    """Returns the trace in the run directory, if there is one.

    Raises:
        ValueError: it is corrupted, or belongs to another run that had the same directory.
    """
    folder = Path(path) if os.path.isdir(path) else Path(file).parent.parent
    traced = trace_file.read(str(folder / trace_file.NAME))
    if traced is None:
        return None
    weights = (record.read(str(folder / record.FILE)) or {}).get("weights") or {}
    if traced.weights not in {*weights.values(), digest(state["state_dict"])}:
        raise ValueError(
            f"{folder / trace_file.NAME} is the trace of another run, which had the same directory: remove it, or "
            "train again with TRAIN.TRACE True"
        )
    return traced


def load_runs(paths: list[str], epoch: int | None = None, backbone: str = "") -> list[AnalysedRun]:
    """Loads runs for one plot, and labels each by what differs between them.

    Raises:
        FileNotFoundError, ValueError: as `load_run`; and if a run is given twice, or the backbones differ.
    """
    runs = [load_run(path, epoch, backbone) for path in paths]
    check_distinct(paths)
    first = runs[0]
    for run in runs:
        if run.clip.fingerprint != first.clip.fingerprint:
            raise ValueError(
                f"runs of different backbones cannot be compared: {first.path} has {first.state['meta']['backbone']}, "
                f"{run.path} has {run.state['meta']['backbone']}; analyse them one by one"
            )
    for run, label in zip(runs, labels(runs), strict=True):
        run.label = label
    return runs


def labels(runs: list[AnalysedRun]) -> list[str]:
    """Returns for each run the settings that differ between the runs, e.g. "REG kd"; for a single run, its method.

    Runs with the same settings are labelled with their paths too.
    """
    settings = [comparable(run.state["settings"], run.method) for run in runs]
    keys = sorted(set().union(*settings), key=lambda key: (key != "TRAINER.NAME", key))
    keys = [key for key in keys if len({values.get(key) for values in settings}) > 1]
    if len({run.method for run in runs}) == len(runs):  # the name says it; methods have recipes of their own
        keys = [key for key in keys if key in PER_RUN]
    names = []
    for run, values in zip(runs, settings, strict=True):
        parts = [one_setting(key, values[key]) for key in keys if key in values]
        names.append(", ".join(parts) or run.method)
    return [f"{name} ({run.path})" if names.count(name) > 1 else name for run, name in zip(runs, names, strict=True)]


def comparable(settings: dict, method: str) -> dict[str, str]:
    """Returns the settings of a run as JSON texts. A key that was added later has its default."""
    find_method(method)  # registers its options
    values = {key: value for key, value in record.flatten(get_cfg_default()).items() if not key.startswith("TRAINER.")}
    values.update(settings)
    return {key: json.dumps(value) for key, value in values.items()}


def one_setting(key: str, value: str) -> str:
    if key in NAMED_BY_VALUE:
        return value.strip('"')
    if key == "DATASET.NUM_SHOTS":
        return f"{value} shots"
    return f"seed {value}" if key == "SEED" else setting_name(key, value)
