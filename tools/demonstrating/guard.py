"""What the server refuses before gradio sees it, and what it forbids the browser."""

import ipaddress

from tools.serving.uploads import Limits, mebibytes

from .folder import Folder

MAX_TEXT = 2**20  # bytes of a request that uploads nothing
WAITING = 4  # requests with images that may wait, in bytes: so often the limit of one
# The browser loads nothing from elsewhere, whatever gradio or a class name asks it for.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' blob:; font-src 'self' data:; worker-src 'self' blob:; "
    "connect-src 'self'; form-action 'self'; base-uri 'self'; object-src 'none'; frame-ancestors 'self'"
)
HEADERS = [
    (b"content-security-policy", POLICY.encode()),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
]


class Guard:
    """An ASGI application around another one.

    Args:
        is_local: whether only this computer can reach the server. If so, requests must name a loopback address:
            otherwise a web page elsewhere could have its own name resolved to this server.
    """

    def __init__(self, app, is_local: bool, limits: Limits, folder: Folder):
        self.app = app
        self.is_local = is_local
        self.limits = limits
        self.folder = folder

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message):
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), *HEADERS]}
            await send(message)

        refused = self.refusal(scope["method"], scope["path"], dict(scope["headers"]))
        if not refused:
            await self.app(scope, receive, send_with_headers)
            return
        status, text = refused
        headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close")]
        await send_with_headers({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": text.encode()})

    def refusal(self, method: str, path: str, headers: dict[bytes, bytes]) -> tuple[int, str] | None:
        """Returns HTTP status and reason of a request that is refused, or None."""
        host = headers.get(b"host", b"").decode("latin-1")
        if self.is_local and not is_loopback(host_name(host)):
            return 403, f"This page is for this computer only, got a request for {host!r:.100}. See --host."
        if method in ("GET", "HEAD", "OPTIONS"):
            return None
        length = headers.get(b"content-length")
        if length is None:
            return 411, "A request needs a Content-Length."
        if not length.isdigit():
            return 400, "Content-Length must be a whole number."
        uploads = path.rstrip("/").endswith("/upload")
        limit = self.limits.request_bytes if uploads else MAX_TEXT
        if int(length) > limit:
            return 413, f"Too large: send at most {mebibytes(limit)} at a time."
        if uploads and self.folder.uploaded_bytes() > WAITING * self.limits.request_bytes:
            return 503, "Too many images are waiting: try again in a minute."
        return None


def host_name(host: str) -> str:
    """Returns the name in a Host header, without the port: "localhost:7860" gives localhost, "[::1]:7860" ::1."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def is_loopback(host: str) -> bool:
    """Whether an address or name is that of this computer only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
