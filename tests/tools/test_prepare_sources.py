"""`prepare_data.py` where a source, the line or the disk fails: the next source, nothing half-done, and going on."""

import hashlib

import filelock
import pytest

from tests.tools.eurosat import IMAGES, errors, images
from tests.tools.local_server import make_zip, png
from tools import prepare_data
from tools.prepare import install


@pytest.mark.parametrize(
    "path, word",
    [
        ("nothing.zip", "404"),
        ("page.zip", "that is a web page"),
        ("empty.zip", "the file is empty"),
        ("cut.zip", "incomplete"),
        ("broken.zip", "not a zip or tar archive"),
        ("evil.tar.gz", "broken or unsafe"),
        ("other.zip", "it has no 2750 in it"),
        ("data:nowhere/x.zip", "there is no"),
        ("http://127.0.0.1:9/x.zip", "no connection to 127.0.0.1"),
    ],
)
def test_the_next_source_is_tried(prepare, tmp_path, capsys, path, word):
    assert prepare(path, "good.zip") == 0
    answer = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  no: ")]
    assert len(answer) == 1 and word in answer[0]
    assert images(tmp_path) == 8
    assert not list(tmp_path.rglob("evil"))


@pytest.mark.parametrize("path", ["nothing.zip", "page.zip", "cut.zip", "broken.zip", "evil.tar.gz", "other.zip"])
def test_nothing_that_looks_complete_is_left(prepare, tmp_path, capsys, path):
    assert prepare(path, split=()) == 1
    left = {p.name for p in tmp_path.rglob("*")} - {"data", "eurosat", ".prepare", "lock"}
    assert left == set() or path == "cut.zip" and all(name.endswith(".part") for name in left)
    assert "2750 could not be fetched. Fetch it by hand from" in errors(capsys)[0]
    assert prepare_data.main(["--check", "eurosat", "--root", str(tmp_path / "data")]) != 0


def test_a_download_goes_on_where_it_stopped(prepare, server, tmp_path):
    assert prepare("cut.zip") == 1
    del server.cut["cut.zip"]
    server.requests.clear()
    assert prepare("cut.zip") == 0 and images(tmp_path) == 8
    assert ("cut.zip", 3 << 19) in server.requests


def test_a_server_that_cannot_go_on(prepare, server, tmp_path):
    assert prepare("cut.zip") == 1
    server.cut, server.ranges = {}, False
    results = [prepare("cut.zip"), prepare("cut.zip")]
    assert results[-1] == 0 and images(tmp_path) == 8


def test_a_file_that_changed_meanwhile_is_not_spliced(prepare, server, tmp_path):
    assert prepare("cut.zip", split=()) == 1
    server.cut = {}
    server.files["cut.zip"] = make_zip({"filler": bytes(range(256)) * 9000, **{name: png(99) for name in IMAGES}})
    md5 = hashlib.md5(server.files["cut.zip"]).hexdigest()
    results = [prepare("cut.zip", md5=md5), prepare("cut.zip", md5=md5)]
    assert results[-1] == 0
    assert all(p.read_bytes() == png(99) for p in (tmp_path / "data").rglob("*.jpg"))


def test_checksums(prepare, server, tmp_path, capsys):
    assert prepare("good.zip", md5="0" * 32) == 1
    assert "and 00000000000000000000000000000000 is published" in capsys.readouterr().out
    assert images(tmp_path) == 0
    assert prepare("good.zip", md5=hashlib.md5(server.files["good.zip"]).hexdigest()) == 0


def test_interrupt_while_unpacking(prepare, server, tmp_path, monkeypatch):
    real = install.unpack

    def interrupted(path, folder):
        real(path, folder)
        raise KeyboardInterrupt

    monkeypatch.setattr(install, "unpack", interrupted)
    assert prepare("good.zip") == 130 and images(tmp_path) == 0
    monkeypatch.setattr(install, "unpack", real)
    asked = [path for path, _ in server.requests]
    assert prepare("good.zip") == 0 and images(tmp_path) == 8
    assert [path for path, _ in server.requests] == [*asked, "split.json"], "the archive is not fetched again"


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe"])
def test_a_split_file_that_is_none(prepare, server, tmp_path, content):
    server.files["bad.json"] = content
    assert prepare("good.zip", split=("bad.json",)) == 1
    assert not list((tmp_path / "data").rglob("*.json"))


def test_one_process_at_a_time(prepare, tmp_path, capsys):
    work = tmp_path / "data" / "eurosat" / ".prepare"
    work.mkdir(parents=True)
    with filelock.FileLock(work / "lock"):
        assert prepare("good.zip") == 1
    assert "another process is preparing EuroSAT" in capsys.readouterr().err
    assert prepare("good.zip") == 0


def test_a_full_disk_keeps_the_download(prepare, server, tmp_path, monkeypatch, capsys):
    def full(path, folder):
        raise OSError("no room: make room")

    with monkeypatch.context() as patch:
        patch.setattr(install, "unpack", full)
        assert prepare("good.zip") == 1
    assert errors(capsys) == ["error: no room: make room"]
    server.files.pop("good.zip")
    assert prepare("good.zip") == 0
