"""Runs images of concurrent requests as one batch, on one thread.

    with batches.admit(2) as place:
        rows = [place.submit(key, tensor) for tensor in tensors]     # futures

The thread takes images with the same key, at most `batch_size`, in the order in which they came. If all admitted images
are there, it starts at once, so that a single client never waits. Otherwise it waits for those that are still decoded,
but no image waits longer than `wait` seconds for others.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any


class Busy(Exception):
    """The service has as much to do as it accepts: the client should try again later."""


@dataclass
class Item:
    key: Hashable
    value: Any
    future: Future = field(default_factory=Future)
    arrival: float = field(default_factory=time.monotonic)


class Batches:
    """A bounded queue and its thread.

    Args:
        run: (key, values) -> a result per value, or an exception in its place. If it raises, that is the result of all.
        batch_size: images per batch.
        wait: seconds.
        capacity: images that may be in the service at a time, from `admit` on.

    Attributes:
        n_images, n_batches: images and batches that were run.
        started: time.monotonic() at which the running batch started; None if none is running.
    """

    def __init__(self, run: Callable, batch_size: int = 32, wait: float = 0.005, capacity: int = 256):
        self._run, self.batch_size, self.wait, self.capacity = run, batch_size, wait, capacity
        self._changed = threading.Condition()
        self._items: deque[Item] = deque()
        self._closed = False
        self.admitted = 0
        self._preparing = 0  # admitted, but not yet submitted
        self.n_images = self.n_batches = 0
        self.started: float | None = None
        self._thread = threading.Thread(target=self._work, name="batches", daemon=True)
        self._thread.start()

    def admit(self, n: int) -> Place:
        """Returns a place for n images. Raises Busy if there is none."""
        with self._changed:
            if self._closed or self.admitted + n > self.capacity:
                raise Busy
            self.admitted += n
            self._preparing += n
        return Place(self, n)

    @property
    def is_full(self) -> bool:
        return self._closed or self.admitted >= self.capacity

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def close(self) -> None:
        """Runs what is in the queue, and ends the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()

    def _work(self) -> None:
        while batch := self._next_batch():
            running = [item for item in batch if item.future.set_running_or_notify_cancel()]
            if running:
                self._run_batch(running)

    def _run_batch(self, items: list[Item]) -> None:
        self.started = time.monotonic()
        try:
            results = self._run(items[0].key, [item.value for item in items])
        except BaseException as error:  # the thread stays, and each request gets an answer
            results = [error] * len(items)
        self.started = None
        self.n_batches += 1
        self.n_images += len(items)
        for item, result in zip(items, results, strict=True):
            if isinstance(result, BaseException):
                item.future.set_exception(result)
            else:
                item.future.set_result(result)

    def _next_batch(self) -> list[Item]:
        """Waits for a batch. Returns [] after `close`."""
        with self._changed:
            while not self._items and not self._closed:
                self._changed.wait()
            if not self._items:
                return []
            first = self._items[0]
            while not self._closed and self._preparing and len(self._items) < self.batch_size:
                left = first.arrival + self.wait - time.monotonic()
                if left <= 0:
                    break
                self._changed.wait(left)
            batch = [item for item in self._items if item.key == first.key][: self.batch_size]
            chosen = set(map(id, batch))
            self._items = deque(item for item in self._items if id(item) not in chosen)
            return batch

    def _submit(self, item: Item) -> None:
        with self._changed:
            self._items.append(item)
            self._preparing -= 1
            self._changed.notify_all()

    def _release(self, n: int, unsubmitted: int) -> None:
        with self._changed:
            self.admitted -= n
            self._preparing -= unsubmitted
            self._changed.notify_all()


class Place:
    """What a request has in the queue: a context that gives it back, and cancels what was not run."""

    def __init__(self, batches: Batches, n: int):
        self._batches, self._n = batches, n
        self._futures: list[Future] = []

    def submit(self, key: Hashable, value) -> Future:
        """Puts a value into the queue. Returns its result, to come."""
        item = Item(key, value)
        self._futures.append(item.future)
        self._batches._submit(item)
        return item.future

    def __enter__(self) -> Place:
        return self

    def __exit__(self, *error) -> None:
        for future in self._futures:
            future.cancel()
        self._batches._release(self._n, self._n - len(self._futures))
