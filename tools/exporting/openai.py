"""Weights for OpenAI's `clip` package."""

import os
import warnings

import clip
import torch
import torch.nn.functional as F

from .common import architecture, check_is_clip, class_features, max_difference, merged_weights

FILES = ("clip.pt",)
USAGE = """import clip
model, preprocess = clip.load(f"{folder}/clip.pt", device="cpu")
# train.py and the tools accept this file as --backbone"""


def write(classifier, folder: str) -> None:
    check_is_clip(classifier.trainer, "openai")
    size = architecture(classifier.trainer)
    if size["vit"] and size["image_width"] != 64 * size["image_heads"]:
        raise ValueError(
            f"--to openai does not support {classifier.trainer.backbone.name}: OpenAI's clip takes 64 as the width of "
            "each attention head; use --to open_clip, huggingface or onnx"
        )
    activation = classifier.trainer.backbone.activation
    if activation != "quick_gelu":
        raise ValueError(
            f"--to openai does not support {activation} (MODEL.BACKBONE.ACTIVATION): OpenAI's clip has only "
            "quick_gelu; use --to open_clip, huggingface or onnx"
        )
    torch.save(merged_weights(classifier.trainer), os.path.join(folder, "clip.pt"))


def check(classifier, folder: str, images: torch.Tensor) -> float:
    path = os.path.join(folder, "clip.pt")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit.load is deprecated
        model, _ = clip.load(path, device="cpu")
    rounding = max_difference(classifier, images, logits(classifier, model, images))
    print(f"clip.load rounds weight matrices and their biases to fp16; this changes the logits by up to {rounding:.2g}")
    model.load_state_dict(torch.load(path, weights_only=True))  # not rounded
    return max_difference(classifier, images, logits(classifier, model, images))


@torch.no_grad()
def logits(classifier, model, images: torch.Tensor) -> torch.Tensor:
    text = class_features(classifier, lambda prompts: model.encode_text(clip.tokenize(prompts)))
    return model.logit_scale.exp() * F.normalize(model.encode_image(images), dim=-1) @ text.t()
