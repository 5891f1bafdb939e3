"""What the page says about the run: a sentence, its accuracy, its page, and test images to try."""

from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from tools.reporting.run_pages import page_name
from tools.showing import facts
from tools.showing.images import read_picture
from tools.showing.run import ShownRun, read_run
from tools.showing.split import split_of
from trainers.common.inference.calibration import run_folder
from trainers.common.inference.classifier import Classifier

MAX_EXAMPLES = 10


@dataclass(frozen=True)
class Example:
    """A test image of the run: its file, its class and its picture."""

    file: str
    name: str
    picture: Image.Image


@dataclass
class About:
    """
    Attributes:
        path: the run as the user named it.
        title: method and dataset.
        sentence: what was done.
        accuracy: of zero-shot CLIP and of the run; "" if unknown.
        zero_shot_template: the prompt of the zero-shot CLIP that the record compares the run with; "" if unknown.
        page: the page that tools/show.py has written; None if it has not.
        examples: test images of different classes.
        missing: why there are no examples; "" if there are.
    """

    path: str
    title: str
    sentence: str
    accuracy: str = ""
    zero_shot_template: str = ""
    page: Path | None = None
    examples: list[Example] = field(default_factory=list)
    missing: str = ""


def about(path: str, classifier: Classifier, images: bool, root: str) -> About:
    """Returns what the page says about a run: from its record or, without one, from its weights.

    Args:
        path: the run as the user named it.
        images: whether to show images of the run.
        root: folder with the datasets; "": that of the run.
    """
    try:
        run = read_run(run_folder(path))
    except (OSError, ValueError):  # single weights, a run that is not finished, or no run
        return without_record(path, classifier)
    found = About(path, title_of(run), facts.summary(run), accuracy_of(run))
    prompt = run.zero_shot.get("prompt", "")
    found.zero_shot_template = prompt if "{}" in prompt else ""
    if images:
        page = run.folder / page_name(run.file)
        found.page = page if page.is_file() else None
        try:
            found.examples = examples_of(run, root)
        except (OSError, ValueError, ModuleNotFoundError) as error:
            found.missing = " ".join(str(error).split())
    return found


def without_record(path: str, classifier: Classifier) -> About:
    meta = classifier.state["meta"]
    epoch = classifier.state.get("epoch")
    after = f" after epoch {epoch}" if epoch else ""
    return About(
        path,
        f"{meta['trainer']} with {meta['backbone']}",
        f"{meta['trainer']} with {meta['backbone']}{after}, {len(classifier.classnames):,} classes.",
    )


def title_of(run: ShownRun) -> str:
    return f"{run.record['identity']['trainer']} on {run.record.get('name') or run.record['dataset']}"


def accuracy_of(run: ShownRun) -> str:
    """Example: "Accuracy: zero-shot CLIP 67.30 %, this run 86.40 % (+19.10)."."""
    row = next((row for row in facts.results(run) if row.title == "Accuracy"), None)
    if row is None:
        return ""
    before = f"zero-shot CLIP {row.before}, " if row.before else ""
    return f"Accuracy: {before}this run {row.after}" + (f" ({row.difference})." if row.difference else ".")


def examples_of(run: ShownRun, root: str) -> list[Example]:
    """Returns one test image of each class, at most MAX_EXAMPLES. Images that cannot be read are left out."""
    by_class = {item.name: item for item in reversed(split_of(run, root)) if item.part == "test"}
    names = [name for name in run.classnames if name in by_class]
    examples = []
    for name in names[:: max(1, len(names) // MAX_EXAMPLES)][:MAX_EXAMPLES]:
        picture = read_picture(by_class[name].file, exif=run.exif)
        if picture:
            examples.append(Example(by_class[name].file, name, picture))
    if not examples:
        raise FileNotFoundError("its test images cannot be read")
    return examples
