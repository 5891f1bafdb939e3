"""Reads zip archives of PyTorch without running code: those of `torch.save` and of TorchScript, such as OpenAI's CLIPs.

`torch.jit.load`, and `torch.load` of some versions for a TorchScript archive, run code in the file. This reader takes
only the tensors, with `inert_pickle`. It verifies the checksum of everything it reads; PyTorch's reader does not.

    archive/data.pkl      pickle of the content; refers to the storages by number
    archive/data/0, 1     storages
    archive/code/...py    TorchScript only: classes, with the names of their parameters and buffers
"""

from __future__ import annotations

import io
import os
import re
import sys
import zipfile

import torch

from . import inert_pickle

MAGIC = b"PK\x03\x04"  # first bytes of a zip file
DTYPES = {
    "BFloat16Storage": torch.bfloat16, "BoolStorage": torch.bool, "ByteStorage": torch.uint8,
    "CharStorage": torch.int8, "DoubleStorage": torch.float64, "FloatStorage": torch.float32,
    "HalfStorage": torch.float16, "IntStorage": torch.int32, "LongStorage": torch.int64, "ShortStorage": torch.int16,
}  # fmt: skip
MAX_SCRIPT_ATTRIBUTES = 1_000_000  # of all modules of a TorchScript archive; a CLIP has tens of thousands
MAX_EXPANDED = 2**26  # bytes of a compressed member, if that is more than the size of the file


def is_archive(path: str) -> bool:
    """Whether a file is a zip archive, damaged or not."""
    with open(path, "rb") as file:
        return file.read(len(MAGIC)) == MAGIC or zipfile.is_zipfile(path)


def is_torchscript(archive: zipfile.ZipFile) -> bool:
    """Whether an archive is TorchScript: it contains `constants.pkl`."""
    return any(name.split("/")[1:2] == ["constants.pkl"] for name in archive.namelist())


def verify_directory(archive: zipfile.ZipFile, size: int) -> None:
    """Verifies that the directory of an archive names all its members, as they are named where they stand.

    `zipfile` does neither: a member whose name or whose predecessor's length is damaged is only missing.

    Args:
        size: of the file, in bytes.

    Raises:
        ValueError, zipfile.BadZipFile: the directory is damaged.
    """
    archive.fp.seek(size - len(archive.comment) - 12)  # the end of the directory: 22 bytes, the count at byte 10
    members = int.from_bytes(archive.fp.read(2), "little")
    if members not in (len(archive.infolist()), 0xFFFF):  # 0xFFFF: the count is elsewhere (ZIP64)
        raise ValueError(f"its directory has {len(archive.infolist())} members instead of {members}")
    for info in archive.infolist():
        archive.open(info).close()  # compares the names


def read(path: str, shapes_only: bool = False):
    """Returns the content of an archive: tensors, plain values, and an `inert_pickle.StandIn` for each other object.

    Args:
        shapes_only: tensors are on the device "meta", so that no storage is read.

    Returns:
        The saved object; for TorchScript, the state_dict of the module.

    Raises:
        ValueError, zipfile.BadZipFile, or any error of the unpickler: not an archive of PyTorch, or corrupted.
    """
    with zipfile.ZipFile(path) as archive:
        reader = _Reader(archive, os.path.getsize(path), shapes_only)
        content = reader.unpickle()
        if not is_torchscript(archive):
            return content
        if not isinstance(content, inert_pickle.StandIn) or not isinstance(content.state, dict):
            raise ValueError("its content is not a TorchScript module")
        return reader.script_tensors(content)


