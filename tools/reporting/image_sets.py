"""Makes datasets of one name but with different images different datasets of a report.

The user's own images are named after their folder: "Folder: pets". If two folders of this name hold different images,
their parents are added: "Folder: A/pets" and "Folder: B/pets". A copied or moved folder keeps its name.

Any other dataset is divided in the tables where its runs were tested on different images: "EuroSAT, images 3f2a9c
(8100)" and "EuroSAT, images 77aa11 (8090)".
"""

from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path

from tools.records import printable

from .images import Images, group, tested_images
from .run import FOLDER, Run, dataset_name, registry_name


def name_own_images(runs: list[Run]) -> None:
    """Adds the parents to the names of folders of images where different images have one name."""
    runs_of = defaultdict(lambda: defaultdict(list))  # dataset -> root -> runs
    for run in runs:
        if registry_name(run.dataset) == FOLDER:
            runs_of[run.dataset][run.root].append(run)
    for dataset, roots in runs_of.items():
        if len(roots) < 2:
            continue
        signatures = [{run.classes: images for run in roots[root] if (images := tested_images(run))} for root in roots]
        numbers = group(signatures)
        # Logs do not record images. Then other folders are taken for other images.
        numbers = [number if signatures[i] else -1 - i for i, number in enumerate(numbers)]
        first_roots = {}  # group -> the first of its roots
        for root, number in zip(roots, numbers, strict=True):
            first_roots.setdefault(number, root)
        if len(first_roots) < 2:
            continue
        suffixes = dict(zip(first_roots, distinct_ends(list(first_roots.values())), strict=True))
        for root, number in zip(roots, numbers, strict=True):
            for run in roots[root]:
                rename(run, dataset, own_name(dataset, suffixes[number]))


def distinct_ends(paths: list[str]) -> list[str]:
    """Returns the ends of the paths, with at least two parts and as many as it takes to tell them apart.

    Example: ["/x/A/pets", "/x/B/pets"] -> ["A/pets", "B/pets"].
    """
    parts = [Path(path).parts for path in paths]
    for length in range(2, max(map(len, parts), default=0) + 1):
        ends = ["/".join(path[-length:]) for path in parts]
        if len(set(ends)) == len(ends):
            return ends
    return paths


def own_name(dataset: str, end: str) -> str:
    """Returns e.g. "Folder: A/pets" for "Folder: pets", and "Folder: mine (A/pets)" for a name set by the user."""
    name = dataset.partition(": ")[2]
    return dataset_name(FOLDER, end if Path(end).name == name else f"{name} ({end})")


def rename(run: Run, old: str, new: str) -> None:
    """Renames the dataset that a run was tested on and, of a training, trained on."""
    run.dataset = new
    run.setup.dataset = new
    if run.training and run.training.dataset == old:
        run.training.dataset = new


def divide(entries: list) -> list:
    """Returns the entries of a table with a dataset of its own for each set of test images."""
    entries_of = defaultdict(list)
    for entry in entries:
        entries_of[entry.dataset].append(entry)
    divided = {}  # id of an entry -> its new dataset
    for dataset, members in entries_of.items():
        numbers = group(signatures_of(members))
        labels = labels_of(members, numbers)
        for entry, number in zip(members, numbers, strict=True):
            divided[id(entry)] = f"{dataset}, {labels[number]}" if len(labels) > 1 else dataset
    return [replace(entry, dataset=divided[id(entry)], name=entry.dataset) for entry in entries]


def signatures_of(entries: list) -> list[dict[str, Images]]:
    """Returns the test images of each entry by tested classes: its own, and of Base and New those of the same model."""
    tested = defaultdict(lambda: defaultdict(set))  # model -> classes -> images
    own = []
    for entry in entries:
        images = tested_images(entry.run)
        own.append({entry.run.classes: images} if images else {})
        for classes in own[-1]:
            tested[model_of(entry.run)][classes].add(images)
    signatures = []
    for entry, signature in zip(entries, own, strict=True):
        others = tested[model_of(entry.run)] if signature else {}
        known = {classes: next(iter(images)) for classes, images in others.items() if len(images) == 1}
        signatures.append({**known, **signature})
    return signatures


def model_of(run: Run) -> int:
    return id(run.source_run or run)


def labels_of(entries: list, numbers: list[int]) -> dict[int, str]:
    """Returns group -> e.g. "images 3f2a9c (120)"; of base and new classes "images 3f2a9c (60) and 77aa11 (60)"."""
    images_of = defaultdict(dict)  # group -> classes -> images
    for entry, number in zip(entries, numbers, strict=True):
        images = tested_images(entry.run)
        images_of[number].setdefault(entry.run.classes, images)
    labels = {}
    for number, by_classes in images_of.items():
        texts = [images.text for _, images in sorted(by_classes.items()) if images]
        labels[number] = f"images {' and '.join(texts)}" if texts else "unknown images"
    counts = Counter(labels.values())
    for number, by_classes in images_of.items():
        if counts[labels[number]] > 1:  # only the class names differ
            names = [images.classnames for images in by_classes.values() if images]
            labels[number] = f"class names {(names[0] or '?')[:6]}"
    return {number: printable(label) for number, label in labels.items()}
