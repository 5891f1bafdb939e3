"""Where a vision transformer looked: attention rollout, Abnar and Zuidema 2020, https://arxiv.org/abs/2005.00928

The attention matrices are recorded while the encoder runs, whichever library it comes from: `Recorder` watches the two
functions of PyTorch that compute attention.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode

SOURCE = "attention rollout, Abnar and Zuidema 2020, https://arxiv.org/abs/2005.00928"


class Recorder(TorchFunctionMode):
    """Records the attention matrices of a forward pass in `maps`: each (B, heads, queries, keys), fp32."""

    def __init__(self):
        super().__init__()
        self.maps: list[torch.Tensor] = []

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function is F.multi_head_attention_forward:
            kwargs |= {"need_weights": True, "average_attn_weights": False}
            output, weights = function(*args, **kwargs)
            self.maps.append(weights.float())
            return output, weights
        if function is F.scaled_dot_product_attention:
            self.maps.append(weights_of(*args, **kwargs))
        return function(*args, **kwargs)


def weights_of(query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None, **others):
    """Returns the attention weights of F.scaled_dot_product_attention with the same arguments, fp32."""
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    scores = query.float() @ key.float().transpose(-2, -1) * scale
    if is_causal:
        attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        scores = scores.masked_fill(~attn_mask, -math.inf)
    elif attn_mask is not None:
        scores = scores + attn_mask
    return scores.softmax(dim=-1)


@dataclass(frozen=True)
class Grid:
    """Where the patches of an image are among the tokens of a transformer.

    Attributes:
        first: number of tokens before the patches: 1 for a class token.
        side: patches per row.
        read: what the feature is read from: the "class" token, the mean of the "patches", or a "query" of its own.
        learned: where a method puts learned tokens: "after" the class token or at the "end".
    """

    first: int
    side: int
    read: str = "class"
    learned: str = "end"

    @property
    def tokens(self) -> int:
        return self.first + self.side**2

    def image_rows(self, n: int, device) -> torch.Tensor:
        """Returns which of n tokens are not learned, in order (first + side^2,)."""
        rows = torch.arange(self.tokens, device=device)
        return rows if self.learned == "end" else torch.where(rows < self.first, rows, rows + n - self.tokens)


def grid_of(maps: list[torch.Tensor], blocks: int = 0) -> Grid:
    """Returns the grid of the patches, given the attention matrices of the frozen encoder.

    Args:
        blocks: number of blocks of an encoder of another library. A matrix more is that of a pooling layer, with a
            query of its own. 0: our ViT, whose last block may compute the class token alone.

    Raises ValueError if the tokens are not the patches of a square, with at most one class token before them.
    """
    pooling = bool(blocks) and len(maps) == blocks + 1
    sizes = {tuple(item.shape[-2:]) if item.dim() == 4 else () for item in maps[:-1]}
    last = tuple(maps[-1].shape[-2:]) if maps else ()
    n = last[-1] if last else 0
    if sizes != {(n, n)} or last != ((1, n) if pooling or (not blocks and last[0] == 1) else (n, n)):
        raise ValueError("its image encoder has no attention between the patches of an image in each block")
    for first in (0, 1):
        side = math.isqrt(n - first)
        if side**2 == n - first > 1:
            return Grid(first, side, "query" if pooling else "class" if first else "patches")
    raise ValueError(f"the {n} tokens of its image encoder are not the patches of a square and a class token")


def reads_class_token(block: nn.Module, encode, n_tokens: int) -> bool:
    """Whether a feature depends on the class token after the last block, and on no other token.

    Args:
        block: the last block of an encoder of another library.
        encode: returns the features of two images.

    Raises ValueError if it depends on the class token and on others.
    """

    def changing(rows: slice):
        def change(module, inputs, output):
            tokens = output[0] if isinstance(output, tuple) else output
            tokens = tokens.clone()
            axis = tokens.shape.index(n_tokens)  # (B, T, D) or (T, B, D)
            tokens.narrow(axis, rows.start, rows.stop - rows.start).add_(1.0 + torch.rand_like(tokens[0, 0]))
            return (tokens, *output[1:]) if isinstance(output, tuple) else tokens

        handle = block.register_forward_hook(change)
        try:
            return encode()
        finally:
            handle.remove()

    plain = encode()
    on_class, on_others = (not torch.allclose(changing(slice(*rows)), plain) for rows in ((0, 1), (1, n_tokens)))
    if on_class and on_others:
        raise ValueError("its image feature is read from the class token and from the patches")
    return on_class


def rollout(maps: list[torch.Tensor], grid: Grid) -> torch.Tensor:
    """Returns how much of each patch reaches the image feature by attention: (B, side, side), at least 0.

    Per block, the attention is averaged over the heads, and half of it is the residual connection: (A + I) / 2. The
    product of these over the blocks is the share of each input token in each output token. Learned tokens hold nothing
    of the image: what they pass on is not counted. A pooling layer has no residual connection.
    """
    shares = torch.eye(grid.tokens, device=maps[0].device)  # ([B,] tokens, tokens): of each input in each output
    for i, attention in enumerate(maps):
        mean = attention.mean(dim=1)  # (B, queries, keys)
        columns = grid.image_rows(mean.shape[-1], mean.device)
        queries = columns if mean.shape[1] == mean.shape[2] else columns[:1]
        passed = mean[:, queries][:, :, columns] @ shares
        pooling = grid.read == "query" and i == len(maps) - 1
        shares = passed if pooling else (passed + shares[..., : len(queries), :]) / 2
    read = shares[:, grid.first :].mean(dim=1) if grid.read == "patches" else shares[:, 0]
    return read[:, grid.first :].unflatten(-1, (grid.side, grid.side))
