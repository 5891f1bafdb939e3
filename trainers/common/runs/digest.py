"""A digest of the content of a file, which detects corruption on reading.

It hashes values, not bytes of the file: the same tensors have the same digest in a checkpoint and in a safetensors
file, in any order of their names.
"""

from __future__ import annotations

import hashlib
import struct

import torch


def digest(value) -> str:
    """Returns the SHA-256 (64 hex digits) of nested dicts, lists and tuples of tensors, numbers, strings, bytes, None.

    It depends on types, dtypes and shapes: 1 and 1.0 differ, and so do a list and a tuple. It does not depend on the
    order of dict keys, nor on the device and strides of tensors.

    Raises:
        TypeError: `value` contains another type.
    """
    sha = hashlib.sha256()
    _add(sha, value)
    return sha.hexdigest()


def _add(sha, value) -> None:
    """Hashes the type and size of `value`, then its content, so that different values never hash the same bytes."""
    if isinstance(value, dict):
        sha.update(b"dict %d;" % len(value))
        for key in sorted(value, key=lambda key: (type(key).__name__, key)):
            _add(sha, key)
            _add(sha, value[key])
    elif isinstance(value, (list, tuple)):
        sha.update(b"%s %d;" % (b"list" if isinstance(value, list) else b"tuple", len(value)))
        for item in value:
            _add(sha, item)
    elif isinstance(value, torch.Tensor):
        flat = value.detach().cpu().contiguous().flatten()
        sha.update(f"{value.dtype} {tuple(value.shape)};".encode())
        sha.update(flat.view(torch.uint8).numpy())
    elif isinstance(value, float):
        sha.update(b"float " + struct.pack("<d", value))
    elif value is None or isinstance(value, (bool, int)):
        sha.update(f"{type(value).__name__} {value};".encode())
    elif isinstance(value, (str, bytes)):
        content = value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value
        sha.update(f"{type(value).__name__} {len(content)};".encode() + content)
    else:
        raise TypeError(f"cannot compute the digest of a {type(value).__name__}")
