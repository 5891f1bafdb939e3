"""A model of another library in that library's own format; see `own_format`."""

import os

import torch
import torch.nn.functional as F

from trainers.common.models.backbones import load_backbone
from trainers.common.models.preprocess import differences

from . import open_clip
from .common import check_is_clip, class_features, max_difference, merged_weights, own_format

PROCESSORS = ("preprocessor_config.json", "processor_config.json")  # image processors


def usage(classifier) -> str:
    """Returns Python code that loads the export."""
    backbone = classifier.trainer.backbone
    if own_format(backbone) == "open_clip":
        return open_clip.USAGE
    name = type(backbone.model).__name__
    if not any(os.path.isfile(os.path.join(backbone.folder, file)) for file in PROCESSORS):
        return (  # AutoProcessor would fail
            f"from transformers import AutoTokenizer, {name}\n"
            f"model, tokenizer = {name}.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)\n"
            "# classes.json says how to prepare images, as the backbone has no preprocessor_config.json"
        )
    return (
        f"from transformers import AutoProcessor, {name}\n"
        f"model, processor = {name}.from_pretrained(folder), AutoProcessor.from_pretrained(folder)"
    )


def write(classifier, folder: str) -> None:
    trainer = classifier.trainer
    check_is_clip(trainer, own_format(trainer.backbone))
    trainer.backbone.save(folder, merged_weights(trainer))
    note = differences(trainer.cfg, trainer.backbone.preprocess)
    if note:
        print(f"{note}. The export has what the backbone expects, classes.json what the run used")


@torch.no_grad()
def check(classifier, folder: str, images: torch.Tensor) -> float:
    backbone = load_backbone(folder)
    encoder = backbone.text_encoder
    text = class_features(classifier, lambda prompts: encoder(encoder.pack(encoder.tokenizer(prompts))))
    image = F.normalize(backbone.image_encoder(images), dim=-1)
    return max_difference(classifier, images, backbone.logits(image, text))
