"""Weights, config, tokenizer and preprocessing for Hugging Face's `transformers`."""

import os

import torch
from clip.simple_tokenizer import SimpleTokenizer

from trainers.common.models.transformers_names import to_transformers

from .common import (
    architecture,
    check_is_clip,
    class_features,
    max_difference,
    merged_weights,
    preprocessing,
    write_json,
)

FILES = (
    "model.safetensors", "config.json", "preprocessor_config.json", "vocab.json", "merges.txt",
    "special_tokens_map.json", "tokenizer_config.json", "tokenizer.json", "vocab.txt", "spiece.model",
    "sentencepiece.bpe.model", "added_tokens.json", "processor_config.json", "generation_config.json",
)  # fmt: skip
USAGE = """from transformers import CLIPModel, CLIPProcessor
model, processor = CLIPModel.from_pretrained(folder), CLIPProcessor.from_pretrained(folder)"""
RESAMPLE = {"nearest": 0, "bilinear": 2, "bicubic": 3}  # Pillow's constants
START, END = "<|startoftext|>", "<|endoftext|>"


def write(classifier, folder: str) -> None:
    from safetensors.torch import save_file

    trainer = classifier.trainer
    check_is_clip(trainer, "huggingface")
    size = architecture(trainer)
    if not size["vit"]:
        raise ValueError(
            f"--to huggingface does not support {classifier.state['meta']['backbone']}: CLIPModel has no ResNet; "
            "use --to openai, open_clip, head or onnx"
        )
    save_file(to_transformers(merged_weights(trainer)), os.path.join(folder, "model.safetensors"), {"format": "pt"})
    write_json(folder, "config.json", model_config(size))
    write_json(folder, "preprocessor_config.json", image_config(preprocessing(trainer.cfg)))
    write_tokenizer(folder, size["context"])


def model_config(size: dict) -> dict:
    common = {"hidden_act": size["activation"], "layer_norm_eps": 1e-5, "projection_dim": size["dim"]}
    text = {
        **common,
        "model_type": "clip_text_model",
        "vocab_size": size["vocabulary"],
        "hidden_size": size["text_width"],
        "intermediate_size": 4 * size["text_width"],
        "num_hidden_layers": size["text_layers"],
        "num_attention_heads": size["text_heads"],
        "max_position_embeddings": size["context"],
        "bos_token_id": size["vocabulary"] - 2,
        "eos_token_id": size["vocabulary"] - 1,
        "pad_token_id": size["vocabulary"] - 1,
    }
    vision = {
        **common,
        "model_type": "clip_vision_model",
        "hidden_size": size["image_width"],
        "intermediate_size": 4 * size["image_width"],
        "num_hidden_layers": size["image_layers"],
        "num_attention_heads": size["image_heads"],
        "image_size": size["side"],
        "patch_size": size["patch"],
    }
    return {
        "model_type": "clip",
        "architectures": ["CLIPModel"],
        "projection_dim": size["dim"],
        "text_config": text,
        "vision_config": vision,
    }


def image_config(preprocess: dict) -> dict:
    side = {"height": preprocess["side"], "width": preprocess["side"]}
    squash = preprocess["resize_mode"] == "squash"
    return {
        "image_processor_type": "CLIPImageProcessor",
        "do_convert_rgb": True,
        "do_resize": True,
        "size": side if squash else {"shortest_edge": preprocess["side"]},
        "resample": RESAMPLE[preprocess["interpolation"]],
        "do_center_crop": not squash,
        "crop_size": side,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": preprocess["mean"],
        "image_std": preprocess["std"],
    }


def write_tokenizer(folder: str, context: int) -> None:
    """Writes the vocabulary and merges of the clip package."""
    tokenizer = SimpleTokenizer()
    write_json(folder, "vocab.json", tokenizer.encoder)
    with open(os.path.join(folder, "merges.txt"), "w", encoding="utf-8") as file:
        file.write("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in tokenizer.bpe_ranks))
    special = {"bos_token": START, "eos_token": END, "unk_token": END, "pad_token": END}
    write_json(folder, "special_tokens_map.json", special)
    classes = {"tokenizer_class": "CLIPTokenizer", "processor_class": "CLIPProcessor", "model_max_length": context}
    write_json(folder, "tokenizer_config.json", {**special, **classes})


@torch.no_grad()
def check(classifier, folder: str, images: torch.Tensor) -> float:
    from transformers import CLIPModel, CLIPProcessor
    from transformers.utils import logging

    logging.disable_progress_bar()
    model = CLIPModel.from_pretrained(folder).eval()
    processor = CLIPProcessor.from_pretrained(folder)

    def encode(prompts: list[str]) -> torch.Tensor:
        tokens = processor(text=prompts, padding=True, return_tensors="pt")
        return model(**tokens, pixel_values=images[:1]).text_embeds

    text = class_features(classifier, encode)
    image = model(**processor(text=["a"], return_tensors="pt"), pixel_values=images).image_embeds
    return max_difference(classifier, images, model.logit_scale.exp() * image @ text.t())
