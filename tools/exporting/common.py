"""Shared by the export formats: which methods can be exported, the merged weights, and classes.json."""

import json
import os

import torch
import torch.nn.functional as F

from trainers.common.feature_trainer import FeatureTrainer
from trainers.common.trainer import ClipTrainer

OWN_FORMAT = {"open_clip": "open_clip", "transformers": "huggingface"}  # library of a backbone -> format


def own_format(backbone) -> str | None:
    """Returns the only format that a backbone has; None if it has OpenAI's structure, which all formats can express."""
    return OWN_FORMAT[backbone.library] if hasattr(backbone, "save") else None


def overrides(trainer, *names: str) -> bool:
    """Returns whether the method overrides one of these methods of ClipTrainer.

    Those of FeatureTrainer do the same, and also take features that have been computed.
    """
    bases = (ClipTrainer, FeatureTrainer)
    return not all(getattr(type(trainer), name) in [getattr(base, name) for base in bases] for name in names)


def check_is_clip(trainer, target: str) -> None:
    """Raises ValueError unless the fine-tuned model is the backbone with other weights, in the format of `target`."""
    own = own_format(trainer.backbone)
    if own and target != own:
        name = trainer.backbone.name
        raise ValueError(f"--to {target} does not support {name}: use --to {own}, its own library's format, or onnx")
    methods = ("text_features", "encode_text", "encode_image", "image_features", "logits", "model_inference")
    if not trainer.added_tensors() and not overrides(trainer, *methods):
        return
    supported = ["onnx", "delta"] if overrides(trainer, "logits", "model_inference") else ["onnx", "head", "delta"]
    raise ValueError(
        f"--to {target} does not support {trainer.cfg.TRAINER.NAME}, which changes more than the weights of CLIP; use "
        f"--to {', '.join(supported)}"
    )


def merged_weights(trainer) -> dict[str, torch.Tensor]:
    """Returns all weights of the backbone including the tuned ones, in fp32, by its own names."""
    state = {name: tensor.float().cpu().clone() for name, tensor in trainer.clip.state_dict().items()}
    state.update({name: tensor.detach().cpu().clone() for name, tensor in trainer.tuned_values().items()})
    return state


def architecture(trainer) -> dict:
    """Returns the architecture of the CLIP model: type of image encoder, widths, numbers of layers, sizes."""
    clip = trainer.clip
    visual = clip.visual
    vit = hasattr(visual, "transformer")
    stages = [getattr(visual, f"layer{i}", ()) for i in range(1, 5)]
    return {
        "vit": vit,
        "activation": trainer.backbone.activation,
        "dim": clip.text_projection.shape[1],
        "side": visual.input_resolution,
        "patch": visual.conv1.kernel_size[0] if vit else None,
        "image_width": visual.conv1.out_channels if vit else visual.layer1[0].conv1.out_channels,
        "image_heads": visual.transformer.resblocks[0].attn.num_heads if vit else None,
        "image_layers": len(visual.transformer.resblocks) if vit else [len(stage) for stage in stages],
        "context": clip.context_length,
        "vocabulary": clip.vocab_size,
        "text_width": clip.transformer.width,
        "text_layers": clip.transformer.layers,
        "text_heads": clip.transformer.resblocks[0].attn.num_heads,
    }


def preprocessing(cfg) -> dict:
    """Returns the test-time preprocessing: how images are resized, and their normalisation."""
    normalize = "normalize" in cfg.INPUT.TRANSFORMS
    return {
        "side": max(cfg.INPUT.SIZE),
        "interpolation": cfg.INPUT.INTERPOLATION,
        "resize_mode": cfg.INPUT.RESIZE_MODE,
        "mean": list(cfg.INPUT.PIXEL_MEAN) if normalize else [0.0, 0.0, 0.0],
        "std": list(cfg.INPUT.PIXEL_STD) if normalize else [1.0, 1.0, 1.0],
    }


def describe(classifier) -> dict:
    """Returns the content of classes.json: method, backbone, class names, prompts, preprocessing."""
    trainer = classifier.trainer
    meta = classifier.state["meta"]
    has_prompts = not overrides(trainer, "text_features", "model_inference")
    return {
        "method": meta["trainer"],
        "backbone": meta["backbone"],
        "fingerprint": meta["fingerprint"],
        "epoch": classifier.state.get("epoch"),
        "classnames": classifier.classnames,
        "template": trainer.template if has_prompts else None,
        "prompts": [own[0] if len(own) == 1 else own for own in trainer.prompts] if has_prompts else None,
        "logit_scale": trainer.logit_scale.item(),
        "preprocessing": preprocessing(trainer.cfg),
    }


def class_features(classifier, encode) -> torch.Tensor:
    """Returns text features (n_cls, E), the mean over the prompts of each class, as another program computes them.

    Args:
        encode: function of that program: n prompts -> text features (n, E).
    """
    prompts = classifier.trainer.prompts
    features = F.normalize(encode([prompt for own in prompts for prompt in own]), dim=-1)
    means = [own.mean(0) for own in features.split([len(own) for own in prompts])]
    return F.normalize(torch.stack(means), dim=-1)


def write_json(folder: str, name: str, content) -> None:
    with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
        json.dump(content, file, indent=1, ensure_ascii=False)
        file.write("\n")


def max_difference(classifier, images: torch.Tensor, logits: torch.Tensor) -> float:
    """Returns the maximum difference of `logits` (B, n_cls) from the run's logits for `images` (B, 3, side, side)."""
    return (classifier.predict(images).logits - logits.detach().float().cpu()).abs().max().item()
