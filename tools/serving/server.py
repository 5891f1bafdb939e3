"""Runs the service: its socket, signals and log."""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import logging.config
import signal
import socket
import time

import uvicorn

from tools.records import printable
from tools.serving.app import make_app
from tools.serving.connections import make_protocol
from tools.serving.service import Service

LOG = logging.getLogger("clipfit.serve")
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(message)s", "datefmt": "%H:%M:%S"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "loggers": {
        "clipfit.serve": {"handlers": ["stderr"], "level": "INFO", "propagate": False},
        "python_multipart": {"level": "ERROR"},  # a client can fill the log with its warnings
        "uvicorn": {"handlers": ["stderr"], "level": "ERROR", "propagate": False},
    },
}
METHODS = ("GET", "POST", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS")
QUIET = ("/health",)  # asked every few seconds by what watches the service


def bind(host: str, port: int) -> socket.socket:
    """Returns a socket for an address, which does not listen yet. Raises OSError with a remedy."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise OSError(f"--host {host} is unknown ({error.strerror}): give 127.0.0.1 or an address of yours") from error
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as error:
        bound.close()
        raise OSError(
            f"cannot use port {port} of {host} ({error.strerror}): give another --port; 0 is a free one"
        ) from error
    return bound


def url(bound: socket.socket) -> str:
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def is_public(bound: socket.socket) -> bool:
    """Whether other machines can reach the address."""
    return not ipaddress.ip_address(bound.getsockname()[0].partition("%")[0]).is_loopback


class Server(uvicorn.Server):
    """A server that stops on Ctrl-C, SIGTERM and SIGHUP when it has answered what it has begun.

    `stopped_by` is the number of the signal, or None. A second Ctrl-C stops at once.
    """

    stopped_by: int | None = None

    @contextlib.contextmanager
    def capture_signals(self):
        numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
        before = {number: signal.getsignal(number) for number in numbers}
        for number, handler in before.items():
            if handler != signal.SIG_IGN:  # nohup ignores SIGHUP
                signal.signal(number, self.handle_exit)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig, frame):
        self.stopped_by = self.stopped_by or sig
        super().handle_exit(sig, frame)


def serve(service: Service, bound: socket.socket, verbose: bool) -> int | None:
    """Answers requests until a signal. Returns its number."""
    logging.config.dictConfig(LOGGING)
    logging.raiseExceptions = False  # a closed stderr is no reason to stop
    config = uvicorn.Config(
        logged(make_app(service), verbose),
        http=make_protocol(service.settings.timeout),
        loop="asyncio",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=round(2 * service.settings.timeout) + 1,
    )
    server = Server(config)
    server.run([bound])
    return server.stopped_by


def logged(app, verbose: bool):
    """Wraps an ASGI application: logs a line per request.

    Without `verbose`, it has nothing that a client chose: no query, no file names, no unknown path, no address.
    """

    async def application(scope, receive, send):
        if scope["type"] != "http":
            return await app(scope, receive, send)
        status = 500

        async def note_status(message):
            nonlocal status
            status = message.get("status", status)
            await send(message)

        start = time.monotonic()
        try:
            await app(scope, receive, note_status)
        finally:
            if verbose or getattr(scope.get("route"), "path", "") not in QUIET:
                LOG.info(line(scope, status, time.monotonic() - start, verbose))

    return application


def line(scope, status: int, seconds: float, verbose: bool) -> str:
    """Example: POST /predict 200, 2 images, 35 ms."""
    path = getattr(scope.get("route"), "path", "(unknown path)")
    state = scope.get("state", {})
    if verbose:
        query = scope["query_string"].decode("latin-1")
        path = printable(f"{(scope['client'] or ['-'])[0]} {scope['path']}{'?' if query else ''}{query}")
    method = scope["method"] if verbose or scope["method"] in METHODS else "(unknown method)"
    parts = [f"{method} {path} {status}"]
    if n_images := state.get("n_images"):
        parts.append(f"{n_images} image{'s' if n_images > 1 else ''}")
    parts.append(f"{1000 * seconds:.0f} ms")
    if verbose and "error" in state:
        parts.append(printable(state["error"]))
    return ", ".join(parts)
