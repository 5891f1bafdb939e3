"""Packs prompts of different lengths into one matrix without padding; `text.py` explains why the result is exact."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch


@dataclass(frozen=True)
class PackedPrompts:
    """The tokens of n prompts as one packed matrix of T rows.

    Attributes:
        prefix: P, number of leading tokens that all prompts share.
        tokens: (T,) token ids.
        positions: (T,) position of each token in its prompt.
        classes: (T,) index of the prompt of each token; -1 in the shared prefix.
        eot_rows: (n,) row of each prompt's end-of-text token, in the order of the prompts.
        groups: (number of prompts, s) per group of prompts with s tokens after the prefix.
        attention_masks: (s, P + s) per group; true at [i, j] if token i after the prefix attends to token j.
        learned_rows: (R,) rows of learned tokens, if there are any.
        learned_index: (R,) which of the prompt's learned tokens each is, from 0.
    """

    prefix: int
    tokens: torch.Tensor
    positions: torch.Tensor
    classes: torch.Tensor
    eot_rows: torch.Tensor
    groups: tuple[tuple[int, int], ...]
    attention_masks: tuple[torch.Tensor, ...]
    learned_rows: torch.Tensor | None = None
    learned_index: torch.Tensor | None = None

    def to(self, device: torch.device | str) -> PackedPrompts:
        """Returns a copy with all tensors on `device`."""
        return move(self, device, attention_masks=tuple(mask.to(device) for mask in self.attention_masks))


def move(packed, device: torch.device | str, **changes):
    """Returns a copy of a dataclass with its tensors on `device` and other fields changed."""
    tensors = {name: value.to(device) for name, value in vars(packed).items() if isinstance(value, torch.Tensor)}
    return replace(packed, **tensors, **changes)


def replace_rows(x: torch.Tensor, rows: torch.Tensor, index: torch.Tensor, prompts: torch.Tensor) -> torch.Tensor:
    """Returns x (B, T, d) with the learned tokens `prompts` (n_ctx, d) or (B, n_ctx, d) in some rows.

    Row `rows[r]` becomes the learned token `index[r]`.
    """
    values = prompts.to(x.dtype)[..., index, :].expand(x.shape[0], -1, -1)  # (B, R, d)
    return x.index_copy(1, rows, values)


def with_tokens(packed: PackedPrompts, n: int) -> PackedPrompts:
    """Returns how prompts are packed with n learned tokens after their first token, which is in the prefix.

    `tokens`, `positions` and `classes` stay as they were, as only the embedding reads them.
    """
    masks = tuple(torch.cat([mask.new_ones(len(mask), n), mask], dim=1) for mask in packed.attention_masks)
    return replace(packed, prefix=packed.prefix + n, eot_rows=packed.eot_rows + n, attention_masks=masks)


def pack(tokens: torch.Tensor, max_prefix: int = 77) -> PackedPrompts:
    """Packs tokenised prompts.

    Args:
        tokens: (n, 77) token ids; end-of-text has the largest id in each row.
        max_prefix: maximum number of shared leading tokens; 1 if learned tokens differ between classes.
    """
    # Example: class names "fire truck", "cat", "dog"; <s> and <e> are start and end of text.
    #   prompts      <s> a fire truck <e>
    #                <s> a cat <e>
    #                <s> a dog <e>
    #   prefix       2: "<s> a"; lengths after it: (3, 2, 2); order by length: (1, 2, 0)
    #   row          0    1 | 2    3   | 4    5   | 6     7      8
    #   tokens       <s>  a | cat  <e> | dog  <e> | fire  truck  <e>
    #   positions    0    1 | 2    3   | 2    3   | 2     3      4
    #   classes      -1  -1 | 1    1   | 2    2   | 0     0      0
    #   eot_rows     (8, 3, 5), in the order of the prompts
    #   groups       ((2, 2), (1, 3)): 2 prompts with 2 tokens after the prefix, 1 prompt with 3
    eot = tokens.argmax(dim=-1)  # (n,)
    same = (tokens == tokens[0]).all(dim=0)  # (77,)
    shared = int(same.long().cumprod(0).sum())
    prefix = min(shared, max_prefix, int(eot.min()))  # the end-of-text token is never part of the prefix
    lengths = eot + 1 - prefix  # (n,)
    order = torch.argsort(lengths, stable=True)
    sizes, counts = torch.unique_consecutive(lengths[order], return_counts=True)

    kept = torch.arange(tokens.shape[1] - prefix) < lengths[order, None]  # (n, 77 - P), false after the end of text
    rows, columns = kept.nonzero(as_tuple=True)  # prompt by prompt, in packed order
    eot_rows = torch.empty_like(eot)
    eot_rows[order] = prefix + lengths[order].cumsum(0) - 1
    shared_rows = torch.arange(prefix)
    return PackedPrompts(
        prefix=prefix,
        tokens=torch.cat([tokens[0, :prefix], tokens[order[rows], prefix + columns]]),
        positions=torch.cat([shared_rows, prefix + columns]),
        classes=torch.cat([torch.full_like(shared_rows, -1), order[rows]]),
        eot_rows=eot_rows,
        groups=tuple(zip(counts.tolist(), sizes.tolist())),
        attention_masks=tuple(torch.ones(s, prefix + s, dtype=torch.bool).tril(prefix) for s in sizes.tolist()),
    )


def pack_equal(tokens: torch.Tensor) -> PackedPrompts:
    """Packs tokenised prompts (n, L) as they are, on their device: no shared prefix, and no token left out.

    The layout depends on n and L only, not on the tokens, so a CUDA graph can use it for any prompts.
    """
    n, length = tokens.shape
    positions = torch.arange(length, device=tokens.device).repeat(n)
    classes = torch.arange(n, device=tokens.device)
    return PackedPrompts(
        prefix=0,
        tokens=tokens.flatten(),
        positions=positions,
        classes=classes.repeat_interleave(length),
        eot_rows=classes * length + tokens.argmax(dim=-1),
        groups=((n, length),),
        attention_masks=(torch.ones(length, length, dtype=torch.bool, device=tokens.device).tril(),),
    )


def trim(tokens: torch.Tensor) -> torch.Tensor:
    """Returns tokenised prompts (n, L) without the columns after the longest prompt; end-of-text has the largest id."""
    return tokens[:, : int(tokens.argmax(dim=-1).max()) + 1]
