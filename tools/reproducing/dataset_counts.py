"""The table of datasets: numbers of classes and images by the paper, as published, and in the data on this machine."""

import re

from dassl.data.datasets import DATASET_REGISTRY
from datasets import catalogue
from tools.prepare.check_data import COUNTED, check
from tools.reporting.published import published

from .blocks import Block
from .plan import shown_name
from .results import HOLE
from .studies import PAPER, Study

CAPTION = (
    "“paper”: as printed in the CLIPFit paper. “published”: of CoOp's splits. “here”: counted in the split on this "
    "machine. The paper's prompt is used unless a run sets another (DATASET.TEMPLATE)."
)


def dataset_block(study: Study, args) -> Block:
    """Returns the table of the datasets of a study. The data that are missing are holes."""
    names = args.datasets or (catalogue.paper_configs() if study.datasets == PAPER else list(study.datasets))
    names = [*names, *(args.targets or study.targets)]
    block = Block(study.name, study.name, study.title, CAPTION)
    for kind in COUNTED:
        block.columns += [f"{kind} (paper)", f"{kind} (published)", f"{kind} (here)"]
    block.columns = ["Dataset", *block.columns, "Prompt"]
    for dataset in dict.fromkeys(names):
        name, equals_sign, folder = dataset.partition("=")
        entry = catalogue.resolve(name)
        root = folder if equals_sign else args.root
        if entry.bundled:
            DATASET_REGISTRY.get(entry.name).at_root(root).prepare()  # writes its images if they are missing
        report = check(entry.name, root, decode=False)
        here = counted(report.counts)
        if DATASET_REGISTRY.get(entry.name).test_only:  # its other splits are its test images
            here = {kind: here[kind] for kind in here if kind in ("classes", "test")}
        cells, unrounded = [], {"dataset": entry.name}
        for i, kind in enumerate(COUNTED):
            of_split = entry.counts[i] if i < len(entry.counts) else None
            printed = published().look_up(f"CLIPFit/datasets/{entry.name}/{kind}")
            block.holes += kind not in here
            cells += [count_text(value) for value in (printed, of_split, here.get(kind))]
            unrounded.update({f"{kind} paper": printed, f"{kind} published": of_split, f"{kind} here": here.get(kind)})
        block.table.append([shown_name(name, root), *cells, entry.template])
        block.csv.append({**unrounded, "prompt": entry.template})
        if report.state != "ok":
            problems = " ".join(report.problems[:1])
            block.notes.append(f"{entry.name}: {report.state}: {problems}")
    return block


def counted(counts: str) -> dict[str, int]:
    """Parses the counts of a check: "10 classes, 898 train" -> {"classes": 10, "train": 898}."""
    return {kind: int(number.replace(",", "")) for number, kind in re.findall(r"(\d[\d,]*) (\w+)", counts)}


def count_text(value) -> str:
    return HOLE if value is None else f"{value:,}"
