"""Weights and config for `open_clip`."""

import os

import torch

from .common import (
    architecture,
    check_is_clip,
    class_features,
    max_difference,
    merged_weights,
    preprocessing,
    write_json,
)

FILES = ("open_clip_model.safetensors", "clip_tuned.json", "open_clip_config.json")
USAGE = """import open_clip
open_clip.add_model_config(f"{folder}/clip_tuned.json")
model = open_clip.create_model("clip_tuned", pretrained=f"{folder}/open_clip_model.safetensors")
# or, with open_clip 3.0 or later: open_clip.create_model_and_transforms(f"local-dir:{folder}")"""


def write(classifier, folder: str) -> None:
    from safetensors.torch import save_file

    trainer = classifier.trainer
    check_is_clip(trainer, "open_clip")
    save_file(merged_weights(trainer), os.path.join(folder, "open_clip_model.safetensors"), {"format": "pt"})
    model = model_config(architecture(trainer))
    preprocess = preprocessing(trainer.cfg)
    del preprocess["side"]
    write_json(folder, "clip_tuned.json", model)
    config = {"model_cfg": model, "preprocess_cfg": preprocess}
    write_json(folder, "open_clip_config.json", config)


def model_config(size: dict) -> dict:
    return {
        "embed_dim": size["dim"],
        "quick_gelu": size["activation"] == "quick_gelu",
        "vision_cfg": {
            "image_size": size["side"],
            "layers": size["image_layers"],
            "width": size["image_width"],
            **({"head_width": size["image_width"] // size["image_heads"]} if size["vit"] else {}),
            "patch_size": size["patch"],
        },
        "text_cfg": {
            "context_length": size["context"],
            "vocab_size": size["vocabulary"],
            "width": size["text_width"],
            "heads": size["text_heads"],
            "layers": size["text_layers"],
        },
    }


@torch.no_grad()
def check(classifier, folder: str, images: torch.Tensor) -> float:
    import open_clip

    open_clip.add_model_config(os.path.join(folder, "clip_tuned.json"))
    weights = os.path.join(folder, "open_clip_model.safetensors")
    model = open_clip.create_model("clip_tuned", pretrained=weights).eval()
    image = model.encode_image(images, normalize=True)
    text = class_features(classifier, lambda prompts: model.encode_text(open_clip.tokenize(prompts)))
    return max_difference(classifier, images, model.logit_scale.exp() * image @ text.t())
