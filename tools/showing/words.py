"""The words of the vocabulary that are nearest to a learned context, as CoOp's interpret_prompt.py finds them.

Zhou et al. 2022, https://arxiv.org/abs/2109.01134, section 3: by Euclidean distance of the token embeddings. A learned
vector is not a word, and its nearest word need not say what it does.
"""

from dataclasses import dataclass

import torch

from trainers.common.models.tokenizers import OpenAITokenizer

NEAREST = 5
MAX_CONTEXTS = 8  # of contexts per class


@dataclass(frozen=True)
class LearnedToken:
    """A learned token: (word, distance) of the nearest words. `name` tells which class and position it has."""

    name: str
    nearest: list[tuple[str, float]]


def learned_words(trainer) -> list[LearnedToken]:
    """Returns the nearest words of each learned token of a method's prompts; [] for methods that learn none.

    Raises ValueError if the words of the backbone's tokenizer are not known.
    """
    contexts = contexts_of(trainer.tuned, list(trainer.dm.dataset.classnames))
    if not contexts:
        return []
    tokenizer = trainer.text_encoder.tokenizer
    if not isinstance(tokenizer, OpenAITokenizer):
        raise ValueError(f"the tokenizer of {trainer.backbone.name} cannot turn single tokens back into words")
    words = vocabulary()
    embedding = trainer.text_encoder.token_embedding.weight.detach().float()
    found = []
    for name, context in contexts.items():
        for position, (distances, ids) in enumerate(nearest(context, embedding), 1):
            pairs = zip(ids.tolist(), distances.tolist(), strict=True)
            found.append(LearnedToken(f"{name}{position}", [(words[i], distance) for i, distance in pairs]))
    return found


def contexts_of(tuned: torch.nn.Module, classnames: list[str]) -> dict[str, torch.Tensor]:
    """Returns the learned contexts (n_ctx, d) of a method by name: "" if there is one for all classes."""
    contexts = {}
    found = [parameter for name, parameter in tuned.named_parameters() if name.rpartition(".")[2] == "ctx"]
    for index, parameter in enumerate(found, 1):
        prefix = f"context {index}, " if len(found) > 1 else ""
        context = parameter.detach().float()
        if context.dim() == 2:
            contexts[prefix] = context
        else:  # one per class
            for label, own in enumerate(context[:MAX_CONTEXTS]):
                contexts[f"{prefix}{classnames[label]} "] = own
    return contexts


def nearest(context: torch.Tensor, embedding: torch.Tensor, k: int = NEAREST):
    """Returns (distances (k,), token ids (k,)) of each vector of `context` (n, d), the nearest first."""
    found = torch.cdist(context, embedding).topk(min(k, len(embedding)), largest=False)
    return list(zip(found.values, found.indices, strict=True))


def vocabulary() -> dict[int, str]:
    """Returns the words of CLIP's tokenizer by token id. Parts of words within a word have no space after them."""
    from clip.clip import _tokenizer

    characters = {letter: bytes([byte]) for byte, letter in _tokenizer.byte_encoder.items()}
    return {
        index: b"".join(characters.get(letter, letter.encode()) for letter in word.replace("</w>", " ")).decode(
            errors="replace"
        )
        for index, word in _tokenizer.decoder.items()
    }
