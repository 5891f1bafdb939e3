"""Opens pages in Chromium, for tests that are skipped if there is none."""

import html
import json
import re
import shutil
import subprocess

import pytest

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--hide-scrollbars", "--window-size=1200,3000",
    "--host-resolver-rules=MAP * ~NOTFOUND",
)  # fmt: skip
needs_browser = pytest.mark.skipif(not BROWSER, reason="Chromium is not installed: apt install chromium")
FRAMES = """<body>{frames}<script>addEventListener("load", () => {{
  const widths = [...document.querySelectorAll("iframe")].map((f) => f.contentDocument.documentElement.scrollWidth);
  document.body.dataset.widths = widths.join(" ");
}});</script></body>"""


def browse(page, tmp_path, *flags) -> bytes:
    """Opens the page in Chromium. Returns stdout."""
    profile = tmp_path / "profile"
    run = [BROWSER, *FLAGS, f"--user-data-dir={profile}", *flags, page.as_uri()]
    return subprocess.run(run, capture_output=True, timeout=60, check=True).stdout


def requests_of_page(log) -> list[str]:
    """Returns the URLs that a page requested, from Chromium's log. The browser's own requests have no initiator."""
    events = [event.get("params", {}) for event in json.loads(log.read_text())["events"]]
    urls = [e["url"] for e in events if e.get("initiator", "not an origin") != "not an origin"]
    return [url for url in urls if url.startswith("http")]


def content_widths(page, tmp_path, widths: list[int]) -> list[int]:
    """Returns the width of the content of a page in windows of these widths, in pixels; larger if it overflows."""
    content = html.escape(page.read_text(), quote=True)
    frames = "".join(f'<iframe srcdoc="{content}" width="{width}" style="border: 0"></iframe>' for width in widths)
    framed = tmp_path / "frames.html"
    framed.write_text(FRAMES.format(frames=frames))
    dom = browse(framed, tmp_path, "--window-size=1800,900", "--dump-dom").decode()
    return [int(width) for width in re.search(r'data-widths="([\d ]+)"', dom)[1].split()]
