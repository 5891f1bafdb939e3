"""Fixtures: a small EuroSAT on a local web server, and the command that downloads it."""

import random

import pytest

from datasets.eurosat import EuroSAT
from tests.tools.eurosat import IMAGES, split_file
from tests.tools.local_server import make_tar, make_zip, serve
from tests.trainers.conftest import cached_digests  # noqa: F401  (used by all tests)
from tools import prepare_data
from tools.prepare import fetch, install
from tools.prepare.download_plans import DownloadPlan, Source, Step


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(fetch, "RETRIES", 0)
    monkeypatch.setattr(EuroSAT, "counts", (2, 4, 2, 2))
    with serve() as server:
        server.files = {
            "good.zip": make_zip(IMAGES),
            "renamed.tar.gz": make_tar({name.replace("2750", "x/EuroSAT_RGB"): data for name, data in IMAGES.items()}),
            "split.json": split_file(),
            "page.zip": b"<!DOCTYPE html><html>sign in</html>",
            "evil.tar.gz": make_tar({"../../evil": b"x", **IMAGES}),
            "empty.zip": b"",
            "other.zip": make_zip({"2750.txt": b"x"}),
        }
        filler = random.Random(0).randbytes(1 << 21)  # several chunks of a download
        server.files["cut.zip"] = make_zip({"filler": filler, **IMAGES})
        server.cut["cut.zip"] = 3 << 19
        server.files["broken.zip"] = server.files["good.zip"][:-40]
        yield server


@pytest.fixture
def prepare(server, tmp_path, monkeypatch):
    """prepare(*paths) -> exit code. Runs the command with the image sources at these paths of the server."""

    def run(*paths, split=("split.json",), md5="", by_hand="", inner="", yes=("--yes",)):
        sources = tuple(Source(p if ":" in p else server.url(p), md5, inner) for p in paths)
        splits = tuple(Source(p if ":" in p else server.url(p)) for p in split)
        steps = Step(("2750",), sources, ("EuroSAT_RGB",)), Step(("split_zhou_EuroSAT.json",), splits)
        monkeypatch.setattr(install, "load_download_plans", lambda: {"EuroSAT": DownloadPlan(steps, by_hand)})
        return prepare_data.main(["eurosat", "--root", str(tmp_path / "data"), *yes])

    return run
