"""A store of image features on disk, so that a frozen image encoder sees each image once: in all runs, seeds and shots.

    <folder>/<32 hex digits>/<dataset>/<16 hex digits>.features

The first folder stands for everything that a feature depends on apart from the image: weights, precision,
preprocessing. A file holds the features of some images. It is written atomically, and has a digest: a corrupted file is
removed and its features are computed again. Several runs may use a store at the same time. If two of them compute the
same features, both files remain. Files that have not been used for the longest time are removed if the store exceeds
its limit.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import secrets
from pathlib import Path

import numpy as np

from dassl.config import cfg_default

from .. import distributed
from .files import write_atomically

# Folder of features of frozen image encoders, computed once for all runs; "": keep none
cfg_default.DATALOADER.FEATURES = "~/.cache/clipfit/features"
cfg_default.DATALOADER.FEATURES_GB = 20.0  # limit of that folder; those not used for the longest time go first

SUFFIX = ".features"
SHA = 32  # bytes of a SHA-256


class FeatureStore:
    """Features of one dataset by one encoder.

    Args:
        cfg: the config of a run, with DATALOADER.FEATURES and DATALOADER.FEATURES_GB.
        identity: what the features depend on, as JSON values; None: nothing is read or kept.
        what: what is stored, for a message.
    """

    def __init__(self, cfg, identity: dict | None, what: str = "features"):
        self.what = what
        options = cfg.DATALOADER
        self.root = folder_of(options.FEATURES) if identity else None
        self.limit = int(1e9 * options.FEATURES_GB)
        self.identity = json.dumps(identity, sort_keys=True, indent=1)
        digest = hashlib.sha256(self.identity.encode()).hexdigest()[:32]
        self.folder = self.root and self.root / digest / cfg.DATASET.NAME

    def read(self, keys: np.ndarray) -> tuple[np.ndarray | None, np.ndarray]:
        """Returns the features (n, D) of images, and for each whether the store has it (n,).

        Features that it does not have are zero. The array is None if it has none.

        Args:
            keys: (n,) of uint64, one per image.
        """
        features, found = None, np.zeros(len(keys), dtype=bool)
        files = sorted(self.folder.glob(f"*{SUFFIX}")) if self.folder else []
        for path in files:
            own = _read_keys(path)
            order = np.argsort(own)
            place = np.searchsorted(own[order], keys).clip(max=max(len(own) - 1, 0))
            wanted = np.flatnonzero(~found & (own[order][place] == keys)) if len(own) else []
            if not len(wanted):
                continue
            rows = read_file(path)
            if rows is None:
                continue
            if features is None:
                features = np.zeros((len(keys), rows.shape[1]), rows.dtype)
            features[wanted] = rows[order][place[wanted]]
            found[wanted] = True
            with contextlib.suppress(OSError):
                os.utime(path)  # used now
        return features, found

    def complete(self, keys: np.ndarray, compute) -> tuple[np.ndarray, int]:
        """Returns the features (n, D) for keys (n,), and how many of them were computed, which are added to the store.

        Args:
            compute: places of the missing features in `keys` -> yields some of these places, and their features (m, D).
        """
        features, found = self.read(keys)
        missing = np.flatnonzero(~distributed.true_in_all(found))  # other runs may change the store at any time
        for rows, computed in compute(missing) if len(missing) else ():
            if features is None:
                features = np.zeros((len(keys), computed.shape[1]), computed.dtype)
            features[rows] = computed
            if distributed.is_main():
                self.add(keys[rows], computed)
        return features, len(missing)

    def add(self, keys: np.ndarray, features: np.ndarray) -> None:
        """Adds features (n, D) with their keys (n,). If they cannot be written, prints why; then it keeps no more."""
        finite = np.isfinite(features).all(axis=1)  # others are never read again: a run that has them stops
        keys, features = keys[finite], features[finite]
        if not self.folder or not len(keys):
            return
        content = io.BytesIO()
        np.save(content, keys)
        np.save(content, features)
        content = content.getvalue()
        try:
            about = self.folder.parent / "about.json"
            if not about.is_file():
                write_atomically(str(about), self.identity)
            path = self.folder / f"{secrets.token_hex(8)}{SUFFIX}"
            write_atomically(str(path), hashlib.sha256(content).digest() + content)
            self.remove_oldest(but=path)
        except OSError as error:
            # without advice on the run directory
            print(f"Note: {self.what} are not kept for other runs (DATALOADER.FEATURES): {error.__cause__ or error}")
            self.folder = None

    def remove_oldest(self, but: Path) -> None:
        """Removes files until the store is within its limit: first those that were not used for the longest time."""
        sizes = {}
        for path in self.root.glob(f"*/*/*{SUFFIX}*"):  # with those that killed runs have not finished
            with contextlib.suppress(OSError):  # removed by another run
                stat = path.stat()
                sizes[path] = (stat.st_mtime_ns, stat.st_size)
        total = sum(size for _, size in sizes.values())
        for path in sorted(sizes, key=sizes.get):
            if total <= self.limit:
                return
            if path != but:
                total -= sizes[path][1]
                with contextlib.suppress(OSError):
                    path.unlink()


def folder_of(text: str) -> Path | None:
    """Returns the folder that DATALOADER.FEATURES names; None for "", and if it starts with ~ and there is no home."""
    folder = os.path.expanduser(text)
    if folder.startswith("~"):
        print(f"Note: nothing is kept for other runs (DATALOADER.FEATURES): no home folder for {text}")
        return None
    return Path(folder) if folder else None


def _read_keys(path: Path) -> np.ndarray:
    """Returns the keys (n,) in a file, which are not verified; none if it cannot be read."""
    try:
        with open(path, "rb") as file:
            file.seek(SHA)
            keys = np.load(file, allow_pickle=False)
        return keys if keys.dtype == np.uint64 and keys.ndim == 1 else np.empty(0, np.uint64)
    except OSError:  # removed by another run, not readable, or too many open files: it may be intact
        return np.empty(0, np.uint64)
    except Exception:  # a corrupted header raises ValueError, EOFError, MemoryError, ...
        remove_corrupted(path)
        return np.empty(0, np.uint64)


def read_file(path: Path) -> np.ndarray | None:
    """Returns the features (n, D) in a file. Removes it and returns None if it is corrupted."""
    try:
        content = path.read_bytes()
    except OSError:  # another run has removed it
        return None
    if hashlib.sha256(content[SHA:]).digest() != content[:SHA]:
        remove_corrupted(path)
        return None
    stream = io.BytesIO(content[SHA:])
    np.load(stream, allow_pickle=False)  # the keys
    return np.load(stream, allow_pickle=False)


def remove_corrupted(path: Path) -> None:
    """Removes a file, and says so."""
    with contextlib.suppress(OSError):
        path.unlink()
        print(f"Note: removed {path}, which was corrupted: its content is computed again")
