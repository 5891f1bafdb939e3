"""Tokenizers with one interface, so that prompts and learned tokens are placed without knowing whose they are."""

from __future__ import annotations

import torch

from .backbone_files import clip


class Tokenizer:
    """Turns prompts into token ids. A subclass defines `ids` and `__call__`.

    Attributes:
        context_length: tokens of a tokenized prompt, special ones included.
        start: number of special tokens before the text.
        filler: id where a learned token is; the model computes its mask and the pooled token from the ids.
    """

    context_length = 77
    start = 1
    filler = 0

    def __call__(self, prompts: list[str]) -> torch.Tensor:
        """Returns token ids (n, context_length), int64.

        Raises:
            ValueError: a prompt has too many tokens.
        """
        raise NotImplementedError

    def cut(self, prompts: list[str]) -> tuple[torch.Tensor, list[bool]]:
        """Returns token ids (n, context_length), and for each prompt whether it was too long.

        Such a prompt is cut off as the library does it: its first tokens, then the special ones at the end.
        """
        raise NotImplementedError

    def count(self, texts: list[str]) -> list[int]:
        """Returns the number of tokens of each text without special ones, at most as many as fit in a prompt."""
        raise NotImplementedError

    def too_long(self, prompt: str) -> ValueError:
        if len(prompt) > 200:  # a context of hundreds of tokens
            prompt = f"{prompt[:100]} ... {prompt[-50:]}"
        return ValueError(
            f"a prompt may have at most {self.context_length} tokens, got {prompt!r}: "
            "shorten the class name, DATASET.TEMPLATE or the context (N_CTX)"
        )


class OpenAITokenizer(Tokenizer):
    """CLIP's: start of text, the text, end of text (the largest id), zeros."""

    def __call__(self, prompts):
        try:
            return clip.tokenize(prompts).long()
        except RuntimeError:
            for prompt in prompts:
                try:
                    clip.tokenize(prompt)
                except RuntimeError:
                    raise self.too_long(prompt) from None
            raise

    def cut(self, prompts):
        tokens = clip.tokenize(prompts, truncate=True).long()
        full = (tokens[:, -1] != 0).tolist()  # these have 77 tokens, or had more
        return tokens, [is_full and self.is_too_long(prompt) for is_full, prompt in zip(full, prompts)]

    @staticmethod
    def is_too_long(prompt: str) -> bool:
        try:
            clip.tokenize(prompt)
        except RuntimeError:
            return True
        return False

    def count(self, texts):
        return (clip.tokenize(texts, truncate=True).argmax(dim=-1) - 1).tolist()


class LibraryTokenizer(Tokenizer):
    """A tokenizer of another library, which cuts off long prompts in silence."""

    def __init__(self, tokenize, ids, context_length: int, start: int, end: int, filler: int):
        """
        Args:
            tokenize: prompts -> token ids (n, context_length), padded as the model expects.
            ids: text -> list of its token ids without special ones.
            start, end: number of special tokens before and after the text.
        """
        self.tokenize, self.ids = tokenize, ids
        self.context_length, self.start, self.end, self.filler = context_length, start, end, filler
        self.longest = context_length - start - end  # of a text

    def __call__(self, prompts):
        tokens, was_cut = self.cut(prompts)
        if any(was_cut):
            raise self.too_long(prompts[was_cut.index(True)])
        return tokens

    def cut(self, prompts):
        return self.tokenize(list(prompts)).long(), [len(self.ids(prompt)) > self.longest for prompt in prompts]

    def count(self, texts):
        return [min(len(self.ids(text)), self.longest) for text in texts]
