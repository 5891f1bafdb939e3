"""Loads the download plans of `sources.yaml`."""

import functools
from pathlib import Path
from typing import NamedTuple

import yaml


class Source(NamedTuple):
    """The address of a file or an archive: http(s)://..., gdrive:<id>, or data:<path below the data folder>."""

    url: str
    md5: str = ""  # "" if none is published
    inner: str = ""  # name of an inner archive that has the images
    password: str = ""  # public password of an encrypted zip file

    def is_verified(self):
        """Whether the file is compared with a published checksum, or is the user's own."""
        return bool(self.md5) or self.url.startswith("data:")


class Step(NamedTuple):
    """The files and folders that one step adds, and where they come from."""

    targets: tuple  # paths in the dataset's folder
    sources: tuple  # `Source`s, tried in order
    aliases: tuple = ()  # other names of the first target


class DownloadPlan(NamedTuple):
    """The `Step`s that download a dataset."""

    steps: tuple
    by_hand: str = ""  # what the user must do if no source works


@functools.cache
def load_download_plans():
    """Returns a dict from registry name to `DownloadPlan`."""
    data = yaml.safe_load(Path(__file__).with_name("sources.yaml").read_text(encoding="utf-8"))
    return {name: _download_plan(plan, data["mirror"]) for name, plan in data["download_plans"].items()}


def _download_plan(plan, mirror):
    # The mirror is the last source of every step.
    mirror_source = [{"url": f"mirror:{plan['mirror']}"}] if "mirror" in plan else []
    steps = []
    for step in plan["steps"]:
        sources = [Source(**source) for source in step.get("sources", []) + mirror_source]
        sources = tuple(source._replace(url=source.url.replace("mirror:", mirror, 1)) for source in sources)
        steps.append(Step(tuple(map(str, step["targets"])), sources, tuple(step.get("aliases", ()))))
    return DownloadPlan(tuple(steps), plan.get("by_hand", ""))
