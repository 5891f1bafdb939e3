"""How prompts of different lengths are packed into one matrix without padding; `text` says why that is exact."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class PackedPrompts:
    """Where the tokens of n prompts lie in the packed matrix of T rows.

    Attributes:
        prefix: P, the number of leading tokens that all prompts share.
        tokens: (T,) token ids.
        positions: (T,) place of each token in its own prompt.
        classes: (T,) prompt of each token; -1 in the shared prefix.
        eot_rows: (n,) row of each prompt's end-of-text token, in the order of the prompts given.
        groups: (number of prompts, tokens after the prefix, s) of each run of equally long prompts.
        attention_masks: for each group (s, P + s), true where one of the s own tokens attends: prefix and predecessors.
    """

    prefix: int
    tokens: torch.Tensor
    positions: torch.Tensor
    classes: torch.Tensor
    eot_rows: torch.Tensor
    groups: tuple[tuple[int, int], ...]
    attention_masks: tuple[torch.Tensor, ...]

    def to(self, device: torch.device | str) -> PackedPrompts:
        """The same prompts with their tensors on another device."""
        moved = {k: getattr(self, k).to(device) for k in ("tokens", "positions", "classes", "eot_rows")}
        masks = tuple(mask.to(device) for mask in self.attention_masks)
        return PackedPrompts(prefix=self.prefix, groups=self.groups, attention_masks=masks, **moved)


def pack(tokens: torch.Tensor, max_prefix: int = 77) -> PackedPrompts:
    """Pack tokenised prompts.

    Args:
        tokens: (n, 77) ids; the end-of-text id is the largest of each row.
        max_prefix: share at most so many leading tokens (1 where learned tokens differ from class to class).
    """
    eot = tokens.argmax(dim=-1)  # (n,)
    same = (tokens == tokens[0]).all(dim=0)  # (77,)
    shared = int(same.long().cumprod(0).sum())
    prefix = min(shared, max_prefix, int(eot.min()))  # every prompt keeps its own end-of-text token
    lengths = eot + 1 - prefix  # (n,)
    order = torch.argsort(lengths, stable=True)
    sizes, counts = torch.unique_consecutive(lengths[order], return_counts=True)

    own = torch.arange(tokens.shape[1] - prefix) < lengths[order, None]  # (n, 77 - P)
    rows, columns = own.nonzero(as_tuple=True)  # prompt by prompt, in packed order
    ends = torch.empty_like(eot)
    ends[order] = prefix + lengths[order].cumsum(0) - 1
    shared_rows = torch.arange(prefix)
    return PackedPrompts(
        prefix=prefix,
        tokens=torch.cat([tokens[0, :prefix], tokens[order[rows], prefix + columns]]),
        positions=torch.cat([shared_rows, prefix + columns]),
        classes=torch.cat([torch.full_like(shared_rows, -1), order[rows]]),
        eot_rows=ends,
        groups=tuple(zip(counts.tolist(), sizes.tolist())),
        attention_masks=tuple(torch.ones(s, prefix + s, dtype=torch.bool).tril(prefix) for s in sizes.tolist()),
    )
