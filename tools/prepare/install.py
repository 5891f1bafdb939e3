"""Executes a download plan: downloads, unpacks in a work folder, then moves the targets into the dataset's folder."""

import contextlib
import glob
import json
import os
import shutil

import filelock

from dassl.data.datasets import DATASET_REGISTRY
from runtime.archives import ArchiveError, is_archive, unpack

from .download_plans import load_download_plans
from .fetch import SourceError, check_content, fetch

WORK = ".prepare"  # work folder inside the dataset's folder: downloads and unpacked archives


def prepare(name, root):
    """Downloads the dataset `name` into `root`. Returns one line per file or folder that could not be downloaded.

    Raises:
        ValueError: if the dataset has no download plan.
        OSError: if the disk is full or not writable, or if another process prepares the same dataset.
    """
    dataset = DATASET_REGISTRY.get(name).at_root(root)
    if name not in load_download_plans():
        raise ValueError(
            f"{name} has no download plan in tools/prepare/sources.yaml: put its images in {dataset.image_dir} manually"
        )
    plan = load_download_plans()[name]
    work = os.path.join(dataset.dataset_dir, WORK)
    os.makedirs(work, exist_ok=True)
    try:
        with filelock.FileLock(os.path.join(work, "lock"), timeout=0):
            for leftover in glob.glob(os.path.join(work, "tree*")):
                shutil.rmtree(leftover)
            failures = []
            for step in plan.steps:
                failures += run_step(name, plan, step, dataset, work)
    except filelock.Timeout:
        raise OSError(f"another process is preparing {name} in {dataset.dataset_dir}: wait until it ends") from None
    if not failures or os.listdir(work) == ["lock"]:
        shutil.rmtree(work)
    with contextlib.suppress(OSError):  # usually not empty
        os.rmdir(dataset.dataset_dir)
    return failures


def unverified(name, root):
    """Returns (targets, address) of each source without a published checksum that a download of `name` may use."""
    dataset = DATASET_REGISTRY.get(name).at_root(root)
    plan = load_download_plans().get(name)
    found = []
    for step in plan.steps if plan else ():
        missing = missing_targets(dataset, step.targets)
        found += [(missing, browser_url(s)) for s in step.sources if missing and not s.is_verified()]
    return found


def run_step(name, plan, step, dataset, work):
    """Tries the sources of a step in order. Returns a list with one line if targets are still missing, else []."""
    all_targets = [target for each_step in plan.steps for target in each_step.targets]
    for source in step.sources:
        if not missing_targets(dataset, step.targets):
            break
        print(f"{name}: downloading {' '.join(missing_targets(dataset, step.targets))} from {source.url}")
        try:
            install(source, step, all_targets, dataset, work)
        except (SourceError, ArchiveError) as error:
            print(f"  failed: {error}")
        else:
            if missing_targets(dataset, step.targets):
                print(f"  failed: the archive has no {' '.join(missing_targets(dataset, step.targets))}")
    missing = missing_targets(dataset, step.targets)
    if not missing:
        print(f"{name}: {' '.join(step.targets)} complete")
        return []
    paths = ", ".join(os.path.join(dataset.dataset_dir, target) for target in missing)
    hint = plan.by_hand or "Download it manually from one of: " + " ".join(map(browser_url, step.sources))
    return [f"{name}: could not download {paths}. {hint}"]


def browser_url(source):
    """Returns the address of a source for a web browser."""
    return source.url.replace("gdrive:", "https://drive.google.com/file/d/")


def missing_targets(dataset, targets):
    """Returns those of `targets` that are missing in the dataset's folder. A split generated here counts as missing."""
    return [target for target in targets if not is_complete(os.path.join(dataset.dataset_dir, target))]


def is_complete(path):
    """Returns whether `path` is a non-empty file or folder, and not a split generated here."""
    if os.path.isdir(path):
        return bool(os.listdir(path))
    if not os.path.isfile(path) or not os.path.getsize(path):
        return False
    return not (os.path.basename(path).startswith("split_zhou_") and is_generated_split(path))


def is_generated_split(path):
    try:
        with open(path, encoding="utf-8") as file:
            return "made" in json.load(file)
    except ValueError:
        return True  # not a split file


def install(source, step, all_targets, dataset, work):
    """Downloads a source and moves all missing targets that it has into the dataset's folder."""
    file = fetch(source, dataset.root, work)
    tree = os.path.join(work, "tree")
    try:
        if not is_archive(file) and len(step.targets) == 1 and os.path.splitext(step.targets[0])[1]:
            check_content(file, step.targets[0])
            move(file, step.targets[0], dataset)
            return
        unpack(file, tree, source.password)
        if source.inner and (inner := find(tree, source.inner)):
            unpack(inner, os.path.join(tree, "inner"))
        for target in missing_targets(dataset, all_targets):
            aliases = step.aliases if target == step.targets[0] else ()
            if path := find(tree, os.path.basename(target), *aliases):
                move(path, target, dataset)
        os.remove(file)
    except (SourceError, ArchiveError):
        os.remove(file)  # corrupted; after a full disk or an interruption the file is kept for the next run
        raise
    finally:
        shutil.rmtree(tree, ignore_errors=True)


def find(tree, *names):
    """Returns the path closest to the top of `tree` that has one of `names`, or None."""
    level = [tree]
    while level:
        next_level = []
        for folder in level:
            for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
                if entry.name in names:
                    return entry.path
                if entry.is_dir(follow_symlinks=False) and entry.name != "__MACOSX":
                    next_level.append(entry.path)
        level = next_level
    return None


def move(path, target, dataset):
    """Moves a complete file or folder to its target. A new split deletes the few-shot selections of the old one."""
    destination = os.path.join(dataset.dataset_dir, target)
    replaces_split = os.path.isfile(destination) and destination == dataset.split_path
    os.makedirs(os.path.dirname(destination), exist_ok=True)
    os.replace(path, destination)
    if replaces_split:
        for selection in glob.glob(os.path.join(glob.escape(dataset.split_fewshot_dir), "shot_*.json")):
            print(f"  deleting {selection}: it was sampled from the old split")
            os.remove(selection)
