"""The program: its address, concurrent requests, slow and broken clients, and how it stops."""

import json
import re
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from types import SimpleNamespace

import pytest

pytest.importorskip("fastapi", reason="needs requirements-serve.txt")

from tests.fork_server import python
from tests.tools.serving.images import encoded, noise
from tests.user_errors import assert_facts, assert_user_error
from tools import serve
from tools.serving import server as serving
from tools.serving.connections import MAX_CONNECTIONS

IMAGE = encoded(noise())
SECONDS = 60


@pytest.fixture(scope="module")
def start(run):
    """start(*options) -> the running service: its process, port and URL."""
    processes = []

    def start_service(*options):
        command = [python(), "tools/serve.py", str(run), "--port", "0", *options]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        processes.append(process)
        line = process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:(\d+)", line)
        assert found, (line, process.poll() and process.stderr.read())
        assert_facts(line, "CLIPFit", "micro", "5 classes")
        return SimpleNamespace(process=process, port=int(found[1]), url=found[0])

    yield start_service
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def service(start):
    return start("--wait", "2000")


@pytest.fixture(scope="module")
def impatient(start):
    """A service that waits half a second for its clients."""
    return start("--timeout", "0.5")


def ask(service, path, data=None, headers=()):
    """Returns (status, JSON)."""
    request = urllib.request.Request(service.url + path, data, {"Content-Type": "image/png", **dict(headers)})
    try:
        with urllib.request.urlopen(request, timeout=SECONDS) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def connect(service) -> socket.socket:
    return socket.create_connection(("127.0.0.1", service.port), timeout=SECONDS)


def read_all(connection) -> bytes:
    """Returns what comes until the service closes the connection."""
    parts = []
    try:
        while part := connection.recv(65536):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


def post(length: int, *headers: str) -> bytes:
    lines = ["POST /predict HTTP/1.1", "Host: a", "Content-Type: image/png", f"Content-Length: {length}", *headers]
    return "\r\n".join([*lines, "", ""]).encode()


CLOSE = "Connection: close"


def status_of(answer: bytes) -> int:
    return int(answer.split(None, 2)[1])


def error_of(answer: bytes) -> str:
    return json.loads(answer.partition(b"\r\n\r\n")[2])["error"]


def test_concurrent_requests_run_as_one_batch(service):
    image = encoded(noise(1500, 1500), "JPEG")  # while the first is decoded, the others arrive
    before = ask(service, "/health")[1]
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(ask(service, "/predict", image))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [status for status, _ in answers] == [200] * 8
    after = ask(service, "/health")[1]
    assert after["images"] - before["images"] == 8
    assert after["batches"] - before["batches"] < 8
    assert after["images_waiting"] == 0


def test_several_requests_on_one_connection_at_once(service):
    with connect(service) as connection:
        connection.sendall((post(len(IMAGE)) + IMAGE) * 3 + post(4, CLOSE) + b"junk")
        answer = read_all(connection)
    assert [int(status) for status in re.findall(rb"HTTP/1.1 (\d+)", answer)] == [200, 200, 200, 415]


