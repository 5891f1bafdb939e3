"""`prepare_data.py` against a web server on this machine: what works, what breaks, and going on after a break."""

import hashlib
import json
import os
import random
from pathlib import Path

import filelock
import gdown
import pytest

from tests.tools.local_server import make_tar, make_zip, png, serve
from tools import prepare_data
from tools.prepare import doctor, fetch, install
from tools.prepare.recipes import Recipe, Source, Step, load_recipes

CLASSES = {"AnnualCrop": "Annual Crop Land", "Forest": "Forest"}
IMAGES = {f"2750/{name}/{name}_{i}.jpg": png(i) for name in CLASSES for i in range(1, 5)}


def split_file(order=1):
    rows = [[f"{name}/{name}_{i}.jpg", k, c] for k, (name, c) in enumerate(CLASSES.items()) for i in range(1, 5)]
    rows = rows[::order]
    parts = {"train": [0, 1, 4, 5], "val": [2, 6], "test": [3, 7]}
    return json.dumps({part: [rows[i] for i in numbers] for part, numbers in parts.items()}).encode()


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(fetch, "RETRIES", 0)
    monkeypatch.setattr(doctor, "load_layouts", lambda: {"EuroSAT": {"counts": [2, 4, 2, 2]}})
    with serve() as server:
        server.files = {
            "good.zip": make_zip(IMAGES),
            "renamed.tar.gz": make_tar({name.replace("2750", "x/EuroSAT_RGB"): data for name, data in IMAGES.items()}),
            "split.json": split_file(),
            "page.zip": b"<!DOCTYPE html><html>sign in</html>",
            "evil.tar.gz": make_tar({"../../evil": b"x", **IMAGES}),
            "empty.zip": b"",
            "other.zip": make_zip({"2750.txt": b"x"}),
        }
        filler = random.Random(0).randbytes(1 << 21)  # several of the pieces in which a download is written
        server.files["cut.zip"] = make_zip({"filler": filler, **IMAGES})
        server.cut["cut.zip"] = 3 << 19
        server.files["broken.zip"] = server.files["good.zip"][:-40]
        yield server


@pytest.fixture
def run(server, tmp_path, monkeypatch):
    """Runs the command with images from the given paths of the server, in turn; returns the exit code."""

    def run(*paths, split=("split.json",), md5="", by_hand="", inner=""):
        sources = tuple(Source(p if ":" in p else server.url(p), md5, inner) for p in paths)
        splits = tuple(Source(p if ":" in p else server.url(p)) for p in split)
        steps = Step(("2750",), sources, ("EuroSAT_RGB",)), Step(("split_zhou_EuroSAT.json",), splits)
        monkeypatch.setattr(install, "load_recipes", lambda: {"EuroSAT": Recipe(steps, by_hand)})
        return prepare_data.main(["eurosat", "--root", str(tmp_path / "data")])

    return run


def images(tmp_path):
    return len(list((tmp_path / "data" / "eurosat" / "2750").rglob("*.jpg")))


def errors(capsys):
    """The lines of stderr but for the progress display."""
    return [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]


def test_fetch_and_again(run, server, tmp_path, capsys):
    assert run("good.zip") == 0
    assert images(tmp_path) == 8
    assert sorted(p.name for p in (tmp_path / "data" / "eurosat").iterdir()) == ["2750", "split_zhou_EuroSAT.json"]
    assert "EuroSAT              ok       2 classes, 4 train, 2 val, 2 test" in capsys.readouterr().out
    asked = len(server.requests)
    assert run("good.zip") == 0 and len(server.requests) == asked, "what is there is not fetched again"


def test_folder_of_another_name(run, tmp_path):
    assert run("renamed.tar.gz") == 0 and images(tmp_path) == 8


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
def test_the_next_source_is_tried(run, tmp_path, capsys, path, word):
    assert run(path, "good.zip") == 0
    answer = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  no: ")]
    assert len(answer) == 1 and word in answer[0]
    assert images(tmp_path) == 8
    assert not list(tmp_path.rglob("evil"))


