"""The HTTP interface: the numbers of tools/predict.py, the options, and an answer in one line to every bad request."""

import asyncio
import json
import re
import threading

import pytest

pytest.importorskip("fastapi", reason="needs requirements-serve.txt")

import numpy as np
from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from starlette.requests import ClientDisconnect, Request

from tests.tools.serving.images import encoded, noise, png_bomb
from tests.user_errors import assert_facts
from tools import predict
from tools.serving.app import make_app
from tools.serving.service import Service, Settings, unless_disconnected
from tools.serving.uploads import Limits

GREY_16 = Image.fromarray((np.arange(1200).reshape(30, 40) * 54).astype(np.uint16))
FILES = {
    "a.png": encoded(noise()),
    "b.jpg": encoded(noise(300, 200, 1), "JPEG"),
    "c.png": encoded(GREY_16),
    "d.webp": encoded(noise(64, 64, 2), "WEBP"),
}
LIMITS = Limits(image_bytes=150_000, request_bytes=400_000, images=5, pixels=1_000_000)


@pytest.fixture(scope="module")
def client(model):
    with TestClient(make_app(Service(model, Settings(limits=LIMITS, max_classes=3)))) as client:
        yield client


def form(*files, field="images"):
    return [(field, file) for file in files]


def assert_error(response, status: int, *facts) -> None:
    assert response.status_code == status, response.text
    assert list(response.json()) == ["error"]
    assert_facts(response.json()["error"], *facts)
    assert "Traceback" not in response.text and "Error(" not in response.text


def predicted(run, tmp_path, *options) -> list[dict]:
    """Returns what tools/predict.py writes for FILES."""
    for name, data in FILES.items():
        (tmp_path / name).write_bytes(data)
    paths = [str(tmp_path / name) for name in FILES]
    assert predict.main([str(run), *paths, "--json", str(tmp_path / "out.json"), *options]) == 0
    found = json.loads((tmp_path / "out.json").read_text())
    return [{**item, "image": item["image"].rpartition("/")[2]} for item in found]


def assert_equal(answer: list[dict], expected: list[dict]) -> None:
    assert [item["image"] for item in answer] == [item["image"] for item in expected]
    for item, other in zip(answer, expected, strict=True):
        assert [c["name"] for c in item["classes"]] == [c["name"] for c in other["classes"]]
        probabilities = [[c["probability"] for c in each["classes"]] for each in (item, other)]
        assert probabilities[0] == pytest.approx(probabilities[1], abs=1e-5)
        assert item.get("set") == other.get("set")


@pytest.mark.parametrize(
    "query, options",
    [
        ("", ()),
        ("?top=2", ("--top", "2")),
        ("?coverage=0.8", ("--conformal", "0.8")),
        ("?classes=cat&classes=six&template=a+{}.", ("--classes", "cat,six", "--template", "a {}.")),
        ("?template=a+{}.", ("--template", "a {}.")),
    ],
)
def test_the_answers_are_those_of_predict(client, run, tmp_path, query, options):
    response = client.post(f"/predict{query}", files=form(*FILES.items()))
    assert response.status_code == 200, response.text
    assert_equal(response.json()["predictions"], predicted(run, tmp_path, *options))


@pytest.mark.parametrize("headers", [{}, {"Content-Type": "image/png"}, {"Content-Type": "x/y; charset=z"}])
def test_one_image_as_the_body(client, headers):
    alone = client.post("/predict", content=FILES["a.png"], headers=headers).json()["predictions"]
    (in_form,) = client.post("/predict", files=form(("a.png", FILES["a.png"]))).json()["predictions"]
    assert len(alone) == 1
    assert_equal([{**alone[0], "image": "a.png"}], [in_form])


def test_all_classes_and_an_own_set(client, model):
    classes = client.get("/classes").json()
    assert classes == model.classifier.classnames and len(classes) == 5
    (item,) = client.post("/predict?top=100", content=FILES["a.png"]).json()["predictions"]
    assert {entry["name"] for entry in item["classes"]} == set(classes)
    assert sum(entry["probability"] for entry in item["classes"]) == pytest.approx(1, abs=1e-5)


