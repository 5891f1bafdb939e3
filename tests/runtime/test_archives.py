"""Unpacking: valid archives are unpacked completely; corrupted and malicious ones raise ArchiveError."""

import contextlib
import io
import os
import shutil
import stat
import tarfile
import zipfile
from collections import namedtuple

import pytest

from runtime import archives
from runtime.archives import ArchiveError
from tests.tools.local_server import make_encrypted_zip, make_tar, make_zip
from tests.user_errors import raises_user_error

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
        with pytest.raises(ArchiveError):
            unpack(tmp_path, content[:keep])


def test_corrupted_members_are_detected(tmp_path):
    content = bytearray(make_zip({"a.jpg": bytes(range(256)) * 40}))
    content[80] ^= 255
    with raises_user_error("archive", "a.jpg", error=ArchiveError):
        unpack(tmp_path, bytes(content))


@pytest.mark.parametrize("unzip", [None, "/usr/bin/unzip"])
def test_an_encrypted_archive_needs_its_password(tmp_path, monkeypatch, unzip):
    """`unzip` decrypts if it is installed, else Python."""
    if unzip and not shutil.which("unzip"):
        pytest.skip("the program unzip is not installed")
    monkeypatch.setattr(shutil, "which", lambda name: unzip)
    content = make_encrypted_zip({**FILES, "top/[a]*/3.jpg": b"3", "top/a/3.jpg": b"not this"}, "secret")
    path = tmp_path / "archive"
    path.write_bytes(content)
    archives.unpack(str(path), str(tmp_path / "target"), "secret")
    assert {str(p.relative_to(tmp_path / "target")): p.read_bytes() for p in tmp_path.glob("target/*/*/*")} == {
        **FILES, "top/[a]*/3.jpg": b"3", "top/a/3.jpg": b"not this",
    }  # fmt: skip
    for password, fact in (("", "a password"), ("Secret", "another password")):
        with raises_user_error("archive", fact, "top/a/1.jpg", error=ArchiveError):
            archives.unpack(str(path), str(tmp_path / f"other{password}"), password)
        assert not list(tmp_path.glob(f"other{password}/**/*.jpg"))
    damaged = bytearray(content)
    damaged[len("top/a/1.jpg") + 30 + 12] ^= 1  # the first encrypted byte after the header
    for wrong in (content[:-30], damaged):
        path.write_bytes(wrong)
        with raises_user_error("archive", error=ArchiveError):
            archives.unpack(str(path), str(tmp_path / "cut"), "secret")


def link(member_type, target):
    info = tarfile.TarInfo()
    info.type = member_type
    info.linkname = target
    return info


HOSTILE_TARS = {
    "above": {"../evil": b"x"},
    "deep above": {"a/../../evil": b"x"},
    "device": {"a": link(tarfile.CHRTYPE, "")},
    "block device": {"a": link(tarfile.BLKTYPE, "")},
    "fifo": {"a": link(tarfile.FIFOTYPE, "")},
    "absolute": {"{root}/evil": b"x"},
    "drive": {"C:evil": b"x"},
    "back slashes": {"..\\evil": b"x"},
    "file and folder": {"a": b"x", "a/evil": b"x"},
    "folder and file": {"a/b": b"x", "a": b"x"},
}


@pytest.mark.parametrize("name", HOSTILE_TARS)
def test_hostile_tar(tmp_path, name):
    members = {member.format(root=tmp_path): content for member, content in HOSTILE_TARS[name].items()}
    with raises_user_error("archive", error=ArchiveError):
        unpack(tmp_path, make_tar({"good.jpg": b"x", **members}))
    assert outside(tmp_path) == []


LINKS = {  # name: (members, number of links, files that are unpacked)
    "link out": ({"a": link(tarfile.SYMTYPE, "../evil")}, 1, {}),
    "link to a file": ({"a": link(tarfile.SYMTYPE, "{root}/mine")}, 1, {}),
    "hard link out": ({"a": link(tarfile.LNKTYPE, "../mine")}, 1, {}),
    "hard link inside": ({"a": link(tarfile.LNKTYPE, "good.jpg")}, 1, {}),
    "through a link": ({"a": link(tarfile.SYMTYPE, ".."), "a/mine": b"evil"}, 1, {"a/mine": b"evil"}),
    "over a link": ({"a": link(tarfile.SYMTYPE, "../mine"), "b": b"x", "./a": b"evil"}, 1, {"a": b"evil", "b": b"x"}),
}


@pytest.mark.parametrize("name", LINKS)
def test_links_are_skipped_and_counted(tmp_path, capsys, name):
    members, n_links, files = LINKS[name]
    for member in members.values():
        if isinstance(member, tarfile.TarInfo):
            member.linkname = member.linkname.format(root=tmp_path)
    (tmp_path / "mine").write_bytes(b"mine")
    unpack(tmp_path, make_tar({"good.jpg": b"x", **members}))
    assert content(tmp_path / "target") == {"good.jpg": b"x", **files}
    assert outside(tmp_path) == ["mine"] and (tmp_path / "mine").read_bytes() == b"mine"
    (line,) = capsys.readouterr().out.splitlines()
    assert f" {n_links} link" in line and "archive" in line and "'a'" in line


