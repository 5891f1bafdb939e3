"""Checkpoints of the official CLIPFit code (https://github.com/minglllli/CLIPFit), which hold both encoders whole.

They lie in the folder `prompt_learner` of a run. Their tensors have CLIP's names behind `image_encoder.` and
`text_encoder.`: 300 for a ViT-B/16, of which 64 were tuned. Some are fp16, as the run's precision had it.
"""

from __future__ import annotations

import torch
from torch import nn

FOLDER = "prompt_learner"
NOT_SAVED = ("token_embedding.weight", "logit_scale")


def is_official(tensors: dict[str, torch.Tensor]) -> bool:
    """Whether a checkpoint's tensors are those of both encoders."""
    return all(any(name.startswith(prefix) for name in tensors) for prefix in ("image_encoder.", "text_encoder."))


def tuned_tensors(tensors: dict[str, torch.Tensor], clip_model: nn.Module, names: list[str]):
    """The tuned ones: a dict of CLIP's names and tensors in fp32.

    Args:
        tensors: a checkpoint's state_dict.
        clip_model: the frozen CLIP it was tuned from, at any precision.
        names: what was tuned.

    Raises:
        ValueError: the encoders are not this CLIP's, or something that is not among `names` differs from it.
    """
    own = {name: tensor for name, tensor in clip_model.state_dict().items() if name not in NOT_SAVED}
    theirs = {clip_name(name): tensor for name, tensor in tensors.items()}
    shapes = [{name: tensor.shape for name, tensor in part.items()} for part in (own, theirs)]
    misfits = [name for name in own.keys() | theirs.keys() if shapes[0].get(name) != shapes[1].get(name)]
    if misfits:
        raise ValueError(
            f"the checkpoint's encoders are not this backbone's: {describe(misfits)} missing, left over or of another "
            "size; pass the --backbone that it was tuned from"
        )
    changed = [name for name in own if name not in names and not same(theirs[name], own[name])]
    if changed:
        raise ValueError(
            f"the checkpoint differs from the backbone in more than the tuned tensors, in {describe(changed)}: it was "
            "tuned from another backbone (pass its --backbone), or more was tuned than TRAINER.CLIPFIT.TUNE says"
        )
    return {name: theirs[name].detach().float().cpu() for name in names}


def clip_name(name: str) -> str:
    """CLIP's name of a tensor of the official code's."""
    encoder, _, rest = name.partition(".")
    return {"image_encoder": f"visual.{rest}", "text_encoder": rest}.get(encoder, name)


def same(tensor: torch.Tensor, own: torch.Tensor) -> bool:
    """Whether two tensors are equal in half precision, to which the official code rounds on loading."""
    half = torch.bfloat16 if own.dtype == torch.bfloat16 else torch.float16
    return torch.equal(tensor.detach().cpu().to(half), own.detach().cpu().to(half))


def describe(names: list[str]) -> str:
    return f"{len(names)} tensor{'s'[: len(names) > 1]} (e.g. {sorted(names)[0]})"
