"""Ranks the layers of a run by their change, and prints the most changed ones as a value of a TUNE key."""

from dataclasses import dataclass

from trainers.common.inference.saved_run import find_method
from trainers.common.models.parameter_sets import PARAMETER_SETS, layer_name

from .change import change
from .runs import AnalysedRun


@dataclass(frozen=True)
class RankedLayer:
    """A layer of a parameter set: its number from 0 in forward order, its name, and its squared change."""

    set: str
    number: int
    layer: str
    change: float


def rank(run: AnalysedRun) -> dict[str, list[RankedLayer]]:
    """Returns parameter set -> its tuned layers, the most changed first. Empty if the run tunes no parameter set.

    The change of a layer is the sum over its tensors: of a LayerNorm, weight and bias.
    """
    changes = {row.tensor: row.value for row in change(run)}
    ranking = {}
    for name in dict.fromkeys(entry.partition(":")[0] for entry in run.state["meta"]["tune"]):
        layers = []
        for number, group in enumerate(PARAMETER_SETS[name](run.clip)):
            tuned = [changes[tensor] for tensor in group if tensor in changes]
            if tuned:
                layers.append(RankedLayer(name, number, layer_name(group), sum(tuned)))
        ranking[name] = sorted(layers, key=lambda layer: -layer.change)
    return ranking


def tune_value(run: AnalysedRun, parameter_set: str, top: int) -> tuple[str, ...]:
    """Returns the value of the TUNE key that tunes the `top` most changed layers of a set.

    The other parameter sets of the run stay as they are. Example: ("text_ffn_output_bias",
    "image_layernorm:ln_pre,11.ln_2").
    """
    groups = PARAMETER_SETS[parameter_set](run.clip)
    names = [layer_name(group) for group in groups]
    unique = len(set(names)) == len(names)
    chosen = sorted(layer.number for layer in rank(run)[parameter_set][:top])
    selected = f"{parameter_set}:{','.join(names[i] if unique else str(i) for i in chosen)}"
    entries = []
    for entry in run.state["meta"]["tune"]:
        entries.append(selected if entry.partition(":")[0] == parameter_set else entry)
    return tuple(dict.fromkeys(entries))


def tune_key(run: AnalysedRun) -> str:
    """Returns the config key of the run's parameter sets: "TRAINER.CLIPFIT.TUNE"."""
    return f"TRAINER.{find_method(run.method).section}.TUNE"
