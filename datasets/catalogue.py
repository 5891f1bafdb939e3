"""The facts about each dataset, read from its class: names, prompt template, counts, order in the papers, targets."""

import difflib
import math
from typing import NamedTuple

from dassl.data.datasets import DATASET_REGISTRY

from .base import FewShotDataset


class Entry(NamedTuple):
    """One dataset. `FewShotDataset` explains the fields other than the names."""

    name: str  # registry name, e.g. DescribableTextures
    config: str  # config name, e.g. dtd for configs/datasets/dtd.yaml and datasets/dtd.py
    template: str
    counts: tuple
    paper_order: int | None
    variant_of: str
    bundled: bool  # whether it needs no download: the first run writes its images


def entries() -> dict[str, Entry]:
    """Returns `Entry` by registry name.

    The eleven datasets of the papers come first, then their variants, then the others by name, each with its variants.
    """
    registered = map(DATASET_REGISTRY.get, DATASET_REGISTRY.registered_names())
    classes = [cls for cls in registered if issubclass(cls, FewShotDataset)]
    paper_orders = {cls.__name__: cls.paper_order or math.inf for cls in classes}

    def sort_key(cls):
        source = cls.variant_of or cls.__name__
        variant_order = (cls.variant_order or math.inf) if cls.variant_of else 0
        own_order, source_order = (paper_orders.get(name, math.inf) for name in (cls.__name__, source))
        return own_order, source_order, source, variant_order, cls.__name__

    return {cls.__name__: _entry(cls) for cls in sorted(classes, key=sort_key)}


def _entry(cls: type[FewShotDataset]) -> Entry:
    config = cls.__module__.rpartition(".")[2]
    bundled = bool(cls.default_root)
    return Entry(cls.__name__, config, cls.template, cls.counts, cls.paper_order, cls.variant_of, bundled)


def by_config() -> dict[str, Entry]:
    """Returns `Entry` by config name, in the order of `entries`."""
    return {entry.config: entry for entry in entries().values()}


def resolve(name: str) -> Entry:
    """Returns the dataset with this registry or config name. Case is ignored.

    Raises:
        ValueError: if the name is unknown; the message lists the closest match and all names.
    """
    known = {}
    for entry in entries().values():
        known[entry.name.lower()] = entry
        known[entry.config.lower()] = entry
    if name.lower() not in known:
        closest = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.4)
        hint = f"Did you mean {known[closest[0]].config}? " if closest else ""
        raise ValueError(f"Unknown dataset {name!r}. {hint}Must be one of: {', '.join(by_config())}")
    return known[name.lower()]


def paper_configs() -> list[str]:
    """Returns the config names of the eleven datasets of the papers, ImageNet first."""
    return [entry.config for entry in entries().values() if entry.paper_order]


def targets(protocol: str, source: str = "imagenet") -> list[str]:
    """Returns the config names of the target datasets for a model trained on `source`.

    Args:
        protocol: "cross_dataset" (the datasets of the papers except ImageNet and the source; for a bundled source, the
            other bundled datasets except variants) or "domain_shift" (the variants of the source that the papers'
            tables have, else all; most datasets have none).
        source: registry or config name.

    Raises:
        ValueError: if the protocol or the source is unknown.
    """
    source = resolve(source)
    if protocol == "cross_dataset" and source.bundled:
        others = [entry for entry in entries().values() if entry.bundled and not entry.variant_of]
        return [entry.config for entry in others if entry != source]
    if protocol == "cross_dataset":
        return [config for config in paper_configs() if config not in ("imagenet", source.config)]
    if protocol == "domain_shift":
        variants = [entry for entry in entries().values() if entry.variant_of == source.name]
        in_tables = [entry for entry in variants if DATASET_REGISTRY.get(entry.name).variant_order]
        return [entry.config for entry in in_tables or variants]
    raise ValueError(f"protocol must be cross_dataset or domain_shift to have targets, got {protocol!r}")


def order(name: str) -> int:
    """Returns the sort key of a registry name: its index in `entries`. Unknown names sort last."""
    names = list(entries())
    return names.index(name) if name in names else len(names)
