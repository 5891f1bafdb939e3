"""Recall at k and ranks: against loops over all orders of ties, and against CLIP_benchmark."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.user_errors import raises_user_error
from trainers.common.inference import retrieval
from trainers.common.inference.retrieval import interval, metrics, rank_both, resampled, similarities


def first_right(scores: list, right: set, order: tuple) -> int:
    """The rank from 1 of the best right item, where equal items are in this order."""
    ranked = sorted(range(len(scores)), key=lambda item: (-scores[item], order.index(item)))
    return next(rank for rank, item in enumerate(ranked, 1) if item in right)


def expected(scores: list, right: set, k: int) -> tuple[float, float]:
    """The probability of a hit, and the mean rank, over all orders of the items."""
    ranks = [first_right(scores, right, order) for order in itertools.permutations(range(len(scores)))]
    return sum(rank <= k for rank in ranks) / len(ranks), sum(ranks) / len(ranks)


@st.composite
def cases(draw):
    """Features of small whole numbers, so that ties are frequent, and the image of each caption."""
    n, m = draw(st.integers(1, 4)), draw(st.integers(1, 5))
    small = st.integers(-1, 1)
    images = draw(st.lists(st.tuples(small, small), min_size=n, max_size=n))
    texts = draw(st.lists(st.tuples(small, small), min_size=m, max_size=m))
    return images, texts, draw(st.lists(st.integers(0, n - 1), min_size=m, max_size=m))


@settings(max_examples=40, deadline=None)
@given(cases(), st.integers(1, 6))
def test_against_loops(case, k):
    images, texts, index = case
    found = rank_both(torch.tensor(images).float(), torch.tensor(texts).float(), index)
    scores = [[a[0] * b[0] + a[1] * b[1] for b in texts] for a in images]
    with_captions = sorted(set(index))
    assert found["text"].query.tolist() == with_captions, "an image without captions is no query"
    by_image = [expected(scores[i], {j for j in range(len(texts)) if index[j] == i}, k) for i in with_captions]
    by_text = [expected([row[j] for row in scores], {index[j]}, k) for j in range(len(texts))]
    for direction, wanted in (("text", by_image), ("image", by_text)):
        hits, ranks = zip(*wanted, strict=True)
        assert found[direction].hits(k).tolist() == pytest.approx(hits)
        assert found[direction].ranks().tolist() == pytest.approx(ranks)


def random_features(n=37, per_image=5, dim=16, seed=0):
    generator = torch.Generator().manual_seed(seed)
    images = F.normalize(torch.randn(n, dim, generator=generator), dim=-1)
    index = torch.arange(n).repeat_interleave(per_image)
    noise = torch.randn(n * per_image, dim, generator=generator)
    return images, F.normalize(images[index] + 0.4 * noise, dim=-1), index


def test_a_collapsed_model_has_the_recall_of_chance():
    images, texts, index = random_features()
    found = metrics(rank_both(images[:1].expand(37, -1), images[:1].expand(185, -1), index))
    for k in (1, 5, 10):
        assert found[f"image_recall@{k}"] == pytest.approx(100 * k / 37)
        miss = math.comb(180, k) / math.comb(185, k)
        assert found[f"text_recall@{k}"] == pytest.approx(100 * (1 - miss))
    assert found["image_median_rank"] == 19


def test_the_order_and_the_size_of_chunks_play_no_role(monkeypatch):
    images, texts, index = random_features()
    texts[1::5] = texts[::5]  # duplicate captions, some of them of other images
    texts[7] = texts[100]
    before = metrics(rank_both(images, texts, index))
    order = torch.randperm(len(texts), generator=torch.Generator().manual_seed(1))
    assert metrics(rank_both(images, texts[order], index[order])) == pytest.approx(before, abs=1e-9)
    monkeypatch.setattr(retrieval, "CHUNK", 300)
    assert metrics(rank_both(images, texts, index)) == before


def test_metrics_are_those_of_clip_benchmark():
    theirs = pytest.importorskip("clip_benchmark.metrics.zeroshot_retrieval", reason="needs requirements-test.txt")
    images, texts, index = random_features()
    scores = texts @ images.t()
    right = F.one_hot(index, len(images)).bool()
    ours = metrics(rank_both(images, texts, index))
    for k in (1, 5, 10):
        by_text = theirs.batchify(theirs.recall_at_k, scores, right, 10, "cpu", k=k)
        by_image = theirs.batchify(theirs.recall_at_k, scores.T, right.T, 10, "cpu", k=k)
        assert ours[f"image_recall@{k}"] == pytest.approx(100 * (by_text > 0).float().mean().item())
        assert ours[f"text_recall@{k}"] == pytest.approx(100 * (by_image > 0).float().mean().item())


def test_the_most_similar_of_several_image_features_counts():
    images = F.normalize(torch.randn(6, 3, 8, generator=torch.Generator().manual_seed(0)), dim=-1)
    texts = images[:, 1]
    each = torch.stack([features.double() @ texts.double().t() for features in images])  # (6, 3, 6)
    assert torch.equal(similarities(images, texts), each.amax(dim=1).float())
    assert metrics(rank_both(images, texts, range(6)))["rsum"] == 600


def test_intervals_are_of_images_with_all_their_captions():
    images, texts, index = random_features(n=200)
    ranks = rank_both(images, texts, index)
    draws = resampled(ranks, index, 200)
    for name in ("image_recall@1", "text_recall@5", "mean_recall"):
        low, high = interval(draws[name])
        assert low < metrics(ranks)[name] < high
    per_image = ranks["image"].hits(1).view(200, 5).mean(1)
    assert draws["image_recall@1"].std().item() == pytest.approx(100 * per_image.std().item() / 200**0.5, rel=0.1)
    assert torch.equal(resampled(ranks, index, 200)["mean_recall"], draws["mean_recall"]), "paired by the seed"


def test_features_that_are_not_finite():
    images, texts, index = random_features()
    texts[3, 0] = float("nan")
    with raises_user_error("captions", "fp32", error=FloatingPointError):
        rank_both(images, texts, index)
