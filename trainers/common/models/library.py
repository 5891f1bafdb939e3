"""A model of another library (open_clip, transformers) as a backbone: its own forward pass, with tensors put in place.

Nothing of these models is rewritten, so features equal the library's. What our encoders of OpenAI's CLIP save is not
saved here: prompts are encoded at full length, as many text towers attend to the padding or read the last token.

- Tuned parameters: `functional_call` puts them in place of the model's.
- Learned tokens of prompts: a hook replaces the output of the token embedding. The model sees the ids of a filler word
  there. Learned tokens at the blocks: see `learned_tokens`.
- Insertions: hooks at the last linear layers of attention and FFN of each block (`library_insertions`).
- Activation checkpointing: each block is recomputed from its input and the parameters of its first pass.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from ..compat import functional_call
from . import linear_terms, places
from .backbone import Backbone
from .insertions import Insertions
from .learned_tokens import image_tokens, obstacle, text_tokens
from .library_insertions import BlockHooks, inserted_in, set_inserted
from .packed_prompts import move
from .preprocess import Preprocess
from .text import embed
from .tokenizers import Tokenizer


@dataclass(frozen=True)
class PaddedPrompts:
    """Tokens of n prompts, all of full length L, one prompt after the other. Attributes as in `PackedPrompts`."""

    n: int
    tokens: torch.Tensor  # (n L,)
    classes: torch.Tensor  # (n L,) index of the prompt of each token
    learned_rows: torch.Tensor | None = None
    learned_index: torch.Tensor | None = None

    def to(self, device: torch.device | str) -> PaddedPrompts:
        return move(self, device)


def pad(tokens: torch.Tensor, max_prefix: int = 0) -> PaddedPrompts:
    """Returns tokenized prompts (n, L) as they are. `max_prefix` has no effect: no token is shared."""
    n, length = tokens.shape
    return PaddedPrompts(n, tokens.flatten(), torch.arange(n).repeat_interleave(length))


class LibraryImage(nn.Module):
    """Image encoder: calls `encode(image)` of the library. Its parameters are `model`'s, with that prefix.

    Attributes:
        blocks: transformer blocks; empty for a convolutional network.
        norm: [the LayerNorm before the first block], or [None].
    """

    def __init__(self, model: nn.Module, encode: Callable[[torch.Tensor], torch.Tensor]):
        super().__init__()
        self.model = model
        self.encode = encode
        self.blocks = [block for _, block in places.blocks(model, image=True)]
        self.norm = [places.norm_before_blocks(model)]  # in a list, so that it is not registered a second time
        self.hooks = BlockHooks(model, image=True)

    def forward(self, image: torch.Tensor, prompts=(), inserted: Insertions | None = None) -> torch.Tensor:
        """Returns image features (B, dim), not normalised, of images (B, 3, H, W).

        `prompts[i]` (n_ctx, D) are learned tokens at block i, as in `image.ViT`. `inserted` is what is inserted into
        the blocks.
        """
        with self.hooks.inserting(inserted), image_tokens(self.blocks, prompts, *self.norm):
            return self.encode(image)


class LibraryText(nn.Module):
    """Text encoder with the interface of `text.TextEncoder`, from the library's `encode(tokens)`.

    Attributes:
        embedding: name of the token embedding in `model`.
        width, dim: lengths of a token embedding and of a feature.
        causal: whether a token attends to its predecessors only.
        blocks: transformer blocks.
    """

    pack = pack_equal = staticmethod(pad)
    trim = staticmethod(lambda tokens: tokens)  # the library's own length

    def __init__(self, model: nn.Module, encode, embedding: str, tokenizer: Tokenizer, dim: int, causal: bool):
        """
        Args:
            encode: tokens (n, L) -> features (n, dim), not normalised.
            embedding: name of the token embedding in `model`.
        """
        super().__init__()
        self.model = model
        self.encode = encode
        self.embedding = embedding
        self.tokenizer = tokenizer
        self.dim = dim
        self.causal = causal
        self.width = self.token_embedding.embedding_dim
        self.blocks = [block for _, block in places.blocks(model, image=False)]
        self.hooks = BlockHooks(model, image=False)
        self.learned: torch.Tensor | None = None  # (B n, L, d): output of the embedding in the current pass
        self.token_embedding.register_forward_hook(self._embed_learned)

    @property
    def token_embedding(self) -> nn.Module:
        return self.model.get_submodule(self.embedding)

    def _embed_learned(self, module, inputs, output):
        # A copy, as some models (BLIP) add the positions in place
        return output if self.learned is None else self.learned.to(output.dtype, copy=True)

    def embed(self, packed: PaddedPrompts, weight: torch.Tensor | None = None) -> torch.Tensor:
        """Returns token embeddings (1, n L, d) without positional embeddings. `weight` replaces the embedding's own."""
        return embed(self.token_embedding, packed.tokens, weight)[None]

    def forward(
        self,
        packed: PaddedPrompts,
        x: torch.Tensor | None = None,
        deep=(),
        start=None,
        inserted: Insertions | None = None,
    ) -> torch.Tensor:
        """Computes text features of prompts.

        Args:
            x: (B, n L, d) embeddings of the tokens, including learned ones; None: the token embeddings.
            deep: learned tokens at the blocks after the first, as in `text.TextEncoder`.
            start: has no effect; `constant_start` returns None.
            inserted: what is inserted into the blocks.

        Returns:
            (n, dim) features, not normalised; (B, n, dim) if x is given.
        """
        tokens = packed.tokens.view(packed.n, -1)  # (n, L)
        with self.hooks.inserting(inserted):
            if x is None:
                return self.encode(tokens)
            B, n, length = x.shape[0], *tokens.shape
            self.learned = x.reshape(B * n, length, -1)
            try:
                with text_tokens(self.blocks, packed, deep):
                    return self.encode(tokens.repeat(B, 1)).view(B, n, -1)
            finally:
                self.learned = None

    def constant_start(self, packed: PaddedPrompts, tuned: list[str], inserted=()) -> None:
        """Returns None: nothing is kept between steps."""


