"""Unpacking archives that may be broken or hostile: nothing leaves the target folder."""

import gzip
import lzma
import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from pathlib import PurePosixPath, PureWindowsPath

from tqdm import tqdm

# What the unpackers raise on broken data; they have no common base. RuntimeError: an encrypted zip.
BROKEN = (
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
    """A source that cannot be used; the next one is tried."""


def is_archive(path):
    return zipfile.is_zipfile(path) or tarfile.is_tarfile(path)


def unpack(path, folder):
    """Unpack a zip or tar file into `folder`.

    Raises:
        SourceError: the archive is broken, or has a member that would leave the folder, a link out of it or a device.
        OSError: there is too little room on the disk.
    """
    os.makedirs(folder, exist_ok=True)
    try:
        if zipfile.is_zipfile(path):
            _unpack_zip(path, folder)
        elif tarfile.is_tarfile(path):
            _unpack_tar(path, folder)
        else:
            raise SourceError(f"{os.path.basename(path)} is not a zip or tar archive")
    except BROKEN as error:
        raise SourceError(f"{os.path.basename(path)} is broken or unsafe ({error})") from error


def check_room(folder, needed):
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(f"{folder} has {free / 1e9:.1f} GB free and {needed / 1e9:.1f} GB are needed: make room")


def _unpack_zip(path, folder):
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        check_room(folder, sum(member.file_size for member in members))
        for member in members:
            _check_name(member.filename)
            if stat.S_ISLNK(member.external_attr >> 16):
                raise SourceError(f"{os.path.basename(path)} has a link in it: {member.filename}")
        for member in tqdm(members, desc=f"Unpacking {os.path.basename(path)}", unit="file", leave=False):
            archive.extract(member, folder)


def _check_name(name):
    for kind in (PurePosixPath, PureWindowsPath):
        path = kind(name)
        if path.is_absolute() or path.drive or ".." in path.parts:
            raise SourceError(f"the archive has a member that would leave its folder: {name}")


def _unpack_tar(path, folder):
    if not hasattr(tarfile, "data_filter"):
        raise OSError("this Python cannot unpack archives safely: use 3.10.12, 3.11.4 or a later one")
    size = 0
    with tarfile.open(path) as archive:
        for member in tqdm(archive, desc=f"Unpacking {os.path.basename(path)}", unit="file", leave=False):
            size += member.size
            check_room(folder, member.size)
            archive.extract(member, folder, filter="data")
        while archive.fileobj.read(1 << 20):  # to the end, where the checksum of a compressed one is
            pass
    if not size:
        raise SourceError(f"{os.path.basename(path)} is empty")
