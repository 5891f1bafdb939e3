"""A local web server that can fail in several ways, and archives for it."""

import contextlib
import io
import struct
import tarfile
import threading
import zipfile
import zlib
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


def make_encrypted_zip(members, password):
    """Returns the bytes of a zip file whose members `{name: bytes}` are encrypted as `zip --password` does (PKWARE)."""
    plain = {name: (zlib.crc32(content), len(content)) for name, content in members.items()}
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, encrypt(bytes(11) + struct.pack("B", plain[name][0] >> 24) + content, password))
        entries = archive.infolist()
    found = bytearray(data.getvalue())
    central = found.index(b"PK\1\2")
    for entry in entries:  # says that it is encrypted, and the checksum and size of the plain content
        crc, size = plain[entry.filename]
        for start, offset in ((entry.header_offset, 6), (central, 8)):
            found[start + offset] |= 1  # flags
            struct.pack_into("<I", found, start + offset + 8, crc)
            struct.pack_into("<I", found, start + offset + 16, size)
        central = found.find(b"PK\1\2", central + 4)
    return bytes(found)


def encrypt(content, password):
    keys = [0x12345678, 0x23456789, 0x34567890]

    def update(byte):
        keys[0] = crc_of_byte(byte, keys[0])
        keys[1] = ((keys[1] + (keys[0] & 255)) * 134775813 + 1) % 2**32
        keys[2] = crc_of_byte(keys[1] >> 24, keys[2])

    for byte in password.encode():
        update(byte)
    result = bytearray()
    for byte in content:
        key = keys[2] | 2
        result.append(byte ^ (key * (key ^ 1) >> 8) & 255)
        update(byte)
    return bytes(result)


def crc_of_byte(byte, crc):
    """Returns the CRC-32 after a byte, without the inversion of bits at the start and the end."""
    return zlib.crc32(bytes([byte]), crc ^ 0xFFFFFFFF) ^ 0xFFFFFFFF


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
