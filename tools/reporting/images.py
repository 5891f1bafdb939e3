"""Compares the images of runs. Runs on different images are never averaged.

Runs are compared by the digests of their images' content. Older records have only a hash of the images' names: it
decides where one of two runs has no digest. Logs have neither, and agree with everything.
"""

import hashlib
import json
from collections import defaultdict
from typing import NamedTuple

from .run import Run


class Images(NamedTuple):
    """The images of one split in one run. A field is None if the run does not record it."""

    digest: str | None  # of labels and content
    names: str | None  # hash of names, labels and class names
    classnames: str | None  # hash of the class names; None for training images
    number: int | None

    @property
    def text(self) -> str:
        """E.g. "3f2a9c (120)"; the digits are those of the digest in the record."""
        number = "" if self.number is None else f" ({self.number})"
        return f"{(self.digest or self.names or '?')[:6]}{number}"

    def differ(self, other: "Images") -> bool:
        for one, two in ((self.digest, other.digest), (self.names, other.names)):
            if one and two:
                break
        else:
            return False
        return one != two or bool(self.classnames and other.classnames and self.classnames != other.classnames)


def tested_images(run: Run) -> Images | None:
    """Returns the test images of a run, or None if it does not record them."""
    classnames = hashlib.sha256(json.dumps(run.classnames).encode()).hexdigest() if run.classnames else None
    return images_of(run.extra.get("content"), run.extra.get("data"), "test", classnames)


def training_images(run: Run) -> Images | None:
    """Returns the images that a run's model was trained on, or None if that is not recorded."""
    if not run.eval_only:
        return images_of(run.extra.get("content"), run.extra.get("data"), "train_x")
    recorded = images_of(run.source.get("content"), None, "train_x")
    return recorded or (training_images(run.source_run) if run.source_run else None)


def images_of(content, names, split: str, classnames: str | None = None) -> Images | None:
    """Returns the images of a split, given the fields `content` and `data` of a record."""
    entry = content.get(split) if isinstance(content, dict) else None
    entry = entry if isinstance(entry, dict) else {}
    images = Images(entry.get("digest"), (names or {}).get(split), classnames, entry.get("images"))
    return images if images.digest or images.names else None


def group(signatures: list[dict[str, Images]]) -> list[int]:
    """Returns a group number per signature (part -> images). Signatures of a group have the same images in each part.

    A signature that fits several groups joins the only one with which it shares a part; if that does not decide, it is
    in a group of its own. Empty signatures, of runs that record no images, join the only group or form one.
    """
    # Example: the parts are the base and the new classes.
    #   {base: b1, new: n1}, {base: b2, new: n2}, {new: n2}, {base: b3}  ->  groups 0, 1, 1, 2
    groups = []  # part -> list of images
    numbers = [0] * len(signatures)
    for index in sorted(range(len(signatures)), key=lambda index: -len(signatures[index])):
        signature = signatures[index]
        fitting = [number for number, known in enumerate(groups) if fits(signature, known)]
        sharing = [number for number in fitting if groups[number].keys() & signature.keys()]
        equal = [number for number in fitting if groups[number].keys() == signature.keys()]
        for candidates in (fitting, sharing, equal):
            if len(candidates) == 1:
                number = candidates[0]
                break
        else:
            number = len(groups)
            groups.append(defaultdict(list))
        for part, images in signature.items():
            if images not in groups[number][part]:
                groups[number][part].append(images)
        numbers[index] = number
    return numbers


def fits(signature: dict[str, Images], known: dict[str, list[Images]]) -> bool:
    """Returns whether a signature contradicts none of the images of a group."""
    return not any(images.differ(other) for part, images in signature.items() for other in known.get(part, []))
