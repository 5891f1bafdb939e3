"""Following a download plan: fetch, unpack beside the target, and move the targets into place in one step."""

import contextlib
import glob
import json
import os
import shutil

import filelock

from dassl.data.datasets import DATASET_REGISTRY

from .archives import SourceError, is_archive, unpack
from .download_plans import load_download_plans
from .fetch import check_content, fetch

WORK = ".prepare"  # in the dataset's folder: downloads and what is being unpacked


def prepare(name, root):
    """Fetch the dataset `name` into `root`. Returns one line per file or folder that could not be fetched.

    Raises:
        ValueError: the dataset has no download plan.
        OSError: the disk is full or not writable, or another process prepares the same dataset.
    """
    places = DATASET_REGISTRY.get(name).at_root(root)
    if name not in load_download_plans():
        raise ValueError(
            f"{name} has no download plan in tools/prepare/sources.yaml: put its images in {places.image_dir} by hand"
        )
    plan = load_download_plans()[name]
    work = os.path.join(places.dataset_dir, WORK)
    os.makedirs(work, exist_ok=True)
    try:
        with filelock.FileLock(os.path.join(work, "lock"), timeout=0):
            for leftover in glob.glob(os.path.join(work, "tree*")):
                shutil.rmtree(leftover)
            failures = [line for step in plan.steps for line in run_step(name, plan, step, places, work)]
    except filelock.Timeout:
        raise OSError(f"another process is preparing {name} in {places.dataset_dir}: wait for it") from None
    if not failures or os.listdir(work) == ["lock"]:
        shutil.rmtree(work)
    with contextlib.suppress(OSError):  # not empty: the rule
        os.rmdir(places.dataset_dir)
    return failures


def run_step(name, plan, step, places, work):
    """Try the sources of a step in turn; returns a line on what is still missing, as a list of one or none."""
    wanted = [target for every in plan.steps for target in every.targets]
    for source in step.sources:
        if not missing(places, step.targets):
            break
        print(f"{name}: {' '.join(missing(places, step.targets))} from {source.url}")
        try:
            install(source, step, wanted, places, work)
        except SourceError as error:
            print(f"  no: {error}")
        else:
            if missing(places, step.targets):
                print(f"  no: it has no {' '.join(missing(places, step.targets))} in it")
    left = missing(places, step.targets)
    if not left:
        print(f"{name}: {' '.join(step.targets)} in place")
        return []
    paths = ", ".join(os.path.join(places.dataset_dir, target) for target in left)
    hint = plan.by_hand or "Fetch it by hand from one of: " + " ".join(map(page, step.sources))
    return [f"{name}: {paths} could not be fetched. {hint}"]


def page(source):
    """Address of a source for a browser."""
    return source.url.replace("gdrive:", "https://drive.google.com/file/d/")


def missing(places, targets):
    """Those of `targets` that are not in the dataset's folder. A split that was made here is not the published one."""
    return [target for target in targets if not present(os.path.join(places.dataset_dir, target))]


def present(path):
    if os.path.isdir(path):
        return bool(os.listdir(path))
    if not os.path.isfile(path) or not os.path.getsize(path):
        return False
    return not (os.path.basename(path).startswith("split_zhou_") and made_here(path))


def made_here(path):
    try:
        with open(path, encoding="utf-8") as file:
            return "made" in json.load(file)
    except ValueError:
        return True  # not a split at all


def install(source, step, wanted, places, work):
    """Fetch a source and move what of `wanted` it has and is missing into place."""
    file = fetch(source, places.root, work)
    tree = os.path.join(work, "tree")
    try:
        if not is_archive(file) and len(step.targets) == 1 and os.path.splitext(step.targets[0])[1]:
            check_content(file, step.targets[0])
            move(file, step.targets[0], places)
            return
        unpack(file, tree)
        if source.inner and (inner := find(tree, source.inner)):
            unpack(inner, os.path.join(tree, "inner"))
        for target in missing(places, wanted):
            aliases = step.aliases if target == step.targets[0] else ()
            if found := find(tree, os.path.basename(target), *aliases):
                move(found, target, places)
        os.remove(file)
    except SourceError:
        os.remove(file)  # broken; after a full disk or an interrupt it stays for the next try
        raise
    finally:
        shutil.rmtree(tree, ignore_errors=True)


def find(tree, *names):
    """The path nearest to the top of `tree` that has one of `names`, or None."""
    level = [tree]
    while level:
        below = []
        for folder in level:
            for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
                if entry.name in names:
                    return entry.path
                if entry.is_dir(follow_symlinks=False) and entry.name != "__MACOSX":
                    below.append(entry.path)
        level = below
    return None


def move(path, target, places):
    """Put a finished file or folder into place; replacing a split deletes the few-shot selections sampled from it."""
    goal = os.path.join(places.dataset_dir, target)
    replaces = os.path.isfile(goal) and goal == places.split_path
    os.makedirs(os.path.dirname(goal), exist_ok=True)
    os.replace(path, goal)
    if replaces:
        for selection in glob.glob(os.path.join(glob.escape(places.split_fewshot_dir), "shot_*.json")):
            print(f"  {selection} was sampled from the split that is replaced: deleted")
            os.remove(selection)
