"""Recall at k and median rank of image-text retrieval, in both directions.

Text to image: each caption is a query among all images, of which one is right. Image to text: each image is a query
among all captions, of which its own are right; it is a hit if one of them is among the first k, so that five captions
per image count once. This is the rule of the literature and of CLIP_benchmark.

Equal similarities are taken as ordered at random: a hit is then the probability of a hit, and a rank the mean rank.
The order of the items plays no role, and a model with equal features for everything has the recall of chance.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..finite import REMEDY

DEPTHS = (1, 5, 10)
DIRECTIONS = ("image", "text")  # what is retrieved
CHUNK = 2**20  # similarities computed at once


@dataclass(frozen=True)
class Ranks:
    """How n queries rank their best right item; int64 on the CPU.

    Attributes:
        query: (n,) row of each query in the features: those that have a right item.
        greater: (n,) number of wrong items with a greater similarity.
        tied: (n,) number of wrong items with the same similarity.
        right: (n,) number of right items with that similarity, at least 1.
    """

    query: torch.Tensor
    greater: torch.Tensor
    tied: torch.Tensor
    right: torch.Tensor

    def hits(self, k: int) -> torch.Tensor:
        """Returns the probability (n,) that a right item is among the first k, fp64. Without ties it is 0 or 1.

        If j places are left for tied items, t of them wrong and r right, none is right with the probability
        t / (t + r) * (t - 1) / (t + r - 1) * ..., with j factors.
        """
        places = k - self.greater
        miss = torch.ones(len(places), dtype=torch.float64)
        for i in range(k):
            wrong = (self.tied - i).clamp(min=0).double()
            factor = wrong / (self.tied + self.right - i).clamp(min=1)
            miss *= torch.where(i < places, factor, torch.ones_like(factor))
        return 1 - miss

    def ranks(self) -> torch.Tensor:
        """Returns the mean rank (n,) of the first right item, from 1, fp64."""
        return 1 + self.greater + self.tied / (self.right + 1.0)


def rank_both(images: torch.Tensor, texts: torch.Tensor, image_index) -> dict[str, Ranks]:
    """Returns the `Ranks` of images for each caption ("image") and of captions for each image ("text").

    Args:
        images: (n, E) normalised image features; or (n, Q, E), several per image, of which the most similar counts.
        texts: (m, E) normalised text features.
        image_index: m rows of `images`.

    Raises:
        FloatingPointError: a feature is infinite or NaN.
    """
    for name, features in (("images", images), ("captions", texts)):
        if not torch.isfinite(features).all():
            raise FloatingPointError(f"features of {name} are infinite or NaN: {REMEDY}")
    images, texts = images.double(), texts.double()
    index = torch.as_tensor(image_index, dtype=torch.long, device=texts.device)
    captions = torch.arange(len(texts), device=texts.device)
    several = images.shape[1] if images.dim() == 3 else 1

    def to_images(rows):
        return similarities(images, texts[rows]).t()

    def to_texts(rows):
        return similarities(images[rows], texts)

    return {
        "image": rank(to_images, len(texts), max(1, CHUNK // (several * len(images))), captions, index),
        "text": rank(to_texts, len(images), max(1, CHUNK // (several * len(texts))), index, captions),
    }


def similarities(images: torch.Tensor, texts: torch.Tensor) -> torch.Tensor:
    """Returns cosine similarities (n, m), fp32, of features (n, E) or (n, Q, E) and (m, E).

    They are computed in fp64 and rounded: else the same two features may have another similarity at another place in
    the matrix, and ties would depend on the order.
    """
    products = images.double() @ texts.double().t()  # (n, m) or (n, Q, m)
    return (products if products.dim() == 2 else products.amax(dim=1)).float()


def rank(similarities_of, n: int, step: int, query: torch.Tensor, item: torch.Tensor) -> Ranks:
    """Ranks the right items of n queries, for `step` queries at a time.

    Args:
        similarities_of: rows of queries (a slice) -> their similarities (c, items).
        query, item: (p,) the rows of the p right pairs.
    """
    order = torch.argsort(query, stable=True)
    query, item = query[order], item[order]
    found = []
    for start in range(0, n, step):
        values = similarities_of(slice(start, start + step))  # (c, items)
        ends = torch.tensor([start, start + len(values)], device=query.device)
        first, last = torch.searchsorted(query, ends).tolist()
        is_right = torch.zeros_like(values, dtype=torch.bool)
        is_right[query[first:last] - start, item[first:last]] = True
        best = values.masked_fill(~is_right, -torch.inf).amax(dim=1, keepdim=True)  # (c, 1)
        greater, tied = values > best, values == best
        counts = (greater & ~is_right, tied & ~is_right, tied & is_right)
        found.append(torch.stack([count.sum(dim=1) for count in counts]).cpu())
    greater, tied, right = torch.cat(found, dim=1)
    has_right = right.nonzero()[:, 0]
    return Ranks(has_right, greater[has_right], tied[has_right], right[has_right])


def metrics(ranks: dict[str, Ranks]) -> dict[str, float]:
    """Returns the recalls in percent and the median ranks of both directions, and the mean and the sum of the recalls.

    Names: image_recall@1, text_recall@1, ..., image_median_rank, text_median_rank, mean_recall, rsum.
    """
    found = {}
    for direction in DIRECTIONS:
        for k in DEPTHS:
            found[recall_name(direction, k)] = 100 * ranks[direction].hits(k).mean().item()
    recalls = list(found.values())
    for direction in DIRECTIONS:
        found[f"{direction}_median_rank"] = ranks[direction].ranks().quantile(0.5).item()
    return {**found, "mean_recall": sum(recalls) / len(recalls), "rsum": sum(recalls)}


def recall_name(direction: str, k: int) -> str:
    return f"{direction}_recall@{k}"


def resampled(ranks: dict[str, Ranks], image_index, n_images: int, draws: int = 1000, seed: int = 0) -> dict:
    """Returns the recalls in percent, and their mean, on `draws` bootstrap samples: {name: (draws,) fp64}.

    A sample has n images sampled with replacement, with all their captions: captions of one image are not independent.
    The same seed draws the same images, so that the differences of two models are paired.
    """
    rows = {"image": torch.as_tensor(image_index)[ranks["image"].query], "text": ranks["text"].query}
    generator = torch.Generator().manual_seed(seed)
    samples = [torch.randint(n_images, (n_images,), generator=generator) for _ in range(draws)]
    weights = torch.stack([torch.bincount(sample, minlength=n_images) for sample in samples]).double()  # (draws, n)
    found = {}
    for direction in DIRECTIONS:
        counts = torch.zeros(n_images, dtype=torch.float64).index_add(0, rows[direction], ones_of(rows[direction]))
        for k in DEPTHS:
            hits = torch.zeros_like(counts).index_add(0, rows[direction], ranks[direction].hits(k))
            found[recall_name(direction, k)] = 100 * (weights @ hits) / (weights @ counts)
    found["mean_recall"] = torch.stack(list(found.values())).mean(dim=0)
    return found


def ones_of(rows: torch.Tensor) -> torch.Tensor:
    return torch.ones(len(rows), dtype=torch.float64)


def interval(values: torch.Tensor) -> tuple[float, float]:
    """Returns the 2.5 and 97.5 percentiles of bootstrap values (draws,), without samples that had no query."""
    low, high = values[~values.isnan()].quantile(torch.tensor([0.025, 0.975], dtype=values.dtype)).tolist()
    return low, high
