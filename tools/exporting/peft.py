"""LoRA in the layout of the package peft, for a model of transformers: `CLIPModel`, or the backbone's own class."""

import copy

import torch
import torch.nn.functional as F

from trainers.common.models import peft_files
from trainers.common.models.transformers_features import image_features, text_features
from trainers.common.models.transformers_names import to_transformers

from .common import architecture, class_features, max_difference, overrides
from .huggingface import model_config

FILES = (peft_files.CONFIG, peft_files.WEIGHTS)
USAGE = """from peft import PeftModel
from transformers import CLIPModel  # or the class of the backbone
model = PeftModel.from_pretrained(CLIPModel.from_pretrained(BACKBONE), folder)  # e.g. openai/clip-vit-base-patch16
# train.py accepts this folder as MODEL.INIT_WEIGHTS, for CLIPLoRA"""
ON_THE_HUB = {  # OpenAI's models -> the same weights as a CLIPModel
    "ViT-B/32": "openai/clip-vit-base-patch32",
    "ViT-B/16": "openai/clip-vit-base-patch16",
    "ViT-L/14": "openai/clip-vit-large-patch14",
    "ViT-L/14@336px": "openai/clip-vit-large-patch14-336",
}


def write(classifier, folder: str) -> None:
    trainer = classifier.trainer
    obstacle = obstacle_of(trainer)
    if not obstacle:
        name = trainer.backbone.name
        try:
            peft_files.write(trainer.changes, is_transformers(trainer), ON_THE_HUB.get(name, name), folder)
            return
        except ValueError as error:
            obstacle = str(error)
    raise ValueError(
        f"--to peft does not support {trainer.cfg.TRAINER.NAME} on {trainer.backbone.name}: {obstacle}; use --to onnx, "
        "delta or, if the run tunes only weights of CLIP, the format of the backbone's library"
    )


def is_transformers(trainer) -> bool:
    return trainer.backbone.library == "transformers"


def obstacle_of(trainer) -> str:
    """Returns what peft's layout cannot hold of a run; "" if it holds all."""
    if not list(trainer.changes) or trainer.added_tensors() or overrides(trainer, "logits", "model_inference"):
        return "peft's layout holds low-rank changes of linear layers only, as those of CLIPLoRA"
    if trainer.clip_names or trainer.start:
        return "its low-rank changes are not all that it tunes (TUNE, MODEL.START_FROM)"
    if not is_transformers(trainer) and (hasattr(trainer.backbone, "save") or not architecture(trainer)["vit"]):
        return "transformers has no such model"
    return ""


@torch.no_grad()
def check(classifier, folder: str, images: torch.Tensor) -> float:
    import peft
    from transformers import CLIPConfig, CLIPModel

    backbone = classifier.trainer.backbone
    if is_transformers(classifier.trainer):
        from trainers.common.models.transformers_models import as_backbone

        model = peft.PeftModel.from_pretrained(copy.deepcopy(backbone.model), folder).merge_and_unload()
        merged = as_backbone(backbone.name, backbone.folder, model)
        encoder = merged.text_encoder
        text = class_features(classifier, lambda prompts: encoder(encoder.pack(encoder.tokenizer(prompts))))
        image = merged.image_encoder(images)
    else:
        model = CLIPModel(CLIPConfig(**model_config(architecture(classifier.trainer))))
        state = {name: tensor.float() for name, tensor in backbone.model.state_dict().items()}
        model.load_state_dict(to_transformers(state), strict=False)  # without the buffers position_ids
        model = peft.PeftModel.from_pretrained(model.eval(), folder).merge_and_unload()
        tokenizer = backbone.text_encoder.tokenizer
        text = class_features(classifier, lambda prompts: text_features(model, tokenizer(prompts), None))
        image = image_features(model, images)
    return max_difference(classifier, images, backbone.logits(F.normalize(image, dim=-1), text))
