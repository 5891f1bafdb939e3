"""Keeps the CLIPs that the tests load, as reading and building one takes most of the time of a small trainer."""

import copy
import functools
import os

import torch

from trainers.common.models import loading

MAX_MODELS = 8


def keeping(load_clip):
    """Returns `load_clip` with a memory. A call returns a new copy and moves torch's random state as the first did."""
    kept = {}  # arguments, file and random state -> model, random state after loading

    @functools.wraps(load_clip)
    def load(name, *args, **kwargs):
        path = loading.find_weights(name) if name == "micro" else name
        if not os.path.isfile(path):
            return load_clip(name, *args, **kwargs)
        stat = os.stat(path)
        file = (os.path.realpath(path), stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
        key = (name, *file, str(args), str(kwargs), torch.get_rng_state().numpy().tobytes())
        if key not in kept:
            model = load_clip(name, *args, **kwargs)
            while len(kept) >= MAX_MODELS:
                del kept[next(iter(kept))]
            kept[key] = copy.deepcopy(model), torch.get_rng_state()
            return model
        model, state = kept[key] = kept.pop(key)
        torch.set_rng_state(state)
        return copy.deepcopy(model)

    return load


def install(patch) -> None:
    patch.setattr(loading, "load_clip", keeping(loading.load_clip))