@pytest.mark.parametrize("path", ["nothing.zip", "page.zip", "cut.zip", "broken.zip", "evil.tar.gz", "other.zip"])
def test_nothing_that_looks_complete_is_left(run, tmp_path, capsys, path):
    assert run(path, split=()) == 1
    left = {p.name for p in tmp_path.rglob("*")} - {"data", "eurosat", ".prepare", "lock"}
    assert left == set() or path == "cut.zip" and all(name.endswith(".part") for name in left)
    assert "2750 could not be fetched. Fetch it by hand from" in errors(capsys)[0]
    assert prepare_data.main(["--check", "eurosat", "--root", str(tmp_path / "data")]) != 0


def test_a_download_goes_on_where_it_stopped(run, server, tmp_path):
    assert run("cut.zip") == 1
    del server.cut["cut.zip"]
    server.requests.clear()
    assert run("cut.zip") == 0 and images(tmp_path) == 8
    assert ("cut.zip", 3 << 19) in server.requests


def test_a_server_that_cannot_go_on(run, server, tmp_path):
    assert run("cut.zip") == 1
    server.cut, server.ranges = {}, False
    results = [run("cut.zip"), run("cut.zip")]
    assert results[-1] == 0 and images(tmp_path) == 8


def test_a_file_that_changed_meanwhile_is_not_spliced(run, server, tmp_path):
    assert run("cut.zip", split=()) == 1
    server.cut = {}
    server.files["cut.zip"] = make_zip({"filler": bytes(range(256)) * 9000, **{name: png(99) for name in IMAGES}})
    md5 = hashlib.md5(server.files["cut.zip"]).hexdigest()
    results = [run("cut.zip", md5=md5), run("cut.zip", md5=md5)]
    assert results[-1] == 0
    assert all(p.read_bytes() == png(99) for p in (tmp_path / "data").rglob("*.jpg"))


def test_checksums(run, server, tmp_path, capsys):
    assert run("good.zip", md5="0" * 32) == 1
    assert "and 00000000000000000000000000000000 is published" in capsys.readouterr().out
    assert images(tmp_path) == 0
    assert run("good.zip", md5=hashlib.md5(server.files["good.zip"]).hexdigest()) == 0


def test_interrupt_while_unpacking(run, server, tmp_path, monkeypatch):
    real = install.unpack

    def interrupted(path, folder):
        real(path, folder)
        raise KeyboardInterrupt

    monkeypatch.setattr(install, "unpack", interrupted)
    assert run("good.zip") == 130 and images(tmp_path) == 0
    monkeypatch.setattr(install, "unpack", real)
    asked = [path for path, _ in server.requests]
    assert run("good.zip") == 0 and images(tmp_path) == 8
    assert [path for path, _ in server.requests] == [*asked, "split.json"], "the archive is not fetched again"


def test_archive_in_an_archive(run, server, tmp_path):
    server.files["outer.zip"] = make_zip({"a/inner.tar.gz": make_tar(IMAGES), "a/other.tar": make_tar({"x": b"x"})})
    assert run("outer.zip", inner="inner.tar.gz") == 0 and images(tmp_path) == 8


def test_a_mirror_gives_the_split_too(run, server, tmp_path):
    server.files["mirror.zip"] = make_zip(
        {**{f"eurosat/{name}": data for name, data in IMAGES.items()}, "eurosat/split_zhou_EuroSAT.json": split_file()}
    )
    assert run("mirror.zip", split=("nothing.json", "mirror.zip")) == 0
    assert [path for path, _ in server.requests].count("mirror.zip") == 1
    (tmp_path / "data" / "eurosat" / "split_zhou_EuroSAT.json").unlink()
    assert run("mirror.zip", split=("nothing.json", "mirror.zip")) == 0


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe"])
def test_a_split_file_that_is_none(run, server, tmp_path, content):
    server.files["bad.json"] = content
    assert run("good.zip", split=("bad.json",)) == 1
    assert not list((tmp_path / "data").rglob("*.json"))


