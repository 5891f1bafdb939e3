"""What is known of each dataset, read off its class: names, prompt, counts, place in the papers, groups of targets."""

import difflib
import math
from typing import NamedTuple

from dassl.data.datasets import DATASET_REGISTRY

from .base import FewShotDataset


class Entry(NamedTuple):
    """One dataset; the fields that are not names are explained in `FewShotDataset`."""

    name: str  # in Dassl's registry, e.g. DescribableTextures
    config: str  # file in configs/datasets without .yaml, and the dataset's module, e.g. dtd
    template: str
    counts: tuple
    paper_order: int | None
    variant_of: str


def entries() -> dict[str, Entry]:
    """`Entry` by registry name: the papers' eleven in their order, then variants, then the rest by name."""
    registered = map(DATASET_REGISTRY.get, DATASET_REGISTRY.registered_names())
    classes = sorted((cls for cls in registered if issubclass(cls, FewShotDataset)), key=_place)
    return {cls.__name__: _entry(cls) for cls in classes}


def _place(cls: type[FewShotDataset]) -> tuple:
    paper, variant = (order or math.inf for order in (cls.paper_order, cls.variant_order))
    return paper, not cls.variant_of, cls.variant_of, variant, cls.__name__


def _entry(cls: type[FewShotDataset]) -> Entry:
    config = cls.__module__.rpartition(".")[2]
    return Entry(cls.__name__, config, cls.template, cls.counts, cls.paper_order, cls.variant_of)


def by_config() -> dict[str, Entry]:
    """`Entry` by name of its config file, in the order of `entries`."""
    return {entry.config: entry for entry in entries().values()}


def resolve(text: str) -> Entry:
    """The dataset with this registry or config name, in any case.

    Raises:
        ValueError: there is none; names the nearest and the known names.
    """
    known = {name.lower(): entry for entry in entries().values() for name in (entry.name, entry.config)}
    if text.lower() not in known:
        nearest = difflib.get_close_matches(text.lower(), known, 1, 0.4)
        hint = f"did you mean {known[nearest[0]].config}? " if nearest else ""
        raise ValueError(f"unknown dataset {text!r}; {hint}there are: {', '.join(by_config())}")
    return known[text.lower()]


def paper_configs() -> list[str]:
    """Config names of the eleven datasets of the papers, ImageNet first."""
    return [entry.config for entry in entries().values() if entry.paper_order]


def targets(protocol: str, source: str = "imagenet") -> list[str]:
    """Config names of the datasets that a model trained on `source` is tested on.

    Args:
        protocol: "cross_dataset", the papers' datasets except ImageNet and the source, or "domain_shift", the
            source's variants (none for most sources).
        source: registry or config name.

    Raises:
        ValueError: another protocol, or an unknown source.
    """
    source = resolve(source)
    if protocol == "cross_dataset":
        return [config for config in paper_configs() if config not in ("imagenet", source.config)]
    if protocol == "domain_shift":
        return [entry.config for entry in entries().values() if entry.variant_of == source.name]
    raise ValueError(f"targets are those of cross_dataset or domain_shift, got {protocol!r}")


def order(name: str) -> int:
    """Sort key of a registry name: its place in `entries`, unknown names last."""
    names = list(entries())
    return names.index(name) if name in names else len(names)
