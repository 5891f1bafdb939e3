"""The page of a run (`clipfit show`), in Python and in a notebook."""

from __future__ import annotations

import html
import os
from pathlib import Path

from . import checkout


class Page:
    """The page of a run in a file. A notebook shows it."""

    HEIGHT = 900  # pixels in a notebook

    def __init__(self, path: Path):
        self.path = path

    def __repr__(self):
        return f"Page({str(self.path)!r})"

    def _repr_html_(self) -> str:
        content = html.escape(self.path.read_text(encoding="utf-8"), quote=True)
        return f'<iframe srcdoc="{content}" style="width: 100%; height: {self.HEIGHT}px; border: 0"></iframe>'


def show(run, *, images: bool = True, root: str = "", device: str | None = None) -> Page:
    """Writes the page of a run, RUN/page.html, as the program `clipfit show` does. In a notebook, it is displayed.

    Args:
        run: a run directory, such as the `output_dir` of an estimator.
        images: False: no images and no paths on the page.
        root: folder with the datasets, if the images were moved since.
        device: e.g. "cpu" or "cuda:1"; None: CUDA if available.

    Raises:
        FileNotFoundError, ValueError: there is no run, or it is not finished or corrupted.
        ModuleNotFoundError: a package is missing; the message has the command that installs it.
    """
    try:
        page = checkout.load("tools.showing.page")
    except ModuleNotFoundError as error:
        message = checkout.load("runtime.user_errors").one_line(error)
        raise ModuleNotFoundError(message, name=error.name) from error
    shown = checkout.load("tools.showing.run").read_run(os.fspath(run))
    return Page(page.write_page(shown, page.Options(images, os.fspath(root), "", device), shown.folder))
