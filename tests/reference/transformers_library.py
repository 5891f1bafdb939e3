"""Features, tokens and logits of models of transformers, computed by the package's own forward pass and tokenizers."""

import json
from pathlib import Path

import torch
import torch.nn.functional as F

from .transformers_zoo import SIDE

PROMPTS = ["a photo of a cat.", "a photo of the number nine.", "dog"]


def library_model(folder):
    name = json.loads((Path(folder) / "config.json").read_text())["architectures"][0]
    import transformers

    return getattr(transformers, name).from_pretrained(folder).eval()


def library_tokens(folder, prompts):
    """What the tokenizer of the library returns, padded as in its documentation of each model."""
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    if "iglip" in folder:
        tokens = tokenizer(prompts, padding="max_length", max_length=64, return_tensors="pt", padding_side="right")
        return {"input_ids": tokens["input_ids"]}
    tokens = tokenizer(prompts, padding=True, return_tensors="pt")
    return {"input_ids": tokens["input_ids"], "attention_mask": tokens["attention_mask"]}


def library_images(folder, image):
    """Arguments of the library's model for images (B, 3, H, W)."""
    if "Siglip2" not in folder:
        return {"pixel_values": image}
    import transformers

    processor = transformers.Siglip2ImageProcessor(do_resize=False, do_rescale=False, do_normalize=False)
    return dict(processor(list(image), max_num_patches=4, patch_size=16, return_tensors="pt"))


def library_logits(model, images, tokens):
    """Logits (B, n) and normalised features of the library's forward pass."""
    if type(model).__name__ == "Blip2ForImageTextRetrieval":
        out = model(**images, **tokens)
        return out.logits_per_image / 0.07, out.image_embeds, out.text_embeds
    if "Blip" in type(model).__name__:
        out = model(**images, **tokens, use_itm_head=False)
        image = model.vision_proj(model.vision_model(**images).last_hidden_state[:, 0])
        text = model.text_proj(model.text_encoder(**tokens).last_hidden_state[:, 0])
        return out.itm_score / 0.07, F.normalize(image, dim=-1), F.normalize(text, dim=-1)
    out = model(**images, **tokens)
    return out.logits_per_image, F.normalize(out.image_embeds, dim=-1), F.normalize(out.text_embeds, dim=-1)


def features(backbone, image, prompts=PROMPTS):
    text = backbone.text_encoder
    with torch.no_grad():
        return (
            F.normalize(backbone.image_encoder(image), dim=-1),
            F.normalize(text(text.pack(text.tokenizer(prompts))), dim=-1),
        )


def random_images(n=3, seed=0):
    return torch.randn(n, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))


def assert_close(found, expected, tolerance=1e-5):
    assert found.shape == expected.shape
    assert (found - expected).norm() <= tolerance * expected.norm()
