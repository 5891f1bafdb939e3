"""Serves the page with uvicorn."""

import socket
import sys
from pathlib import Path

import gradio
import uvicorn
from fastapi import FastAPI
from fastapi.responses import FileResponse

from tools.serving.server import is_public, url
from tools.serving.uploads import Limits

from .folder import Folder
from .guard import Guard
from .page import RUN_PAGE, STYLE, theme

GRACE = 2  # seconds for open connections when the server ends


def application(blocks: gradio.Blocks, bound: socket.socket, limits: Limits, folder: Folder, run_page: Path | None):
    """Returns the ASGI application of the page and, at RUN_PAGE, of the page that tools/show.py wrote.

    Args:
        bound: the socket that it will be served at.
    """
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
    return Guard(app, not is_public(bound), limits, folder)


def warn(bound: socket.socket) -> None:
    """Prints a warning if other computers can reach the server."""
    if is_public(bound):
        print(
            f"Warning: everybody who can reach {url(bound)} can use the page and see images of the run on it "
            "(--no-images: none); what is sent is not encrypted",
            file=sys.stderr,
        )


def serve(app, bound: socket.socket) -> None:
    """Serves until a stop signal, which is raised again afterwards."""
    warn(bound)
    bound.listen()
    print(f"Page: {url(bound)} (Ctrl-C ends it)", flush=True)
    config = uvicorn.Config(app, log_level="critical", access_log=False, timeout_graceful_shutdown=GRACE)
    uvicorn.Server(config).run(sockets=[bound])
