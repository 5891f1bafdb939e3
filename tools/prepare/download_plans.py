"""The download plans of `sources.yaml` as objects."""

import functools
from pathlib import Path
from typing import NamedTuple

import yaml


class Source(NamedTuple):
    """A file or an archive: http(s)://..., gdrive:<id>, or data:<path below the data folder>."""

    url: str
    md5: str = ""  # if one is published
    inner: str = ""  # name of the archive inside the archive that has the images


class Step(NamedTuple):
    """Paths that must be in the dataset's folder afterwards, `Source`s in turn, other names of the first target."""

    targets: tuple
    sources: tuple
    aliases: tuple = ()


class DownloadPlan(NamedTuple):
    """`Step`s in order. `by_hand` says what a person has to do if no source works."""

    steps: tuple
    by_hand: str = ""


@functools.cache
def load_download_plans():
    """Dict from registry name to `DownloadPlan`."""
    data = yaml.safe_load(Path(__file__).with_name("sources.yaml").read_text(encoding="utf-8"))
    return {name: _download_plan(plan, data["mirror"]) for name, plan in data["download_plans"].items()}


def _download_plan(plan, mirror):
    last = [{"url": f"mirror:{plan['mirror']}"}] if "mirror" in plan else []
    steps = []
    for step in plan["steps"]:
        sources = [Source(**source) for source in step.get("sources", []) + last]
        sources = tuple(source._replace(url=source.url.replace("mirror:", mirror, 1)) for source in sources)
        steps.append(Step(tuple(map(str, step["targets"])), sources, tuple(step.get("aliases", ()))))
    return DownloadPlan(tuple(steps), plan.get("by_hand", ""))
