"""Measures the throughput and latency of the service, compared with tools/predict.py on the same images.

    python benchmarks/serve.py             # micro CLIP and ViT-B/16 with random weights, 1, 8 and 32 requests at a time
    python benchmarks/serve.py --quick     # checks that all of it runs

The service (tools/serve.py), the prediction (`classify` of tools/predict.py, without loading the model) and the client
are processes of their own on this machine. Each request has one JPEG of 500x375. Clients have as many connections as
there are requests at a time, and send the next request when they have the answer. Predictions have batches of as many
images. The two alternate. The last row mixes in uploads that are no images: each must be refused, the others answered.
"""

import argparse
import http.client
import itertools
import json
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from cases import machine, random_weights  # makes the project importable
from loading import make_jpegs

ROOT = Path(__file__).resolve().parent.parent
MODELS = ("micro", "ViT-B/16")  # the micro CLIP has the weights in assets/
BAD_UPLOADS = (b"no image", b"\xff\xd8\xff\xe0" + bytes(1000), b"")
BAD_SHARE = 10  # each tenth upload


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=MODELS, help=f"CLIPs (default: {' '.join(MODELS)})")
    parser.add_argument("--at-a-time", type=int, nargs="+", default=[1, 8, 32], help="requests (default: 1 8 32)")
    parser.add_argument("--seconds", type=float, default=20, help="per measurement (default: 20)")
    parser.add_argument("--rounds", type=int, default=3, help="default: 3")
    parser.add_argument("--classes", type=int, default=100, help="default: 100")
    parser.add_argument("--quick", action="store_true", help="one round of a second, 1 and 8 requests, 10 classes")
    parser.add_argument("--predict", help=argparse.SUPPRESS)  # a process of this benchmark
    args = parser.parse_args()
    if args.predict:
        predict(json.loads(args.predict))
        return
    if args.quick:
        args.at_a_time, args.seconds, args.rounds, args.classes = [1, 8], 1, 1, 10
    with tempfile.TemporaryDirectory() as folder:
        paths = [item.impath for item in make_jpegs(folder, 64)]
        for model in args.models:
            with nullcontext(model) if model == "micro" else random_weights(model) as backbone:
                report(args, model, measure(args, backbone, paths))


def measure(args, backbone: str, paths: list[str]) -> dict:
    """Returns {requests at a time, "bad" for the last row: a result per round}."""
    images = [Path(path).read_bytes() for path in paths]
    names = ",".join(f"class {i}" for i in range(args.classes))
    found = {at_a_time: [] for at_a_time in (*args.at_a_time, "bad")}
    with service(backbone, names) as port, prediction(backbone, names, paths) as predicted:
        for round_ in range(args.rounds + 1):  # the first one warms up
            for key, results in found.items():
                at_a_time = max(args.at_a_time) if key == "bad" else key
                seconds = args.seconds if round_ else args.seconds / 10
                rate = predicted(at_a_time, seconds)
                served = load(port, images, at_a_time, seconds, BAD_SHARE if key == "bad" else 0)
                if round_:
                    results.append({"predicted": rate, **served})
    return found


