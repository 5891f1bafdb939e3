"""Datasets by name."""

from dassl.utils import Registry, check_availability

DATASET_REGISTRY = Registry("DATASET")


def build_dataset(cfg):
    """The dataset that DATASET.NAME names. Raises ValueError on an unknown name."""
    name = cfg.DATASET.NAME
    check_availability(name, DATASET_REGISTRY.registered_names(), what="DATASET.NAME")
    if cfg.VERBOSE:
        print(f"Loading dataset: {name}")
    return DATASET_REGISTRY.get(name)(cfg)
