"""The queue: what becomes one batch, when it starts, and what a full queue, cancelled and failed images get."""

import threading
import time
from concurrent.futures import CancelledError

import pytest

from tools.serving.batches import Batches, Busy

LONG = 60.0  # seconds; a test that waits for it has failed


class Runs:
    """Records the batches. Each waits for `go`, if it is not set."""

    def __init__(self):
        self.batches = []
        self.go = threading.Event()
        self.go.set()

    def __call__(self, key, values):
        self.batches.append((key, values))
        assert self.go.wait(LONG)
        if key == "broken":
            raise RuntimeError("broken")
        return [ZeroDivisionError() if value == 0 else 1 / value for value in values]


@pytest.fixture
def make():
    made = []

    def make_batches(**options):
        runs = Runs()
        made.append((runs, Batches(runs, **options)))
        return made[-1]

    yield make_batches
    for runs, batches in made:
        runs.go.set()
        batches.close()


def test_a_lone_image_does_not_wait(make):
    runs, batches = make(wait=LONG)
    with batches.admit(1) as place:
        assert place.submit("a", 4).result(LONG) == 0.25
    assert runs.batches == [("a", [4])]


def test_admitted_images_are_waited_for(make):
    runs, batches = make(wait=LONG)
    with batches.admit(2) as place, batches.admit(1) as other:
        futures = [place.submit("a", 1), place.submit("a", 2)]
        time.sleep(0.05)
        assert not runs.batches
        futures.append(other.submit("a", 4))
        assert [future.result(LONG) for future in futures] == [1, 0.5, 0.25]
    assert runs.batches == [("a", [1, 2, 4])] and (batches.n_images, batches.n_batches) == (3, 1)


def test_but_not_longer_than_the_wait_nor_after_they_are_given_up(make):
    runs, batches = make(wait=0.01)
    with batches.admit(1) as place, batches.admit(1):
        assert place.submit("a", 1).result(LONG) == 1
    runs, batches = make(wait=LONG)
    with batches.admit(1) as place:
        with batches.admit(1):
            future = place.submit("a", 1)
        assert future.result(LONG) == 1


def test_keys_and_the_batch_size_divide_them_in_their_order(make):
    runs, batches = make(batch_size=2)
    runs.go.clear()
    with batches.admit(6) as place, batches.admit(1) as first:
        first.submit("start", 1)
        while not runs.batches:
            time.sleep(0.001)
        futures = [place.submit(key, value) for key, value in zip("abaaba", (1, 2, 3, 4, 5, 6), strict=True)]
        runs.go.set()
        assert [future.result(LONG) for future in futures] == [1 / value for value in (1, 2, 3, 4, 5, 6)]
    assert runs.batches[1:] == [("a", [1, 3]), ("b", [2, 5]), ("a", [4, 6])]


def test_a_full_queue_is_busy_until_a_place_is_given_back(make):
    _, batches = make(capacity=3)
    with batches.admit(2):
        assert not batches.is_full
        with pytest.raises(Busy):
            batches.admit(2)
        with batches.admit(1):
            assert batches.is_full
    with batches.admit(3):
        pass
    assert batches.admitted == 0


def test_what_is_given_up_is_not_run(make):
    runs, batches = make()
    runs.go.clear()
    with batches.admit(1) as first:
        first.submit("a", 1)
        while not runs.batches:
            time.sleep(0.001)
        with batches.admit(1) as place:
            future = place.submit("a", 2)
        runs.go.set()
        with pytest.raises(CancelledError):
            future.result(LONG)
        with batches.admit(1) as place:
            assert place.submit("a", 4).result(LONG) == 0.25
    assert runs.batches == [("a", [1]), ("a", [4])]


def test_errors_are_results_and_the_thread_stays(make):
    _, batches = make()
    with batches.admit(4) as place:
        broken = place.submit("broken", 1)
        zero, two = place.submit("a", 0), place.submit("a", 2)
        with pytest.raises(RuntimeError, match="broken"):
            broken.result(LONG)
        place.submit("a", 1)
        with pytest.raises(ZeroDivisionError):
            zero.result(LONG)
        assert two.result(LONG) == 0.5 and batches.is_alive


def test_closing_runs_the_rest(make):
    runs, batches = make(wait=LONG)
    with batches.admit(2) as place:
        future = place.submit("a", 2)
        batches.close()
        assert future.result(0) == 0.5
    with pytest.raises(Busy):
        batches.admit(1)
    assert batches.is_full and not batches.is_alive
