"""Numbers per tuned tensor: its change, its squared gradients, and its change at every iteration.

The square of a tensor is the sum of the squares of its elements, as in the CLIPFit paper.
"""

from dataclasses import asdict, dataclass

import numpy as np

from .runs import HOW_TO_TRACE, AnalysedRun
from .tensors import ordered_tensors


@dataclass(frozen=True)
class Row:
    """A number of a tensor.

    Attributes:
        group: tensors of one kind, e.g. "Image LayerNorm bias".
        layer: place in the group, e.g. "0.ln_1".
        scalars: number of elements.
    """

    group: str
    layer: str
    tensor: str
    scalars: int
    value: float


def rows_of(run: AnalysedRun, values: dict[str, float]) -> list[Row]:
    """Returns a row per tensor with a value, in forward order."""
    places = ordered_tensors(run)
    return [
        Row(group, layer, name, run.tensors[name].numel(), float(values[name]))
        for name, (group, layer) in places.items()
        if name in values
    ]


def change(run: AnalysedRun) -> list[Row]:
    """Returns the squared change of each tuned tensor: sum of (tuned - initial)^2. Figures 3, 4b and 7 to 10.

    The initial value of a parameter of CLIP is CLIP's. That of a parameter that the method adds is known to the trace
    only; without a trace it has no row (see `without_initial_value`).
    """
    values = {}
    for name, initial in run.initial.items():
        values[name] = (run.tensors[name].double() - initial.double()).square().sum().item()
    step = last_step(run)
    if step:
        traced = zip(run.trace.names, run.trace.change[step - 1], strict=True)
        values.update({name: value for name, value in traced if name not in values})
    return rows_of(run, values)


def without_initial_value(run: AnalysedRun) -> str:
    """Returns a sentence about the tensors that `change` leaves out; "" if there are none."""
    missing = [name for name in ordered_tensors(run) if name not in run.initial]
    if not missing or last_step(run):
        return ""
    return (
        f"{run.path}: the initial value of {missing[0]}{' and others' if len(missing) > 1 else ''}, which {run.method} "
        f"adds to CLIP, is unknown: {HOW_TO_TRACE}"
    )


def last_step(run: AnalysedRun) -> int:
    """Returns the number of steps that the trace has up to the epoch of the weights; 0 without a trace."""
    return run.trace.steps_per_epoch * (run.state["epoch"] or 0) if run.trace else 0


def gradients(run: AnalysedRun) -> list[Row]:
    """Returns the sum over all training steps of the squared gradient of each tensor. Figures 4a and 11a.

    Raises ValueError if the run has no trace.
    """
    trace = run.need_trace()
    return rows_of(run, dict(zip(trace.names, trace.gradient, strict=True)))


def gradient_terms(run: AnalysedRun) -> dict[str, list[Row]]:
    """Returns loss term -> sum over the recorded steps of its squared gradient, per tensor.

    Empty if the run was trained without TRAIN.TRACE_TERMS. Raises ValueError if it has no trace.
    """
    trace = run.need_trace()
    sums = trace.term_gradient.sum(0)  # (terms, tensors)
    return {term: rows_of(run, dict(zip(trace.names, sums[i], strict=True))) for i, term in enumerate(trace.terms)}


def not_explained(run: AnalysedRun) -> float:
    """Returns the share of the gradients that is not the sum of the terms': sum |g - sum_t g_t|^2 / sum_t |g_t|^2.

    Close to 0 for a method that minimises the sum of its terms. ProGrad does not.
    """
    trace = run.need_trace()
    return float(trace.term_rest.sum() / max(trace.term_gradient.sum(), np.finfo(float).tiny))


def iterations(run: AnalysedRun) -> tuple[list[Row], np.ndarray]:
    """Returns a row per tensor with its last change, and the squared changes (steps, rows). Figure 11b.

    Raises ValueError if the run has no trace.
    """
    trace = run.need_trace()
    rows = rows_of(run, dict(zip(trace.names, trace.change[-1], strict=True)))
    columns = [trace.names.index(row.tensor) for row in rows]
    return rows, trace.change[:, columns]


def as_dicts(rows: list[Row], **columns) -> list[dict]:
    """Returns rows for a CSV file, with additional columns first."""
    return [{**columns, **asdict(row)} for row in rows]
