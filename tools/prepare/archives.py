"""Unpacks archives that may be corrupted or malicious. Never writes outside the target folder."""

import gzip
import lzma
import os
import platform
import shutil
import stat
import tarfile
import zipfile
import zlib
from pathlib import PurePosixPath, PureWindowsPath

from tqdm import tqdm

# Raised by zipfile and tarfile for corrupted archives; RuntimeError for an encrypted zip file.
ARCHIVE_ERRORS = (
    zipfile.BadZipFile,
    tarfile.TarError,
    gzip.BadGzipFile,
    lzma.LZMAError,
    zlib.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
)


class SourceError(Exception):
    """A source cannot be used. The caller tries the next one."""


def is_archive(path):
    return zipfile.is_zipfile(path) or tarfile.is_tarfile(path)


def unpack(path, folder):
    """Unpacks a zip or tar file into `folder`.

    Raises:
        SourceError: if the archive is corrupted, or if a member is a device, a link to a path outside the folder, or
            a path outside the folder.
        OSError: if the disk does not have enough free space.
    """
    os.makedirs(folder, exist_ok=True)
    try:
        if zipfile.is_zipfile(path):
            _unpack_zip(path, folder)
        elif tarfile.is_tarfile(path):
            _unpack_tar(path, folder)
        else:
            raise SourceError(f"{os.path.basename(path)} is not a zip or tar archive")
    except ARCHIVE_ERRORS as error:
        raise SourceError(f"{os.path.basename(path)} is corrupted or unsafe ({error})") from error


def check_free_space(folder, needed):
    """Raises OSError if the disk of `folder` has less than `needed` bytes free."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(f"{folder} needs {needed / 1e9:.1f} GB, but the disk has {free / 1e9:.1f} GB free: free up space")


def _unpack_zip(path, folder):
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        check_free_space(folder, sum(member.file_size for member in members))
        for member in members:
            _check_name(member.filename)
            if stat.S_ISLNK(member.external_attr >> 16):
                raise SourceError(f"{os.path.basename(path)} contains a link: {member.filename}")
        for member in tqdm(members, desc=f"Unpacking {os.path.basename(path)}", unit="file", leave=False):
            archive.extract(member, folder)


def _check_name(name):
    """Raises SourceError if a member of this name would be written outside the target folder."""
    for path_type in (PurePosixPath, PureWindowsPath):
        path = path_type(name)
        if path.is_absolute() or path.drive or ".." in path.parts:
            raise SourceError(f"the archive contains a path outside its folder: {name}")


def _unpack_tar(path, folder):
    if not hasattr(tarfile, "data_filter"):
        version = platform.python_version()
        raise OSError(f"Python {version} cannot unpack tar archives safely: use Python 3.10.12, 3.11.4 or later")
    size = 0
    with tarfile.open(path) as archive:
        for member in tqdm(archive, desc=f"Unpacking {os.path.basename(path)}", unit="file", leave=False):
            size += member.size
            check_free_space(folder, member.size)
            archive.extract(member, folder, filter="data")
        while archive.fileobj.read(1 << 20):  # read to the end, where gzip stores its checksum
            pass
    if not size:
        raise SourceError(f"{os.path.basename(path)} is empty")
