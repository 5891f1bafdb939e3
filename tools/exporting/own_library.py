"""A model of another library in that library's own format; see `own_format`."""

import torch
import torch.nn.functional as F

from trainers.common.models.backbones import load_backbone

from .common import check_is_clip, class_features, max_difference, merged_weights, own_format


def write(classifier, folder: str) -> None:
    trainer = classifier.trainer
    check_is_clip(trainer, own_format(trainer.backbone))
    trainer.backbone.save(folder, merged_weights(trainer))


@torch.no_grad()
def check(classifier, folder: str, images: torch.Tensor) -> float:
    backbone = load_backbone(folder)
    encoder = backbone.text_encoder
    text = class_features(classifier, lambda prompts: encoder(encoder.pack(encoder.tokenizer(prompts))))
    image = F.normalize(backbone.image_encoder(images), dim=-1)
    return max_difference(classifier, images, backbone.logits(image, text))
