"""Builds the page of a run and the files next to it."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from tools.records import printable
from tools.reporting import plots
from tools.reporting.files import render, write_all
from tools.reporting.run_pages import page_name

from . import confusion, facts, figures, images
from .images import Card, Group
from .run import ShownRun
from .split import Item, as_csv, split_of

SPLIT = "split.csv"
MAX_SHOWN = 120  # few-shot images on the page
LOOKED = 8  # images with a map of where the model looked
NOT_BEFORE = "as {path} has no zero-shot predictions: an earlier version wrote it; evaluate the run again."


@dataclass(frozen=True)
class Options:
    """Options of tools/show.py."""

    images: bool = True
    root: str = ""
    backbone: str = ""
    device: str | None = None


@dataclass
class Content:
    """What the page of a run shows. A part that is empty or None is left out.

    Attributes:
        looked: (card, picture, zero-shot map, map after training or "") as data URIs.
        samples: (class, pictures) of the training images.
        words: the nearest words of learned tokens.
        notes: what is not shown, and why.
    """

    run: ShownRun
    matrix: confusion.Confusion | None = None
    classes: list[dict] = field(default_factory=list)
    groups: list[tuple[Group, list[Card]]] = field(default_factory=list)
    looked: list[tuple[Card, str, str, str]] = field(default_factory=list)
    samples: list[tuple[str, list[str]]] = field(default_factory=list)
    n_samples: int = 0
    words: list = field(default_factory=list)
    split: list[Item] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def write_page(run: ShownRun, options: Options, folder: Path) -> Path:
    """Writes the page and split.csv of a run. Returns the path of the page.

    Raises OSError if `folder` is not writable.
    """
    content = build(run, options)
    write_all(files(content, folder), folder)
    return folder / page_name(run.file)


def build(run: ShownRun, options: Options) -> Content:
    content = Content(run, notes=list(run.missing))
    content.classes = confusion.per_class(run)
    if run.tested is not None and len(run.classnames) > 1:
        matrix = confusion.confusion(run)
        content.matrix = matrix if matrix.names else None  # of many classes, none may be confused
    content.split = attempt(content, f"{SPLIT} and training images", lambda: split_of(run, options.root)) or []
    model = attempt(content, "Best classes, maps and learned words", lambda: load_model(run, options))
    if options.images:
        add_images(content, options, model)
        add_samples(content)
    if model:
        from .words import learned_words

        content.words = attempt(content, "Nearest words", lambda: learned_words(model.trainer)) or []
    return content


def attempt(content: Content, what: str, compute):
    """Returns what `compute` returns; None, and a note, if that part is impossible for this run."""
    try:
        return compute()
    except (OSError, ValueError, ModuleNotFoundError, FloatingPointError) as error:
        content.notes.append(f"{what}: {printable(' '.join(str(error).split()))}.")
        return None


def load_model(run: ShownRun, options: Options):
    from .model import Model  # imports torch

    if not run.classnames:
        raise ValueError("a run on captions has no classes")
    return Model(run, options.backbone, options.device)


def add_images(content: Content, options: Options, model) -> None:
    """Adds the groups of test images and, if there is a model, their best classes and maps."""
    run = content.run
    if run.tested is None:
        return
    if run.tested.zero_shot is None and run.zero_shot:
        content.notes.append(f"Images mended and broken by training: unknown, {NOT_BEFORE.format(path=run.folder)}")
    root = options.root or run.record.get("root") or ""
    groups = images.groups(run.tested)
    cards = {row: card_of(run, row) for group in groups for row in group.rows}
    readable = {}  # row -> file
    for row, card in cards.items():
        file = images.file_of(card.path, root)
        picture = images.read_picture(file, exif=run.exif)
        if picture:
            card.picture = images.as_uri(picture)
            readable[row] = file
    if len(readable) < len(cards):
        content.notes.append(
            f"{len(cards) - len(readable)} of {len(cards)} images cannot be read in {root or 'the working directory'}: "
            "they were moved or removed since; pass --root with the folder of the datasets."
        )
    if model and readable:
        attempt(content, "Best classes", lambda: add_best(content, model, cards, readable))
        content.looked = attempt(content, "Where it looked", lambda: looked(model, groups, cards, readable)) or []
    content.groups = [(group, [cards[row] for row in group.rows]) for group in groups]


def card_of(run: ShownRun, row: int) -> Card:
    tested, names = run.tested, run.classnames
    true, predicted = names[tested.labels[row]], names[tested.predicted[row]]
    return Card(row, tested.paths[row], true, predicted, float(tested.probability[row]))


def add_best(content: Content, model, cards: dict[int, Card], readable: dict[int, str]) -> None:
    """Adds the best classes to the cards, and a note if the model predicts otherwise than in the run."""
    before, after = model.best_classes(list(readable.values()))
    other = 0
    for i, row in enumerate(readable):
        card = cards[row]
        card.before, card.after = before[i] if before else [], after[i]
        other += card.after[0][0] != card.predicted
    if other:
        content.notes.append(
            f"{other} of {len(readable)} images are predicted otherwise now than in the run: the images or the weights "
            "have changed, or the probabilities of two classes are almost equal."
        )


def looked(model, groups: list[Group], cards: dict[int, Card], readable: dict[int, str]) -> list:
    """Returns the maps of some images of each group, in turns; see `Content.looked`."""
    shares = LOOKED // max(1, len(groups))
    rows = list(dict.fromkeys(row for group in groups for row in [r for r in group.rows if r in readable][:shares]))
    found = []
    for row, (picture, before, after) in zip(rows, model.looked([readable[row] for row in rows]), strict=True):
        picture = picture.resize((images.SIDE, images.SIDE))
        maps = [images.as_uri(images.heat(picture, values)) if values is not None else "" for values in (before, after)]
        found.append((cards[row], images.as_uri(picture), *maps))
    return found


def add_samples(content: Content) -> None:
    """Adds the training images, in the order of the classes; at most MAX_SHOWN of them, as many per class."""
    by_class = {}
    for item in content.split:
        if item.part == "train":
            by_class.setdefault(item.name, []).append(item)
    content.n_samples = sum(map(len, by_class.values()))
    per_class = max(1, MAX_SHOWN // max(1, len(by_class)))
    exif = content.run.exif
    for name, items in list(by_class.items())[:MAX_SHOWN]:
        pictures = [images.read_picture(item.file, images.SMALL, exif) for item in items[:per_class]]
        pictures = [images.as_uri(picture) for picture in pictures if picture]
        if pictures:
            content.samples.append((name, pictures))


def files(content: Content, folder: Path):
    """Yields (path relative to the folder, content) of the page and of split.csv."""
    run, page = content.run, page_name(content.run.file)
    split = page.replace("page.html", SPLIT) if content.split else ""
    if split:
        yield split, as_csv(content.split)
    figure = figures.draw_curves(run.curves)
    predictions = (run.trust.get("predictions") or {}).get("file")
    linked = [name for name in (predictions, run.file, "log.txt") if name and (run.folder / name).is_file()]
    links = [(name, os.path.relpath(run.folder / name, folder).replace(os.sep, "/")) for name in linked]
    yield page, render(
        "run.html.j2", autoescape=True, content=content, run=run, record=run.record, summary=facts.summary(run),
        command=facts.command(run), results=facts.results(run), links=links, split=split,
        curves=plots.inline_svg(figure, "curves", "Training curves") if figure else "",
    )  # fmt: skip
