"""A `pickle_module` for `torch.load` that builds tensors, and empty stand-ins for all other objects.

It imports and calls nothing that a file names, so reading an untrusted file runs no code.
"""

import pickle
from collections import OrderedDict

import torch
from torch import _utils


class StandIn:
    """Stands for an object of a class that the file names. Accepts any arguments and items, and keeps only a state.

    Attributes:
        origin: name of the class in the file, "torch.nn.modules.linear.Linear".
        state: what the file gives to `__setstate__`, in most cases the object's attributes.
    """

    origin = ""
    state = None

    def __new__(cls, *args, **kwargs):
        return object.__new__(cls)

    def __init__(self, *args, **kwargs):
        pass

    def __setstate__(self, state):
        self.state = state

    def __setitem__(self, key, value):
        pass

    def append(self, item):
        pass

    def extend(self, items):
        pass


def _tensor(storage, offset, size, stride, *_):
    """Returns a tensor on a storage. `torch_archive` passes storages as tensors with one dimension."""
    if isinstance(storage, torch.Tensor):
        return storage.as_strided(tuple(size), tuple(stride), offset)
    return _utils._rebuild_tensor(storage, offset, size, stride)


def _parameter(data, *_):
    return data


_CLASSES = {("collections", "OrderedDict"): OrderedDict, ("torch", "Size"): torch.Size}
_FUNCTIONS = {
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
}


class Unpickler(pickle.Unpickler):
    def find_class(self, module, name):
        """Returns a new object for each name, because a pickle can set attributes of what it names."""
        if (module, name) in _CLASSES:
            return _CLASSES[module, name]
        if (module, name) in _FUNCTIONS:
            function = _FUNCTIONS[module, name]
            return lambda *args: function(*args)
        return type("StandIn", (StandIn,), {"origin": f"{module}.{name}"})


def load(file, **kwargs):
    return Unpickler(file, **kwargs).load()