@contextmanager
def service(backbone: str, names: str):
    """Yields the port of a service of zero-shot CLIP."""
    command = [sys.executable, "tools/serve.py", "zero-shot", "--backbone", backbone, "--classes", names, "--port", "0"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        line = process.stdout.readline()
        found = re.search(r":(\d+)", line.partition("http://")[2])
        if not found:
            raise RuntimeError(f"the service did not start: {' '.join(command)}")
        yield int(found[1])
    finally:
        process.terminate()
        process.wait()


@contextmanager
def prediction(backbone: str, names: str, paths: list[str]):
    """Yields a function (batch size, seconds) -> images per second, that predicts in another process."""
    request = json.dumps({"backbone": backbone, "classes": names, "paths": paths})
    command = [sys.executable, __file__, "--predict", request]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def rate(batch_size: int, seconds: float) -> float:
        process.stdin.write(json.dumps([batch_size, seconds]) + "\n")
        process.stdin.flush()
        return float(process.stdout.readline())

    try:
        rate(1, 0)  # waits until the model is loaded
        yield rate
    finally:
        process.stdin.close()
        process.wait()


def predict(request: dict) -> None:
    """Prints images per second for each [batch size, seconds] on stdin."""
    import runtime  # noqa: F401  (makes dassl importable)
    from tools.predict import classify
    from tools.predicting.models import load_for_classes

    options = dict(run="zero-shot", epoch=None, template="", device=None, precision="")
    classifier = load_for_classes(SimpleNamespace(**options, backbone=request["backbone"], classes=request["classes"]))
    for line in sys.stdin:
        batch_size, seconds = json.loads(line)
        paths = itertools.cycle(request["paths"])
        n, start = 0, time.perf_counter()
        while not n or time.perf_counter() - start < seconds:
            chunk = list(itertools.islice(paths, max(batch_size, 8)))
            n += len(list(classify(classifier, chunk, batch_size, 5)))
        print(n / (time.perf_counter() - start), flush=True)


def load(port: int, images: list[bytes], at_a_time: int, seconds: float, bad_share: int = 0) -> dict:
    """Sends requests for some seconds.

    Returns images per second, the latencies in seconds of the requests that were answered with a prediction, and the
    numbers of images per batch, of bad uploads, and of wrong answers: to a good upload any but 200, to a bad one any
    but 4xx.
    """
    before = health(port)
    results, failures = [], []
    start = time.perf_counter()

    def client(first: int) -> None:
        try:
            results.extend(requests(port, images, range(first, 10**9, at_a_time), start + seconds, bad_share))
        except OSError as error:
            failures.append(error)

    threads = [threading.Thread(target=client, args=[first]) for first in range(at_a_time)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    taken = time.perf_counter() - start
    after = health(port)
    answered = [latency for is_bad, status, latency in results if not is_bad and status == 200]
    wrong = [r for r in results if (400 <= r[1] < 500 if r[0] else r[1] == 200) is False]
    return {
        "rate": len(answered) / taken,
        "latencies": answered,
        "per_batch": (after["images"] - before["images"]) / max(1, after["batches"] - before["batches"]),
        "bad": sum(is_bad for is_bad, _, _ in results),
        "wrong": len(wrong) + len(failures),
    }


def requests(port: int, images: list[bytes], numbers, until: float, bad_share: int):
    """Sends requests on one connection. Yields (whether the upload was bad, status, seconds)."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    for number in numbers:
        start = time.perf_counter()
        if start > until:
            break
        is_bad = bool(bad_share) and number % bad_share == 0
        body = BAD_UPLOADS[number // bad_share % len(BAD_UPLOADS)] if is_bad else images[number % len(images)]
        connection.request("POST", "/predict", body, {"Content-Type": "image/jpeg"})
        response = connection.getresponse()
        response.read()
        yield is_bad, response.status, time.perf_counter() - start
    connection.close()


def health(port: int) -> dict:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    connection.request("GET", "/health")
    content = json.load(connection.getresponse())
    connection.close()
    return content


def report(args, model: str, found: dict) -> None:
    print(f"\n{model}, {args.classes} classes, median of {args.rounds} rounds of {args.seconds:g} s; {machine()}\n")
    print("| requests at a time | images per second | p50, ms | p95, ms | p99, ms | images per batch | ", end="")
    print("/ predict, same batch | / predict, best | bad uploads | wrong answers |")
    print("| ---: |" + " ---: |" * 9)
    best = max(statistics.median(r["predicted"] for r in results) for results in found.values())
    for key, results in found.items():
        rate, per_batch = (statistics.median(r[name] for r in results) for name in ("rate", "per_batch"))
        latencies = [1000 * latency for r in results for latency in r["latencies"]]
        p50, p95, p99 = np.percentile(latencies or [np.nan], (50, 95, 99))
        ratio = statistics.median(r["rate"] / r["predicted"] for r in results)
        name = f"{max(args.at_a_time)}, with bad uploads" if key == "bad" else key
        bad, wrong = (sum(r[name] for r in results) for name in ("bad", "wrong"))
        print(f"| {name} | {rate:.3g} | {p50:.3g} | {p95:.3g} | {p99:.3g} | {per_batch:.1f} | ", end="")
        print(f"{ratio:.2f} | {rate / best:.2f} | {bad:,} | {wrong:,} |")


if __name__ == "__main__":
    main()
