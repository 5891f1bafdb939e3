"""Weights as OpenAI's `clip` package loads them."""

import os
import warnings

import clip
import torch

from .common import about, check_is_clip, difference, merged

HOW = """import clip
model, preprocess = clip.load(f"{folder}/clip.pt", device="cpu")
# this project's programs take the file as --backbone"""


def write(classifier, folder: str) -> None:
    check_is_clip(classifier.trainer, "openai")
    torch.save(merged(classifier.trainer), os.path.join(folder, "clip.pt"))


def check(classifier, folder: str, images: torch.Tensor) -> float:
    path = os.path.join(folder, "clip.pt")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's, that torch.jit.load is deprecated
        model, _ = clip.load(path, device="cpu")
    rounded = difference(classifier, images, logits(classifier, model, images))
    print(f"clip.load rounds matrices and their biases to fp16, which changes logits by up to {rounded:.2g}")
    model.load_state_dict(torch.load(path, weights_only=True))  # without the rounding
    return difference(classifier, images, logits(classifier, model, images))


@torch.no_grad()
def logits(classifier, model, images: torch.Tensor) -> torch.Tensor:
    return model(images, clip.tokenize(about(classifier)["prompts"]))[0]
