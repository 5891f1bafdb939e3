"""Serves the page with uvicorn."""

import socket
import sys
from pathlib import Path

import gradio
import uvicorn
from fastapi import FastAPI
from fastapi.responses import FileResponse

from tools.serving.uploads import Limits

from .folder import Folder
from .guard import Guard, is_loopback
from .page import RUN_PAGE, STYLE, theme

GRACE = 2  # seconds for open connections when the server ends


def listen(host: str, port: int) -> socket.socket:
    """Returns a listening socket. Port 0: a free one.

    Raises:
        ValueError: the port or the address cannot be used.
    """
    if not 0 <= port < 2**16:
        raise ValueError(f"--port must be 0 to 65535, got {port}")
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(address[:2], family=family)
    except OSError as error:
        raise ValueError(
            f"cannot listen on --host {host} --port {port} ({error.strerror}): give another port, or --port 0 for any "
            "that is free"
        ) from error


def address_of(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def application(blocks: gradio.Blocks, host: str, limits: Limits, folder: Folder, run_page: Path | None = None):
    """Returns the ASGI application of the page and, at RUN_PAGE, of the page that tools/show.py wrote."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    if run_page:

        @app.get(RUN_PAGE)
        def page_of_run():
            return FileResponse(run_page, media_type="text/html")

    blocks.state_session_capacity = 20  # each has its images in memory
    options = {"ssr_mode": False, "mcp_server": False, "pwa": False, "enable_monitoring": False, "run_history": False}
    gradio.mount_gradio_app(
        app, blocks, path="/", footer_links=[], max_file_size=limits.image_bytes, show_error=True, theme=theme(),
        css=STYLE, **options,
    )  # fmt: skip
    return Guard(app, host, limits, folder)


def warn(listener: socket.socket) -> None:
    """Prints a warning if other computers can reach the server."""
    host, port = listener.getsockname()[:2]
    if not is_loopback(host):
        print(
            f"Warning: everybody who can reach port {port} of this computer can use the page and see images of the run "
            "on it (--no-images: none); what is sent is not encrypted",
            file=sys.stderr,
        )


def serve(app, listener: socket.socket) -> None:
    """Serves until a stop signal, which is raised again afterwards."""
    warn(listener)
    print(f"Page: {address_of(listener)} (Ctrl-C ends it)", flush=True)
    config = uvicorn.Config(app, log_level="critical", access_log=False, timeout_graceful_shutdown=GRACE)
    uvicorn.Server(config).run(sockets=[listener])