class _Reader:
    def __init__(self, archive: zipfile.ZipFile, size: int, shapes_only: bool):
        names = archive.namelist()
        folders = [name[: -len("/data.pkl")] for name in names if name.endswith("/data.pkl") and name.count("/") == 1]
        if len(folders) != 1 or len(set(names)) != len(names):
            raise ValueError("no data.pkl, or several")
        verify_directory(archive, size)
        self.archive = archive
        self.folder = folders[0]
        self.size = size
        self.shapes_only = shapes_only
        self.storages: dict[tuple, torch.Tensor] = {}
        if f"{self.folder}/byteorder" in names and self.member("byteorder").decode() != sys.byteorder:
            raise ValueError("its byte order is not that of this machine")

    def member(self, name: str) -> bytes:
        """Returns a member of the archive. `zipfile` raises BadZipFile if its checksum is wrong."""
        info = self.archive.getinfo(f"{self.folder}/{name}")
        if info.file_size > max(self.size, MAX_EXPANDED):
            raise ValueError(f"{name} expands to {info.file_size:,} bytes")
        return self.archive.read(info)

    def unpickle(self):
        reader = self

        class Unpickler(inert_pickle.Unpickler):
            def find_class(self, module, name):
                return DTYPES[name] if module == "torch" and name in DTYPES else super().find_class(module, name)

            def persistent_load(self, saved_id):
                kind, dtype, key, _, numel = saved_id
                if kind != "storage" or not isinstance(dtype, torch.dtype):
                    raise ValueError(f"unknown kind of storage {getattr(dtype, 'origin', dtype)}")
                return reader.storage(str(key), dtype, numel)

        return Unpickler(io.BytesIO(self.member("data.pkl")), encoding="utf-8").load()

    def storage(self, key: str, dtype: torch.dtype, numel: int) -> torch.Tensor:
        """Returns a storage as a tensor with one dimension. Tensors that share a storage in the file share it here."""
        if (key, dtype) not in self.storages:
            if self.shapes_only:
                flat = torch.empty(numel, dtype=dtype, device="meta")
            else:
                content = bytearray(self.member(f"data/{key}"))
                flat = torch.frombuffer(content, dtype=dtype) if content else torch.empty(0, dtype=dtype)
            self.storages[key, dtype] = flat
        return self.storages[key, dtype]

    def script_tensors(self, module) -> dict[str, torch.Tensor]:
        """Returns the parameters and buffers of a TorchScript module by their dotted names."""
        saved_names: dict[str, set | None] = {}
        tensors = {}
        stack = [("", module)]
        attributes = 0
        while stack:
            prefix, module = stack.pop()
            if module.origin not in saved_names:
                saved_names[module.origin] = self.saved_names(module.origin)
            for name, value in module.state.items():
                attributes += 1
                if attributes > MAX_SCRIPT_ATTRIBUTES:  # modules that contain each other
                    raise ValueError(f"more than {MAX_SCRIPT_ATTRIBUTES:,} attributes")
                if isinstance(value, inert_pickle.StandIn) and isinstance(value.state, dict):
                    stack.append((f"{prefix}{name}.", value))
                elif isinstance(value, torch.Tensor):
                    names = saved_names[module.origin]
                    if names is None or name in names:
                        tensors[prefix + name] = value
        return tensors

    def saved_names(self, origin: str) -> set[str] | None:
        """Returns the names of the parameters and buffers of a class, from its code; None if that does not tell.

        Example: the class `__torch__.clip.model.CLIP` is in code/__torch__/clip/model.py, which is only searched:

            class CLIP(Module):
              __parameters__ = ["positional_embedding", "text_projection", "logit_scale", ]
              __buffers__ = ["input_resolution", ]
        """
        path, _, name = origin.rpartition(".")
        file = f"code/{path.replace('.', '/')}.py"
        if f"{self.folder}/{file}" not in self.archive.namelist():
            return None
        body = re.split(rf"^class {re.escape(name)}\(.*\n", self.member(file).decode(), maxsplit=1, flags=re.M)[-1]
        body = re.split(r"^\S", body, maxsplit=1, flags=re.M)[0]
        lists = [re.search(rf"^  {kind} = \[(.*)\]$", body, re.M) for kind in ("__parameters__", "__buffers__")]
        if None in lists:
            return None
        return {text for found in lists for text in re.findall(r'"([^"]*)"', found[1])}
