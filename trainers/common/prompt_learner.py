"""Learned context tokens in the prompts, as in CoOp and the methods based on it."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from .classes import check_text
from .models.text import TextEncoder
from .models.tokenizers import Tokenizer
from .prompts import fill

POSITIONS = ("end", "middle", "front")


class PromptLearner(nn.Module):
    """Embeds the prompts "<context> <class name>." with learned context vectors.

    The state_dict holds `ctx` only: an fp32 master, cast to the dtype of CLIP's matrices in `forward`.
    """

    def __init__(self, text_encoder: TextEncoder, classnames, text: str, ctx: torch.Tensor, position: str = "end"):
        """
        Args:
            text: the context in words, with "X" for each learned token without a word.
            ctx: initial vectors of the first tokens of `text`: (n_ctx, d), or (n_cls, n_ctx, d) for one set per class.
            position: where the class name goes: "end", "front", or "middle" (after the first half of the context).
        """
        super().__init__()
        device = text_encoder.token_embedding.weight.device
        self.ctx = nn.Parameter(ctx.float().to(device))
        tokenizer = text_encoder.tokenizer
        tokens = place_learned(tokenizer, classnames, text, ctx.shape[-2], position)  # learned: negative ids
        packed = text_encoder.pack(tokens, max_prefix=1 if ctx.dim() == 3 else tokens.shape[1]).to(device)
        rows = (packed.tokens < 0).nonzero()[:, 0]  # (R,) rows of the packed matrix with a learned token
        self.packed_prompts = replace(packed, tokens=packed.tokens.masked_fill(packed.tokens < 0, tokenizer.filler))
        embeddings = text_encoder.embed(self.packed_prompts).detach()  # (1, T, d)
        self.register_buffer("rows", rows, persistent=False)
        self.register_buffer("ctx_index", -1 - packed.tokens[rows], persistent=False)  # (R,) 0 to n_ctx - 1
        self.register_buffer("class_index", packed.classes[rows], persistent=False)  # (R,) class; -1 in the prefix
        self.register_buffer("word_embeddings", embeddings, persistent=False)

    def forward(self, shift: torch.Tensor | None = None, words: torch.Tensor | None = None) -> torch.Tensor:
        """Returns the packed embeddings of the prompts.

        Args:
            shift: (B, d), added to each learned token.
            words: (1, T, d), from `TunedClip.word_embeddings`; None: those of the frozen CLIP.

        Returns:
            (1, T, d), or (B, T, d) with `shift`.
        """
        if self.ctx.dim() == 2:
            ctx = self.ctx[self.ctx_index]  # (R, d)
        else:
            ctx = self.ctx[self.class_index, self.ctx_index]  # (R, d)
        ctx = ctx[None] if shift is None else ctx + shift[:, None]  # (B, R, d)
        x = (self.word_embeddings if words is None else words).expand(ctx.shape[0], -1, -1)
        return x.index_copy(1, self.rows, ctx.to(x.dtype))


def place_learned(tokenizer: Tokenizer, classnames: list[str], text: str, n_ctx: int, position: str) -> torch.Tensor:
    """Returns tokens (n_cls, context_length) of "<text> <class name>.", with id -1 - i for the i-th learned token.

    If `text` has more than `n_ctx` tokens, the remaining ones follow the learned ones and keep their ids.

    Raises:
        ValueError: `text` has fewer than `n_ctx` tokens, or a prompt is too long.
    """
    # Example: text "a photo of a", n_ctx 4, class "cat"; <s> and <e> are start and end of text.
    #   tokenized            <s>  a  photo  of   a  cat  .  <e>  0 ...
    #   position "end"       <s> -1   -2   -3   -4  cat  .  <e>  0 ...
    #   position "middle"    <s> -1   -2   cat  -3  -4   .  <e>  0 ...
    #   position "front"     <s> cat  -1   -2   -3  -4   .  <e>  0 ...
    # With n_ctx 2 and position "end", only "a photo" is learned:
    #                        <s> -1   -2   of   a   cat  .  <e>  0 ...
    tokens = tokenizer(fill(text + " {}.", classnames))
    name_lengths = tokenizer.count(fill("{}", classnames))
    n_text = tokenizer.count([text])[0]
    if n_text < n_ctx:
        raise ValueError(f"the context must have at least {n_ctx} tokens, got {text!r} with {n_text}")
    learned = -1 - torch.arange(n_ctx)
    name_at = {"end": n_text, "middle": n_ctx // 2, "front": 0}[position]
    for row, length in zip(tokens[:, tokenizer.start :], name_lengths):
        context = torch.cat([learned, row[n_ctx:n_text]])
        name, rest = row[n_text : n_text + length], row[n_text + length :]
        row[:] = torch.cat([context[:name_at], name, context[name_at:], rest])
    return tokens


def word_context(text_encoder: TextEncoder, words: str, n_ctx: int) -> torch.Tensor:
    """Returns embeddings (n_ctx, d) of the first `n_ctx` tokens of `words`."""
    embedding, tokenizer = text_encoder.token_embedding, text_encoder.tokenizer
    ids = tokenizer([words])[0, tokenizer.start : tokenizer.start + n_ctx]
    return embedding(ids.to(embedding.weight.device)).detach()  # called, as some embeddings scale their rows


def random_context(text_encoder: TextEncoder, *shape: int) -> torch.Tensor:
    """Returns random vectors (*shape, d), sampled from N(0, 0.02^2)."""
    return torch.empty(*shape, text_encoder.token_embedding.embedding_dim).normal_(std=0.02)


def initial_context(text_encoder: TextEncoder, words: str, *shape: int) -> tuple[str, torch.Tensor]:
    """Returns the initial text and vectors: one token per word or, without words, random vectors (*shape, d)."""
    if words:
        return words, word_context(text_encoder, words, len(words.split()))
    return placeholders(shape[-1]), random_context(text_encoder, *shape)


def placeholders(n_ctx: int) -> str:
    """Returns placeholder words for `n_ctx` learned tokens: "X X X" for 3."""
    return " ".join(["X"] * n_ctx)


def context_words(options, key: str) -> str:
    """Returns the words in `options.CTX_INIT`, or "" for none. `_` becomes a space."""
    words = options.CTX_INIT or ""
    if not isinstance(words, str):
        raise ValueError(f'{key}.CTX_INIT must be words such as "a photo of a", or "", got {words!r}')
    return check_text(" ".join(words.replace("_", " ").split()), f"{key}.CTX_INIT")


def check_context(options, key: str) -> None:
    """Raises ValueError if N_CTX or CLASS_TOKEN_POSITION is invalid."""
    if options.N_CTX < 1:
        raise ValueError(f"{key}.N_CTX must be at least 1, got {options.N_CTX}")
    if getattr(options, "CLASS_TOKEN_POSITION", "end") not in POSITIONS:
        raise ValueError(f"{key}.CLASS_TOKEN_POSITION must be one of {POSITIONS}, got {options.CLASS_TOKEN_POSITION!r}")
