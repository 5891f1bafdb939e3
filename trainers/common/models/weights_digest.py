"""Identifies the weights of a CLIP: a digest of all values, which is cached, and the fingerprint of earlier runs."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from pathlib import Path

import torch

from ..runs.files import write_atomically

FOLDER = Path("~/.cache/clipfit/weights")
WEIGHTS = re.compile(r"(model|pytorch_model|open_clip)[^/]*\.(safetensors|bin)")  # in folders of other libraries
CONFIGS = ("config.json", "open_clip_config.json")
NOT_CONFIG = ("transformers_version", "_name_or_path", "torch_dtype", "dtype")  # change nothing in the features
_in_process: dict[tuple, dict] = {}  # the same as in FOLDER, which may not be writable


def weights_digest(state_dict: dict[str, torch.Tensor]) -> str:
    """Returns the SHA-256 (64 hex digits) of the names, shapes and values of all tensors, as fp32.

    It does not depend on the type that they are stored in, as long as that holds the same values. This takes about a
    second for 150 million parameters.
    """
    sha = hashlib.sha256()
    for name in sorted(state_dict):
        tensor = state_dict[name].detach()
        sha.update(f"{name}{tuple(tensor.shape)}".encode())
        sha.update(tensor.flatten().to("cpu", torch.float32).numpy())
    return sha.hexdigest()


def file_sha256(path: str) -> str:
    """Returns the SHA-256 of a file. That of OpenAI's files is part of their address."""
    sha = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(2**22):
            sha.update(block)
    return sha.hexdigest()


def weight_files(folder: str) -> list[str]:
    """Returns the names of the files with weights in the folder of another library's model, sorted."""
    return sorted(name for name in os.listdir(folder) if WEIGHTS.fullmatch(name))


def folder_hashes(folder: str) -> dict[str, str]:
    """Returns `weights_digest` and `fingerprint` of the model in a folder, without its library.

    They are hashes of the bytes of its files with weights, and of its config, which says how they are used.
    """
    sha = hashlib.sha256()
    for name in weight_files(folder):
        path = os.path.join(folder, name)
        content = cached(path, os.stat(path), {"sha256": lambda path=path: file_sha256(path)})["sha256"]
        sha.update(f"{name} {content}\n".encode())
    for name in CONFIGS:
        path = os.path.join(folder, name)
        if os.path.isfile(path):
            values = json.loads(Path(path).read_text(encoding="utf-8"))
            used = {key: value for key, value in values.items() if key not in NOT_CONFIG}
            sha.update(json.dumps(used, sort_keys=True).encode())
    digest = sha.hexdigest()
    return {"weights_digest": digest, "fingerprint": digest[:16]}


def with_config(hashes: dict[str, str], config: dict) -> dict[str, str]:
    """Returns hashes of weights and of the config that says how they are used, for example with which activation."""
    digest = hashlib.sha256((hashes["weights_digest"] + json.dumps(config, sort_keys=True)).encode()).hexdigest()
    return {"weights_digest": digest, "fingerprint": digest[:16]}


def cached(path: str, stat: os.stat_result, compute: dict) -> dict:
    """Returns the values of functions of a file's content by name, from a cache in the home folder if it has them.

    An entry is valid until the size of the file or one of its times changes.

    Args:
        stat: `os.stat(path)` from before the file was read.
        compute: name -> function without arguments.
    """
    key = {"path": os.path.realpath(path), "size": stat.st_size, "mtime": stat.st_mtime_ns, "ctime": stat.st_ctime_ns}
    note = FOLDER.expanduser() / f"{hashlib.sha256(os.fsencode(key['path'])).hexdigest()[:32]}.json"
    known = dict(_in_process.get(tuple(key.values()), {}))
    with contextlib.suppress(OSError, ValueError, TypeError, AttributeError):
        content = json.loads(note.read_text(encoding="utf-8"))
        if {name: content.get(name) for name in key} == key:
            known.update({name: value for name, value in content.items() if name not in key})
    values = {name: known.get(name) or function() for name, function in compute.items()}
    after = os.stat(path)
    unchanged = (after.st_size, after.st_mtime_ns, after.st_ctime_ns) == (key["size"], key["mtime"], key["ctime"])
    if unchanged and values.items() - known.items():
        _in_process[tuple(key.values())] = {**known, **values}
        with contextlib.suppress(OSError):  # home is not writable: computed at each start
            write_atomically(str(note), json.dumps({**key, **known, **values}))
    return values


def fingerprint(state_dict: dict[str, torch.Tensor], samples: int = 4096) -> str:
    """Returns 16 hex digits that identify a CLIP's weights at every precision.

    Hashes the name, shape and up to `samples` evenly spaced values of each tensor, rounded to fp16: earlier runs
    recorded no digest of all values. It does not detect damage.
    """
    digest = hashlib.sha256()
    for name in sorted(state_dict):
        flat = state_dict[name].detach().flatten()
        flat = flat[:: max(1, flat.numel() // samples)].to("cpu", torch.float16)
        digest.update(f"{name}{tuple(state_dict[name].shape)}".encode())
        digest.update(flat.numpy().tobytes())
    return digest.hexdigest()[:16]
