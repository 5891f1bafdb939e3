"""The FLOPs of a CLIPFit step's unavoidable matrix products, and one large product that measures a device.

benchmarks/roofline.py says which products these are. A multiplication and an addition are two operations.
"""

from __future__ import annotations

SIDES = {"cuda": 8192, "cpu": 2048}  # of the square matrices of the large product


def step_flops(size: tuple, batch: int, packed) -> dict[str, int]:
    """Returns the FLOPs of a step: {"image tower": ..., "text": ..., "logits": ...}.

    Args:
        size: architecture, as in tests/reference/models.py; a ViT.
        batch: number of images.
        packed: the prompts of all classes, as PackedPrompts.
    """
    dim, side, layers, width, patch, _, _, text_width, _, text_layers = size
    n_cls = len(packed.eot_rows)
    prefix = packed.prefix
    read_pairs = sum(n * (prefix + length) for n, length in packed.groups)  # (query, key), of the end-of-text tokens
    text = tower_flops(
        rows=len(packed.tokens), read=n_cls, width=text_width, blocks=text_layers - 1,
        pairs=causal_pairs(packed), read_pairs=read_pairs,
    )  # fmt: skip
    return {
        "image tower": image_flops(batch, dim, side, layers, width, patch),
        "text": text + 2 * 2 * n_cls * text_width * dim,  # with the projection, forward and backward
        "logits": 3 * 2 * batch * n_cls * dim,  # forward, and the gradients of both features
    }


def image_flops(batch: int, dim: int, side: int, layers: int, width: int, patch: int) -> int:
    """Returns the FLOPs of a ViT: forward, and backward to its first LayerNorm."""
    patches = (side // patch) ** 2
    tokens = patches + 1
    embedding = 2 * batch * patches * 3 * patch**2 * width  # forward only: it lies before the first LayerNorm
    blocks = tower_flops(
        rows=batch * tokens, read=batch, width=width, blocks=layers, pairs=batch * tokens**2, read_pairs=batch * tokens
    )
    return embedding + blocks + 2 * 2 * batch * width * dim


def tower_flops(rows: int, read: int, width: int, blocks: int, pairs: int, read_pairs: int) -> int:
    """Returns the FLOPs of residual attention blocks, forward and backward, without gradients of their matrices.

    Args:
        rows: number of tokens.
        read: number of tokens that are read after the last block: of the others, it needs keys and values only.
        width: d, of a token. A block has 12 d^2 weights: 3 d^2 for queries, keys and values, 1 for the output, 8 in
            the FFN.
        blocks: number of blocks.
        pairs: number of pairs of a query and a key.
        read_pairs: number of those whose query is read after the last block.
    """
    linear = 2 * width**2 * (12 * rows * (blocks - 1) + 2 * rows + 10 * read)
    attention = 2 * 2 * width * (pairs * (blocks - 1) + read_pairs)  # scores, and the weighted sum of the values
    return 2 * linear + 3 * attention  # backward, attention has two products for each of its two


def causal_pairs(packed) -> int:
    """Returns the number of pairs of a token and one that it attends to: itself and its predecessors."""
    own = sum(n * length * (length + 1) // 2 for n, length in packed.groups)
    to_prefix = sum(n * length for n, length in packed.groups) * packed.prefix
    return packed.prefix * (packed.prefix + 1) // 2 + own + to_prefix


def large_product(device, dtype):
    """Returns a function that computes a product of two large matrices, of random numbers: zeros draw less power.

    On a CPU in fp32, it is computed by the library that training would choose for it.
    """
    import torch
    import torch.nn.functional as F

    from trainers.common import cpu_products

    side = SIDES[device.type]
    x, weight = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    by_choice = device.type == "cpu" and dtype == torch.float32

    @torch.inference_mode()
    def product():
        return cpu_products.linear("forward", x, weight) if by_choice else F.linear(x, weight)

    return product


def product_flops(device) -> int:
    """Returns the FLOPs of the large product."""
    return 2 * SIDES[device.type] ** 3


def dtype_of(precision: str, device):
    """Returns the type of the matrix products at a precision."""
    import torch

    autocast = torch.float16 if device.type == "cuda" else torch.bfloat16
    types = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16, "amp": autocast}
    return types[precision]


def packed_prompts(texts: list[str]):
    """Returns prompts as the text encoder packs them."""
    from trainers.common.models.packed_prompts import pack
    from trainers.common.models.tokenizers import OpenAITokenizer

    return pack(OpenAITokenizer()(texts))
