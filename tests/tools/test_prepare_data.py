"""`prepare_data.py` with a local web server: downloads, mirrors, Google Drive, and user errors."""

import hashlib
import io
import json
import os
from pathlib import Path

import gdown
import pytest

from tests.datasets import mini_raw
from tests.tools.eurosat import IMAGES, errors, images, split_file
from tests.tools.local_server import make_encrypted_zip, make_tar, make_zip
from tests.user_errors import assert_facts
from tools import prepare_data
from tools.prepare import check_data, install
from tools.prepare.download_plans import DownloadPlan, Source, Step, load_download_plans


def test_download_once(prepare, server, tmp_path, capsys):
    assert prepare("good.zip") == 0
    assert images(tmp_path) == 8
    assert sorted(p.name for p in (tmp_path / "data" / "eurosat").iterdir()) == ["2750", "split_zhou_EuroSAT.json"]
    line = capsys.readouterr().out.splitlines()[-1]
    assert line.split() == "EuroSAT ok 2 classes, 4 train, 2 val, 2 test".split()
    requests = len(server.requests)
    assert prepare("good.zip") == 0 and len(server.requests) == requests, "complete targets are not downloaded again"


def test_folder_with_another_name(prepare, tmp_path):
    assert prepare("renamed.tar.gz") == 0 and images(tmp_path) == 8


def test_archive_in_an_archive(prepare, server, tmp_path):
    server.files["outer.zip"] = make_zip({"a/inner.tar.gz": make_tar(IMAGES), "a/other.tar": make_tar({"x": b"x"})})
    assert prepare("outer.zip", inner="inner.tar.gz") == 0 and images(tmp_path) == 8


def test_objectnet_from_its_encrypted_archive(tmp_path, server, monkeypatch, capsys):
    mini_raw.objectnet(tmp_path / "original")
    files = {
        str(path.relative_to(tmp_path / "original")): path.read_bytes()
        for path in (tmp_path / "original").rglob("*")
        if path.is_file()
    }
    server.files["objectnet-1.0.zip"] = make_encrypted_zip(files, "objectnetisatestset")

    def prepare(password):
        source = Source(server.url("objectnet-1.0.zip"), password=password)
        plan = DownloadPlan((Step(("images", "mappings"), (source,)),), "by hand")
        monkeypatch.setattr(install, "load_download_plans", lambda: {"ObjectNet": plan})
        monkeypatch.setattr(check_data.DATASET_REGISTRY.get("ObjectNet"), "counts", (3, None, None, 12))
        return prepare_data.main(["objectnet", "--root", str(tmp_path / "data"), "--yes"])

    assert prepare("wrong") == 1
    (failure,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  failed")]
    assert "another password" in failure and not list((tmp_path / "data").rglob("*.jpg"))
    assert prepare("objectnetisatestset") == 0
    assert (
        capsys.readouterr().out.splitlines()[-1].split() == "ObjectNet ok 3 classes, 12 train, 0 val, 12 test".split()
    )


def test_a_mirror_also_provides_the_split(prepare, server, tmp_path):
    server.files["mirror.zip"] = make_zip(
        {**{f"eurosat/{name}": data for name, data in IMAGES.items()}, "eurosat/split_zhou_EuroSAT.json": split_file()}
    )
    assert prepare("mirror.zip", split=("nothing.json", "mirror.zip")) == 0
    assert [path for path, _ in server.requests].count("mirror.zip") == 1
    (tmp_path / "data" / "eurosat" / "split_zhou_EuroSAT.json").unlink()
    assert prepare("mirror.zip", split=("nothing.json", "mirror.zip")) == 0


def test_the_published_split_replaces_a_generated_one(prepare, tmp_path, capsys):
    assert prepare("good.zip", split=()) == 1
    folder = tmp_path / "data" / "eurosat"
    (folder / "split_fewshot").mkdir()
    selection = folder / "split_fewshot" / "shot_1-seed_1.json"
    selection.write_text("{}")
    path = folder / "split_zhou_EuroSAT.json"
    path.write_text(json.dumps({**json.loads(split_file(-1)), "made": "some rule"}))
    assert prepare_data.main(["--check", "eurosat", "--root", str(tmp_path / "data")]) == 1
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "some rule" in line]
    assert_facts(line, path.name, "tools/prepare_data.py EuroSAT")
    assert prepare("good.zip") == 0
    assert str(selection) in capsys.readouterr().out
    assert path.read_bytes() == split_file() and not selection.exists()


def test_google_drive(prepare, server, tmp_path, monkeypatch, capsys):
    real = gdown.download
    addresses = []

    def download(url=None, id=None, **options):
        addresses.append(id or url)
        if id == "quota":
            raise gdown.exceptions.FileURLRetrievalError("Too many users\n\n have viewed this file")
        return real(url=server.url("split.json") if id else url, **options)

    monkeypatch.setattr(gdown, "download", download)
    assert prepare("good.zip", split=("gdrive:quota", "gdrive:works")) == 0
    assert addresses[1:] == ["quota", "works"]
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  ")]
    assert_facts(line, "Too many users have viewed this file")


