"""A store in shared memory gives what was put there, in every process, also after a process was killed."""

import fcntl
import os
import resource
import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dassl.data.fast_loader import shared_store as module
from dassl.data.fast_loader.shared_store import FILE_FROM, ProcessLock, SharedStore, key_of
from tests.trainers.crash import fork, join


@pytest.fixture
def in_child(tmp_path):
    """in_child(work) runs `work()` in a forked process and returns its pid."""
    return lambda work: fork(work, tmp_path / "log")


@given(st.lists(st.tuples(st.integers(0, 5), st.binary(max_size=30)), max_size=30), st.integers(1, 200))
def test_a_store_is_a_dict_that_keeps_first_values_within_its_limit(puts, n_bytes):
    store, expected, used, left_out = SharedStore(n_bytes), {}, 0, 0
    for key, value in puts:
        store.put(key_of(key), value[:3], value[3:])
        if key in expected:
            continue
        if used + len(value) > n_bytes:
            left_out += 1
        else:
            expected[key] = value
            used += len(value)
    for key in range(6):
        value = store.get(key_of(key))
        assert (None if value is None else bytes(value)) == expected.get(key)
    assert store.state.tolist() == [used, len(expected), left_out]


def test_keys_that_want_the_same_row(monkeypatch):
    monkeypatch.setattr(module, "MIN_ROWS", 8)
    store = SharedStore(8)
    keys = [bytes(7) + bytes([i + 1]) + (8 * i).to_bytes(8, "little") for i in range(8)]  # all in row 0
    for key in keys:
        store.put(key, key[7:8])
    assert [store.get(key) and bytes(store.get(key)) for key in keys[:6]] == [key[7:8] for key in keys[:6]]
    assert store.get(keys[6]) is None and store.state.tolist() == [6, 6, 2]  # a quarter of the rows stays free


@pytest.mark.parametrize("parts,other", [(("a", 1), ("a", 2)), (("a", "b"), ("ab",)), ((1,), ("1",))])
def test_keys_differ(parts, other):
    assert key_of(*parts) == key_of(*parts) != key_of(*other) and len(key_of(*parts)) == 16
    assert key_of("caf\udce9")  # a file name that is no UTF-8


def test_processes_share_values(in_child):
    store = SharedStore(1000)
    assert join(in_child(lambda: store.put(key_of("a"), b"from a child"))) == 0
    assert bytes(store.get(key_of("a"))) == b"from a child"


def test_a_process_that_is_killed_while_it_holds_the_lock(in_child):
    store = SharedStore(1000)

    def hold():
        with store.lock:
            os.kill(os.getpid(), signal.SIGKILL)

    assert join(in_child(hold)) == -signal.SIGKILL
    store.put(key_of("a"), b"1")
    assert bytes(store.get(key_of("a"))) == b"1"


def test_a_process_that_is_killed_while_it_copies(in_child):
    store = SharedStore(1000)

    class Killing(bytes):
        def __len__(self):
            if store.state[0]:  # the bytes are reserved
                os.kill(os.getpid(), signal.SIGKILL)
            return 5

    assert join(in_child(lambda: store.put(key_of("a"), Killing(b"12345")))) == -signal.SIGKILL
    assert store.get(key_of("a")) is None
    store.put(key_of("a"), b"12345")  # not again: its bytes are taken
    store.put(key_of("b"), b"67")
    assert store.get(key_of("a")) is None and bytes(store.get(key_of("b"))) == b"67"


def test_the_lock_excludes_other_processes(in_child):
    store = SharedStore(10**5)

    def count():
        for _ in range(300):
            with store.lock:
                number = int(store.state[2])
                os.sched_yield()
                store.state[2] = number + 1

    children = [in_child(count) for _ in range(4)]
    assert [join(child) for child in children] == [0] * 4
    assert store.state[2] == 1200


def test_the_lock_has_no_low_file_descriptor():
    """A fork server gives its programs the client's file descriptors, which are low."""
    lock = ProcessLock()
    number = lock.file.fileno()
    assert number >= FILE_FROM
    lock.file.close()
    with pytest.raises(OSError):
        os.fstat(number)


def test_a_low_limit_of_open_files(in_child):
    def share():
        resource.setrlimit(resource.RLIMIT_NOFILE, (FILE_FROM // 2, FILE_FROM // 2))
        store = SharedStore(1000)
        assert join(in_child(lambda: store.put(key_of("a"), b"1"))) == 0
        assert bytes(store.get(key_of("a"))) == b"1"

    assert join(in_child(share)) == 0


def test_ctrl_c_while_the_lock_is_awaited(monkeypatch):
    lock = ProcessLock()

    def interrupt(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "lockf", interrupt)
        with pytest.raises(KeyboardInterrupt), lock:
            pass
    assert lock.threads.acquire(timeout=1)
