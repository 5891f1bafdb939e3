"""The digest of all weights: what changes it, and its cache."""

import os

import pytest
import torch

from tests.reference.models import random_clip, save_clip
from trainers.common.models import weights_digest as module
from trainers.common.models.loading import load_clip
from trainers.common.models.weights_digest import cached, fingerprint, weights_digest

STATE = random_clip("tiny").state_dict()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "FOLDER", tmp_path / "cache")
    monkeypatch.setattr(module, "_in_process", {})
    return tmp_path / "cache"


def test_each_value_counts_but_the_type_does_not():
    changed = {**STATE, "token_embedding.weight": STATE["token_embedding.weight"].clone()}
    changed["token_embedding.weight"][321, 5] += 1e-6  # not among the samples of the fingerprint
    assert fingerprint(changed) == fingerprint(STATE)
    assert weights_digest(changed) != weights_digest(STATE)
    half = {name: tensor.half() for name, tensor in STATE.items()}
    assert weights_digest(half) == weights_digest({name: tensor.float() for name, tensor in half.items()})
    assert weights_digest({}) != weights_digest({"a": torch.zeros(0)}) != weights_digest({"b": torch.zeros(0)})


def test_it_is_computed_once_for_a_file_until_the_file_changes(cache, tmp_path):
    file, calls = tmp_path / "f", []
    file.write_bytes(b"12")

    def value():
        calls.append(1)
        return file.read_text()

    def current():
        module._in_process.clear()  # as in another process
        return cached(str(file), os.stat(file), {"value": value})["value"]

    assert [current(), current(), len(calls)] == ["12", "12", 1]
    file.write_bytes(b"123")
    assert [current(), current(), len(calls)] == ["123", "123", 2]
    os.utime(file, ns=(1, 1))
    assert [current(), len(calls)] == ["123", 3]
    (entry,) = cache.iterdir()
    for content in (b"{", b"[]", b"\xff", b'{"value": 3}'):
        entry.write_bytes(content)
        assert current() == "123"
    assert cached(str(file), os.stat(file), {"other": lambda: "x"}) == {"other": "x"}
    assert [current(), len(calls)] == ["123", 7]  # both are kept


def test_a_home_that_is_not_writable(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(module, "FOLDER", tmp_path / "file" / "cache")
    path = save_clip(random_clip("tiny"), tmp_path / "c.pt")
    assert load_clip(path).weights_digest == weights_digest(STATE)


def test_a_file_that_changes_while_it_is_read_is_not_cached(cache, tmp_path):
    file = tmp_path / "f"
    file.write_bytes(b"1")
    before = os.stat(file)
    file.write_bytes(b"22")
    assert cached(str(file), before, {"value": lambda: "1"}) == {"value": "1"}
    assert cached(str(file), os.stat(file), {"value": lambda: "22"}) == {"value": "22"}
