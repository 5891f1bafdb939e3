"""`prepare_data.py` against a web server on this machine: fetching, mirrors, Google Drive, and mistakes of the user."""

import json
import os
from pathlib import Path

import gdown
import pytest

from datasets import catalogue
from tests.tools.eurosat import IMAGES, images, split_file
from tests.tools.local_server import make_tar, make_zip
from tools import prepare_data
from tools.prepare import check_data, install
from tools.prepare.download_plans import load_download_plans


def test_fetch_and_again(prepare, server, tmp_path, capsys):
    assert prepare("good.zip") == 0
    assert images(tmp_path) == 8
    assert sorted(p.name for p in (tmp_path / "data" / "eurosat").iterdir()) == ["2750", "split_zhou_EuroSAT.json"]
    assert "EuroSAT              ok       2 classes, 4 train, 2 val, 2 test" in capsys.readouterr().out
    asked = len(server.requests)
    assert prepare("good.zip") == 0 and len(server.requests) == asked, "what is there is not fetched again"


def test_folder_of_another_name(prepare, tmp_path):
    assert prepare("renamed.tar.gz") == 0 and images(tmp_path) == 8


def test_archive_in_an_archive(prepare, server, tmp_path):
    server.files["outer.zip"] = make_zip({"a/inner.tar.gz": make_tar(IMAGES), "a/other.tar": make_tar({"x": b"x"})})
    assert prepare("outer.zip", inner="inner.tar.gz") == 0 and images(tmp_path) == 8


def test_a_mirror_gives_the_split_too(prepare, server, tmp_path):
    server.files["mirror.zip"] = make_zip(
        {**{f"eurosat/{name}": data for name, data in IMAGES.items()}, "eurosat/split_zhou_EuroSAT.json": split_file()}
    )
    assert prepare("mirror.zip", split=("nothing.json", "mirror.zip")) == 0
    assert [path for path, _ in server.requests].count("mirror.zip") == 1
    (tmp_path / "data" / "eurosat" / "split_zhou_EuroSAT.json").unlink()
    assert prepare("mirror.zip", split=("nothing.json", "mirror.zip")) == 0


def test_the_published_split_replaces_one_that_was_made(prepare, tmp_path, capsys):
    assert prepare("good.zip", split=()) == 1
    folder = tmp_path / "data" / "eurosat"
    (folder / "split_fewshot").mkdir()
    selection = folder / "split_fewshot" / "shot_1-seed_1.json"
    selection.write_text("{}")
    path = folder / "split_zhou_EuroSAT.json"
    path.write_text(json.dumps({**json.loads(split_file(-1)), "made": "here"}))
    assert prepare_data.main(["--check", "eurosat", "--root", str(tmp_path / "data")]) == 1
    assert "is not CoOp's but was made here (here)" in capsys.readouterr().out
    assert prepare("good.zip") == 0
    assert path.read_bytes() == split_file() and not selection.exists()


def test_google_drive(prepare, server, tmp_path, monkeypatch, capsys):
    real = gdown.download
    asked = []

    def download(url=None, id=None, **options):
        asked.append(id or url)
        if id == "quota":
            raise gdown.exceptions.FileURLRetrievalError("Too many users\n\n have viewed this file")
        return real(url=server.url("split.json") if id else url, **options)

    monkeypatch.setattr(gdown, "download", download)
    assert prepare("good.zip", split=("gdrive:quota", "gdrive:works")) == 0
    assert asked[1:] == ["quota", "works"]
    assert "no: Too many users have viewed this file" in capsys.readouterr().out


def test_by_hand(prepare, tmp_path, capsys):
    assert prepare(by_hand="Register and put the images there") == 1
    assert "2750 could not be fetched. Register and put the images there" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written(tmp_path, capsys):
    (tmp_path / "data").write_text("a file")
    assert prepare_data.main(["dtd", "--root", str(tmp_path / "data")]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and str(tmp_path / "data") in error


@pytest.mark.parametrize(
    "arguments, word",
    [
        (["eurosta"], "unknown dataset 'eurosta'; did you mean eurosat? there are: imagenet, caltech101"),
        (["Imagenet-R"], "did you mean imagenet"),
        ([], "name the datasets to fetch, or pass --check"),
        (["folder"], "docs/datasets.md"),
        (["--check", "--root", "/nowhere/at/all"], "there is no data folder /nowhere/at/all"),
    ],
)
def test_mistakes_are_one_line(tmp_path, capsys, arguments, word):
    assert prepare_data.main(["--root", str(tmp_path), *arguments]) == 1
    error = capsys.readouterr().err
    assert word in error and error.count("\n") == 1


def test_digits_are_written(tmp_path, capsys):
    assert prepare_data.main(["digits", "--root", str(tmp_path)]) == 0
    assert "ok       10 classes, 898 train, 359 val, 540 test" in capsys.readouterr().out


def test_a_dataset_without_a_download_plan(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(install, "load_download_plans", dict)
    assert prepare_data.main(["eurosat", "--root", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert "EuroSAT" in error and "sources.yaml" in error and str(tmp_path / "eurosat" / "2750") in error
    assert not list(tmp_path.iterdir())


def test_download_plans_fit_the_datasets():
    plans = load_download_plans()
    assert set(plans) == {entry.name for entry in catalogue.entries().values() if entry.paper_order or entry.variant_of}
    for name, plan in plans.items():
        places = check_data.DATASET_REGISTRY.get(name).at_root("/data")
        targets = {os.path.join(places.dataset_dir, target) for step in plan.steps for target in step.targets}
        assert any(Path(target).is_relative_to(places.image_dir) for target in targets), name
        assert not places.split_path or places.split_path in targets, name
        for source in (source for step in plan.steps for source in step.sources):
            assert source.url.startswith(("https://", "http://", "gdrive:", "data:")), source
            assert source.md5 == "" or len(source.md5) == 32 and set(source.md5) <= set("0123456789abcdef"), source
        assert all(step.sources for step in plan.steps) or plan.by_hand, name
