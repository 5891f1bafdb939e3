"""Helpers for files, seeds, logging, meters, registries and checkpoints. Each module is imported on first use."""

import importlib

_MODULES = {
    "checkpoint": ("load_checkpoint", "load_pretrained_weights", "resume_from_checkpoint", "save_checkpoint"),
    "images": ("EXIF_CHOICES", "ImageReadError", "check_image", "open_image", "read_image"),
    "logger": ("Logger", "setup_logger"),
    "meters": ("AverageMeter", "MetricMeter"),
    "registry": ("Registry",),
    "tools": (
        "check_availability", "check_isfile", "collect_env_info", "download_url",
        "get_most_similar_str_to_a_from_b", "listdir_nohidden", "mkdir_if_missing", "read_json",
        "set_random_seed", "tolist_if_not", "write_json",
    ),
    "torchtools": (
        "count_num_param", "init_network_weights", "open_all_layers", "open_specified_layers", "set_bn_to_eval",
    ),
}  # fmt: skip
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}
__all__ = sorted(_MODULE_OF)


def __getattr__(name):
    """Imports a helper on first use. Only some helpers need torch, whose import takes a second."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
