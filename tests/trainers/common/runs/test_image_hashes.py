"""Digests of images: over bytes and labels, not over paths and order; cached until a file changes."""

import hashlib
import os
import zlib
from types import SimpleNamespace

import pytest

from trainers.common.runs import image_hashes
from trainers.common.runs.image_hashes import ImageHashes, content, content_differences, image_keys


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache of this test, which caches files at once."""
    monkeypatch.setattr(image_hashes, "CACHE", tmp_path / "cache" / "images.sqlite")
    monkeypatch.setattr(image_hashes, "SETTLED", 0)
    return tmp_path / "cache" / "images.sqlite"


def item(path, label=0, data=None):
    if data is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return SimpleNamespace(impath=str(path), label=label)


def dataset(train_x=(), val=(), test=()):
    return SimpleNamespace(train_x=list(train_x), val=list(val) or None, test=list(test))


def test_against_a_plain_formula(tmp_path):
    one = item(tmp_path / "b.png", 1, b"two")
    two = item(tmp_path / "a.png", 0, b"one")
    lines = sorted([f"{(3, zlib.crc32(b'two'))} 1\n", f"{(3, zlib.crc32(b'one'))} 0\n"])
    expected = {"images": 2, "digest": hashlib.sha256("".join(lines).encode()).hexdigest()[:32]}
    assert content(dataset([one, two], test=[one])) == {
        "train_x": expected,
        "val": None,
        "test": content(dataset(test=[one]))["test"],
    }


def test_paths_and_order_do_not_matter_but_bytes_labels_and_numbers_do(tmp_path):
    def digest(*items):
        return content(dataset(items))["train_x"]

    first = digest(item(tmp_path / "A" / "1", 0, b"cat"), item(tmp_path / "A" / "2", 1, b"dog"))
    assert digest(item(tmp_path / "B" / "x", 1, b"dog"), item(tmp_path / "B" / "y", 0, b"cat")) == first
    for other in (
        [("A/1", 0, b"cat"), ("A/2", 1, b"owl")],
        [("A/1", 0, b"cat"), ("A/2", 0, b"dog")],
        [("A/1", 0, b"cat")],
        [("A/1", 0, b"cat"), ("A/2", 1, b"dog"), ("A/2", 1, b"dog")],
    ):
        items = [item(tmp_path / path, label, data) for path, label, data in other]
        assert digest(*items) != first, other


def test_an_unchanged_image_is_read_once(tmp_path, monkeypatch):
    path = str(tmp_path / "1.png")
    item(tmp_path / "1.png", 0, b"cat")
    first = image_keys([path])
    monkeypatch.setattr(zlib, "crc32", lambda data: pytest.fail("read again"))
    assert image_keys([path]) == first == {path: (3, first[path][1])}


def test_other_bytes_of_the_same_size_and_time_are_seen(tmp_path):
    path = tmp_path / "1.png"
    item(path, 0, b"cat")
    before = image_keys([str(path)])
    stat = path.stat()
    path.write_bytes(b"dog")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert path.stat().st_mtime_ns == stat.st_mtime_ns
    assert image_keys([str(path)]) != before


def test_a_file_that_has_just_changed_is_not_cached(tmp_path, cache, monkeypatch):
    monkeypatch.setattr(image_hashes, "SETTLED", 60_000_000_000)
    item(tmp_path / "1.png", 0, b"cat")
    image_keys([str(tmp_path / "1.png")])
    assert image_hashes.read_cache([str(tmp_path / "1.png")]) == {}


@pytest.mark.parametrize("damage", ["corrupted", "folder", "no home"])
def test_without_a_usable_cache_the_images_are_read(tmp_path, cache, monkeypatch, damage):
    path = tmp_path / "1.png"
    item(path, 0, b"cat")
    if damage == "corrupted":
        cache.parent.mkdir()
        cache.write_bytes(b"not a database" * 100)
    elif damage == "folder":
        cache.mkdir(parents=True)
    else:
        monkeypatch.setattr(image_hashes, "CACHE", path / "below a file" / "images.sqlite")
    for _ in range(2):
        assert image_keys([str(path)]) == {str(path): (3, zlib.crc32(b"cat"))}
    if damage == "corrupted":  # it was replaced
        assert cache.read_bytes().startswith(b"SQLite format 3")


def test_files_that_cannot_be_read(tmp_path):
    folder = tmp_path / "folder.png"
    folder.mkdir()
    missing = str(tmp_path / "missing.png")
    odd = str(tmp_path / "odd\udce9.png")  # not UTF-8
    with open(odd, "wb") as file:
        file.write(b"cat")
    assert image_keys([missing, str(folder), odd]) == {missing: None, str(folder): None, odd: (3, zlib.crc32(b"cat"))}


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "1.png")
    assert image_keys([str(tmp_path / "1.png")]) == {str(tmp_path / "1.png"): None}


def test_an_unexpected_error_of_a_thread_is_raised(tmp_path, monkeypatch):
    monkeypatch.setattr(image_hashes, "image_keys", lambda paths: [][0])
    with pytest.raises(IndexError):
        ImageHashes(dataset([item(tmp_path / "1.png", 0, b"cat")])).content("train_x")


def test_more_images_than_one_chunk(tmp_path, monkeypatch):
    monkeypatch.setattr(image_hashes, "CHUNK", 2)
    items = [item(tmp_path / f"{i}.png", 0, bytes([i])) for i in range(9)]
    assert ImageHashes(dataset(items)).keys("train_x") == [(1, zlib.crc32(bytes([i]))) for i in range(9)]


def test_what_differs_is_named():
    old = {"train_x": {"images": 120, "digest": "a"}, "val": None, "test": {"images": 9, "digest": "t"}}
    new = {"train_x": {"images": 130, "digest": "b"}, "val": {"images": 4, "digest": "c"}, "test": old["test"]}
    assert content_differences(old, new) == ["training images 120 -> 130", "validation images 0 -> 4"]
    assert content_differences(old, {**old, "test": {"images": 9, "digest": "u"}}) == ["test images 9 -> 9 others"]
    assert content_differences(old, new, ("test",)) == []
    assert content_differences(None, new) == content_differences({}, new) == content_differences(old, None) == []
