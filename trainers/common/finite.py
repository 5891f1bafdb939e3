"""Finds infinite and NaN values in logits, and in parameters before they are saved.

The class with the highest of ten NaN logits is class 0, so without these checks a diverged model has an accuracy.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

REMEDY = "lower OPTIM.LR, use fp32 instead of fp16 (TRAINER.<METHOD>.PREC), or check the weights of the backbone"
OPTIMIZER = "optimizer"  # first part of the names of an optimiser's tensors


class InvalidLogits(FloatingPointError):
    """Logits are infinite or NaN. `index` is the position of the first such image."""

    def __init__(self, message: str, index: int):
        super().__init__(message)
        self.index = index


class LogitsCheck:
    """Notes for each image whether its prediction is valid, on the device of the logits.

    `check` reads the notes once, so that an evaluation does not wait for the device after each batch.

    A prediction is valid if the highest logit is finite. A NaN anywhere makes the highest one NaN. Some methods set
    the logits of single classes to -inf, to exclude them; that is valid.
    """

    def __init__(self):
        self.valid: list[torch.Tensor] = []

    def add(self, logits) -> None:
        """Adds the logits (B, n_cls) of a batch. Ignores values of other kinds, which some evaluators process."""
        if isinstance(logits, torch.Tensor) and logits.is_floating_point() and logits.dim() > 1 and logits.numel():
            self.valid.append(torch.isfinite(logits.detach().flatten(1).amax(dim=1)))

    def check(self, name_of=None) -> None:
        """Raises InvalidLogits if a prediction is not valid.

        Args:
            name_of: returns the name of the image at a position, for the message.
        """
        if not self.valid:
            return
        valid = torch.cat(self.valid)
        invalid = torch.nonzero(~valid)[:, 0].tolist()
        if invalid:
            index = invalid[0]
            name = name_of(index) if name_of else ""
            first = f"image {index + 1:,}" + (f" ({name})" if name else "")
            raise InvalidLogits(
                f"the logits of {len(invalid):,} of {len(valid):,} images are infinite or NaN, first those of {first}: "
                f"{REMEDY}",
                index,
            )


def require_finite(tensors: dict[str, torch.Tensor], path: str, saving: bool = True) -> None:
    """Raises FloatingPointError if a tensor is infinite or NaN, or a parameter is huge.

    It is to be saved to `path`, or if not `saving`, was read from there.

    Huge is above 3.4e18. The square of such a value overflows, so that normalised features are 0 and all logits equal.
    """
    flags = []
    names = []
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and tensor.numel():
            factor = 1.0 if name.startswith(OPTIMIZER) else 1e20
            names.append(name)
            flags.append(torch.isfinite(tensor.float() * factor).all())
    if not flags:
        return
    finite = torch.stack([flag.to(flags[0].device) for flag in flags]).tolist()  # waits for the device once
    wrong = [name for name, is_finite in zip(names, finite) if not is_finite]
    if wrong:
        more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        problem = f"{wrong[0]}{more} is infinite, NaN or above 3e18"
        if not saving:
            raise FloatingPointError(f"{path}: {problem}; it is corrupted, or of a run that diverged: use another one")
        raise FloatingPointError(f"{problem}, so {path} is not saved: {REMEDY}")


def trained_tensors(model, optimizer) -> dict[str, torch.Tensor]:
    """Returns the trained parameters of a model, and the state of its optimiser (may be None), by name.

    Buffers are not included: a mask may be infinite.
    """
    tensors = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}
    tensors.update(_tensors_in(optimizer.state_dict() if optimizer else {}, OPTIMIZER))
    return tensors


def _tensors_in(value, name: str) -> Iterator[tuple[str, torch.Tensor]]:
    """Yields (name, tensor) of nested dicts and lists."""
    if isinstance(value, torch.Tensor):
        yield name, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _tensors_in(item, f"{name}.{key}")
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from _tensors_in(item, f"{name}.{index}")