def test_the_published_split_replaces_one_that_was_made(run, tmp_path, capsys):
    assert run("good.zip", split=()) == 1
    folder = tmp_path / "data" / "eurosat"
    (folder / "split_fewshot").mkdir()
    selection = folder / "split_fewshot" / "shot_1-seed_1.json"
    selection.write_text("{}")
    path = folder / "split_zhou_EuroSAT.json"
    path.write_text(json.dumps({**json.loads(split_file(-1)), "made": "here"}))
    assert prepare_data.main(["--check", "eurosat", "--root", str(tmp_path / "data")]) == 1
    assert "is not CoOp's but was made here (here)" in capsys.readouterr().out
    assert run("good.zip") == 0
    assert path.read_bytes() == split_file() and not selection.exists()


def test_google_drive(run, server, tmp_path, monkeypatch, capsys):
    real = gdown.download
    asked = []

    def download(url=None, id=None, **options):
        asked.append(id or url)
        if id == "quota":
            raise gdown.exceptions.FileURLRetrievalError("Too many users\n\n have viewed this file")
        return real(url=server.url("split.json") if id else url, **options)

    monkeypatch.setattr(gdown, "download", download)
    assert run("good.zip", split=("gdrive:quota", "gdrive:works")) == 0
    assert asked[1:] == ["quota", "works"]
    assert "no: Too many users have viewed this file" in capsys.readouterr().out


def test_by_hand(run, tmp_path, capsys):
    assert run(by_hand="Register and put the images there") == 1
    assert "2750 could not be fetched. Register and put the images there" in capsys.readouterr().err


def test_one_process_at_a_time(run, tmp_path, capsys):
    work = tmp_path / "data" / "eurosat" / ".prepare"
    work.mkdir(parents=True)
    with filelock.FileLock(work / "lock"):
        assert run("good.zip") == 2
    assert "another process is preparing EuroSAT" in capsys.readouterr().err
    assert run("good.zip") == 0


def test_a_full_disk_keeps_the_download(run, server, tmp_path, monkeypatch, capsys):
    def full(path, folder):
        raise OSError("no room: make room")

    with monkeypatch.context() as patch:
        patch.setattr(install, "unpack", full)
        assert run("good.zip") == 2
    assert errors(capsys) == ["error: no room: make room"]
    server.files.pop("good.zip")
    assert run("good.zip") == 0


def test_a_folder_that_cannot_be_written(tmp_path, capsys):
    (tmp_path / "data").write_text("a file")
    assert prepare_data.main(["dtd", "--root", str(tmp_path / "data")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and str(tmp_path / "data") in error


@pytest.mark.parametrize(
    "arguments, word",
    [
        (["eurosta"], "unknown dataset 'eurosta'; did you mean eurosat?"),
        (["Imagenet-R"], "did you mean imagenet"),
        ([], "name the datasets to fetch, or pass --check"),
        (["folder"], "images of your own need no preparing"),
        (["--check", "--root", "/nowhere/at/all"], "there is no data folder /nowhere/at/all"),
    ],
)
def test_mistakes_are_one_line(tmp_path, capsys, arguments, word):
    assert prepare_data.main(["--root", str(tmp_path), *arguments]) == 2
    error = capsys.readouterr().err
    assert word in error and error.count("\n") == 1


def test_digits_are_written(tmp_path, capsys):
    assert prepare_data.main(["digits", "--root", str(tmp_path)]) == 0
    assert "ok       10 classes, 898 train, 359 val, 540 test" in capsys.readouterr().out


def test_recipes_fit_the_datasets():
    recipes = load_recipes()
    assert set(recipes) == set(doctor.load_layouts()) - {"Digits"}
    for name, recipe in recipes.items():
        places = doctor.DATASET_REGISTRY.get(name).at("/data")
        targets = {os.path.join(places.dataset_dir, target) for step in recipe.steps for target in step.targets}
        assert any(Path(target).is_relative_to(places.image_dir) for target in targets), name
        assert not places.split_path or places.split_path in targets, name
        for source in (source for step in recipe.steps for source in step.sources):
            assert source.url.startswith(("https://", "http://", "gdrive:", "data:")), source
            assert source.md5 == "" or len(source.md5) == 32 and set(source.md5) <= set("0123456789abcdef"), source
        assert all(step.sources for step in recipe.steps) or recipe.by_hand, name
