"""Drives a page in Chromium through the DevTools protocol: clicks, texts, uploads, screenshots, requests.

    with Tab(tmp_path) as tab:
        tab.open("http://127.0.0.1:7860")
        tab.wait("document.querySelector('#results img')")
        tab.click("#update button")

Chromium reads commands from a pipe (--remote-debugging-pipe), so that no port is open and no package is needed.
https://chromedevtools.github.io/devtools-protocol/
"""

import base64
import json
import os
import select
import subprocess
import time
from pathlib import Path

from tests.tools.browser import BROWSER, FLAGS

TIMEOUT = 30.0
OFF = ("--window-size", "--host-resolver-rules", "--hide-scrollbars")


class Tab:
    """A page in a Chromium of its own.

    Attributes:
        requests: URLs that the page has asked for.
        errors: uncaught exceptions and errors of the console, among them what its policy forbids.
    """

    def __init__(self, folder: Path, *flags: str):
        flags = [*(flag for flag in FLAGS if not flag.startswith(OFF)), *flags]
        flags += [f"--user-data-dir={folder / 'profile'}", "--remote-debugging-pipe", "about:blank"]
        theirs, self._writer = os.pipe()
        self._reader, writer = os.pipe()
        command = ["bash", "-c", f'exec "$@" 3<&{theirs} 4>&{writer}', "bash", BROWSER, *flags]
        self._process = subprocess.Popen(
            command, pass_fds=(theirs, writer), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        os.close(theirs)
        os.close(writer)
        self._received, self._number, self._session = b"", 0, None
        self.requests: list[str] = []
        self.errors: list[str] = []
        (page,) = [item for item in self.call("Target.getTargets")["targetInfos"] if item["type"] == "page"]
        attached = self.call("Target.attachToTarget", targetId=page["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log", "DOM"):
            self.call(f"{domain}.enable")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.close(self._writer)  # ends Chromium
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._reader)

    def call(self, method: str, **params) -> dict:
        """Returns the result of a command."""
        self._number += 1
        number = self._number
        message = {"id": number, "method": method, "params": params}
        message |= {"sessionId": self._session} if self._session else {}
        os.write(self._writer, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + TIMEOUT
        while True:
            answer = self._next(end, method)
            if answer.get("id") == number:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]

    def _next(self, end: float, waiting_for: str) -> dict:
        """Returns the next message. Events are noted."""
        while b"\0" not in self._received:
            left = end - time.monotonic()
            assert left > 0 and select.select([self._reader], [], [], left)[0], f"no answer: {waiting_for}"
            data = os.read(self._reader, 2**20)
            assert data, "Chromium has ended"
            self._received += data
        text, _, self._received = self._received.partition(b"\0")
        message = json.loads(text)
        self._note(message.get("method"), message.get("params", {}))
        return message

    def _note(self, event: str | None, params: dict) -> None:
        if event == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif event == "Runtime.exceptionThrown":
            self.errors.append(str(params["exceptionDetails"])[:500])
        elif event == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.errors.append(f"{params['entry']['text']} {params['entry'].get('url', '')}".strip())
        elif event == "Runtime.consoleAPICalled" and params["type"] == "error":
            self.errors.append(str([item.get("value") for item in params["args"]]))

    def outside(self) -> list[str]:
        """Returns the requests to other servers than this computer."""
        own = ("http://127.0.0.1:", "data:", "blob:", "about:")
        return [url for url in self.requests if not url.startswith(own)]

    def open(self, url: str) -> None:
        self.call("Page.navigate", url=url)

    def evaluate(self, expression: str):
        """Returns the value of a JavaScript expression."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def wait(self, expression: str, timeout: float = TIMEOUT):
        """Waits until a JavaScript expression is true, and returns its value."""
        end = time.monotonic() + timeout
        while not (value := self.evaluate(f"(() => {{ const v = {expression}; return v instanceof Node || v; }})()")):
            assert time.monotonic() < end, f"{expression}\n{self.evaluate('document.body.innerText')}\n{self.errors}"
            time.sleep(0.05)
        return value

    def click(self, selector: str) -> None:
        self.wait(f"document.querySelector({json.dumps(selector)})")
        self.evaluate(f"document.querySelector({json.dumps(selector)}).click()")

    def fill(self, selector: str, text: str) -> None:
        """Replaces the text of a field, as pasting does: one event for all of it."""
        self.wait(f"document.querySelector({json.dumps(selector)})")
        self.evaluate(
            f"(() => {{ const field = document.querySelector({json.dumps(selector)}); field.value = {json.dumps(text)};"
            "field.dispatchEvent(new Event('input', {bubbles: true})); })()"
        )

    def upload(self, selector: str, *files) -> None:
        """Chooses files in a file input."""
        self.wait(f"document.querySelector({json.dumps(selector)})")
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(file) for file in files])

    def resize(self, width: int, height: int, dark: bool = False, mobile: bool = False) -> None:
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=mobile)
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call("Emulation.setEmulatedMedia", features=scheme)

    def screenshot(self, path: Path) -> None:
        """Writes a PNG of the whole page."""
        found = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(found["data"]))
