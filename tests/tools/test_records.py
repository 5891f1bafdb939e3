"""JSON files of any content are read or refused in one line; times are compared as instants."""

import os

import pytest

from tests.user_errors import raises_user_error
from tools.records import MAX_DEPTH, instant, printable, read_json


@pytest.mark.parametrize(
    "content, facts",
    [
        (b"", ["JSON"]),
        (b"\x00\xff\xfe" * 100, ["JSON"]),
        (b'{"a": [1, NaN]}', ["a[1]", "nan"]),
        (b'{"a": {"b": -Infinity}}', ["a.b", "-inf"]),
        (b'{"a": 1e999}', ["a", "inf"]),
        (b"1" * 5000, ["4300"]),
        (b"[" * 100_000 + b"]" * 100_000, [MAX_DEPTH]),
        (b"[" * 500 + b"]" * 500, [MAX_DEPTH]),
        (b'{"a": "' + b"x" * 2**25 + b'"}', ["32 MB"]),
    ],
)
def test_files_that_are_refused(tmp_path, content, facts):
    (tmp_path / "result.json").write_bytes(content)
    with raises_user_error(*facts, error=ValueError):
        read_json(tmp_path / "result.json")


def test_files_that_are_no_files(tmp_path):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    (tmp_path / "dangling").symlink_to(tmp_path / "none")
    for name in ("folder", "pipe", "zero", "dangling"):
        with pytest.raises(OSError):
            read_json(tmp_path / name)
    with open(tmp_path / "sparse", "wb") as file:
        file.truncate(2**40)
    with raises_user_error("32 MB", error=ValueError):
        read_json(tmp_path / "sparse")


def test_a_valid_file(tmp_path):
    (tmp_path / "a").write_text('{"a": [1, 2.5, null, "\\u00e4"]}')
    assert read_json(tmp_path / "a") == {"a": [1, 2.5, None, "\u00e4"]}


def test_times_are_instants():
    noon = instant("2026-11-26T12:00:00Z")
    assert noon == instant("2026-11-26T14:00:00+0200") == instant("2026-11-26T04:00:00-08:00")
    assert noon == instant("2026-11-26T12:00:00")  # without a zone: UTC
    earlier = instant("2026-11-26T13:30:00+0200")  # later as a text
    assert earlier == noon - 1800
    for invalid in (None, "", "yesterday", "2026-13-01T00:00:00Z", 7):
        assert instant(invalid) is None


def test_printable():
    assert printable("CLIPFit (\u03b2 2)") == "CLIPFit (\u03b2 2)"
    assert printable("a\nb\r\x1b[31m\u202e\udcff") == "a\\nb\\r\\x1b[31m\\u202e\\udcff"
