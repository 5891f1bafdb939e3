"""Linear classifier on normalised image features: logits = logit_scale * features @ weight.T"""

import os

import torch

from .common import max_difference, overrides

FILES = ("head.safetensors",)
USAGE = """from safetensors.torch import load_file
head = load_file(f"{folder}/head.safetensors")
logits = head["logit_scale"] * features @ head["weight"].T  # normalised image features (B, E) -> (B, n_cls)"""


def write(classifier, folder: str) -> dict:
    from safetensors.torch import save_file

    trainer = classifier.trainer
    if overrides(trainer, "logits", "model_inference"):
        raise ValueError(
            f"--to head does not support {trainer.cfg.TRAINER.NAME}, whose logits are not cosine similarities "
            "with a vector per class; use --to onnx or delta"
        )
    head = {"weight": classifier.text_features(), "logit_scale": trainer.logit_scale.float().cpu()}
    save_file(head, os.path.join(folder, "head.safetensors"), {"format": "pt"})
    return {"features": features(trainer)}


def features(trainer) -> str:
    """Returns a description of the image features that the head expects."""
    if overrides(trainer, "encode_image", "image_features") or "image" in trainer.inserted:
        return f"image features of {trainer.cfg.TRAINER.NAME}: load_tuned(...).features, or export --to onnx"
    started = trainer.start.tensors if trainer.start else ()
    if any(map(trainer.backbone.is_image, (*trainer.tuned_values(), *started))):
        return "image features of the tuned image encoder: load_tuned(...).features, or export --to openai"
    return "image features of the backbone"


def check(classifier, folder: str, images: torch.Tensor) -> float:
    from safetensors.torch import load_file

    head = load_file(os.path.join(folder, "head.safetensors"))
    return max_difference(classifier, images, head["logit_scale"] * classifier.features(images) @ head["weight"].T)
