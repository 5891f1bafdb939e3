"""Reads the images of a request into memory, within limits: several as multipart/form-data, or one as the body.

Starlette's `request.form()` has no limit for files, and writes those above 1 MB to disk.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import NamedTuple

from python_multipart.exceptions import FormParserError
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from tools.serving.batches import Busy
from tools.serving.uploads import Limits, UploadError, check_size, mebibytes, reason, shown

FIELD = "images"
MAX_FIELDS = 10  # other fields are an error, which names the first
HOW = f"send the bytes of an image as the body, or multipart/form-data: curl -F {FIELD}=@cat.jpg"


class Upload(NamedTuple):
    name: str
    data: bytes


class Memory:
    """Bytes that all requests together may hold."""

    def __init__(self, limit: int):
        self._left = limit

    def take(self, n_bytes: int) -> None:
        """Raises Busy if there are not so many left."""
        if n_bytes > self._left:
            raise Busy
        self._left -= n_bytes

    def give_back(self, n_bytes: int) -> None:
        self._left += n_bytes


class Body:
    """The body of a request.

    Attributes:
        n_bytes: bytes read, which are taken from `memory` until `close`.
    """

    def __init__(self, request: Request, limit: int, memory: Memory, what: str):
        self._request, self._limit, self._memory, self._what = request, limit, memory, what
        self.n_bytes = 0

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yields the body as it comes. Raises UploadError if it is larger than the limit, and Busy."""
        self._check(announced_bytes(self._request))
        async for chunk in self._request.stream():
            self._check(self.n_bytes + len(chunk))
            self._memory.take(len(chunk))
            self.n_bytes += len(chunk)
            yield chunk

    def _check(self, n_bytes: int) -> None:
        if n_bytes > self._limit:
            raise UploadError(f"{self._what} is too large: send at most {mebibytes(self._limit)}", 413)

    def close(self) -> None:
        self._memory.give_back(self.n_bytes)
        self.n_bytes = 0


def announced_bytes(request: Request) -> int:
    """Returns the Content-Length; 0 if there is none."""
    text = request.headers.get("content-length", "0")
    return int(text) if text.isascii() and text.isdecimal() else 0


class InMemory(MultiPartParser):
    """A parser that writes nothing to disk, and knows whether it saw the end."""

    is_complete = False

    def on_end(self) -> None:
        self.is_complete = True


def is_multipart(request: Request) -> bool:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return kind == "multipart/form-data"


def open_body(request: Request, limits: Limits, memory: Memory) -> Body:
    """Returns the body of a request, to be closed when its images are no longer needed.

    Raises UploadError if it is compressed.
    """
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding != "identity":
        raise UploadError(f"Content-Encoding {shown(encoding)} is not supported: send the body as it is", 415)
    if is_multipart(request):
        return Body(request, limits.request_bytes, memory, "the request")
    return Body(request, min(limits.image_bytes, limits.request_bytes), memory, "the image")


async def read_uploads(request: Request, body: Body, limits: Limits) -> list[Upload]:
    """Returns the images of a request, in its order. Raises UploadError and Busy."""
    if is_multipart(request):
        return await read_form(request, body, limits)
    data = b"".join([chunk async for chunk in body.chunks()])
    if not data:
        raise UploadError(f"the request is empty: {HOW}")
    return [Upload("the body", data)]


async def read_form(request: Request, body: Body, limits: Limits) -> list[Upload]:
    parser = InMemory(request.headers, body.chunks(), max_files=limits.images, max_fields=MAX_FIELDS)
    parser.spool_max_size = limits.request_bytes + 1  # never reached
    try:
        form = await parser.parse()
    except (MultiPartException, FormParserError) as error:  # older versions of starlette pass on the latter
        message = getattr(error, "message", "") or str(error)
        status = 413 if message.startswith("Too many") else 400
        raise UploadError(f"the form cannot be read ({reason(message)}): {HOW}", status) from error
    try:
        if not parser.is_complete:
            raise UploadError(f"the form ends before its last boundary: {HOW}")
        if not form:
            raise UploadError(f"the form is empty: {HOW}")
        return [await read_file(*item, number, limits) for number, item in enumerate(form.multi_items(), 1)]
    finally:
        await form.close()


async def read_file(field: str, value, number: int, limits: Limits) -> Upload:
    if isinstance(value, str) or field != FIELD:
        kind = "text" if isinstance(value, str) else "file"
        raise UploadError(f"the form has the {kind} field {shown(field)!r}: send files in the field {FIELD!r} only, "
                          "and options in the query: /predict?top=3", 422)  # fmt: skip
    name = value.filename or f"image {number}"
    check_size(value.size, name, limits)
    return Upload(shown(name), await value.read())
