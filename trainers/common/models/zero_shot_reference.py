"""Published zero-shot results (configs/zero_shot.yaml), to compare a run of zero-shot CLIP with."""

from __future__ import annotations

import os
from functools import lru_cache

import yaml

FILE = os.path.join(os.path.dirname(__file__), "..", "..", "..", "configs", "zero_shot.yaml")
ONE_PROMPT = 2.0  # percentage points that one prompt instead of 80 costs at most; 1.6 for ViT-B/16 on ImageNet


@lru_cache(maxsize=None)
def models(path: str) -> list[dict]:
    """Returns the entries of the file; [] in a CoOp checkout, which does not have it."""
    if not os.path.isfile(path):
        return []
    with open(path, encoding="utf-8") as file:
        return yaml.safe_load(file)["models"]


def retrieval(backbone: str, dataset: str) -> dict[str, list[float]]:
    """Returns the published recalls at 1, 5 and 10 in percent: {"image": [...], "text": [...]}; {} if none are known.

    `dataset` is Flickr30k or COCO, on the 1,000 or 5,000 test images of Karpathy's split.
    """
    for entry in models(FILE):
        if backbone in entry["backbones"]:
            return entry.get("retrieval", {}).get(dataset, {})
    return {}


def comparison(backbone: str, dataset: str, result: float) -> str:
    """Returns a line with the published result, and what to check if `result` (%) is lower; "" if none is known."""
    values = [m["results"].get(dataset) for m in models(FILE) if backbone in m["backbones"]]
    if not values or values[0] is None:
        return ""
    published = values[0]
    line = (
        f"Zero-shot result of {backbone} on {dataset}: {published:.2f} % published (open_clip, prompt ensemble), "
        f"{result:.2f} % here"
    )
    if result < published - ONE_PROMPT:
        line += (
            f". That is {published - result:.2f} points lower; fewer prompts cost up to {ONE_PROMPT:g}: check the "
            "activation (MODEL.BACKBONE.ACTIVATION), INPUT.PIXEL_MEAN, PIXEL_STD, INTERPOLATION, and the class names"
        )
    return line
