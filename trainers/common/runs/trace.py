"""The trace of a training run, `OUTPUT_DIR/trace.npz`: gradients and changes of each tuned tensor.

`TRAIN.TRACE True` records these per tuned tensor (the square of a tensor is the sum of the squares of its elements):

- the sum over all steps of the squared gradient (Figures 4a and 11a of the CLIPFit paper);
- the squared change since the start of training, after every step (Figure 11b);
- with `TRAIN.TRACE_TERMS N`, at every Nth step the squared gradient of each loss term.

Nothing that is learned depends on it. Checkpoints contain the trace so far, so a resumed run has the trace of an
unbroken one. All values stay on the device until a checkpoint is saved.
"""

from __future__ import annotations

import torch

from dassl.config import cfg_default

from .trace_file import ROWS

cfg_default.TRAIN.TRACE = False  # write trace.npz: squared gradients and changes of the tuned tensors
cfg_default.TRAIN.TRACE_TERMS = 0  # with TRACE, split the gradients by loss term at every Nth step; 0: never


def check(cfg, supported: bool) -> None:
    """Raises ValueError if the options of the trace are invalid, or if the trainer cannot be traced."""
    if cfg.TRAIN.TRACE_TERMS < 0:
        raise ValueError(f"TRAIN.TRACE_TERMS must be 0 or a number of steps, got {cfg.TRAIN.TRACE_TERMS}")
    if cfg.TRAIN.TRACE_TERMS and not cfg.TRAIN.TRACE:
        raise ValueError(f"TRAIN.TRACE_TERMS {cfg.TRAIN.TRACE_TERMS} needs TRAIN.TRACE True")
    if cfg.TRAIN.TRACE and not supported:
        raise ValueError(
            "TRAIN.TRACE True needs a ClipTrainer that trains the same parameters in each step, which "
            f"{cfg.TRAINER.NAME} is not: set TRAIN.TRACE False"
        )


@torch.no_grad()
def squares(tensors: list[torch.Tensor]) -> torch.Tensor:
    """Returns the sum of squares of each of n tensors: (n,), fp64. All are 0 if one is not finite.

    Gradients are not finite if they overflow in fp16. The scaler skips such a step.
    """
    sums = torch.stack(torch._foreach_norm(tensors)).double().square()  # few kernels for all tensors
    return torch.where(torch.isfinite(sums).all(), sums, torch.zeros_like(sums))


class Trace:
    """Accumulates the trace of a training run.

    The trainer calls `add_gradients`, and `add_terms` if `splits_terms()`, before each step of the optimiser, and
    `add_change` after it.

    Args:
        parameters: the n tuned parameters by name.
        every: steps between splits of the gradients by loss term; 0: never.
    """

    def __init__(self, parameters: dict[str, torch.nn.Parameter], every: int = 0):
        self.names = list(parameters)
        self.parameters = list(parameters.values())
        self.every = every
        self.initial = None  # values at the start of training
        self.gradient = None  # (n,) sums over the steps
        self.steps = 0
        self.terms = []  # names of the m loss terms
        self.term_steps = []  # steps, from 0, at which the gradients were split
        # Tensors of one row or, after a checkpoint, of several
        self.change = []  # rows (n,)
        self.term_gradient = []  # rows (m, n)
        self.term_rest = []  # rows (n,)

    def splits_terms(self) -> bool:
        """Whether the gradients of the current step are to be split by loss term."""
        return bool(self.every) and self.steps % self.every == 0

    @torch.no_grad()
    def add_gradients(self) -> None:
        """Adds the gradients of a step, which must not be scaled."""
        if self.initial is None:  # here, as a method may set its initial values after the model is built
            self.initial = [p.detach().clone() for p in self.parameters]
        sums = squares(self._gradients())
        self.gradient = sums if self.gradient is None else self.gradient + sums

    def _gradients(self) -> list[torch.Tensor]:
        return [torch.zeros_like(p) if p.grad is None else p.grad for p in self.parameters]

    @torch.no_grad()
    def add_terms(self, gradients: dict[str, list[torch.Tensor]]) -> None:
        """Adds the gradients of each loss term by name, and what is left of the whole gradient without them."""
        if self.terms and self.terms != list(gradients):
            raise ValueError(f"TRAIN.TRACE_TERMS: the loss terms changed from {self.terms} to {list(gradients)}")
        self.terms = list(gradients)
        self.term_steps.append(self.steps)
        self.term_gradient.append(torch.stack([squares(tensors) for tensors in gradients.values()])[None])
        rest = self._gradients()
        for tensors in gradients.values():
            rest = torch._foreach_sub(rest, tensors)
        self.term_rest.append(squares(rest)[None])

    @torch.no_grad()
    def add_change(self) -> None:
        """Adds the change of each parameter since the start of training."""
        self.change.append(squares(torch._foreach_sub(self.parameters, self.initial)).float()[None])
        self.steps += 1

    def state(self) -> dict:
        """Returns the state for a checkpoint: tensors on the CPU and plain values."""
        for key in ROWS:
            setattr(self, key, [torch.cat(getattr(self, key))] if getattr(self, key) else [])
        return {
            "names": self.names,
            "every": self.every,
            "steps": self.steps,
            "initial": self.initial and [tensor.cpu() for tensor in self.initial],
            "gradient": None if self.gradient is None else self.gradient.cpu(),
            "terms": self.terms,
            "term_steps": list(self.term_steps),
            **{key: [rows.cpu() for rows in getattr(self, key)] for key in ROWS},
        }

    def load(self, state: dict | None, epoch: int) -> None:
        """Restores the state of the checkpoint of `epoch`.

        Raises:
            ValueError: the checkpoint has no trace, or a trace with another TRAIN.TRACE_TERMS.
        """
        remedy = "train in another --output-dir, remove this one, or set TRAIN.TRACE False"
        if state is None:
            raise ValueError(f"TRAIN.TRACE True: epoch 1 to {epoch} were trained without a trace; {remedy}")
        if (state["names"], state["every"]) != (self.names, self.every):
            raise ValueError(
                f"TRAIN.TRACE_TERMS must be {state['every']}, as in epoch 1 to {epoch}, got {self.every}; or {remedy}"
            )
        device = self.parameters[0].device
        self.steps = state["steps"]
        self.initial = state["initial"] and [tensor.to(device) for tensor in state["initial"]]
        self.gradient = None if state["gradient"] is None else state["gradient"].to(device)
        self.terms = list(state["terms"])
        self.term_steps = list(state["term_steps"])
        for key in ROWS:
            setattr(self, key, [rows.to(device) for rows in state[key]])


def start(trainer) -> Trace | None:
    """Returns an empty trace of the trainer's tuned parameters if TRAIN.TRACE is set, else None."""
    if not trainer.cfg.TRAIN.TRACE:
        return None
    parameters = {name: p for name, p in trainer.tuned.named_parameters() if p.requires_grad}
    if not parameters:
        print(f"Note: TRAIN.TRACE has no effect: {trainer.cfg.TRAINER.NAME} trains no parameters")
        return None
    return Trace(parameters, trainer.cfg.TRAIN.TRACE_TERMS)
