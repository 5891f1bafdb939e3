"""Learned context tokens in the prompts of all classes: what CoOp and its relatives tune."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from .models.packed_prompts import pack
from .models.text import TextEncoder
from .prompts import fill, tokenize

POSITIONS = ("end", "middle", "front")


class PromptLearner(nn.Module):
    """Embeddings of the prompts "<context> <class name>." with learned vectors in the context's places.

    Its state_dict holds `ctx` alone: an fp32 master, cast to the type of CLIP's matrices where it is used.
    """

    def __init__(self, text_encoder: TextEncoder, classnames, text: str, ctx: torch.Tensor, position: str = "end"):
        """
        Args:
            text: the context as words, "X" for a token that has no word.
            ctx: initial vectors (n_ctx, d) of the first tokens of `text`; (n_cls, n_ctx, d) if each class has its own.
            position: of the class name; in the "middle" it stands after the first half of the context.
        """
        super().__init__()
        device = text_encoder.token_embedding.weight.device
        self.ctx = nn.Parameter(ctx.float().to(device))
        tokens = place_learned(classnames, text, ctx.shape[-2], position)  # learned tokens have negative ids
        packed = pack(tokens, max_prefix=1 if ctx.dim() == 3 else tokens.shape[1]).to(device)
        rows = (packed.tokens < 0).nonzero()[:, 0]  # (R,) places of learned tokens in the packed matrix
        self.packed_prompts = replace(packed, tokens=packed.tokens.clamp_min(0))
        self.register_buffer("rows", rows, persistent=False)
        self.register_buffer("which", -1 - packed.tokens[rows], persistent=False)  # (R,) vector that stands there
        self.register_buffer("classes", packed.classes[rows], persistent=False)  # (R,) and its class
        self.register_buffer("words", text_encoder.embed(self.packed_prompts).detach(), persistent=False)  # (1, T, d)

    def forward(self, shift: torch.Tensor | None = None) -> torch.Tensor:
        """Packed embeddings for TextEncoder: (1, T, d); (B, T, d) with `shift` (B, d) added to every learned token."""
        ctx = self.ctx[self.which] if self.ctx.dim() == 2 else self.ctx[self.classes, self.which]  # (R, d)
        ctx = ctx[None] if shift is None else ctx + shift[:, None]  # (B, R, d)
        x = self.words.expand(ctx.shape[0], -1, -1)
        return x.index_copy(1, self.rows, ctx.to(x.dtype))


def place_learned(classnames: list[str], text: str, n_ctx: int, position: str) -> torch.Tensor:
    """Tokens (n_cls, 77) of "<text> <class name>.", with -1 - i in the place of the i-th learned token.

    Where `text` has more than `n_ctx` tokens, the remaining ones follow the learned ones and stay what they are.

    Raises:
        ValueError: `text` has fewer than `n_ctx` tokens, or a prompt is too long.
    """
    tokens = tokenize(fill(text + " {}.", classnames))
    lengths = count_tokens(fill("{}", classnames))
    n_text = count_tokens([text])[0]
    if n_text < n_ctx:
        raise ValueError(f"{n_ctx} tokens cannot be learned in {text!r}, which has {n_text}")
    learned = -1 - torch.arange(n_ctx)
    cut = {"end": n_text, "middle": n_ctx // 2, "front": 0}[position]
    for row, length in zip(tokens, lengths):
        name, rest = row[1 + n_text : 1 + n_text + length], row[1 + n_text + length :]
        context = torch.cat([learned, row[1 + n_ctx : 1 + n_text]])
        row[1:] = torch.cat([context[:cut], name, context[cut:], rest])
    return tokens


def count_tokens(texts: list[str]) -> list[int]:
    """Number of tokens of each text, without start and end of text."""
    return (tokenize(texts).argmax(dim=-1) - 1).tolist()


def word_context(text_encoder: TextEncoder, words: str, n_ctx: int) -> torch.Tensor:
    """Word embeddings of the first `n_ctx` tokens of `words`: (n_ctx, d)."""
    embedding = text_encoder.token_embedding.weight
    return embedding[tokenize([words])[0, 1 : 1 + n_ctx].to(embedding.device)].detach()


def random_context(text_encoder: TextEncoder, *shape: int) -> torch.Tensor:
    """Vectors (*shape, d) from N(0, 0.02^2)."""
    return torch.empty(*shape, text_encoder.token_embedding.embedding_dim).normal_(std=0.02)


def initial_context(text_encoder: TextEncoder, words: str, *shape: int) -> tuple[str, torch.Tensor]:
    """Text and vectors to start from: one token a word, or, without words, random vectors of the shape given."""
    if words:
        return words, word_context(text_encoder, words, len(words.split()))
    return placeholders(shape[-1]), random_context(text_encoder, *shape)


def placeholders(n_ctx: int) -> str:
    """The words that stand for `n_ctx` tokens without words."""
    return " ".join(["X"] * n_ctx)


def context_words(options, key: str) -> str:
    """The words in the config value `options.CTX_INIT`, "" for none; `_` reads as a space."""
    words = options.CTX_INIT or ""
    if not isinstance(words, str):
        raise ValueError(f'{key}.CTX_INIT must be words such as "a photo of a", or "", got {words!r}')
    return " ".join(words.replace("_", " ").split())


def check_context(options, key: str) -> None:
    """Raise ValueError on a context that cannot be."""
    if options.N_CTX < 1:
        raise ValueError(f"{key}.N_CTX must be at least 1, got {options.N_CTX}")
    if getattr(options, "CLASS_TOKEN_POSITION", "end") not in POSITIONS:
        raise ValueError(f"{key}.CLASS_TOKEN_POSITION must be one of {POSITIONS}, got {options.CLASS_TOKEN_POSITION!r}")
