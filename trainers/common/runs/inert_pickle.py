"""A `pickle_module` for `torch.load` that builds tensors, and empty stand-ins for all other objects.

It imports and calls nothing that a file names, so reading an untrusted file runs no code.
"""

import pickle
from collections import OrderedDict

import torch
from torch import _utils

_ALLOWED = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch", "Size"): torch.Size,
    ("torch._utils", "_rebuild_tensor"): _utils._rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _utils._rebuild_tensor_v2,
    ("torch._utils", "_rebuild_parameter"): _utils._rebuild_parameter,
}


class StandIn:
    """Accepts any arguments, state and items, and stores nothing."""

    def __new__(cls, *args, **kwargs):
        return object.__new__(cls)

    def __init__(self, *args, **kwargs):
        pass

    def __setstate__(self, state):
        pass

    def __setitem__(self, key, value):
        pass

    def append(self, item):
        pass

    def extend(self, items):
        pass


class Unpickler(pickle.Unpickler):
    def find_class(self, module, name):
        return _ALLOWED.get((module, name), StandIn)


def load(file, **kwargs):
    return Unpickler(file, **kwargs).load()
