"""Datasets, OpenAI's files and Hugging Face's cache, on small stand-ins."""

import hashlib
import os
import shutil

import pytest

from datasets import catalogue
from tests.tools.test_prepare_check_data import write_complete
from tools.diagnosing import stored
from tools.diagnosing.findings import ERROR, NOTE, OK
from tools.prepare import check_data
from trainers.common.models import backbone_files


@pytest.fixture
def of_eurosat(tmp_path, monkeypatch):
    """Returns a function that gives the finding on the EuroSAT in tmp_path."""
    for name in catalogue.entries():
        monkeypatch.setattr(check_data.DATASET_REGISTRY.get(name), "counts", ())
    write_complete("EuroSAT", tmp_path)

    def find():
        found = [finding for finding in stored.datasets(str(tmp_path)) if finding.text.startswith("eurosat")]
        return found[0] if found else None

    return find


def test_a_complete_dataset(of_eurosat, tmp_path):
    assert of_eurosat().state == OK and "train" in of_eurosat().text
    absent = list(stored.datasets(str(tmp_path)))[-1]
    assert "dtd" in absent.text and "eurosat" not in absent.text and absent.state == OK


def test_images_are_not_counted_if_time_is_short(of_eurosat, monkeypatch):
    monkeypatch.setattr(stored, "LIMIT", -1)
    assert of_eurosat().state == OK and "not counted" in of_eurosat().text


def test_an_incomplete_dataset(of_eurosat, tmp_path):
    (split,) = tmp_path.rglob("split_zhou_*.json")
    content = split.read_bytes()
    split.unlink()
    assert of_eurosat().state == NOTE and split.name in of_eurosat().text and "--check eurosat" in of_eurosat().remedy
    split.write_bytes(b"{")
    assert of_eurosat().state == NOTE
    split.write_bytes(content)
    next(path for path in split.parent.rglob("*.jpg")).unlink()
    assert of_eurosat().state == NOTE
    shutil.rmtree(split.parent / "2750")
    assert of_eurosat().state == NOTE and "incomplete" in of_eurosat().text


def test_no_folder(tmp_path):
    (finding,) = stored.datasets(str(tmp_path / "nowhere"))
    assert finding.state == NOTE and "nowhere" in finding.text and "--root" in finding.remedy


def test_weights(tmp_path, monkeypatch):
    content = b"weights"
    url = f"https://host/{hashlib.sha256(content).hexdigest()}/ViT-B-16.pt"
    monkeypatch.setattr(backbone_files.clip, "_MODELS", {"ViT-B/16": url})
    monkeypatch.setattr(backbone_files, "download_folder", lambda: str(tmp_path))
    (none,) = stored.weights()
    assert none.state == OK and "none in" in none.text
    file = tmp_path / "ViT-B-16.pt"
    file.write_bytes(content)
    (right,) = stored.weights()
    assert right.state == OK and "digest right" in right.text and "ViT-B/16" in right.text
    file.write_bytes(content[:-1])
    (tmp_path / "mine.pt").write_bytes(b"x")
    wrong, other = stored.weights()
    assert wrong.state == NOTE and "digest wrong" in wrong.text and str(file) in wrong.remedy
    assert other.state == OK and "mine.pt" in other.text
    monkeypatch.setattr(stored, "LIMIT", -1)
    assert "not checked" in next(stored.weights()).text
    monkeypatch.setattr(backbone_files, "MICRO", tmp_path / "nothing.pt")
    assert next(stored.weights()).state == ERROR


def test_hugging_faces_cache(tmp_path, monkeypatch):
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    (none,) = stored.hugging_face()
    assert none.state == OK and str(tmp_path / "hub") in none.text
    for i in range(stored.SHOWN + 2):
        blobs = tmp_path / "hub" / f"models--org--clip-{i:02}" / "blobs"
        blobs.mkdir(parents=True)
        (blobs / "a").touch()
        os.truncate(blobs / "a", 10**7)
    (blobs.parents[1] / "models--org--clip-00" / "blobs" / "b.incomplete").touch()
    first, second, *_, last = stored.hugging_face()
    assert first.state == NOTE and "org/clip-00" in first.text and "0.01 GB" in second.text
    assert "2 more" in last.text
