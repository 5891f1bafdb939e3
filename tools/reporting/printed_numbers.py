"""Published numbers, and how they are found.

A number has a path, SOURCE/PROTOCOL/SHOTS/DATASET/METHOD/COLUMN, such as CLIPFit/base2new/16/EuroSAT/CLIPFit/H. The
dataset may be Average; the column of the other protocols than base2new is Accuracy.
"""

import re
from dataclasses import dataclass, field

AVERAGE = "Average"
ACCURACY = "Accuracy"
BY = ("authors", "copied", "others")  # who printed a number; those before are preferred


@dataclass
class Number:
    """A printed number in percent.

    Attributes:
        by: one of BY.
        seeds: that it is the mean of; None if the source does not say so.
        averaged: the datasets that an average is over.
        remarks: doubts about it.
    """

    source: str
    where: str
    by: str
    seeds: int | None
    backbone: str
    protocol: str
    shots: str
    dataset: str
    method: str
    column: str
    value: float
    averaged: frozenset = frozenset()
    remarks: list[str] = field(default_factory=list)
    path: str = ""

    def __post_init__(self):
        self.path = "/".join((self.source, self.protocol, self.shots, self.dataset, self.method, self.column))


@dataclass
class Published:
    """The content of the file.

    Attributes:
        numbers: in the order of the file.
        index: (protocol, dataset, method, column) -> numbers, the authors' own first.
        seeds: source -> number of seeds that its numbers are means of; None if it does not say so.
        studies: source -> further numbers, as nested mappings.
    """

    numbers: list[Number]
    index: dict[tuple, list[Number]]
    seeds: dict[str, int | None]
    studies: dict[str, dict]
    not_implemented: list[str]

    def find(self, protocol: str, dataset: str, method: str, column: str, shots: str, backbone: str) -> list[Number]:
        """Returns the printed numbers of a cell, the authors' own first.

        Args:
            shots: "" for any: zero-shot CLIP does not depend on them.
            backbone: as a run names it.
        """
        found = self.index.get((protocol, dataset, method, column), [])
        return [n for n in found if (not shots or n.shots == shots) and is_backbone(backbone, n.backbone)]

    def look_up(self, path: str):
        """Returns what is printed at a path: of a number, or of a study as SOURCE/KEY/KEY. None if nothing is."""
        numbers = [number.value for number in self.numbers if number.path == path]
        node = numbers[0] if numbers else self.studies
        for part in path.split("/") if not numbers else ():
            node = node.get(part) if isinstance(node, dict) else None
        return node

    def averaged(self, source: str, protocol: str) -> set[str]:
        """Returns the datasets of the averages of a source."""
        return set().union(*(n.averaged for n in self.numbers if (n.source, n.protocol) == (source, protocol)))


def is_backbone(name: str, published: str) -> bool:
    """Whether the backbone of a run is OpenAI's CLIP of this architecture, by any of its names.

    "ViT-B/16", "weights/ViT-B-16.pt" and "open_clip:ViT-B-16-quickgelu/openai" are "ViT-B/16".
    """
    library, model = re.fullmatch(r"(\w{2,}:)?(.*)", name, re.DOTALL).groups()
    if library and not model.endswith("/openai"):
        return False
    model = model.removesuffix("/openai").removesuffix("-quickgelu")
    if model.endswith(".pt"):
        model = re.split(r"[/\\]", model)[-1].removesuffix(".pt")
    return plain(model) == plain(published)


def plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
