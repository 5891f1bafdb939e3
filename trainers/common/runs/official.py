"""Reads checkpoints of the official CLIPFit code (https://github.com/minglllli/CLIPFit), which hold both encoders.

They are in the folder `prompt_learner` of a run. Their tensors have CLIP's names with the prefixes `image_encoder.` and
`text_encoder.`: 300 tensors for a ViT-B/16, of which 64 are tuned. Depending on the run's precision, some are fp16.
"""

from __future__ import annotations

import torch
from torch import nn

FOLDER = "prompt_learner"
NOT_SAVED = ("token_embedding.weight", "logit_scale")


def is_official(tensors: dict[str, torch.Tensor]) -> bool:
    """Whether a checkpoint has tensors of both encoders."""
    return all(any(name.startswith(prefix) for name in tensors) for prefix in ("image_encoder.", "text_encoder."))


def tuned_tensors(tensors: dict[str, torch.Tensor], clip_model: nn.Module, names: list[str]):
    """Returns the tuned tensors, in fp32, by CLIP's names.

    Args:
        tensors: state_dict of the checkpoint.
        clip_model: the frozen CLIP it was tuned from, at any precision.
        names: names of the tuned parameters.

    Raises:
        ValueError: the encoders do not have the shapes of this CLIP, or a tensor that is not in `names` differs.
    """
    frozen = {name: tensor for name, tensor in clip_model.state_dict().items() if name not in NOT_SAVED}
    saved = {clip_name(name): tensor for name, tensor in tensors.items()}
    frozen_shapes = {name: tensor.shape for name, tensor in frozen.items()}
    saved_shapes = {name: tensor.shape for name, tensor in saved.items()}
    misfits = [name for name in frozen.keys() | saved.keys() if frozen_shapes.get(name) != saved_shapes.get(name)]
    if misfits:
        raise ValueError(
            f"the checkpoint was tuned from another backbone: {describe(misfits)} missing, unexpected or with another "
            "shape; pass the --backbone that it was tuned from"
        )
    changed = [name for name in frozen if name not in names and not same(saved[name], frozen[name])]
    if changed:
        raise ValueError(
            f"the checkpoint has {describe(changed)} that differ from the backbone but are not in "
            "TRAINER.CLIPFIT.TUNE: pass the --backbone that it was tuned from, or extend TRAINER.CLIPFIT.TUNE"
        )
    return {name: saved[name].detach().float().cpu() for name in names}


def clip_name(name: str) -> str:
    """Returns CLIP's name of a tensor in an official checkpoint."""
    encoder, _, rest = name.partition(".")
    return {"image_encoder": f"visual.{rest}", "text_encoder": rest}.get(encoder, name)


def same(saved: torch.Tensor, frozen: torch.Tensor) -> bool:
    """Whether two tensors are equal in half precision, to which the official code rounds when it loads CLIP."""
    half = torch.bfloat16 if frozen.dtype == torch.bfloat16 else torch.float16
    return torch.equal(saved.detach().cpu().to(half), frozen.detach().cpu().to(half))


def describe(names: list[str]) -> str:
    """Returns the number of tensors with an example: "2 tensors (e.g. ln_final.bias)"."""
    return f"{len(names)} tensor{'s'[: len(names) > 1]} (e.g. {sorted(names)[0]})"
