"""Unpacks archives that may be corrupted or malicious. Writes regular files below the target folder, nothing else.

Python's own protection is not relied on: in many versions, chains of links leave the folder in spite of tarfile's
`data` filter (CVE-2025-4517). Here no link is ever created, so a path cannot lead through one.
"""

from __future__ import annotations

import contextlib
import gzip
import lzma
import os
import re
import shutil
import stat
import subprocess
import tarfile
import zipfile
import zlib
from pathlib import PurePosixPath, PureWindowsPath

from tqdm import tqdm

# Raised by zipfile and tarfile for corrupted archives.
CORRUPTED = (
    zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, lzma.LZMAError, zlib.error, EOFError, NotImplementedError,
)  # fmt: skip
MAX_RATIO = 100  # unpacked size / size of the archive; images hardly compress, text by a factor of 3 to 10
FREE_BYTES = 1 << 30  # allowed at any ratio
ENCRYPTED = 1  # bit of the flags of a member of a zip file
PLAIN_NAME = re.compile(r"\w[\w./ -]*", re.ASCII)  # name of a member that is no pattern for `unzip`
MAX_FILES = 5_000_000  # ImageNet has 1.3 million


class ArchiveError(ValueError):
    """An archive is corrupted or unsafe."""


def is_archive(path) -> bool:
    return zipfile.is_zipfile(path) or tarfile.is_tarfile(path)


def unpack(path, folder, password: str = "") -> None:
    """Unpacks a zip or tar file into `folder`. Skips links, and prints how many.

    Raises:
        ArchiveError: if the archive is corrupted, is encrypted with another password, has a device or a path outside
            the folder, leads through a link that is in the folder, or unpacks to more than MAX_RATIO times its size.
        OSError: if the disk does not have enough free space.
    """
    name = os.path.basename(path)
    os.makedirs(folder, exist_ok=True)
    try:
        if zipfile.is_zipfile(path):
            _unpack_zip(path, Target(path, folder), password)
        elif tarfile.is_tarfile(path):
            _unpack_tar(path, Target(path, folder))
        else:
            raise ArchiveError(f"{name} is not a zip or tar archive")
    except CORRUPTED as error:
        raise ArchiveError(f"{name} is corrupted ({' '.join(str(error).split())})") from error
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise ArchiveError(f"{name} has a file and a folder of the same name ({error.filename!r})") from error


def check_free_space(folder, needed: int) -> None:
    """Raises OSError if the disk of `folder` has less than `needed` bytes free."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(f"{folder} needs {needed / 1e9:.1f} GB, but the disk has {free / 1e9:.1f} GB free: free up space")


class Target:
    """The folder that an archive is unpacked into."""

    def __init__(self, path, folder):
        self.archive = os.path.basename(path)
        self.folder = os.path.realpath(folder)
        self.max_bytes = FREE_BYTES + MAX_RATIO * os.path.getsize(path)
        self.bytes = 0
        self.files = 0
        self.links: list[str] = []

    def path_of(self, member: str) -> str:
        """Returns where a member is written. Raises ArchiveError if that is outside the folder."""
        for path_type in (PurePosixPath, PureWindowsPath):
            path = path_type(member)
            if path.is_absolute() or path.drive or path.root or ".." in path.parts or "\0" in member:
                raise ArchiveError(f"{self.archive} contains a path outside its folder: {member!r}")
        path = os.path.join(self.folder, *PurePosixPath(member).parts)
        if os.path.realpath(os.path.dirname(path)) != os.path.dirname(path) or os.path.islink(path):
            raise ArchiveError(f"{self.archive} would write through a link that is in {self.folder}: {member!r}")
        return path

    def count(self, member: str, size: int) -> None:
        """Adds a file of `size` bytes. Raises ArchiveError or OSError if the archive becomes too large."""
        self.bytes += size
        self.files += 1
        if self.bytes > self.max_bytes or self.files > MAX_FILES:
            raise ArchiveError(
                f"{self.archive} unpacks to more than {self.max_bytes / 1e9:.1f} GB or {MAX_FILES:,} files, first with "
                f"{member!r}: it is no archive of images"
            )
        check_free_space(self.folder, size)

    def write(self, member: str, source) -> None:
        """Writes a regular file. Replaces a file of the same name, and never writes into it: it may be a hard link."""
        path = self.path_of(member)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if os.path.isfile(path):
            os.remove(path)
        with open(path, "xb") as file:
            shutil.copyfileobj(source, file, 1 << 20)

    def report_links(self) -> None:
        if self.links:
            print(f"  skipped {len(self.links):,} links in {self.archive}, such as {self.links[0]!r}")


def _unpack_zip(path, target: Target, password: str) -> None:
    with zipfile.ZipFile(path) as archive:
        archive.setpassword(password.encode() or None)
        members = archive.infolist()
        for member in members:  # before anything is written
            target.path_of(member.filename)
            target.count(member.filename, member.file_size)
        check_free_space(target.folder, target.bytes)
        for member in tqdm(members, desc=f"Unpacking {target.archive}", unit="file", leave=False, disable=None):
            mode = stat.S_IFMT(member.external_attr >> 16)
            if mode == stat.S_IFLNK:
                target.links.append(member.filename)
            elif member.is_dir():
                os.makedirs(target.path_of(member.filename), exist_ok=True)
            elif mode in (0, stat.S_IFREG):
                with _open_member(path, archive, member) as source:
                    target.write(member.filename, source)
            else:
                raise ArchiveError(f"{target.archive} contains a device: {member.filename!r}")
    target.report_links()


@contextlib.contextmanager
def _open_member(path, archive: zipfile.ZipFile, member: zipfile.ZipInfo):
    """Gives the content of a file of a zip archive. Raises ArchiveError if its password is not the one that was set.

    Python decrypts about one MB per second. If the program `unzip` is installed, it decrypts.
    """
    name = os.path.basename(path)
    try:
        source = archive.open(member)
    except NotImplementedError:  # another compression or encryption
        raise
    except RuntimeError as error:
        problem = "another password" if archive.pwd else "a password"
        raise ArchiveError(f"{name} needs {problem} ({member.filename!r} is encrypted)") from error
    with source:
        if not (member.flag_bits & ENCRYPTED and PLAIN_NAME.fullmatch(member.filename) and shutil.which("unzip")):
            yield source
            return
    command = ["unzip", "-p", "-P", archive.pwd.decode(), os.fspath(path), member.filename]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    environment = {**os.environ, "UNZIP_DISABLE_ZIPBOMB_DETECTION": "TRUE"}  # `count` has checked the sizes
    with subprocess.Popen(command, env=environment, **options) as process:
        yield process.stdout
        message = process.stderr.read().decode(errors="replace")
    if process.returncode:
        raise ArchiveError(f"{name} is corrupted (unzip: {' '.join(message.split())[:200]})")


def _unpack_tar(path, target: Target) -> None:
    with tarfile.open(path) as archive:
        for member in tqdm(archive, desc=f"Unpacking {target.archive}", unit="file", leave=False, disable=None):
            if member.issym() or member.islnk():
                target.links.append(member.name)
            elif member.isdir():
                os.makedirs(target.path_of(member.name), exist_ok=True)
            elif member.isreg():
                target.count(member.name, member.size)
                with archive.extractfile(member) as source:
                    target.write(member.name, source)
            else:
                raise ArchiveError(f"{target.archive} contains a device: {member.name!r}")
        while archive.fileobj.read(1 << 20):  # read to the end, where gzip stores its checksum
            pass
    if not target.bytes and not target.links:
        raise ArchiveError(f"{target.archive} is empty")
    target.report_links()
