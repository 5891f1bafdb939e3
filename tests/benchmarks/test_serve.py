"""The load generator counts answers and refusals, and the table shows the right ratios."""

import argparse
import importlib.util
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.benchmarks.tables import find_row, numbers


@pytest.fixture(scope="module")
def bench():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path("benchmarks").resolve()))
        spec = importlib.util.spec_from_file_location("serve_benchmark", "benchmarks/serve.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield module


class Service(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    images = 0

    def do_GET(self):
        self.answer(200, b'{"images": %d, "batches": %d}' % (Service.images, Service.images // 2))

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        Service.images += body in (b"good", b"refused")
        self.answer({b"good": 200, b"refused": 503}.get(body, 415), b"{}")

    def answer(self, status, body):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture
def port():
    with ThreadingHTTPServer(("127.0.0.1", 0), Service) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def test_answers_are_counted(bench, port):
    found = bench.load(port, [b"good"], at_a_time=3, seconds=0.2)
    assert found["wrong"] == found["bad"] == 0
    assert len(found["latencies"]) > 3 and found["rate"] > 0 and found["per_batch"] == pytest.approx(2, rel=0.3)
    found = bench.load(port, [b"good"], at_a_time=3, seconds=0.2, bad_share=2)
    assert found["bad"] > 0 and found["wrong"] == 0
    found = bench.load(port, [b"good", b"refused"], at_a_time=2, seconds=0.1)
    assert found["wrong"] > 0


def test_table(bench, capsys):
    args = argparse.Namespace(classes=10, rounds=2, seconds=1, at_a_time=[1, 8])

    def result(rate, predicted, latencies, bad=0):
        shared = {"per_batch": 4, "wrong": 0}
        return {"rate": rate, "predicted": predicted, "latencies": latencies, "bad": bad, **shared}

    found = {
        1: [result(5, 10, [0.1] * 96 + [1] * 4)] * 2,
        8: [result(18, 20, [0.5])] * 2,
        "bad": [result(8, 20, [], 3)] * 2,
    }
    bench.report(args, "micro", found)
    out = capsys.readouterr().out
    # images per second, p50, p95, p99, images per batch, / predict with the same batch, / best, bad uploads, wrong
    assert numbers(find_row(out, "1")) == [5, 100, 100, 1000, 4, 0.5, 0.25, 0, 0]
    assert numbers(find_row(out, "8"))[-4:] == [0.9, 0.9, 0, 0]
    assert numbers(find_row(out, "8, with bad uploads"))[-4:] == [0.4, 0.4, 6, 0]
