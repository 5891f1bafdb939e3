"""Unpacking: valid archives are unpacked completely; corrupted and malicious ones raise SourceError."""

import io
import stat
import tarfile
import zipfile
from collections import namedtuple

import pytest

from tests.tools.local_server import make_tar, make_zip
from tests.user_errors import raises_user_error
from tools.prepare import archives

FILES = {"top/a/1.jpg": b"one", "top/ü b/2.jpg": b"two" * 1000}


def unpack(tmp_path, content):
    path = tmp_path / "archive"
    path.write_bytes(content)
    archives.unpack(str(path), str(tmp_path / "target"))


def outside(tmp_path):
    """Returns the names in tmp_path other than the archive and the target."""
    return sorted(p.name for p in tmp_path.iterdir() if p.name not in ("archive", "target"))


@pytest.mark.parametrize(
    "content",
    [make_zip(FILES), make_tar(FILES), make_tar(FILES, "w"), make_tar(FILES, "w:bz2"), make_tar(FILES, "w:xz")],
    ids=["zip", "tar.gz", "tar", "tar.bz2", "tar.xz"],
)
def test_valid_archives(tmp_path, content):
    unpack(tmp_path, content)
    target = tmp_path / "target"
    assert {str(p.relative_to(target)): p.read_bytes() for p in target.rglob("*") if p.is_file()} == FILES


@pytest.mark.parametrize("make", [make_zip, make_tar, lambda files: make_tar(files, "w")])
def test_every_truncation_is_detected(tmp_path, make):
    content = make({f"{i}.jpg": bytes(range(256)) * 8 for i in range(3)})
    padding = 10240 if make is not make_zip and content[:2] != b"\x1f\x8b" else 0  # a tar ends in empty blocks
    for keep in range(0, len(content) - padding - 1, max(1, len(content) // 23)):
        if padding and keep % 2560 == 0:
            continue  # cut exactly between two members: identical to a shorter archive
        with pytest.raises(archives.SourceError):
            unpack(tmp_path, content[:keep])


def test_corrupted_members_are_detected(tmp_path):
    content = bytearray(make_zip({"a.jpg": bytes(range(256)) * 40}))
    content[80] ^= 255
    with raises_user_error("archive", "a.jpg", error=archives.SourceError):
        unpack(tmp_path, bytes(content))


def link(member_type, target):
    info = tarfile.TarInfo()
    info.type = member_type
    info.linkname = target
    return info


HOSTILE_TARS = {
    "above": {"../evil": b"x"},
    "deep above": {"a/../../evil": b"x"},
    "link out": {"a": link(tarfile.SYMTYPE, "../evil")},
    "link to root": {"a": link(tarfile.SYMTYPE, "/etc/passwd")},
    "hard link out": {"a": link(tarfile.LNKTYPE, "../../evil")},
    "through a link": {"a": link(tarfile.SYMTYPE, ".."), "a/evil": b"x"},
    "device": {"a": link(tarfile.CHRTYPE, "")},
    "fifo": {"a": link(tarfile.FIFOTYPE, "")},
}


@pytest.mark.parametrize("name", HOSTILE_TARS)
def test_hostile_tar(tmp_path, name):
    with pytest.raises(archives.SourceError):
        unpack(tmp_path, make_tar({"good.jpg": b"x", **HOSTILE_TARS[name]}))
    assert outside(tmp_path) == []


def test_absolute_paths_in_a_tar_are_unpacked_below_the_target(tmp_path):
    unpack(tmp_path, make_tar({f"{tmp_path}/evil": b"x"}))
    assert outside(tmp_path) == []


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "{root}/evil", "C:\\evil", "..\\evil", "C:evil"])
def test_hostile_zip(tmp_path, name):
    name = name.format(root=tmp_path)
    with raises_user_error(name, error=archives.SourceError):
        unpack(tmp_path, make_zip({"good.jpg": b"x", name: b"x"}))
    assert outside(tmp_path) == [] and not list((tmp_path / "target").iterdir())


def test_link_in_a_zip(tmp_path):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        member = zipfile.ZipInfo("a")
        member.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(member, "/etc/passwd")
    with raises_user_error("archive", "link", " a", error=archives.SourceError):
        unpack(tmp_path, data.getvalue())


@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_a_disk_without_enough_space(tmp_path, make, monkeypatch):
    usage = namedtuple("usage", "free")(100)
    monkeypatch.setattr(archives.shutil, "disk_usage", lambda _: usage)
    with raises_user_error(tmp_path / "target", "GB", error=OSError):
        unpack(tmp_path, make({"bomb": bytes(10**6)}))


@pytest.mark.parametrize("content", [b"", b"<html>", bytes(1000)], ids=["empty", "a web page", "zeros"])
def test_files_that_are_not_archives(tmp_path, content):
    with pytest.raises(archives.SourceError):
        unpack(tmp_path, content)
