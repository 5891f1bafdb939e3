"""Learned context tokens in the prompts, as in CoOp and the methods based on it."""

from __future__ import annotations

import copy
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

    def __init__(
        self, text_encoder: TextEncoder, classnames, text: str, ctx: torch.Tensor, position="end", share_prefix=True
    ):
        """
        Args:
            text: the context in words, with "X" for each learned token without a word; or a whole prompt that starts
                with it, with " {}" for the class name.
            ctx: initial vectors of the first tokens of `text`: (n_ctx, d), or (n_cls, n_ctx, d) for one set per class.
            position: where the class name goes: "end", "front", or "middle" (after the first half of the context).
            share_prefix: False if the learned tokens of a later block differ between classes.
        """
        super().__init__()
        self.ctx = nn.Parameter(ctx.float().to(text_encoder.token_embedding.weight.device))
        self.place = (text.partition(" {}")[0], ctx.shape[-2], position)
        self.share_prefix = share_prefix and ctx.dim() == 2
        self.set_prompts(text_encoder, place_learned(text_encoder.tokenizer, classnames, text, *self.place[1:]))

    def set_prompts(self, text_encoder: TextEncoder, tokens: torch.Tensor) -> None:
        """Sets the prompts to embed, given their tokens (n, L) with the ids of `place_learned`."""
        max_prefix = tokens.shape[1] if self.share_prefix else 1
        packed = text_encoder.pack(tokens, max_prefix=max_prefix).to(self.ctx.device)
        rows = (packed.tokens < 0).nonzero()[:, 0]  # (R,) rows of the packed matrix with a learned token
        self.packed_prompts = replace(
            packed,
            tokens=packed.tokens.masked_fill(packed.tokens < 0, text_encoder.tokenizer.filler),
            learned_rows=rows,
            learned_index=-1 - packed.tokens[rows],  # 0 to n_ctx - 1
        )
        embeddings = text_encoder.embed(self.packed_prompts).detach()  # (1, T, d)
        self.register_buffer("class_index", packed.classes[rows], persistent=False)  # (R,) class; -1 in the prefix
        self.register_buffer("word_embeddings", embeddings, persistent=False)

    def of_other_prompts(self, text_encoder: TextEncoder, tokens: torch.Tensor) -> PromptLearner:
        """Returns a PromptLearner with the same parameters for other prompts; `tokens` as in `set_prompts`."""
        other = copy.copy(self)
        other._buffers = {}  # the copy is shallow: it would replace those of this one
        other.set_prompts(text_encoder, tokens)
        return other

    def forward(self, shift: torch.Tensor | None = None, words: torch.Tensor | None = None) -> torch.Tensor:
        """Returns the packed embeddings of the prompts.

        Args:
            shift: (B, d), added to each learned token.
            words: (1, T, d), from `TunedClip.word_embeddings`; None: those of the frozen CLIP.

        Returns:
            (1, T, d), or (B, T, d) with `shift`.
        """
        rows, index = self.packed_prompts.learned_rows, self.packed_prompts.learned_index
        ctx = self.ctx[index] if self.ctx.dim() == 2 else self.ctx[self.class_index, index]  # (R, d)
        ctx = ctx[None] if shift is None else ctx + shift[:, None]  # (B, R, d)
        x = (self.word_embeddings if words is None else words).expand(ctx.shape[0], -1, -1)
        return x.index_copy(1, rows, ctx.to(x.dtype))


