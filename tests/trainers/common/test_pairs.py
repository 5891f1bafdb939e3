"""Captions: which are chosen, which pairs are no negatives, gradient caching."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from tests.reference.pairs import contrastive
from trainers.common.losses import contrastive_losses
from trainers.common.models.tokenizers import OpenAITokenizer
from trainers.common.pairs import Captions, in_parts

WORDS = ("dog", "cat", "ship")


def numbers_of(texts):
    """A tokenizer whose tokens are the number of the word."""
    return torch.tensor([[WORDS.index(text)] for text in texts])


images = st.lists(st.sampled_from(WORDS), min_size=1, max_size=4).map(tuple)
batches = st.lists(images, min_size=2, max_size=6)


@given(batches, st.integers(0, 9), st.booleans())
def test_loss_equals_plain_loops_with_duplicate_images_and_captions(captions, seed, twice):
    torch.manual_seed(seed)
    index = torch.arange(len(captions))
    if twice:
        index[-1] = 0  # the same image twice
    tokens, known = Captions(captions, numbers_of).choose(index)
    chosen = [WORDS[i] for i in tokens[:, 0]]
    own = [captions[i] for i in index]
    assert all(text in texts for text, texts in zip(chosen, own, strict=True))
    assert known.tolist() == [[text in texts for text in chosen] for texts in own]
    logits = torch.randn(len(own), len(own), dtype=torch.float64, requires_grad=True)
    losses = contrastive_losses(logits, known)
    expected = contrastive(logits, own, chosen)
    assert all(torch.allclose(a, b) for a, b in zip(losses, expected, strict=True))
    (gradient,) = torch.autograd.grad(sum(losses), logits)
    assert torch.allclose(gradient, torch.autograd.grad(sum(expected), logits)[0])
    assert (gradient[known & ~torch.eye(len(own), dtype=torch.bool)] == 0).all()


def test_every_caption_is_chosen_equally_often():
    captions = Captions([("dog", "cat", "ship"), ("cat",)], numbers_of)
    torch.manual_seed(0)
    tokens, _ = captions.choose(torch.tensor([0, 1] * 1500))
    assert torch.equal(tokens[1::2], torch.ones(1500, 1, dtype=torch.long))
    counts = tokens[::2, 0].bincount(minlength=3)
    assert (counts - 500).abs().max() < 75  # four standard deviations


def test_each_text_is_tokenised_once():
    asked = []
    Captions([("a dog", "a cat"), ("a dog",)], lambda texts: (asked.extend(texts), OpenAITokenizer()(texts))[1])
    assert asked == ["a dog", "a cat"]


@pytest.mark.parametrize("size", [1, 3, 4, 7, 0, 100])
def test_gradients_in_parts_are_those_of_the_whole(size):
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3)).double()
    scale = nn.Parameter(torch.tensor(2.0, dtype=torch.float64))
    inputs = torch.randn(7, 5, dtype=torch.float64)
    gradients = []
    for part in (0, size):
        features = nn.functional.normalize(in_parts(encoder, inputs, part), dim=-1)
        loss = sum(contrastive_losses(scale * features @ features.t().roll(1, 0)))
        gradients.append(torch.autograd.grad(loss, [*encoder.parameters(), scale]))
    assert all(torch.allclose(a, b, rtol=1e-12) for a, b in zip(*gradients, strict=True))


def test_dropout_is_the_same_in_both_passes_over_a_part():
    seen = []

    def encode(x):
        mask = torch.rand(x.shape) < 0.5
        seen.append(mask)
        return (x * mask).exp()  # the backward pass needs the output, so it is computed again

    inputs = torch.randn(6, 4, requires_grad=True)
    in_parts(encode, inputs, 2).sum().backward()
    assert len(seen) == 6
    assert all(torch.equal(a, b) for a, b in zip(seen[:3], seen[:2:-1], strict=True))
    assert not torch.equal(seen[0], seen[1])


def test_one_part_after_the_other_has_a_graph():
    events = []

    class Exp(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            events.append(("forward", len(x)))
            ctx.save_for_backward(x.exp())
            return x.exp()

        @staticmethod
        def backward(ctx, gradient):
            (y,) = ctx.saved_tensors
            events.append(("backward", len(y)))
            return gradient * y

    in_parts(lambda x: Exp.apply(x), torch.randn(6, 4, requires_grad=True), 4).sum().backward()
    assert events[:2] == [("forward", 4), ("forward", 2)]
    assert events[2:] == [("forward", 2), ("backward", 2), ("forward", 4), ("backward", 4)]
