"""tools/demo.py: the page in Chromium, user errors, and what is left after it.

gradio needs an older Pillow than requirements-test.txt installs, so these tests are for an environment of its own:

    pip install -r requirements-test.txt && pip install -r requirements-demo.txt
"""

import importlib.util
import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tools.browser import BROWSER
from tests.tools.devtools import Tab
from tests.tools.serving.images import encoded, noise, png_bomb
from tests.tools.tuned import trained  # noqa: F401  (fixture)
from tests.user_errors import assert_user_error
from tools import demo, predict

ROOT = Path(__file__).resolve().parents[2]
MISSING = [
    *([] if importlib.util.find_spec("gradio") else ["gradio is not installed: pip install -r requirements-demo.txt"]),
    *([] if BROWSER else ["Chromium is not installed: apt install chromium"]),
]
pytestmark = pytest.mark.skipif(bool(MISSING), reason="; ".join(MISSING))
# The program prints each connection to another computer. A look-up of a name counts as well.
WATCHED = """
import sys

def watch(event, args):
    if event in ("socket.connect", "socket.getaddrinfo"):
        host = args[1][0] if event == "socket.connect" and isinstance(args[1], tuple) else args[0]
        if event == "socket.connect" and not isinstance(args[1], tuple):
            return
        if host not in ("127.0.0.1", "::1", "localhost"):
            print("OUTSIDE", event, args, file=sys.stderr, flush=True)

sys.addaudithook(watch)
from tools import demo
sys.exit(demo.main(sys.argv[1:]))
"""
HOSTILE = ["<img src=x onerror=document.title='hacked'>", "{{7*7}}", "${document.title='hacked'}", "nine"]