def test_by_hand(prepare, tmp_path, capsys):
    assert prepare(by_hand="Register and put the images there") == 1
    (line,) = errors(capsys)
    assert_facts(line, tmp_path / "data" / "eurosat" / "2750", "Register and put the images there")


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_sources_without_a_checksum_need_consent(prepare, server, tmp_path, capsys, monkeypatch):
    """The image archive has a checksum here, the split file has none."""
    md5 = hashlib.md5(server.files["good.zip"]).hexdigest()
    assert prepare("good.zip", md5=md5, yes=()) == 1  # not a terminal
    captured = capsys.readouterr()
    assert_facts(captured.err, "error: ", "--yes")
    (line,) = [line for line in captured.out.splitlines() if line.startswith("  ")]
    assert_facts(line, "EuroSAT", "split_zhou_EuroSAT.json", server.url("split.json"))
    assert "good.zip" not in captured.out and server.requests == [] and not list(tmp_path.iterdir())
    for answer, code in (("\n", 1), ("no\n", 1), ("y\n", 0)):
        monkeypatch.setattr("sys.stdin", Terminal(answer))
        assert prepare("good.zip", md5=md5, yes=()) == code
    assert images(tmp_path) == 8
    monkeypatch.setattr("sys.stdin", None)
    assert prepare("good.zip", yes=()) == 0  # complete: nothing is downloaded


def test_sources_with_a_checksum_need_no_consent(prepare, server, tmp_path):
    md5 = hashlib.md5(server.files["good.zip"]).hexdigest()
    data = tmp_path / "data" / "eurosat"
    data.mkdir(parents=True)
    (data / "split_zhou_EuroSAT.json").write_bytes(split_file())
    assert prepare("good.zip", md5=md5, yes=()) == 0 and images(tmp_path) == 8
    (data / "split_zhou_EuroSAT.json").rename(tmp_path / "data" / "mine.json")
    assert prepare("good.zip", md5=md5, split=("data:mine.json",), yes=()) == 0  # the user's own file


def test_a_folder_that_cannot_be_written(tmp_path, capsys):
    (tmp_path / "data").write_text("a file")
    assert prepare_data.main(["dtd", "--root", str(tmp_path / "data"), "--yes"]) == 1
    assert_facts(capsys.readouterr().err, "error: ", tmp_path / "data")


@pytest.mark.parametrize(
    "arguments, facts",
    [
        (["eurosta"], ["'eurosta'", " eurosat? ", "imagenet, caltech101"]),
        (["Imagenet-R"], ["'Imagenet-R'", " imagenet_r? "]),
        ([], ["DATASET", "--check", "--help"]),
        (["folder"], ["Folder", "docs/datasets.md"]),
        (["--check", "--root", "/nowhere/at/all"], ["/nowhere/at/all", "--root"]),
    ],
)
def test_user_errors_are_one_line(tmp_path, capsys, arguments, facts):
    assert prepare_data.main(["--root", str(tmp_path), *arguments]) == 1
    assert_facts(capsys.readouterr().err, "error: ", *facts)


def test_digits_are_written(tmp_path, capsys):
    assert prepare_data.main(["digits", "--root", str(tmp_path)]) == 0
    line = capsys.readouterr().out.splitlines()[-1]
    assert line.split() == "Digits ok 10 classes, 898 train, 359 val, 540 test".split()


def test_a_dataset_without_a_download_plan(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(install, "load_download_plans", dict)
    assert prepare_data.main(["eurosat", "--root", str(tmp_path)]) == 1
    assert_facts(capsys.readouterr().err, "EuroSAT", "sources.yaml", tmp_path / "eurosat" / "2750")
    assert not list(tmp_path.iterdir())


def test_download_plans_fit_the_datasets():
    plans = load_download_plans()
    assert set(plans) == set(prepare_data.downloadable())
    for name, plan in plans.items():
        dataset = check_data.DATASET_REGISTRY.get(name).at_root("/data")
        targets = {os.path.join(dataset.dataset_dir, target) for step in plan.steps for target in step.targets}
        in_targets = any(Path(target).is_relative_to(dataset.image_dir) for target in targets)
        assert in_targets or "imagenet/images" in dataset.image_dir, name  # Mini-ImageNet has ImageNet's images
        assert not dataset.split_path or dataset.split_path in targets, name
        for source in (source for step in plan.steps for source in step.sources):
            assert source.url.startswith(("https://", "http://", "gdrive:", "data:")), source
            assert source.md5 == "" or len(source.md5) == 32 and set(source.md5) <= set("0123456789abcdef"), source
        assert all(step.sources for step in plan.steps) or plan.by_hand, name