@pytest.mark.parametrize(
    "request_, status",
    [
        (b"junk\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n", 400),
        (b"GET / HTTP/1.1\r\nA: " + b"a" * 100_000, 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"a: b\r\n" * 100_000, 400),
        (b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", 400),
        (post(5, "Content-Length: 6") + b"12345", 400),
        (b"POST /predict HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", None),
        (post(10**15), 413),
        (post(3) + IMAGE, None),  # the rest is no request
        (post(len(IMAGE) + 1, CLOSE) + IMAGE, 408),
        (b"GET /health HTT", None),
        (b"", None),
    ],
    ids=range(12),
)
def test_broken_clients_are_answered_or_dropped(impatient, request_, status):
    with connect(impatient) as connection:
        try:
            connection.sendall(request_)
        except OSError:
            pass  # answered already
        answer = read_all(connection)  # fails if the service does not close the connection
    if status is not None:
        assert status_of(answer) == status
        assert_facts(error_of(answer))
    assert b"Traceback" not in answer
    code, health = ask(impatient, "/health")
    assert code == 200 and health["images_waiting"] == 0


def test_slow_clients_do_not_keep_others_waiting(service):
    slow = [connect(service) for _ in range(50)]
    try:
        for connection in slow:
            connection.sendall(post(len(IMAGE)) + IMAGE[:10])
        assert ask(service, "/predict", IMAGE)[0] == 200
    finally:
        for connection in slow:
            connection.close()


def test_a_client_that_leaves_is_dropped(service):
    before = ask(service, "/health")[1]["images"]
    with connect(service) as connection:
        connection.sendall(post(len(IMAGE)) + IMAGE[:-1])
    assert ask(service, "/predict", IMAGE)[0] == 200
    health = ask(service, "/health")[1]
    assert health["images"] == before + 1 and health["images_waiting"] == 0


def test_connections_are_limited(service):
    connections = [connect(service) for _ in range(MAX_CONNECTIONS + 5)]
    try:
        answer = read_all(connections[-1])
        assert status_of(answer) == 503 and b"Retry-After" in answer
        assert_facts(error_of(answer))
    finally:
        for connection in connections:
            connection.close()
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        try:
            assert ask(service, "/predict", IMAGE)[0] == 200
            break
        except (OSError, AssertionError):
            time.sleep(0.1)
    else:
        pytest.fail("the service does not recover")


@pytest.mark.parametrize("number, code", [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)])
def test_a_signal_stops_it_after_what_it_has_begun(start, number, code):
    service = start("--verbose") if number == signal.SIGTERM else start()
    connection = connect(service)
    connection.sendall(post(len(IMAGE)) + IMAGE[:100])
    ask(service, "/health")  # the first request has begun by now
    service.process.send_signal(number)
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:  # it accepts nothing new
        try:
            connect(service).close()
            time.sleep(0.02)
        except OSError:
            break
    connection.sendall(IMAGE[100:])
    assert status_of(read_all(connection)) == 200
    out, err = service.process.communicate(timeout=SECONDS)
    assert service.process.returncode == code and not out and "Traceback" not in err
    assert len(re.findall(r"POST .*/predict 200, 1 image", err)) == 1
    assert ("127.0.0.1" in err) == ("/health" in err) == (number == signal.SIGTERM)


def test_the_log_has_nothing_of_the_client(start):
    service = start()
    assert ask(service, "/predict?classes=secret&classes=b", IMAGE)[0] == 200
    assert ask(service, "/secret", IMAGE)[0] == 404
    with connect(service) as connection:
        connection.sendall(b"SECRET /secret HTTP/1.1\r\nHost: a\r\n\r\nGET /secret HTTP/1.1\r\nsecret\r\n\r\n")
        read_all(connection)
    service.process.terminate()
    _, err = service.process.communicate(timeout=SECONDS)
    assert "secret" not in err.lower() and "127.0.0.1" not in err
    assert "POST /predict 200, 1 image" in err and " 404" in err


def fails(run, capsys, *options):
    code = serve.main([str(run), *options])
    return code, capsys.readouterr().err


def test_user_errors(run, service, capsys):
    assert_user_error(fails(run, capsys, "--port", str(service.port)), service.port, "--port")
    assert_user_error(fails(run, capsys, "--host", "no.such.host.invalid"), "--host", "no.such.host.invalid")
    assert_user_error(fails(run, capsys, "--port", "70000"), "--port", "70000", "65535")
    assert_user_error(fails(run, capsys, "--batch-size", "0"), "--batch-size", "0")
    assert_user_error(fails(run, capsys, "--timeout", "nan"), "--timeout", "nan")
    assert_user_error(fails(run, capsys, "--wait", "-1"), "--wait", "-1")
    assert_user_error(fails(run, capsys, "--queue", "4"), "--queue", "--max-images")
    assert_user_error(fails(run / "none", capsys, "--port", "0"), run / "none")


@pytest.mark.parametrize("host, is_public", [("127.0.0.1", False), ("localhost", False), ("0.0.0.0", True)])
def test_addresses_that_others_can_reach(host, is_public):
    with serving.bind(host, 0) as bound:
        assert serving.is_public(bound) == is_public
        assert re.fullmatch(r"http://[\w.:\[\]]+:[1-9]\d*", serving.url(bound))


def test_it_starts_as_a_command(run):
    command = [python(), "-m", "clipfit", "serve", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 0 and "--max-pixels" in done.stdout
