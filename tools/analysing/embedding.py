"""Two-dimensional embeddings of image features: t-SNE or UMAP (Figure 5)."""

from dataclasses import dataclass

import numpy as np

from .features import Features

MAX_CLASSES = 20  # more colours cannot be distinguished
NAMES = {"tsne": "t-SNE", "umap": "UMAP"}


def shown_classes(classnames: list[str], chosen: list[str] | None = None) -> list[int]:
    """Returns the classes of a picture: the chosen ones, else all, or MAX_CLASSES of them at equal distances.

    Raises ValueError for an unknown or a repeated class, or more than MAX_CLASSES.
    """
    if chosen:
        for name in chosen:
            if name not in classnames:
                raise ValueError(f"--classes: unknown class {name!r}; the run has {', '.join(classnames)}")
        if len(set(chosen)) < len(chosen) or len(chosen) > MAX_CLASSES:
            raise ValueError(f"--classes must be at most {MAX_CLASSES} different classes, got {', '.join(chosen)}")
        return [classnames.index(name) for name in chosen]
    if len(classnames) <= MAX_CLASSES:
        return list(range(len(classnames)))
    return [i * (len(classnames) - 1) // (MAX_CLASSES - 1) for i in range(MAX_CLASSES)]


@dataclass(frozen=True)
class Embedding:
    """Positions (n, 2) of n images in a picture, for zero-shot and for tuned features, and their classes."""

    method: str  # t-SNE or UMAP
    zero_shot: np.ndarray
    tuned: np.ndarray
    labels: np.ndarray
    paths: list[str]
    classes: list[int]  # the classes shown
    classnames: list[str]  # all classes


def embed(
    found: Features, classes: list[int], perplexity: float = 30, method: str = "tsne", seed: int = 1
) -> Embedding:
    """Returns the t-SNE or UMAP embedding of the images of some classes.

    Raises:
        ValueError: too few images for the perplexity.
        ModuleNotFoundError: the package umap-learn is missing.
    """
    rows = np.isin(found.labels, classes)
    check_perplexity(int(rows.sum()), perplexity, method)
    reduce = tsne if method == "tsne" else umap
    return Embedding(
        NAMES[method],
        reduce(found.zero_shot[rows], perplexity, seed),
        reduce(found.tuned[rows], perplexity, seed),
        found.labels[rows],
        [path for path, shown in zip(found.paths, rows, strict=True) if shown],
        classes,
        found.classnames,
    )


def check_perplexity(n_images: int, perplexity: float, method: str) -> None:
    """Raises ValueError unless there are more images than the perplexity (for UMAP: the neighbours)."""
    if n_images <= perplexity:
        raise ValueError(
            f"{NAMES[method]} with perplexity {perplexity:g} needs more than {perplexity:g} test images, got "
            f"{n_images}: pass --perplexity with a number below {n_images}"
        )


def tsne(vectors: np.ndarray, perplexity: float, seed: int) -> np.ndarray:
    from sklearn.manifold import TSNE

    return TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(vectors)


def umap(vectors: np.ndarray, neighbours: float, seed: int) -> np.ndarray:
    from umap import UMAP

    return UMAP(n_neighbors=round(neighbours), metric="cosine", random_state=seed, n_jobs=1).fit_transform(vectors)