def content(folder):
    """Returns path -> bytes of all files in a folder; fails if there is a link."""
    assert not [path for path in folder.rglob("*") if path.is_symlink()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_chain_of_links_does_not_leave_the_folder(tmp_path):
    """CVE-2025-4517: a chain longer than PATH_MAX leaves the folder in spite of the data filter, e.g. on 3.11.7."""
    members = {}
    folder = "d" * 247
    steps = "abcdefghijklmnop"
    path = ""
    for step in steps:
        info = tarfile.TarInfo()
        info.type = tarfile.DIRTYPE
        members[os.path.join(path, folder)] = info
        members[os.path.join(path, step)] = link(tarfile.SYMTYPE, folder)
        path = os.path.join(path, folder)
    long = os.path.join("/".join(steps), "l" * 254)
    members[long] = link(tarfile.SYMTYPE, "../" * len(steps))
    members["escape"] = link(tarfile.SYMTYPE, f"{long}/..")
    members["hard"] = link(tarfile.LNKTYPE, "escape/mine")
    members["./hard"] = b"evil"  # written through the hard link
    (tmp_path / "mine").write_bytes(b"mine")
    with contextlib.suppress(ArchiveError, OSError):
        unpack(tmp_path, make_tar(members))
    assert outside(tmp_path) == ["mine"] and (tmp_path / "mine").read_bytes() == b"mine"
    assert not [path for path in (tmp_path / "target").rglob("*") if path.is_symlink()]


def test_a_link_that_is_already_in_the_folder_is_not_followed(tmp_path):
    """A dataset's folder may hold the user's links."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "images").symlink_to(tmp_path / "mine")
    (tmp_path / "target" / "file").symlink_to(tmp_path / "mine" / "file")
    for make in (make_zip, make_tar):
        for member in ("images/evil", "file"):
            with raises_user_error("link", member, error=ArchiveError):
                unpack(tmp_path, make({member: b"x"}))
    assert list((tmp_path / "mine").iterdir()) == []


def test_an_existing_file_is_replaced_and_not_written_into(tmp_path):
    """It may be a hard link to a file elsewhere."""
    (tmp_path / "mine").write_bytes(b"mine")
    (tmp_path / "target").mkdir()
    os.link(tmp_path / "mine", tmp_path / "target" / "a")
    unpack(tmp_path, make_tar({"a": b"one", "b": b"x", "./b": b"last"}))
    assert content(tmp_path / "target") == {"a": b"one", "b": b"last"}
    assert (tmp_path / "mine").read_bytes() == b"mine"


@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_bombs(tmp_path, make, monkeypatch):
    monkeypatch.setattr(archives, "FREE_BYTES", 10_000)
    unpack(tmp_path, make({"a": b"x" * 9000}))
    with raises_user_error("archive", "GB", error=ArchiveError):
        unpack(tmp_path, make({f"{i}": bytes(100_000) for i in range(100)}))
    monkeypatch.setattr(archives, "MAX_FILES", 3)
    with raises_user_error("archive", "3 files", error=ArchiveError):
        unpack(tmp_path, make({f"{i}": b"x" for i in range(4)}))


def test_a_sparse_member_counts_with_its_full_size(tmp_path, monkeypatch):
    info = tarfile.TarInfo("bomb")
    info.pax_headers = {"GNU.sparse.major": "0", "GNU.sparse.minor": "1", "GNU.sparse.size": str(10**12),
                        "GNU.sparse.map": "0,0", "GNU.sparse.name": "bomb"}  # fmt: skip
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(info)
    with raises_user_error("archive", "bomb", error=ArchiveError):
        unpack(tmp_path, data.getvalue())


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "{root}/evil", "C:\\evil", "..\\evil", "C:evil"])
def test_hostile_zip(tmp_path, name):
    name = name.format(root=tmp_path)
    with raises_user_error(repr(name), error=ArchiveError):
        unpack(tmp_path, make_zip({"good.jpg": b"x", name: b"x"}))
    assert outside(tmp_path) == [] and not list((tmp_path / "target").iterdir())


def test_link_in_a_zip(tmp_path, capsys):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        member = zipfile.ZipInfo("a")
        member.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(member, "/etc/passwd")
        archive.writestr("b", b"x")
    unpack(tmp_path, data.getvalue())
    assert content(tmp_path / "target") == {"b": b"x"}
    (line,) = capsys.readouterr().out.splitlines()
    assert " 1 link" in line and "'a'" in line


@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_a_disk_without_enough_space(tmp_path, make, monkeypatch):
    usage = namedtuple("usage", "free")(100)
    monkeypatch.setattr(archives.shutil, "disk_usage", lambda _: usage)
    with raises_user_error(tmp_path / "target", "GB", error=OSError):
        unpack(tmp_path, make({"bomb": bytes(10**6)}))


@pytest.mark.parametrize("content", [b"", b"<html>", bytes(1000)], ids=["empty", "a web page", "zeros"])
def test_files_that_are_not_archives(tmp_path, content):
    with pytest.raises(ArchiveError):
        unpack(tmp_path, content)
