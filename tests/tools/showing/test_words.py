"""The nearest words of a learned context, against a plain loop."""

from types import SimpleNamespace

import torch
from torch import nn

from tests.user_errors import raises_user_error
from tools.showing import words
from trainers.common.models.tokenizers import OpenAITokenizer


def test_the_nearest_rows_are_those_of_a_plain_loop():
    generator = torch.Generator().manual_seed(0)
    context, embedding = (torch.randn(n, 4, generator=generator) for n in (3, 50))
    for vector, (distances, ids) in zip(context, words.nearest(context, embedding, 3), strict=True):
        plain = sorted((float(((vector - row) ** 2).sum() ** 0.5), i) for i, row in enumerate(embedding))[:3]
        assert ids.tolist() == [i for _, i in plain]
        torch.testing.assert_close(distances, torch.tensor([distance for distance, _ in plain]))


def trainer_with(context, tokenizer=None):
    """A trainer whose learned context is `context`, with a random embedding of CLIP's vocabulary."""
    embedding = nn.Embedding.from_pretrained(torch.randn(49408, 8, generator=torch.Generator().manual_seed(1)))
    tuned = nn.Module()
    tuned.ctx = nn.Parameter(context(embedding.weight))
    encoder = SimpleNamespace(tokenizer=tokenizer or OpenAITokenizer(), token_embedding=embedding)
    dataset = SimpleNamespace(classnames=["cat", "dog"])
    return SimpleNamespace(
        tuned=tuned, text_encoder=encoder, dm=SimpleNamespace(dataset=dataset), backbone=SimpleNamespace(name="other")
    )


def ids(text: str) -> list[int]:
    tokenizer = OpenAITokenizer()
    return tokenizer([text])[0, 1 : 1 + tokenizer.count([text])[0]].tolist()


def test_a_context_of_words_is_nearest_to_these_words():
    found = words.learned_words(trainer_with(lambda weight: weight[ids("a photo of a")]))
    assert [token.nearest[0] for token in found] == [("a ", 0), ("photo ", 0), ("of ", 0), ("a ", 0)]
    assert [token.name for token in found] == ["1", "2", "3", "4"]


def test_contexts_per_class_are_named_by_their_class():
    found = words.learned_words(trainer_with(lambda weight: torch.stack([weight[ids("red tie")], weight[ids("é x")]])))
    assert [(token.name, token.nearest[0][0]) for token in found] == [
        ("cat 1", "red "), ("cat 2", "tie "), ("dog 1", "é "), ("dog 2", "x "),
    ]  # fmt: skip


def test_a_tokenizer_without_known_words_is_refused():
    with raises_user_error("other"):
        words.learned_words(trainer_with(lambda weight: weight[:1], tokenizer=object()))