class Program:
    """A running page. Its temporary files and its working directory are in `folder`."""

    def __init__(self, folder: Path, *arguments: str):
        self.temporary, self.home = folder / "tmp", folder / "home"
        for path in (self.temporary, self.home):
            path.mkdir(parents=True)
        environment = {**os.environ, "TMPDIR": str(self.temporary), "HOME": str(self.home), "PYTHONPATH": str(ROOT)}
        environment |= {"http_proxy": "http://proxy.invalid:1", "no_proxy": ""}  # requests to itself would fail
        self.process = subprocess.Popen(
            [sys.executable, "-c", WATCHED, *map(str, arguments), "--port", "0"], cwd=self.home, env=environment,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        line = self.process.stdout.readline()
        assert line.startswith("Page: http://127.0.0.1:"), line + self.process.stderr.read()
        self.url = line.split()[1]

    def files(self) -> list[Path]:
        return [path for path in self.temporary.rglob("*") if path.is_file()]

    def stop(self, number=signal.SIGTERM) -> tuple[int, str]:
        """Returns exit code and stderr."""
        self.process.send_signal(number)
        _, err = self.process.communicate(timeout=60)
        return self.process.returncode, err


@pytest.fixture(scope="module")
def run(trained):  # noqa: F811
    return trained("CLIPFit", "DATASET.NUM_SHOTS", "4", backbone="micro")


@pytest.fixture(scope="module")
def program(run, tmp_path_factory):
    program = Program(tmp_path_factory.mktemp("demo"), run.output_dir)
    yield program
    program.process.kill()
    program.process.communicate()


@pytest.fixture(scope="module")
def browser(program, tmp_path_factory):
    with Tab(tmp_path_factory.mktemp("browser")) as tab:
        yield tab


@pytest.fixture
def tab(browser, program):
    """A fresh page."""
    browser.resize(1200, 900)
    browser.open(program.url)
    browser.wait("document.querySelector('#update') && document.querySelector('#images input[type=file]')")
    return browser


def results(tab) -> list[list[dict[str, float]]]:
    """Returns for each image and model the shown classes and percentages."""
    return tab.evaluate(
        """[...document.querySelectorAll('.demo-card')].map(card => [...card.querySelectorAll('.demo-bars')].map(list =>
        Object.fromEntries([...list.children].map(li => [li.children[0].textContent,
        parseFloat(li.children[1].textContent)]))))"""
    )


def wait_for(tab, expression: str) -> list:
    tab.wait(f"document.querySelector('#results') && ({expression})")
    return results(tab)


def names_shown(names) -> str:
    """Returns a JavaScript expression: the first list shows these names."""
    read = "[...document.querySelectorAll('.demo-bars')[0]?.children ?? []].map(li => li.children[0].textContent)"
    return f"JSON.stringify({read}.sort()) == JSON.stringify({json.dumps(sorted(names))})"


def predicted(capsys, run, image, *options) -> dict[str, float]:
    capsys.readouterr()
    assert predict.main([str(run), str(image), *options]) == 0
    lines = capsys.readouterr().out.splitlines()[1:]
    return {name: float(p) for p, name in (re.fullmatch(r" *([\d.]+)%  (.+)", line).groups() for line in lines)}


def test_images_and_other_classes(tab, program, run, capsys, tmp_path):
    """Upload two images, edit the classes and the template; the numbers are those of tools/predict.py."""
    files = [item.impath for item in run.dm.dataset.test[:2]]
    kept = program.files()
    tab.upload("#images input[type=file]", *files)
    found = wait_for(tab, "document.querySelectorAll('.demo-bars').length == 4")
    options = ["--backbone", "micro", "--template", "a photo of the number {}."]
    own = ",".join(run.dm.dataset.classnames)
    for image, columns in zip(files, found, strict=True):
        assert columns[1] == predicted(capsys, run.output_dir, image)
        zero_shot = predicted(capsys, "zero-shot", image, "--classes", own, *options)
        assert columns[0] == pytest.approx(zero_shot, abs=0.011)
    assert program.files() == kept and kept  # the uploads are gone, the examples are there

    names = ["nine", "eight", "seven"]
    tab.fill("#names textarea", "\n".join(names))
    tab.fill("#template textarea, #template input", "a {}!")
    tab.click("#update")
    other = wait_for(tab, names_shown(names))
    options = ["--classes", ",".join(names), "--template", "a {}!"]
    assert other[0][1] == predicted(capsys, run.output_dir, files[0], *options)
    assert other[0][0] == pytest.approx(
        predicted(capsys, "zero-shot", files[0], "--backbone", "micro", *options), abs=0.011
    )
    assert other[0][0] != other[0][1] and len(other) == 2
    tab.click("#reset")
    assert wait_for(tab, names_shown(found[0][0])) == found
    assert "ms" in tab.evaluate("document.querySelector('.demo-times').textContent")


def test_a_test_image_of_the_run(tab):
    tab.click("#examples button")
    assert len(wait_for(tab, "document.querySelectorAll('.demo-bars').length == 2")) == 1
    assert "zero" in tab.evaluate("document.querySelector('.demo-card figcaption').textContent")
    assert tab.evaluate("document.querySelector('.demo-card img').naturalWidth") > 100


def test_an_image_from_the_clipboard(tab):
    origin = tab.evaluate("location.origin")
    tab.call("Browser.grantPermissions", origin=origin, permissions=["clipboardReadWrite", "clipboardSanitizedWrite"])
    tab.call("Page.bringToFront")
    tab.evaluate(
        """new Promise(done => { const canvas = document.createElement('canvas'); canvas.width = canvas.height = 30;
        canvas.getContext('2d').fillRect(3, 3, 9, 20); canvas.toBlob(async image => { await navigator.clipboard.write(
        [new ClipboardItem({'image/png': image})]); done(true); }); })"""
    )
    tab.click("#images button[aria-label='Paste from clipboard']")
    assert len(wait_for(tab, "document.querySelectorAll('.demo-bars').length == 2")) == 1


def test_bad_uploads_are_named_and_others_predicted(tab, program, tmp_path):
    files = {
        "good.png": encoded(noise()),
        "broken.png": encoded(noise())[:-300],
        "no image.png": b"no image",
        "empty.jpg": b"",
        "bomb.png": png_bomb(20_000, 20_000),
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    kept = program.files()
    tab.upload("#images input[type=file]", *(tmp_path / name for name in files))
    assert len(wait_for(tab, "document.querySelectorAll('.demo-bars').length == 2")) == 1
    errors = tab.evaluate("[...document.querySelectorAll('.demo-error')].map(p => p.textContent)")
    assert [next(name for name in files if name in error) for error in errors] == list(files)[1:]
    assert not any("Traceback" in error or "\n" in error for error in errors)
    assert program.files() == kept


def test_too_many_and_too_large_files(tab, program, tmp_path):
    for i in range(18):
        (tmp_path / f"{i}.png").write_bytes(encoded(noise(seed=i)))
    tab.upload("#images input[type=file]", *sorted(tmp_path.glob("*.png")))
    assert len(wait_for(tab, "document.querySelectorAll('.demo-bars').length")) == 16
    assert "18" in tab.evaluate("document.querySelector('.demo-error').textContent")
    large = tmp_path / "large.png"
    with open(large, "wb") as file:
        file.truncate(21 * 2**20)
    before = tab.evaluate("document.body.innerText")
    tab.upload("#images input[type=file]", large)
    tab.wait("/20|size/i.test(document.querySelector('.toast-body, .toast-wrap')?.textContent)")
    assert "Traceback" not in before + tab.evaluate("document.body.innerText")


@pytest.mark.parametrize(
    "names, fact",
    [("", "class name"), ("cat\ncat", "'cat'"), ("a\u202eb", "U+202E"), ("\n".join(map(str, range(10_000))), "2,000")],
)
def test_class_names_that_cannot_be_used(tab, names, fact):
    tab.fill("#names textarea", names)
    tab.click("#update")
    tab.wait(f"document.querySelector('.demo-error')?.textContent.includes({json.dumps(fact)})")
    assert results(tab) == []


def test_hostile_class_names_are_text(tab):
    title = tab.evaluate("document.title")
    tab.fill("#names textarea", "\n".join(HOSTILE))
    tab.click("#examples button")
    wait_for(tab, names_shown(HOSTILE))
    assert tab.evaluate("document.querySelectorAll('#results img').length") == 1
    assert tab.evaluate("document.title") == title


@pytest.mark.parametrize("width", [360, 760, 1280])
@pytest.mark.parametrize("dark", [False, True])
def test_widths_and_colours(browser, program, width, dark):
    browser.resize(width, 900, dark, mobile=width < 500)
    browser.open(program.url)
    browser.click("#examples button")
    wait_for(browser, "document.querySelectorAll('.demo-bars').length == 2")
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    channels = re.findall(r"[\d.]+", browser.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert (sum(map(float, channels[:3])) < 3 * 128) == dark


def test_a_request_that_names_an_url_downloads_nothing(tab, program):
    """In place of an upload, a request may name an address, which gradio would download."""
    tab.evaluate("fetch('/config').then(r => r.json()).then(c => { window.found = c; })")
    tab.wait("window.found")
    call = tab.evaluate("found.dependencies.findIndex(d => d.targets.some(t => t[1] == 'change'))")
    file = {"path": "http://example.com/a.png", "meta": {"_type": "gradio.FileData"}}
    body = {"data": [[{"image": file, "caption": None}], "zero", "a {}"], "fn_index": call, "session_hash": "x"}
    options = {"method": "POST", "headers": {"content-type": "application/json"}, "body": json.dumps(body)}
    assert tab.evaluate(f"fetch('/gradio_api/queue/join', {json.dumps(options)}).then(r => r.status)") == 200
    events = tab.evaluate(
        """new Promise(done => { const s = new EventSource('/gradio_api/queue/data?session_hash=x'); let all = '';
        s.onmessage = e => { all += e.data; if (all.includes('process_completed')) { s.close(); done(all); } }; })"""
    )
    assert "not its address" in events and '"success":false' in events.replace(" ", "")


def test_it_ends_with_nothing_left_and_has_asked_nobody(browser, program, run):
    """The last test of the module: it stops the program, while the page is open."""
    assert browser.outside() == [] and len(browser.requests) > 100
    # The drop zone shows an upload for an instant, while it is deleted or just before
    shown_before_deleted = re.compile(r".* (403|net::ERR_CONTENT_LENGTH_MISMATCH) .*/gradio_api/file=\S+")
    assert [error for error in browser.errors if not shown_before_deleted.fullmatch(error)] == []
    folder = next(program.temporary.glob("clipfit-demo-*"))
    assert folder.stat().st_mode & 0o077 == 0
    code, err = program.stop()
    assert code == 143 and [line for line in err.splitlines() if line.strip()] == ["Terminated."], err
    assert list(program.temporary.iterdir()) == []
    left = [path for path in program.home.rglob("*") if path.is_file()]  # caches of fonts and of weights' digests
    assert all(path.is_relative_to(program.home / ".cache") and path.suffix == ".json" for path in left), left


def test_ctrl_c_and_a_run_with_neither_record_nor_data(run, tmp_path):
    weights = Path(run.output_dir) / "clipfit" / "tuned.safetensors"
    copy = tmp_path / "tuned.safetensors"
    copy.write_bytes(weights.read_bytes())
    program = Program(tmp_path / "program", copy, "--host", "127.0.0.1")
    code, err = program.stop(signal.SIGINT)
    assert code == 130 and "OUTSIDE" not in err and list(program.temporary.iterdir()) == []


def test_user_errors(run, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", "")
    monkeypatch.setenv("GRADIO_ANALYTICS_ENABLED", "")

    def call(*arguments):
        capsys.readouterr()
        return demo.main([*map(str, arguments)]), capsys.readouterr().err

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert_user_error(call(run.output_dir, "--port", port), port, "--port")
    assert_user_error(call(run.output_dir, "--port", 65536), "--port", "65535", "65536")
    assert_user_error(call(run.output_dir, "--host", "no.such.host.invalid"), "--host no.such.host.invalid")
    assert_user_error(call(tmp_path / "no", "--port", 0), tmp_path / "no")
    assert_user_error(call("zero-shot", "--port", 0, "--backbone", "micro"), "zero-shot", "--classes")


def test_other_computers_are_a_warning(capsys):
    from tools.demonstrating.server import warn
    from tools.serving.server import bind

    for host, warns in (("127.0.0.1", False), ("0.0.0.0", True)):
        with bind(host, 0) as bound:
            warn(bound)
            (*lines,) = capsys.readouterr().err.splitlines()
            assert len(lines) == warns and all(str(bound.getsockname()[1]) in line for line in lines)
