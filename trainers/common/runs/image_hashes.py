"""Digests of the images of a run, over their content, so that other images under the same names are other data.

An image is identified by its size and its CRC-32. These are read in the background by a few threads, and are cached on
this machine by path, size and times of the last change. Paths are no part of a digest: a moved or copied dataset is the
same data.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
import time
import zlib
from pathlib import Path

CACHE = Path("~/.cache/clipfit/images.sqlite")
THREADS = 4
CHUNK = 500  # images per query of the cache
SETTLED = 2_000_000_000  # ns; files that changed more recently are not cached: they may change again at the same time
SPLIT_NAMES = {"train_x": "training images", "val": "validation images", "test": "test images"}


class ImageHashes:
    """Reads the images of a dataset in the background. Use `content` when it is needed.

    Args:
        dataset: has the attributes `train_x`, `val` and `test`: lists of items with `impath` and `label`, or None.
        splits: those to read.
    """

    def __init__(self, dataset, splits=tuple(SPLIT_NAMES)):
        self.splits = splits
        self._splits = {split: getattr(dataset, split, None) or [] for split in SPLIT_NAMES}
        paths = list(dict.fromkeys(item.impath for split in splits for item in self._splits[split]))
        self._chunks = iter([paths[i : i + CHUNK] for i in range(0, len(paths), CHUNK)])
        self._keys: dict[str, tuple[int, int] | None] = {}
        self._done = threading.Condition()
        self._error: Exception | None = None
        for _ in range(min(THREADS, -(-len(paths) // CHUNK))):
            threading.Thread(target=self._work, daemon=True).start()  # daemon: ends with the program

    def _work(self) -> None:
        while True:
            with self._done:
                chunk = next(self._chunks, None)
            if chunk is None:
                return
            keys = {}
            error = None
            try:
                keys = image_keys(chunk)
            except Exception as caught:  # re-raised in the main thread
                error = caught
            with self._done:
                self._keys.update(keys)
                self._error = self._error or error
                self._done.notify_all()

    def keys(self, split: str) -> list[tuple[int, int] | None]:
        """Returns (size in bytes, CRC-32) per image of a split. Waits until all are read.

        They are None for a file that cannot be read, and in a split that is not to be read. `split` is "train_x", "val"
        or "test".
        """
        if split not in self.splits:
            return [None] * len(self._splits[split])
        paths = [item.impath for item in self._splits[split]]
        with self._done:
            for path in paths:  # one by one: checking all of them after each chunk would be quadratic
                while path not in self._keys and not self._error:
                    self._done.wait()
            if self._error:
                raise self._error
        return [self._keys[path] for path in paths]

    def content(self, split: str) -> dict | None:
        """Returns {"images": number, "digest": 32 hex digits} of a split, None if it is empty.

        The digest depends on the content and the labels (or captions) of the images, not on their paths and order.
        """
        items = self._splits[split]
        if not items:
            return None
        lines = sorted(f"{key} {getattr(item, 'captions', item.label)}\n" for key, item in zip(self.keys(split), items))
        return {"images": len(items), "digest": hashlib.sha256("".join(lines).encode()).hexdigest()[:32]}


def content(dataset, splits=tuple(SPLIT_NAMES)) -> dict:
    """Returns the content of splits of a dataset, as in the run record: {"train_x": {...}, "val": None, ...}."""
    hashes = ImageHashes(dataset, splits)
    return {split: hashes.content(split) for split in splits}


def content_differences(old: dict | None, new: dict | None, splits=tuple(SPLIT_NAMES)) -> list[str]:
    """Returns in which splits the content of two runs differs: ["training images 120 -> 130"].

    Splits that one of them does not have, because it is older or of another program, are not compared.
    """
    found = []
    for split in splits:
        if old is None or new is None or split not in old or split not in new or old[split] == new[split]:
            continue
        numbers = [(content or {}).get("images", 0) for content in (old[split], new[split])]
        other = f"{numbers[0]} -> {numbers[1]} others" if numbers[0] == numbers[1] else f"{numbers[0]} -> {numbers[1]}"
        found.append(f"{SPLIT_NAMES[split]} {other}")
    return found


def image_keys(paths: list[str]) -> dict[str, tuple[int, int] | None]:
    """Returns (size, CRC-32) per path, from the cache if the file has not changed since, else from the file.

    Any number of paths: the cache is asked for CHUNK of them at a time, since SQLite limits the size of a query.
    """
    keys = {}
    for start in range(0, len(paths), CHUNK):
        keys.update(_keys_of_chunk(paths[start : start + CHUNK]))
    return keys


def _keys_of_chunk(paths: list[str]) -> dict[str, tuple[int, int] | None]:
    real_folders = {folder: os.path.realpath(folder) for folder in {os.path.dirname(path) for path in paths}}
    real_paths = [os.path.join(real_folders[os.path.dirname(path)], os.path.basename(path)) for path in paths]
    cached = read_cache(real_paths)
    keys = {}
    new = []
    for path, real_path in zip(paths, real_paths):
        try:
            if not os.path.isfile(real_path):  # reading from a pipe would wait forever
                raise FileNotFoundError(real_path)
            stat = os.stat(real_path)
            entry = (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
            crc = cached[real_path][3] if cached.get(real_path, ())[:3] == entry else None
            if crc is None:
                with open(real_path, "rb") as file:
                    crc = zlib.crc32(file.read())
                if stat.st_ctime_ns < time.time_ns() - SETTLED:
                    new.append((real_path, *entry, crc))
            keys[path] = (stat.st_size, crc)
        except OSError:  # reading the image reports it
            keys[path] = None
    write_cache(new)
    return keys


def read_cache(paths: list[str]) -> dict[str, tuple]:
    """Returns path -> (size, time of modification, time of change, CRC-32) of the cached images; times in ns."""
    query = f"SELECT * FROM images WHERE path IN ({','.join('?' * len(paths))})"
    rows = use_cache(lambda cache: cache.execute(query, paths).fetchall())
    return {path: tuple(entry) for path, *entry in rows or ()}


def write_cache(rows: list[tuple]) -> None:
    """Adds (path, size, time of modification, time of change, CRC-32) rows to the cache."""
    if rows:
        use_cache(lambda cache: cache.executemany("INSERT OR REPLACE INTO images VALUES (?, ?, ?, ?, ?)", rows))


def use_cache(action):
    """Returns `action(cache)`, or None if the cache cannot be used: then the images are read again.

    A corrupted cache is removed.
    """
    try:
        import sqlite3
    except ImportError:  # some Pythons are built without it
        return None
    path = CACHE.expanduser()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.closing(sqlite3.connect(str(path), timeout=5)) as cache, cache:
            cache.execute(
                "CREATE TABLE IF NOT EXISTS images "
                "(path TEXT PRIMARY KEY, size INTEGER, modified INTEGER, changed INTEGER, crc INTEGER)"
            )
            return action(cache)
    except sqlite3.OperationalError:  # locked, no permission, disk full
        return None
    except sqlite3.DatabaseError:
        with contextlib.suppress(OSError):
            path.unlink()
    except (OSError, UnicodeEncodeError):  # no home folder; a path that is not Unicode
        return None
    return None
