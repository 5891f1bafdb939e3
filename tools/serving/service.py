"""What the service does with a request, apart from HTTP: read, decode, predict, within limits of time and memory."""

from __future__ import annotations

import asyncio
import contextlib
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from starlette.requests import ClientDisconnect, Request

from runtime.machine import n_cores
from tools.serving.batches import Batches, Busy, Place
from tools.serving.model import Classes, Model, predictions
from tools.serving.reading import Memory, Upload, open_body, read_uploads
from tools.serving.uploads import MIB, Limits, UploadError, prepare
from trainers.common.inference.predictions import Predictions


class RequestTimeout(Exception):
    """The body did not arrive in time."""


@dataclass(frozen=True)
class Settings:
    """Settings of the service.

    Attributes:
        limits: of a request.
        batch_size: images per batch.
        wait: seconds that an image waits for others.
        capacity: images of all requests together.
        memory: bytes of all requests together.
        timeout: seconds until the body must be there, and from then on until the answer must be.
        max_classes: class names that a request may ask for; 0: none.
    """

    limits: Limits = Limits()
    batch_size: int = 32
    wait: float = 0.005
    capacity: int = 256
    memory: int = 256 * MIB
    timeout: float = 30.0
    max_classes: int = 100


class Service:
    """A model with its batches and its threads that decode images."""

    def __init__(self, model: Model, settings: Settings):
        self.model, self.settings = model, settings
        self.about = model.describe()
        self.batches = Batches(model.run, settings.batch_size, settings.wait, settings.capacity)
        threads = min(8, n_cores())
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")
        self._threads = asyncio.Semaphore(threads)
        self._memory = Memory(settings.memory)
        self.is_stopping = False

    @property
    def is_alive(self) -> bool:
        """Whether batches are run: false if one takes longer than any request may wait."""
        started = self.batches.started
        return self.batches.is_alive and (started is None or time.monotonic() - started < 2 * self.settings.timeout)

    def health(self) -> dict:
        batches = self.batches
        return {
            "live": self.is_alive,
            "ready": self.is_alive and not self.is_stopping and not batches.is_full,
            "images_waiting": batches.admitted,
            "images": batches.n_images,
            "batches": batches.n_batches,
        }

    def close(self) -> None:
        self.is_stopping = True
        self.batches.close()
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def predict(self, request: Request, classes: Classes) -> tuple[list[Upload], Predictions]:
        """Returns the images of a request and what is predicted for them.

        Raises UploadError, Busy, RequestTimeout, ClientDisconnect or InvalidLogits.
        """
        timeout = self.settings.timeout
        if self.batches.is_full:  # says so before the body is read
            raise Busy
        body = open_body(request, self.settings.limits, self._memory)
        try:
            try:
                uploads = await asyncio.wait_for(read_uploads(request, body, self.settings.limits), timeout)
            except asyncio.TimeoutError:
                raise RequestTimeout from None
            request.state.n_images = len(uploads)
            with self.batches.admit(len(uploads)) as place:
                work = asyncio.ensure_future(self._run(uploads, classes, place))
                return uploads, await unless_disconnected(request, work, timeout)
        finally:
            body.close()

    async def _run(self, uploads: list[Upload], classes: Classes, place: Place) -> Predictions:
        async def run(upload: Upload):
            tensor = await self._decode(upload)
            return await asyncio.wrap_future(place.submit(classes, tensor))

        tasks = [asyncio.ensure_future(run(upload)) for upload in uploads]
        try:
            return predictions(await asyncio.gather(*tasks))
        finally:
            for task in tasks:
                task.cancel()

    async def _decode(self, upload: Upload):
        """Returns the tensor of an image. Its thread is given back when it is done, even if the request is not."""
        await self._threads.acquire()
        loop = asyncio.get_running_loop()

        def give_back(future: Future) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(self._threads.release)

        future = self._pool.submit(prepare, self.model.classifier, upload.data, upload.name, self.settings.limits)
        future.add_done_callback(give_back)
        return await asyncio.wrap_future(future)


async def unless_disconnected(request: Request, work: asyncio.Future, timeout: float):
    """Returns the result of `work`. Cancels it if the client disconnects, or after `timeout` seconds.

    Raises ClientDisconnect, or Busy after the timeout.
    """
    gone = asyncio.ensure_future(disconnected(request))
    try:
        await asyncio.wait({work, gone}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            return work.result()
        if gone.done():
            raise ClientDisconnect
        raise Busy
    finally:
        for task in (work, gone):
            task.cancel()


async def disconnected(request: Request) -> None:
    """Returns when the client has disconnected. The body must have been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def check_classes(names: list[str] | None, template: str, settings: Settings) -> Classes:
    """Returns the classes that a request asks for. Raises UploadError if there are too many."""
    count = len(names or ())
    if (names is not None or template) and not settings.max_classes:
        raise UploadError("this service predicts its own classes only: leave out classes and template", 422)
    if count > settings.max_classes:
        raise UploadError(f"{count:,} classes are too many: send at most {settings.max_classes:,}", 422)
    return Classes(None if names is None else tuple(names), template)
