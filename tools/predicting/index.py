"""An index of the image features of a folder, which is kept next to it, so that a search encodes only new images.

    photos.search-0123456789abcdef.npz  index of the folder photos
        identity  (k,) uint8            what the features depend on apart from the images, as JSON
        keys      (n, 2) int64          size in bytes and CRC-32 of each image
        features  (n, E) float32        normalised; (n, queries, E) for BLIP-2

Images are recognised by their content. So a renamed image is not encoded again, and equal ones are encoded once. The
digits in the name are those of the identity: searches with two models have two indices.
"""

import hashlib
import json
import os
import sys
import zipfile

import numpy as np

from trainers.common.runs.files import written_atomically

FIELDS = ("identity", "keys", "features")


class Index:
    """The index of one folder by one model.

    Args:
        folder: the folder of images.
        identity: what the features depend on apart from the images, as JSON values.
        dim: length of a feature.

    Attributes:
        path: the file.
        keys: list of (size, CRC-32) of the indexed images.
        changed: whether it differs from the file.
        writable: False after it could not be written.
    """

    def __init__(self, folder: str, identity: dict, dim: int):
        self.identity = json.dumps(identity, sort_keys=True).encode()
        digest = hashlib.sha256(self.identity).hexdigest()[:16]
        self.path = f"{os.path.realpath(folder)}.search-{digest}.npz"
        self.keys = []
        self.changed = False
        self.writable = True
        self._blocks = []  # arrays of features, one below the other
        if os.path.exists(self.path):
            try:
                self.keys, features = self._read(dim)
                self._blocks = [features]
            # NumPy and zipfile raise these for a file that is corrupted, or of another program
            except (OSError, ValueError, KeyError, EOFError, MemoryError, zipfile.BadZipFile) as error:
                reason = " ".join(str(error).split()) or type(error).__name__
                note(f"cannot use the index {self.path} ({reason[:200]}): encoding all images")

    def _read(self, dim: int) -> tuple[list, np.ndarray]:
        with zipfile.ZipFile(self.path) as archive:
            if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
                raise ValueError("it is compressed")  # such a file may be small and unpack to any size
        with np.load(self.path, allow_pickle=False) as file:
            identity, keys, features = (file[name] for name in FIELDS)
        if identity.tobytes() != self.identity:
            raise ValueError("it is of another model")
        if keys.dtype != np.int64 or keys.shape != (len(features), 2):
            raise ValueError(f"unexpected keys, {keys.dtype} {keys.shape} for {len(features):,} images")
        if features.dtype != np.float32 or features.ndim < 2 or features.shape[-1] != dim:
            raise ValueError(f"unexpected features, {features.dtype} {features.shape} instead of length {dim}")
        if not np.isfinite(features).all():
            raise ValueError("a feature is infinite or NaN")
        return list(map(tuple, keys.tolist())), features

    @property
    def features(self) -> np.ndarray:
        """The features (n, ...) of the indexed images, fp32."""
        if len(self._blocks) != 1:
            self._blocks = [np.concatenate(self._blocks) if self._blocks else np.zeros((0, 1), np.float32)]
        return self._blocks[0]

    def keep(self, keys: set) -> None:
        """Removes all images but those with these keys."""
        rows = [row for row, key in enumerate(self.keys) if key in keys]
        if len(rows) < len(self.keys):
            self._blocks = [self.features[rows]]
            self.keys = [self.keys[row] for row in rows]
            self.changed = True

    def add(self, keys: list, features: np.ndarray) -> None:
        """Adds images with features (m, ...)."""
        if keys:
            self._blocks = [block for block in self._blocks if len(block)] + [features]
            self.keys += keys
            self.changed = True

    def save(self) -> None:
        """Writes the index atomically, if it has changed. If that fails, prints a note and does not try again."""
        if not (self.changed and self.writable):
            return
        arrays = np.frombuffer(self.identity, np.uint8), np.array(self.keys, np.int64).reshape(-1, 2), self.features
        try:
            with written_atomically(self.path) as file:
                np.savez(file, **dict(zip(FIELDS, arrays, strict=True)))
            self.changed = False
        except OSError as error:
            self.writable = False
            reason = (error.__cause__ or error).strerror
            note(f"cannot write the index {self.path} ({reason}): the next search encodes these images again")


def note(text: str) -> None:
    print(f"Note: {text}", file=sys.stderr)