BAD = {
    "empty": (b"", 400, ["empty"]),
    "text": (b"hello", 415, ["JPEG"]),
    "truncated": (FILES["b.jpg"][:-500], 400, ["truncated"]),
    "bytes": (bytes(150_001), 413, ["at most 0.143 MiB"]),
    "pixels": (png_bomb(3000, 3000), 413, ["3,000 x 3,000", "1,000,000"]),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_images_are_named(client, name):
    data, status, facts = BAD[name]
    assert_error(client.post("/predict", content=data), status, *facts)
    response = client.post("/predict", files=form(("good.png", FILES["a.png"]), (f"{name}.jpg", data)))
    assert_error(response, status, f"{name}.jpg", *facts)


@pytest.mark.parametrize(
    "query, facts",
    [
        ("top=0", ["'top'", "1"]),
        ("top=x", ["'top'", "integer"]),
        ("topk=3", ["'topk'", "top, classes"]),
        ("coverage=1", ["'coverage'", "less than 1"]),
        ("coverage=0.99999", ["0.99999", "smaller"]),
        ("coverage=nan", ["'coverage'"]),
        ("coverage=0.9&classes=cat&classes=dog", ["calibrated"]),
        ("classes=a&classes=a", ["'a'"]),
        ("classes=", ["''"]),
        ("classes=a%0Ab", ["U+000A"]),
        ("classes=a&classes=b&classes=c&classes=d", ["4", "3"]),
        ("classes=" + "very+" * 100, ["77 tokens"]),
        ("template=no+place", ["{}"]),
    ],
)
def test_bad_options(client, query, facts):
    assert_error(client.post(f"/predict?{query}", content=FILES["a.png"]), 422, *facts)


def test_bad_forms(client):
    image = ("a.png", FILES["a.png"])
    assert_error(client.post("/predict", files=form(image, field="photo")), 422, "'photo'", "'images'")
    assert_error(client.post("/predict", files=form(image), data={"top": "3"}), 422, "'top'", "/predict?top=3")
    assert_error(client.post("/predict", files=form(*[image] * 6)), 413, "5")
    assert_error(client.post("/predict", files=form(*[("a", bytes(140_000))] * 3)), 413, "MiB")
    assert_error(client.post("/predict", data={f"f{i}": "" for i in range(99)}, files=form(image)), 413, "10")
    multipart = {"Content-Type": "multipart/form-data; boundary=x"}
    part = b'--x\r\nContent-Disposition: form-data; name="images"; filename="%s.png"\r\n\r\n%s\r\n'
    parts = part % (b"a", FILES["a.png"]) + part % (b"b", FILES["a.png"])
    assert client.post("/predict", content=parts + b"--x--", headers=multipart).status_code == 200
    assert_error(client.post("/predict", content=parts, headers=multipart), 400, "boundary")
    assert_error(client.post("/predict", content=parts[:-300], headers=multipart), 400, "boundary")
    assert_error(client.post("/predict", content=b"--x--", headers=multipart), 400, "images=@")
    assert_error(client.post("/predict", content=b"", headers=multipart), 400, "images=@")
    assert_error(client.post("/predict", content=b"junk", headers=multipart), 400, "images=@")
    without = {"Content-Type": "multipart/form-data"}
    assert_error(client.post("/predict", content=parts, headers=without), 400, "images=@")
    gzip = {"Content-Encoding": "gzip"}
    assert_error(client.post("/predict", content=FILES["a.png"], headers=gzip), 415, "gzip")
    surrogate = {"Content-Type": "multipart/form-data; boundary=x; charset=raw_unicode_escape"}
    named = part.replace(b"%s.png", b"\\ud800.png") % b"junk" + b"--x--"
    assert_error(client.post("/predict", content=named, headers=surrogate), 415, r"\ud800.png")


def test_other_requests(client):
    assert_error(client.get("/nothing"), 404, "/docs")
    assert_error(client.get("/predict"), 405, "/docs")
    origin = {"Origin": "https://example.com"}
    response = client.post("/predict", content=FILES["a.png"], headers=origin)
    assert response.status_code == 200 and not [name for name in response.headers if name.startswith("access-control")]


HEADERS = st.sampled_from(
    ["image/png", "application/json", "multipart/form-data", "multipart/form-data; boundary=x",
     "multipart/form-data; boundary=x; charset=utf-16", "multipart/form-data; boundary=", "\xff;\x80", ""]
)  # fmt: skip
FRAGMENTS = st.sampled_from(
    [b"--x\r\n", b"--x--", b"--x--\r\n", b"\r\n", b"\r\n\r\n", b'Content-Disposition: form-data; name="images"', b";",
     b'; filename="a.png"', b"filename*=UTF-8''%ff", b"Content-Type: image/png\r\n", FILES["a.png"], b"\0", b"\xff" * 9,
     b"Content-Disposition: form-data\r\n", b"name=\r\n", b'"', b"A" * 5000]
)  # fmt: skip


@given(HEADERS, st.lists(FRAGMENTS | st.binary(max_size=20), max_size=12), st.text(max_size=5))
@settings(max_examples=150, deadline=None)
def test_any_request_has_an_answer(client, content_type, fragments, template):
    headers = {"Content-Type": content_type.encode("latin-1")}
    response = client.post("/predict", params={"template": template}, content=b"".join(fragments), headers=headers)
    if response.status_code == 200:
        assert list(response.json()) == ["predictions"]
    else:
        assert 400 <= response.status_code < 500
        assert_error(response, response.status_code)


def test_what_the_service_says_of_itself(client, model):
    about = client.get("/version").json()
    assert about["method"] == "CLIPFit" and about["backbone"] == "micro" and about["classes"] == 5
    assert re.fullmatch("[0-9a-f]{64}", about["weights"])
    assert about["temperature"] == model.classifier.calibration.temperature != 1
    health = client.get("/health")
    assert health.status_code == 200 and health.json()["live"] and health.json()["ready"]
    assert health.json()["images_waiting"] == 0 and health.json()["images"] >= health.json()["batches"] > 0


def test_the_documentation_needs_nothing_from_elsewhere(client):
    schema = client.get("/openapi.json").json()
    for path in ("/", "/docs"):
        page = client.get(path)
        assert page.status_code == 200 and "http" not in page.text and "<script" not in page.text
        assert all(path in page.text for path in schema["paths"])
    body = schema["paths"]["/predict"]["post"]["requestBody"]["content"]
    assert set(body) == {"multipart/form-data", "image/*"}
    assert {item["name"] for item in schema["paths"]["/predict"]["post"]["parameters"]} == {
        "top", "classes", "template", "coverage",
    }  # fmt: skip


def test_a_full_service_says_when_to_try_again(model):
    service = Service(model, Settings(capacity=2))
    with TestClient(make_app(service)) as client, service.batches.admit(1) as place:
        response = client.post("/predict", files=form(*FILES.items()))
        assert_error(response, 503)
        assert int(response.headers["Retry-After"]) > 0
        with service.batches.admit(1):
            assert client.get("/health").status_code == 503
            assert_error(client.post("/predict", content=FILES["a.png"]), 503)
        assert place is not None and client.post("/predict", content=FILES["a.png"]).status_code == 200
    assert service.batches.admitted == 0


def test_memory_of_all_requests_is_limited_and_given_back(model):
    with TestClient(make_app(Service(model, Settings(memory=500)))) as client:
        for _ in range(3):
            assert_error(client.post("/predict", content=FILES["b.jpg"]), 503)
            assert client.post("/predict", content=encoded(noise(4, 4))).status_code == 200


def test_other_classes_can_be_forbidden(model):
    with TestClient(make_app(Service(model, Settings(max_classes=0)))) as client:
        assert_error(client.post("/predict?classes=a", content=FILES["a.png"]), 422, "classes")
        assert client.post("/predict", content=FILES["a.png"]).status_code == 200


def test_a_bug_is_one_line_for_the_client(model, monkeypatch):
    service = Service(model, Settings())
    monkeypatch.setattr(service.batches, "_run", lambda key, values: 1 / 0)
    with TestClient(make_app(service), raise_server_exceptions=False) as client:
        assert_error(client.post("/predict", content=FILES["a.png"]), 500, "log")
        assert client.get("/health").json()["live"]


def test_the_work_for_a_client_that_has_left_is_cancelled():
    async def ask(messages):
        async def receive():
            return next(messages, None) or await asyncio.Future()

        work = asyncio.get_running_loop().create_future()
        request = Request({"type": "http"}, receive)
        with pytest.raises(ClientDisconnect):
            await unless_disconnected(request, work, 60)
        return work.cancelled()

    assert asyncio.run(ask(iter([{"type": "http.request"}, {"type": "http.disconnect"}])))


def test_a_timeout_is_busy(model, monkeypatch):
    service = Service(model, Settings(timeout=0.1))
    go = threading.Event()
    run = service.batches._run
    monkeypatch.setattr(service.batches, "_run", lambda *args: go.wait(60) and run(*args))
    with TestClient(make_app(service)) as client:
        assert_error(client.post("/predict", content=FILES["a.png"]), 503)
        assert service.batches.admitted == 0
        go.set()
