"""A local web server that can fail in several ways, and archives for it."""

import contextlib
import io
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from PIL import Image


class Server:
    """Serves `files[path]`.

    Attributes:
        files: content by path.
        cut: number of bytes after which the connection is closed, by path.
        status: HTTP status by path, if not 200 or 404.
        ranges: whether the server supports range requests, which resume a download.
        requests: `(path, first byte)` of each request.
    """

    def __init__(self):
        self.files = {}
        self.cut = {}
        self.status = {}
        self.requests = []
        self.ranges = True
        self.address = ""

    def url(self, path):
        return f"{self.address}/{path}"


@contextlib.contextmanager
def serve():
    server = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            path = self.path.lstrip("/")
            start = int(self.headers.get("Range", "bytes=0-")[6:-1]) if server.ranges else 0
            server.requests.append((path, start))
            status = server.status.get(path, 200 if path in server.files else 404)
            content = server.files.get(path, b"")
            body = content[start:]
            self.send_response(206 if start and status == 200 else status)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: server.cut.get(path, len(body))])
            self.close_connection = True

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        server.address = f"http://127.0.0.1:{httpd.server_port}"
        thread = threading.Thread(target=httpd.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield server
        httpd.shutdown()
        thread.join()


def png(colour=0):
    data = io.BytesIO()
    Image.new("RGB", (4, 4), (colour, 0, 0)).save(data, "PNG")
    return data.getvalue()


def make_zip(members):
    """Returns the bytes of a zip file with the members `{name: bytes}`."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return data.getvalue()


def make_tar(members, mode="w:gz"):
    """Returns the bytes of a tar file with the members `{name: bytes}`, or `{name: TarInfo}` for links and devices."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode=mode) as archive:
        for name, content in members.items():
            info = content if isinstance(content, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.name = name
            if isinstance(content, bytes):
                info.size = len(content)
            archive.addfile(info, io.BytesIO(content) if isinstance(content, bytes) else None)
    return data.getvalue()
