"""The classes as a linear layer on normalised image features: logits = logit_scale * features @ weight.T"""

import os

import torch

from .common import difference, has_own

HOW = """from safetensors.torch import load_file
head = load_file(f"{folder}/head.safetensors")
logits = head["logit_scale"] * features @ head["weight"].T  # normalised image features (B, E) -> (B, n_cls)"""


def write(classifier, folder: str) -> dict:
    from safetensors.torch import save_file

    trainer = classifier.trainer
    if has_own(trainer, "logits", "model_inference"):
        raise ValueError(
            f"{trainer.cfg.TRAINER.NAME} does not classify with one vector a class, so that it has no head; export it "
            "--to onnx or delta"
        )
    head = {"weight": classifier.text_features(), "logit_scale": trainer.clip.logit_scale.exp().float().cpu()}
    save_file(head, os.path.join(folder, "head.safetensors"), {"format": "pt"})
    return {"features": features(trainer)}


def features(trainer) -> str:
    """Which image features the head is for."""
    if has_own(trainer, "encode_image", "image_features"):
        return f"those of {trainer.cfg.TRAINER.NAME}, which export --to onnx and load_tuned(...).features give"
    if any(name.startswith("visual.") for name in trainer.clip_names):
        return "those of the tuned image encoder, which export --to openai and load_tuned(...).features give"
    return "those of the backbone as it is"


def check(classifier, folder: str, images: torch.Tensor) -> float:
    from safetensors.torch import load_file

    head = load_file(os.path.join(folder, "head.safetensors"))
    return difference(classifier, images, head["logit_scale"] * classifier.features(images) @ head["weight"].T)