class LibraryBackbone(Backbone):
    """A frozen model of another library. The loaders set its attributes; see `Backbone`."""

    scale: torch.Tensor | None = None  # the logit scale, if it is not exp(model.logit_scale)

    def __init__(
        self,
        name: str,
        library: str,
        model: nn.Module,
        image_encoder: LibraryImage,
        text_encoder: LibraryText,
        preprocess: Preprocess,
    ):
        self.name = name
        self.library = library
        self.model = model
        self.image_encoder = image_encoder
        self.text_encoder = text_encoder
        self.preprocess = preprocess
        self.activation = ""

    @property
    def dtype(self) -> torch.dtype:
        return self.text_encoder.token_embedding.weight.dtype

    @property
    def logit_scale(self) -> torch.Tensor:
        return super().logit_scale if self.scale is None else self.scale

    def in_encoder(self, name: str, image: bool) -> bool:
        """Returns True: both encoders are the whole model. In BLIP-2 they share a network."""
        return True

    @property
    def image_tokens_obstacle(self) -> str:
        return obstacle(self.image_encoder, self.preprocess.size, self.dtype)

    @property
    def image_width(self) -> int:
        return places.width(self.image_encoder.blocks[0])

    @property
    def n_blocks(self) -> tuple[int, int]:
        return len(self.image_encoder.blocks), len(self.text_encoder.blocks)

    def name_in_encoder(self, name: str) -> str:
        return f"model.{name}"

    def recompute(self, enabled: bool) -> None:
        for image in (True, False):
            for _, block in places.blocks(self.model, image):
                recompute_block(block, enabled)

    def compile(self, enabled: bool) -> None:
        if enabled:
            raise ValueError(f"MODEL.COMPILE True needs a ViT of OpenAI's CLIP, got {self.name}: set it to False")


def recompute_block(block: nn.Module, enabled: bool) -> None:
    """Makes the backward pass recompute a block from its input, or no longer.

    The parameters of the first pass, and what was inserted, are kept for that: in the backward pass, `functional_call`
    has put back the frozen ones. The block's own hooks run once, outside of what is recomputed.
    """
    block.__dict__.pop("forward", None)
    if not enabled:
        return
    plain = _PlainForward(block)

    def forward(*args, **kwargs):
        if not torch.is_grad_enabled():
            return plain(*args, **kwargs)
        parameters, inserted, terms = dict(plain.named_parameters()), inserted_in(block), linear_terms.current()

        def run(*args):
            with set_inserted({block: inserted}), linear_terms.using(terms):
                return functional_call(plain, parameters, args, kwargs)

        return checkpoint(run, *args, use_reentrant=False, preserve_rng_state=bool(terms))  # terms have dropout

    block.forward = forward


class _PlainForward(nn.Module):
    """Calls the forward pass of a block without its hooks."""

    def __init__(self, block: nn.Module):
        super().__init__()
        self.block = block
        self.plain = block.forward

    def forward(self, *args, **kwargs):
        return self.plain(*args, **kwargs)
