"""Files, names and seeds."""

import contextlib
import errno
import json
import os
import platform
import random
import warnings
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from importlib import metadata
from typing import Any

from runtime.machine import cuda_text, n_cores

from .images import ImageReadError, read_image  # noqa: F401  (upstream has them here)


def mkdir_if_missing(dirname: str) -> None:
    """Creates a folder and its parents if they do not exist; "" is the current folder.

    Raises PermissionError, NotADirectoryError or OSError, with one line that names the folder.
    """
    if not dirname:
        return
    try:
        with write_errors(dirname):
            os.makedirs(dirname, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise NotADirectoryError(
            f"Cannot create the folder {dirname!r}: it or one of its parents is a file; rename that file"
        ) from error


@contextlib.contextmanager
def write_errors(path: str) -> Iterator[None]:
    """Turns errors of permission or a full disk into an OSError with one line that names `path`."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise PermissionError(f"No permission to write {path!r}: choose another folder") from error
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise OSError(f"Cannot write {path!r} ({error.strerror}): free disk space and start again") from error
        raise


def check_isfile(fpath: str) -> bool:
    """Returns whether `fpath` is a file; warns if not."""
    is_file = os.path.isfile(fpath)
    if not is_file:
        warnings.warn(f'No file found at "{fpath}"', stacklevel=2)
    return is_file


def read_json(fpath: str) -> Any:
    """Reads a JSON file. Raises ValueError that names the file if it is not valid JSON."""
    with open(fpath, encoding="utf-8") as file:
        try:
            return json.load(file)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{fpath} is not valid JSON ({error}): replace it with an intact copy") from error


def write_json(obj: Any, fpath: str) -> None:
    """Writes `obj` as JSON; creates the folder if needed."""
    text = json.dumps(obj, indent=4, separators=(",", ": "))
    mkdir_if_missing(os.path.dirname(fpath))
    with write_errors(fpath), open(fpath, "w", encoding="utf-8") as file:
        file.write(text)


def set_random_seed(seed: int) -> None:
    """Seeds the generators of Python, NumPy, torch and CUDA. Raises ValueError unless 0 <= seed < 2**32."""
    import numpy as np
    import torch

    if not 0 <= seed < 2**32:
        raise ValueError(f"SEED must be from 0 to 2**32 - 1, got {seed}")
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    torch.cuda.manual_seed_all(seed)


def download_url(url: str, dst: str) -> None:
    """Downloads `url` to the file `dst` with a progress bar. `dst` exists only when the download is complete."""
    import torch

    print(f'* url="{url}"')
    print(f'* destination="{dst}"')
    mkdir_if_missing(os.path.dirname(dst))
    torch.hub.download_url_to_file(url, dst)


def collect_env_info() -> str:
    """Returns versions and devices, one per line. Starts no other program, so it is fast."""
    import torch

    lines = [f"Python: {platform.python_version()}", f"Platform: {platform.platform()}"]
    lines.append(f"CPU cores: {n_cores()} of {os.cpu_count()} may be used")
    for package in ("torch", "torchvision", "numpy", "pillow", "scikit-learn"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            lines.append(f"{package}: {metadata.version(package)}")
    lines.append(f"CUDA: {cuda_text()}")
    for index in range(torch.cuda.device_count()):
        lines.append(f"GPU {index}: {torch.cuda.get_device_name(index)}")
    return "\n".join(lines)


def listdir_nohidden(path: str, sort: bool = False) -> list[str]:
    """Returns the names in a folder that do not start with a dot."""
    names = [name for name in os.listdir(path) if not name.startswith(".")]
    return sorted(names) if sort else names


def get_most_similar_str_to_a_from_b(a: str, b: Sequence[str]) -> str | None:
    """Returns the string of `b` closest to `a`, ignoring case; None if `b` is empty."""
    return max(b, key=lambda name: SequenceMatcher(None, a.lower(), name.lower()).ratio(), default=None)


def check_availability(requested: str, available: Sequence[str], key: str = "The name") -> None:
    """Raises ValueError with the closest name and all valid names unless `requested` is in `available`."""
    if requested not in available:
        closest = get_most_similar_str_to_a_from_b(requested, available)
        hint = f" (did you mean {closest!r}?)" if closest and requested else ""
        raise ValueError(f"{key} must be one of {sorted(available)}, got {requested!r}{hint}")


def tolist_if_not(x: Any) -> list:
    """Returns `x` if it is a list, else [x]."""
    return x if isinstance(x, list) else [x]
