"""`prepare_data.py` if a source, the connection or the disk fails: next source, no partial files, resuming."""

import hashlib

import filelock
import pytest

from tests.tools.eurosat import IMAGES, errors, images
from tests.tools.local_server import make_zip, png
from tests.user_errors import assert_facts
from tools import prepare_data
from tools.prepare import install


@pytest.mark.parametrize(
    "path, fact",
    [
        ("nothing.zip", "404"),
        ("page.zip", "web page"),
        ("empty.zip", "empty"),
        ("cut.zip", "incomplete"),
        ("broken.zip", "broken.zip"),
        ("evil.tar.gz", "evil.tar.gz"),
        ("other.zip", "2750"),
        ("data:nowhere/x.zip", "nowhere/x.zip"),
        ("http://127.0.0.1:9/x.zip", "127.0.0.1"),
    ],
)
def test_the_next_source_is_tried(prepare, tmp_path, capsys, path, fact):
    assert prepare(path, "good.zip") == 0
    (failure,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  ")]
    assert_facts(failure, fact)
    assert images(tmp_path) == 8
    assert not list(tmp_path.rglob("evil"))


@pytest.mark.parametrize("path", ["nothing.zip", "page.zip", "cut.zip", "broken.zip", "evil.tar.gz", "other.zip"])
def test_a_failed_download_leaves_no_target(prepare, tmp_path, capsys, path):
    assert prepare(path, split=()) == 1
    leftovers = {p.name for p in tmp_path.rglob("*")} - {"data", "eurosat", ".prepare", "lock"}
    assert leftovers == set() or path == "cut.zip" and all(name.endswith(".part") for name in leftovers)
    assert_facts(errors(capsys)[0], tmp_path / "data" / "eurosat" / "2750", f"/{path}")
    assert prepare_data.main(["--check", "eurosat", "--root", str(tmp_path / "data")]) != 0


def test_a_download_resumes(prepare, server, tmp_path):
    assert prepare("cut.zip") == 1
    del server.cut["cut.zip"]
    server.requests.clear()
    assert prepare("cut.zip") == 0 and images(tmp_path) == 8
    assert ("cut.zip", 3 << 19) in server.requests


def test_a_server_that_cannot_resume(prepare, server, tmp_path):
    assert prepare("cut.zip") == 1
    server.cut, server.ranges = {}, False
    results = [prepare("cut.zip"), prepare("cut.zip")]
    assert results[-1] == 0 and images(tmp_path) == 8


def test_a_file_that_changed_before_resuming(prepare, server, tmp_path):
    assert prepare("cut.zip", split=()) == 1
    server.cut = {}
    server.files["cut.zip"] = make_zip({"filler": bytes(range(256)) * 9000, **{name: png(99) for name in IMAGES}})
    md5 = hashlib.md5(server.files["cut.zip"]).hexdigest()
    results = [prepare("cut.zip", md5=md5), prepare("cut.zip", md5=md5)]
    assert results[-1] == 0
    assert all(p.read_bytes() == png(99) for p in (tmp_path / "data").rglob("*.jpg"))


def test_checksums(prepare, server, tmp_path, capsys):
    assert prepare("good.zip", md5="0" * 32) == 1
    md5 = hashlib.md5(server.files["good.zip"]).hexdigest()
    (failure,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  ")]
    assert_facts(failure, "checksum", "0" * 32, md5)
    assert images(tmp_path) == 0
    assert prepare("good.zip", md5=md5) == 0


def test_interrupt_while_unpacking(prepare, server, tmp_path, monkeypatch):
    real = install.unpack

    def interrupted(path, folder, password):
        real(path, folder, password)
        raise KeyboardInterrupt

    monkeypatch.setattr(install, "unpack", interrupted)
    assert prepare("good.zip") == 130 and images(tmp_path) == 0
    monkeypatch.setattr(install, "unpack", real)
    requests = [path for path, _ in server.requests]
    assert prepare("good.zip") == 0 and images(tmp_path) == 8
    assert [path for path, _ in server.requests] == [*requests, "split.json"], "the archive is not downloaded again"


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe"])
def test_an_invalid_split_file(prepare, server, tmp_path, content):
    server.files["bad.json"] = content
    assert prepare("good.zip", split=("bad.json",)) == 1
    assert not list((tmp_path / "data").rglob("*.json"))


def test_one_process_at_a_time(prepare, tmp_path, capsys):
    work = tmp_path / "data" / "eurosat" / ".prepare"
    work.mkdir(parents=True)
    with filelock.FileLock(work / "lock"):
        assert prepare("good.zip") == 1
    (line,) = errors(capsys)
    assert_facts(line, "another process", "EuroSAT", work.parent)
    assert prepare("good.zip") == 0


def test_a_full_disk_keeps_the_download(prepare, server, tmp_path, monkeypatch, capsys):
    def full(path, folder, password):
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(install, "unpack", full)
        assert prepare("good.zip") == 1
    assert errors(capsys) == ["error: disk full"]
    server.files.pop("good.zip")
    assert prepare("good.zip") == 0
