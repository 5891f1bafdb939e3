"""Datasets and weights on this disk. Reads no image, and stops reading large files after a few seconds."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

from .findings import ERROR, NOTE, Finding

GB = 1e9
BLOCK = 2**22  # bytes
LIMIT = 2.0  # seconds for all datasets, and for the digests of all weights
SHOWN = 10  # models of Hugging Face's cache


def datasets(root: str) -> Iterator[Finding]:
    """Says of each dataset with a folder in `root` whether it is complete, without decoding its images."""
    from datasets import catalogue
    from tools.prepare.check_data import load_layouts
    from tools.prepare_data import DATASET_REGISTRY, downloadable, one_per_folder

    if not os.path.isdir(root):
        remedy = "python tools/prepare_data.py dtd --root DATA; the digits and letters need no download"
        yield Finding(f"datasets: there is no folder {root}", NOTE, f"name the folder with --root, or: {remedy}")
        return
    entries = catalogue.entries()
    deadline = time.monotonic() + LIMIT
    absent = []
    for name in one_per_folder(downloadable()):
        dataset = DATASET_REGISTRY.get(name).at_root(root)
        elsewhere = load_layouts().get(name, {}).get("elsewhere", [])
        places = [dataset.dataset_dir, *(os.path.join(root, path) for path in elsewhere)]
        if any(map(os.path.isdir, places)):
            yield dataset_finding(name, entries[name].config, dataset, root, time.monotonic() < deadline)
        else:
            absent.append(entries[name].config)
    if absent:
        yield Finding(f"not in {root}: {', '.join(absent)}")


def dataset_finding(name: str, config: str, dataset, root: str, count: bool) -> Finding:
    """Returns the finding on a dataset. `count`: compare the numbers of images, if a split file lists them."""
    from tools.prepare.check_data import check, find_misplaced, load_layouts

    command = f"python tools/prepare_data.py --check {config} --root {root}"
    if not os.path.isdir(dataset.image_dir):
        problems = find_misplaced(dataset, load_layouts().get(name, {}))
        problem = problems[0] if problems else f"missing folder {dataset.image_dir}"
        return Finding(f"{config}: incomplete: {problem}", NOTE, command)
    if dataset.split_path and not os.path.isfile(dataset.split_path):
        return Finding(f"{config}: missing split file {dataset.split_path}", NOTE, command)
    if not dataset.split_path or not count:  # all folders of images would be listed
        return Finding(f"{config}: found, images not counted ({command})")
    report = check(name, root, decode=False)
    if report.state == "ok":
        return Finding(f"{config}: found, {report.counts}")
    return Finding(f"{config}: {report.problems[0]}", NOTE, command)


def weights() -> Iterator[Finding]:
    """Lists the files of CLIPs in the download folder, and whether they are those of OpenAI."""
    from trainers.common.models.backbone_files import MICRO, clip, download_folder

    if not MICRO.is_file():
        yield Finding(f"missing micro CLIP {MICRO}", ERROR, "restore assets/micro_clip.pt of this repository")
    folder = Path(download_folder())
    files = sorted(path for path in folder.iterdir() if path.is_file()) if folder.is_dir() else []
    if not files:
        yield Finding(f"weights: none in {folder}; a run with an OpenAI name downloads them (ViT-B/16: 0.35 GB)")
    names = {os.path.basename(url): (name, url.split("/")[-2]) for name, url in clip._MODELS.items()}
    deadline = time.monotonic() + LIMIT
    for path in files:
        name, expected = names.get(path.name, ("not a file of OpenAI's", None))
        text = f"weights {path}: {name}, {path.stat().st_size / GB:.2f} GB"
        digest = sha256(path, deadline) if expected else None
        if expected is None:
            yield Finding(text)
        elif digest is None:
            yield Finding(f"{text}, digest not checked for lack of time; it is when a run loads the file")
        elif digest == expected:
            yield Finding(f"{text}, digest right")
        else:
            yield Finding(f"{text}, digest wrong: incomplete or damaged", NOTE, f"delete {path} to download it again")


def sha256(path: Path, deadline: float) -> str | None:
    """Returns the SHA-256 of a file; None if it is not read to its end at `deadline` (time.monotonic())."""
    sha = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(BLOCK):
            if time.monotonic() > deadline:
                return None
            sha.update(block)
    return sha.hexdigest()


def hugging_face() -> Iterator[Finding]:
    """Lists the models in Hugging Face's cache, which open_clip and transformers use."""
    home = os.environ.get("HF_HOME") or os.path.join(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "huggingface")
    folder = Path(os.environ.get("HF_HUB_CACHE") or os.path.join(home, "hub")).expanduser()
    models = sorted(folder.glob("models--*")) if folder.is_dir() else []
    for path in models[:SHOWN]:
        size = sum(blob.stat().st_size for blob in (path / "blobs").glob("*") if blob.is_file())
        incomplete = any((path / "blobs").glob("*.incomplete"))
        name = path.name.partition("--")[2].replace("--", "/")
        text = f"Hugging Face's cache: {name}, {size / GB:.2f} GB"
        if incomplete:
            yield Finding(f"{text}, a download is incomplete", NOTE, "the next run resumes it")
        else:
            yield Finding(text)
    if len(models) > SHOWN:
        yield Finding(f"Hugging Face's cache: {len(models) - SHOWN} more models in {folder}")
    if not models:
        yield Finding(f"Hugging Face's cache: no models in {folder}")
