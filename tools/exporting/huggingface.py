"""Weights, config, tokenizer and preprocessing for Hugging Face's `transformers`."""

import os

import torch
from clip.simple_tokenizer import SimpleTokenizer

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
RENAMED = {  # prefix in OpenAI's names -> prefix in transformers' names
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.conv1.": "vision_model.embeddings.patch_embedding.",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.ln_pre.": "vision_model.pre_layrnorm.",  # sic
    "visual.ln_post.": "vision_model.post_layernorm.",
    "visual.transformer.resblocks.": "vision_model.encoder.layers.",
    "token_embedding.": "text_model.embeddings.token_embedding.",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "ln_final.": "text_model.final_layer_norm.",
    "transformer.resblocks.": "text_model.encoder.layers.",
    "logit_scale": "logit_scale",
}
IN_BLOCKS = {
    ".attn.out_proj.": ".self_attn.out_proj.",
    ".mlp.c_fc.": ".mlp.fc1.",
    ".mlp.c_proj.": ".mlp.fc2.",
    ".ln_1.": ".layer_norm1.",
    ".ln_2.": ".layer_norm2.",
}
PROJECTIONS = {"visual.proj": "visual_projection.weight", "text_projection": "text_projection.weight"}


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
    save_file(renamed(merged_weights(trainer)), os.path.join(folder, "model.safetensors"), {"format": "pt"})
    write_json(folder, "config.json", model_config(size))
    write_json(folder, "preprocessor_config.json", image_config(preprocessing(trainer.cfg)))
    write_tokenizer(folder, size["context"])


def renamed(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Returns the weights by transformers' names; splits query, key and value, and transposes the projections."""
    result = {}
    for name, tensor in state.items():
        if name in PROJECTIONS:
            result[PROJECTIONS[name]] = tensor.t().contiguous()
            continue
        prefix, new_prefix = next(pair for pair in RENAMED.items() if name.startswith(pair[0]))
        target = new_prefix + name.removeprefix(prefix)
        for old, new in IN_BLOCKS.items():
            target = target.replace(old, new)
        if ".attn.in_proj_" in target:
            for letter, part in zip("qkv", tensor.chunk(3), strict=True):
                result[target.replace(".attn.in_proj_", f".self_attn.{letter}_proj.")] = part.clone()
        else:
            result[target] = tensor
    return result


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