def place_learned(tokenizer: Tokenizer, classnames: list[str], text: str, n_ctx: int, position: str) -> torch.Tensor:
    """Returns tokens (n_cls, context_length) of "<text> <class name>.", with id -1 - i for the i-th learned token.

    If `text` has more than `n_ctx` tokens, the remaining ones follow the learned ones and keep their ids. If it has
    " {}" for the class name, it is the whole prompt.

    Raises:
        ValueError: `text` has fewer than `n_ctx` tokens, a prompt is too long, or the tokenizer splits the text or a
            class name differently elsewhere in a prompt.
    """
    # Example: text "a photo of a", n_ctx 4, class "cat"; <s> and <e> are start and end of text.
    #   tokenized            <s>  a  photo  of   a  cat  .  <e>  0 ...
    #   position "end"       <s> -1   -2   -3   -4  cat  .  <e>  0 ...
    #   position "middle"    <s> -1   -2   cat  -3  -4   .  <e>  0 ...
    #   position "front"     <s> cat  -1   -2   -3  -4   .  <e>  0 ...
    # With n_ctx 2 and position "end", only "a photo" is learned:
    #                        <s> -1   -2   of   a   cat  .  <e>  0 ...
    # With the text "X X {}", n_ctx 2 and "a photo of a cat." instead of a class name:
    #                        <s> -1   -2   a    photo  of  a  cat  .  <e>  0 ...
    template = text if "{}" in text else text + " {}."
    text = template.partition(" {}")[0]
    tokens = tokenizer(fill(template, classnames))
    ends = [0] * len(tokens) if position == "end" else name_ends(tokenizer, classnames, text, tokens, position)
    return with_learned(tokenizer, tokens, ends, text, n_ctx, position)


def place_in_captions(
    tokenizer: Tokenizer, captions: list[str], text: str, n_ctx: int, position: str
) -> tuple[torch.Tensor, list[bool]]:
    """Returns tokens (n, context_length) of "<text> <caption>" as in `place_learned`, and which captions were cut off.

    Captions stay as they are: no full stop is added. One that is too long loses its last tokens, not the context.
    """
    prompts = [f"{text} {caption}" for caption in captions]
    tokens, was_cut = tokenizer.cut(prompts)
    return with_learned(tokenizer, tokens, tokenizer.count(prompts), text, n_ctx, position), was_cut


def with_learned(
    tokenizer: Tokenizer, tokens: torch.Tensor, ends: list[int], text: str, n_ctx: int, position: str
) -> torch.Tensor:
    """Returns tokens (n, L) of prompts that start with `text`, with learned tokens in place of its first `n_ctx` ones.

    `ends` has where the class name ends, in tokens after the special ones; it plays no role for the position "end".
    """
    n_text = tokenizer.count([text])[0]
    if n_text < n_ctx:
        raise ValueError(f"the context must have at least {n_ctx} tokens, got {text!r} with {n_text}")
    rows = tokens[:, tokenizer.start :]
    words = tokenizer([text])[0, tokenizer.start : tokenizer.start + n_text]
    if not (rows[:, :n_text] == words).all():
        raise ValueError(f"the tokenizer of this backbone splits the context {text!r} differently in a prompt")
    learned = -1 - torch.arange(n_ctx)
    if position == "end":
        rows[:, :n_ctx] = learned
        return tokens
    name_at = {"middle": n_ctx // 2, "front": 0}[position]
    for row, end in zip(rows, ends):
        context = torch.cat([learned, row[n_ctx:n_text]])
        row[:] = torch.cat([context[:name_at], row[n_text:end], context[name_at:], row[end:]])
    return tokens


def name_ends(tokenizer: Tokenizer, classnames: list[str], text: str, tokens: torch.Tensor, position: str) -> list[int]:
    """Returns where each class name ends in `tokens` (n_cls, L) of "<text> <class name>.", without special ones.

    A name is measured within the prompt, as some tokenizers (SentencePiece's) split it differently if it stands alone.
    The full stop may form one token with punctuation at the end of a name, which then belongs to the name, as in CoOp.

    Raises:
        ValueError: the full stop changes other tokens of a name.
    """
    named = fill(text + " {}", classnames)
    ends = tokenizer.count(named)
    rows, alone_rows = (ids[:, tokenizer.start :] for ids in (tokens, tokenizer(named)))
    for name, row, alone, end in zip(classnames, rows, alone_rows, ends):
        kept = end if name[-1:].isalnum() else end - 1
        if not torch.equal(row[:kept], alone[:kept]):
            raise ValueError(
                f"CLASS_TOKEN_POSITION {position!r} cannot be used with this backbone, whose tokenizer splits {name!r} "
                "differently before a full stop: set it to 'end'"
            )
    return ends


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
