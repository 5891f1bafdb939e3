"""Atomic writing, and the lock on a run directory."""

import errno
import fcntl
import os
import re
import signal
import time

import pytest

from tests.user_errors import assert_facts, raises_user_error
from trainers.common.runs import files
from trainers.common.runs.files import FolderLock, remove_leftovers, write_atomically

from ...crash import fork, join


@pytest.mark.parametrize("content", [b"\0\xff", "text \u00e9\n", b"", memoryview(b"view")])
def test_writes_the_content_and_creates_folders(tmp_path, content):
    path = tmp_path / "a" / "b" / "file"
    write_atomically(str(path), content)
    write_atomically(str(path), content)
    assert path.read_bytes() == (content.encode() if isinstance(content, str) else bytes(content))
    assert os.listdir(path.parent) == ["file"]


def test_permissions_are_those_of_any_new_file(tmp_path):
    write_atomically(str(tmp_path / "ours"), "x")
    (tmp_path / "plain").write_text("x")
    assert os.stat(tmp_path / "ours").st_mode == os.stat(tmp_path / "plain").st_mode


def test_a_file_name_in_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_atomically("name", "x")
    assert os.listdir(tmp_path) == ["name"]


def test_order_of_writes(tmp_path, monkeypatch):
    """To survive a power failure, the content is synced before the rename, and the rename before returning."""
    path, calls = tmp_path / "file", []
    path.write_text("old")
    fsync, replace = os.fsync, os.replace

    def spy_fsync(handle):
        (name,) = [
            n for n in [*os.listdir(tmp_path), ".."] if os.path.samestat(os.fstat(handle), os.stat(tmp_path / n))
        ] or ["the folder"]
        calls.append(("fsync", name, os.path.getsize(tmp_path / name) if name != "the folder" else None))
        fsync(handle)

    def spy_replace(source, target):
        calls.append(("replace", os.path.basename(source), os.path.basename(target)))
        assert path.read_text() == "old"
        replace(source, target)

    monkeypatch.setattr(files.os, "fsync", spy_fsync)
    monkeypatch.setattr(files.os, "replace", spy_replace)
    write_atomically(str(path), "new content")
    temporary = calls[0][1]
    assert re.fullmatch(r"file\.[0-9a-f]{8}\.tmp", temporary)
    assert calls == [("fsync", temporary, 11), ("replace", temporary, "file"), ("fsync", "the folder", None)]


@pytest.mark.parametrize(
    "number,remedy",
    [
        (errno.ENOSPC, "same command again"),
        (errno.EDQUOT, "disk space"),
        (errno.EROFS, "--output-dir"),
        (errno.EIO, "disk"),
    ],
)
@pytest.mark.parametrize("call", ["open", "fsync", "replace"])
def test_a_failed_write_keeps_the_old_file(tmp_path, monkeypatch, number, remedy, call):
    path = tmp_path / "file"
    path.write_text("old")

    def refuse(*args):
        raise OSError(number, os.strerror(number))

    if call == "open":
        monkeypatch.setattr(files, "open", refuse, raising=False)
    else:
        monkeypatch.setattr(files.os, call, refuse)
    with raises_user_error(path, os.strerror(number), remedy, error=OSError):
        write_atomically(str(path), "new")
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["file"]


def test_a_file_system_that_cannot_sync_folders(tmp_path, monkeypatch):
    monkeypatch.setattr(
        files.os, "open", lambda *args: (_ for _ in ()).throw(OSError(errno.EINVAL, "Invalid argument"))
    )
    write_atomically(str(tmp_path / "file"), "x")
    assert (tmp_path / "file").read_text() == "x"


def test_only_temporary_files_are_removed(tmp_path):
    kept = ["model.pth.tar-1", "notes.tmp", "a.12345678.tmp.txt", ".lock"]
    for name in [*kept, "model.pth.tar-2.0123abcd.tmp", "result.json.ffffffff.tmp"]:
        (tmp_path / name).touch()
    remove_leftovers(str(tmp_path))
    remove_leftovers(str(tmp_path / "nothing"))
    assert sorted(os.listdir(tmp_path)) == sorted(kept)


def hold(folder, ready, seconds=60):
    with FolderLock(str(folder)):
        ready.touch()
        time.sleep(seconds)


def wait_for(path):
    end = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < end
        time.sleep(0.002)


@pytest.mark.parametrize("ending", ["SIGKILL", "SIGTERM", "end"])
def test_the_error_of_a_second_process_names_the_first(tmp_path, ending):
    child = fork(lambda: hold(tmp_path / "run", tmp_path / "ready", 0.3 if ending == "end" else 60), tmp_path / "log")
    wait_for(tmp_path / "ready")
    facts = (tmp_path / "run", f"process {child} on ", "--output-dir")
    with raises_user_error(*facts, error=BlockingIOError) as caught, FolderLock(str(tmp_path / "run")):
        pass
    assert re.search(r"since \d+-\d\d-\d\d \d\d:\d\d:\d\d", str(caught.value))
    if ending != "end":
        os.kill(child, getattr(signal, ending))
    join(child)
    with FolderLock(str(tmp_path / "run")) as lock:  # at once
        lock.check()
    with FolderLock(str(tmp_path / "run")):  # and again
        pass


def test_processes_that_outlive_a_killed_run_do_not_keep_the_lock(tmp_path):
    """Data loader workers are forked, have the lock file open, and outlive a killed run by seconds."""

    def with_worker():
        with FolderLock(str(tmp_path / "run")):
            worker = fork(lambda: time.sleep(60), tmp_path / "log2")
            (tmp_path / "worker").write_text(str(worker))
            (tmp_path / "ready").touch()
            time.sleep(60)

    child = fork(with_worker, tmp_path / "log")
    wait_for(tmp_path / "ready")
    os.kill(child, signal.SIGKILL)
    join(child)
    worker = int((tmp_path / "worker").read_text())
    os.kill(worker, 0)  # raises if the worker has ended
    with FolderLock(str(tmp_path / "run")):
        pass
    os.kill(worker, signal.SIGKILL)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_system_without_locks(tmp_path, monkeypatch, capsys, number):
    def refuse(*args):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "lockf", refuse)
    with FolderLock(str(tmp_path / "run")) as lock:
        lock.check()
    assert_facts(capsys.readouterr().out, tmp_path / "run", os.strerror(number))


@pytest.mark.parametrize("change", ["removed", "replaced", "replaced with a lock"])
def test_a_removed_or_replaced_folder(tmp_path, change):
    run = tmp_path / "run"
    with FolderLock(str(run)) as lock:
        lock.check()
        run.rename(tmp_path / "elsewhere")
        if change != "removed":
            run.mkdir()
        if change == "replaced with a lock":
            (run / ".lock").touch()
        with raises_user_error(run, "removed", error=FileNotFoundError):
            lock.check()


def test_a_folder_that_cannot_be_created(tmp_path):
    (tmp_path / "file").touch()
    folder = tmp_path / "file" / "run"
    with raises_user_error(folder / ".lock", error=OSError), FolderLock(str(folder)):
        pass
