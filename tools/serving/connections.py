"""uvicorn's HTTP protocol with a limit of connections and of the time that it waits for a client.

uvicorn itself waits for ever for the rest of a request's headers, and for a client that does not read its answer.
"""

import json

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

MAX_CONNECTIONS = 500  # below the usual limit of 1,024 open files
FULL = b'{"error":"too many connections: try again later"}'


def response(status: str, body: bytes, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", "Content-Type: application/json", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "Connection: close", "", ""]).encode() + body


def make_protocol(seconds: float) -> type[H11Protocol]:
    """Returns the protocol. It closes connections whose client is waited for longer than `seconds`."""

    class Connection(H11Protocol):
        deadline = None  # timer, set while the client is waited for and no request is answered

        def connection_made(self, transport):
            super().connection_made(transport)
            if len(self.connections) > MAX_CONNECTIONS:
                transport.write(response("503 Service Unavailable", FULL, "Retry-After: 1"))
                transport.close()
            self.watch()

        def data_received(self, data):
            super().data_received(data)
            self.watch()

        def on_response_complete(self):
            super().on_response_complete()
            self.watch()

        def connection_lost(self, exc):
            super().connection_lost(exc)
            self.stop_watching()

        def send_400_response(self, msg):
            body = json.dumps({"error": msg}).encode()
            if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
                self.transport.write(response("400 Bad Request", body))
            self.transport.close()

        def watch(self):
            is_answering = self.cycle is not None and not self.cycle.response_complete
            if is_answering:
                self.stop_watching()
            elif self.deadline is None:
                self.deadline = self.loop.call_later(seconds, self.transport.abort)

        def stop_watching(self):
            if self.deadline is not None:
                self.deadline.cancel()
                self.deadline = None

    return Connection
