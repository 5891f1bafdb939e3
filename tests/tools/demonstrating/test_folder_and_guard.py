"""Where uploads wait, and what the server refuses. Neither needs gradio."""

import asyncio
import os
import stat
import time

import pytest

from tests.user_errors import raises_user_error
from tools.demonstrating import folder as folders
from tools.demonstrating.folder import Folder
from tools.demonstrating.guard import MAX_TEXT, Guard
from tools.serving.uploads import Limits

LIMITS = Limits(request_bytes=2 * MAX_TEXT)


@pytest.fixture
def folder(monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", "")
    with Folder() as folder:
        yield folder


def put(folder, name: str, data: bytes = b"data"):
    (folder.path / name).parent.mkdir(exist_ok=True)
    (folder.path / name).write_bytes(data)
    return folder.path / name


def test_an_upload_is_deleted_as_it_is_read(folder):
    assert os.environ["GRADIO_TEMP_DIR"] == str(folder.path)
    assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700
    assert folder.take(str(put(folder, "sha/a.png")), 100) == b"data"
    assert list(folder.path.iterdir()) == []
    assert folder.take(str(put(folder, "sha/a.png", b"too long")), 3) == b"too "  # one byte more than the limit
    with raises_user_error("again"):
        folder.take(str(folder.path / "sha" / "a.png"), 100)


def test_other_files_are_neither_read_nor_deleted(folder, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("x")
    link = folder.path / "link"
    link.symlink_to(secret)
    for path in (secret, link, folder.path / ".." / secret.name):
        with raises_user_error("not uploaded"):
            folder.take(str(path), 100)
    assert secret.read_text() == "x"


def test_leftovers_are_deleted_and_examples_kept(folder, monkeypatch):
    monkeypatch.setattr(folders, "EVERY", 0.01)
    example = put(folder, "sha/example.png")
    folder.keep()
    new, old = put(folder, "new"), put(folder, "sha/old", b"12")
    assert folder.uploaded_bytes() == 6
    for path in (example, old):
        os.utime(path, (1, 1))
    end = time.monotonic() + 10
    while old.exists() and time.monotonic() < end:
        time.sleep(0.01)
    assert example.exists() and new.exists() and not old.exists() and folder.uploaded_bytes() == 4


def test_nothing_is_left_after_an_error(monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", "")
    with pytest.raises(KeyboardInterrupt), Folder() as folder:
        put(folder, "sha/a.png")
        raise KeyboardInterrupt
    assert not folder.path.exists()


async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/html")]})
    await send({"type": "http.response.body", "body": b"page"})


def ask(folder, method="GET", path="/", host="127.0.0.1", local=True, length=None) -> tuple[int, dict, bytes]:
    """Returns status, headers and body of a request to a guarded application."""
    headers = [(b"host", host.encode())] + ([] if length is None else [(b"content-length", str(length).encode())])
    sent = []

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": method, "path": path, "headers": headers}
    asyncio.run(Guard(app, local, LIMITS, folder)(scope, None, send))
    return sent[0]["status"], dict(sent[0]["headers"]), sent[1]["body"]


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:7860", "localhost:7860", "[::1]:7860"])
def test_requests_for_this_computer(folder, host):
    status, headers, body = ask(folder, host=host)
    assert (status, body) == (200, b"page")
    assert b"default-src 'self'" in headers[b"content-security-policy"]
    assert b"http" not in headers[b"content-security-policy"]


@pytest.mark.parametrize("host", ["evil.example", "evil.example:7860", "127.0.0.1.evil.example", "", "[::2]:1", "["])
def test_other_names_are_refused_on_a_loopback_address(folder, host):
    assert ask(folder, host=host)[0] == 403
    assert ask(folder, host=host, local=False)[0] == 200


@pytest.mark.parametrize(
    "path, length, status",
    [
        ("/gradio_api/upload", LIMITS.request_bytes, 200),
        ("/gradio_api/upload", LIMITS.request_bytes + 1, 413),
        ("/gradio_api/queue/join", MAX_TEXT, 200),
        ("/gradio_api/queue/join", MAX_TEXT + 1, 413),
        ("/gradio_api/upload", None, 411),
        ("/gradio_api/upload", "1e3", 400),
        ("/gradio_api/upload", -1, 400),
    ],
)
def test_large_requests_are_refused(folder, path, length, status):
    assert ask(folder, "POST", path, length=length)[0] == status


def test_uploads_are_refused_while_too_many_wait(folder):
    with open(put(folder, "a.png"), "wb") as file:
        file.truncate(5 * LIMITS.request_bytes)
    assert ask(folder, "POST", "/gradio_api/upload", length=9)[0] == 503
    assert ask(folder, "POST", "/gradio_api/queue/join", length=9)[0] == 200
