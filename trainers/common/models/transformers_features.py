"""Features and logit scale of a model of the package transformers, from the model's own modules."""

from __future__ import annotations

import torch
from torch import nn

BLIP_SCALE = 1 / 0.07  # initial temperature of BLIP and BLIP-2; their checkpoints do not hold the learned one


def logit_scale(model: nn.Module) -> torch.Tensor:
    """Returns the factor of the cosine similarities, a scalar."""
    if hasattr(model, "logit_scale"):
        scale = model.logit_scale.detach().exp()
    elif hasattr(model, "temperature"):
        scale = 1 / model.temperature.detach()
    else:
        scale = torch.tensor(BLIP_SCALE)
    return scale.float().reshape(()).clone()


def logit_bias(model: nn.Module) -> float | None:
    return model.logit_bias.item() if hasattr(model, "logit_bias") else None


def feature_length(model: nn.Module) -> int:
    projection = getattr(model, "text_projection", None) or getattr(model, "text_proj", None) or model.text_model.head
    return projection.out_features


def image_features(model: nn.Module, image: torch.Tensor) -> torch.Tensor:
    """Returns image features (B, dim), or of BLIP-2 (B, queries, dim), not normalised, of images (B, 3, H, W)."""
    kind = model.config.model_type
    if kind == "blip-2":
        tokens = model.vision_model(pixel_values=image).last_hidden_state  # (B, T, D)
        queries = model.query_tokens.expand(len(image), -1, -1)
        hidden = model.qformer(query_embeds=queries, encoder_hidden_states=tokens).last_hidden_state
        return model.vision_projection(hidden.to(model.vision_projection.weight.dtype))
    if kind == "blip":
        return model.vision_proj(model.vision_model(pixel_values=image).last_hidden_state[:, 0])
    if kind == "siglip2":
        return pooled(model.get_image_features(**patches(image, model.config.vision_config.patch_size)))
    return pooled(model.get_image_features(pixel_values=image))


def text_features(model: nn.Module, tokens: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Returns text features (n, dim), not normalised, of tokens (n, L) and their mask (n, L) of zeros and ones."""
    if model.config.model_type == "blip":
        hidden = model.text_encoder(input_ids=tokens, attention_mask=mask).last_hidden_state  # (n, L, d)
        return model.text_proj(hidden[:, 0])
    if model.config.model_type == "blip-2":
        embeddings = model.embeddings(input_ids=tokens)
        hidden = model.qformer(query_embeds=embeddings, query_length=0, attention_mask=mask).last_hidden_state
        return model.text_projection(hidden[:, 0].to(model.text_projection.weight.dtype))
    return pooled(model.get_text_features(input_ids=tokens, attention_mask=mask))


def pooled(output) -> torch.Tensor:
    """Returns the features: transformers 5 wraps them in an object."""
    return output if isinstance(output, torch.Tensor) else output.pooler_output


def patches(image: torch.Tensor, side: int) -> dict[str, torch.Tensor]:
    """Returns images (B, 3, H, W) as SigLIP 2 takes them: patches (B, h w, side * side * 3), none of them padding.

    Without padding there is no mask, which learned tokens would not fit into. The shapes stay on the CPU, as the model
    reads their values.
    """
    B, channels, H, W = image.shape
    h, w = H // side, W // side
    grid = image.reshape(B, channels, h, side, w, side).permute(0, 2, 4, 3, 5, 1)  # (B, h, w, side, side, 3)
    return {
        "pixel_values": grid.reshape(B, h * w, -1),
        "pixel_attention_mask": None,
        "spatial_shapes": torch.tensor([[h, w]], device="cpu").expand(B, 2),
    }
