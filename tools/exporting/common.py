"""What the targets share: which methods they are for, CLIP's weights with the tuned ones, and the classes' file."""

import json
import os

import torch

from trainers.common.prompts import fill
from trainers.common.trainer import ClipTrainer


def has_own(trainer, *names: str) -> bool:
    """Whether the method has a way of its own for one of these steps of a ClipTrainer."""
    return any(getattr(type(trainer), name) is not getattr(ClipTrainer, name) for name in names)


def check_is_clip(trainer, target: str) -> None:
    """Raise ValueError unless the tuned model is a CLIP: nothing but CLIP's own parameters is tuned or used."""
    own = [name for name in trainer.tuned.state_dict() if name not in trainer.clip_names]
    steps = ("text_features", "encode_text", "encode_image", "image_features", "logits", "model_inference")
    if not own and not has_own(trainer, *steps):
        return
    others = ["onnx", *(["head"] if not has_own(trainer, "logits", "model_inference") else []), "delta"]
    raise ValueError(
        f"{trainer.cfg.TRAINER.NAME} is more than a CLIP with other weights, so that --to {target} cannot hold it; it "
        f"can be written --to {', '.join(others)}"
    )


def merged(trainer) -> dict[str, torch.Tensor]:
    """All weights of the CLIP in OpenAI's naming, fp32, with the tuned ones in place."""
    state = {name: tensor.float().cpu().clone() for name, tensor in trainer.clip.state_dict().items()}
    state.update({name: tensor.cpu().clone() for name, tensor in trainer.tuned.state_dict().items()})
    return state


def sizes(trainer) -> dict:
    """The CLIP's architecture, as numbers."""
    clip, visual = trainer.clip, trainer.clip.visual
    vit = hasattr(visual, "transformer")
    stages = [getattr(visual, f"layer{i}", ()) for i in range(1, 5)]
    return {
        "vit": vit,
        "dim": clip.text_projection.shape[1],
        "side": visual.input_resolution,
        "patch": visual.conv1.kernel_size[0] if vit else None,
        "image_width": visual.conv1.out_channels if vit else visual.layer1[0].conv1.out_channels,
        "image_layers": len(visual.transformer.resblocks) if vit else [len(stage) for stage in stages],
        "context": clip.context_length,
        "vocabulary": clip.vocab_size,
        "text_width": clip.transformer.width,
        "text_layers": clip.transformer.layers,
        "text_heads": clip.transformer.resblocks[0].attn.num_heads,
    }


def preprocessing(cfg) -> dict:
    """The evaluation's preprocessing: resize of the shorter edge, crop of the centre, normalisation."""
    return {
        "side": max(cfg.INPUT.SIZE),
        "interpolation": cfg.INPUT.INTERPOLATION,
        "mean": list(cfg.INPUT.PIXEL_MEAN) if "normalize" in cfg.INPUT.TRANSFORMS else [0.0, 0.0, 0.0],
        "std": list(cfg.INPUT.PIXEL_STD) if "normalize" in cfg.INPUT.TRANSFORMS else [1.0, 1.0, 1.0],
    }


def about(classifier) -> dict:
    """What was exported: method, backbone, classes, prompts, preprocessing."""
    trainer, meta = classifier.trainer, classifier.state["meta"]
    prompts = not has_own(trainer, "text_features", "model_inference")
    return {
        "method": meta["trainer"],
        "backbone": meta["backbone"],
        "fingerprint": meta["fingerprint"],
        "epoch": classifier.state.get("epoch"),
        "classnames": classifier.classnames,
        "template": trainer.template if prompts else None,
        "prompts": fill(trainer.template, classifier.classnames) if prompts else None,
        "logit_scale": trainer.clip.logit_scale.exp().item(),
        "preprocessing": preprocessing(trainer.cfg),
    }


def write_json(folder: str, name: str, content) -> None:
    with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
        json.dump(content, file, indent=1, ensure_ascii=False)
        file.write("\n")


def difference(classifier, images: torch.Tensor, logits: torch.Tensor) -> float:
    """Largest difference of `logits` (B, n_cls) to the classifier's own for `images` (B, 3, side, side)."""
    return (classifier.predict(images).logits - logits.detach().float().cpu()).abs().max().item()
