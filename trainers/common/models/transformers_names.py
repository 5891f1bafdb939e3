"""Names of the parameters of CLIP in transformers (`CLIPModel`), and those in OpenAI's code."""

from __future__ import annotations

import torch

PREFIXES = {  # beginning of OpenAI's names -> of transformers' names
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
OF_CLIP_MODEL = {*PROJECTIONS.values(), "vision_model.pre_layrnorm.weight"}  # no other model has all of these
BUFFERS = ("position_ids",)


def to_transformers(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Returns OpenAI's weights by transformers' names: splits query, key and value, transposes the projections."""
    result = {}
    for name, tensor in state.items():
        if name in PROJECTIONS:
            result[PROJECTIONS[name]] = tensor.t().contiguous()
            continue
        target = _replaced(name, PREFIXES, IN_BLOCKS)
        if ".attn.in_proj_" in target:
            for letter, part in zip("qkv", tensor.chunk(3)):
                result[target.replace(".attn.in_proj_", f".self_attn.{letter}_proj.")] = part.clone()
        else:
            result[target] = tensor
    return result


def to_openai(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Returns the weights of a `CLIPModel` by OpenAI's names. Those of other models are returned as they are."""
    if not state.keys() >= OF_CLIP_MODEL:
        return state
    projections, prefixes, in_blocks = (
        {new: old for old, new in d.items()} for d in (PROJECTIONS, PREFIXES, IN_BLOCKS)
    )
    result = {}
    for name, tensor in state.items():
        if name in projections:
            result[projections[name]] = tensor.t().contiguous()
        elif ".self_attn.q_proj." in name:
            parts = [state.get(name.replace(".q_proj.", f".{letter}_proj.")) for letter in "qkv"]
            if all(part is not None for part in parts):  # otherwise the missing name is reported
                target = _replaced(name, prefixes, in_blocks).replace(".self_attn.q_proj.", ".attn.in_proj_")
                result[target] = torch.cat(parts)
        elif ".self_attn.k_proj." not in name and ".self_attn.v_proj." not in name and not name.endswith(BUFFERS):
            result[_replaced(name, prefixes, in_blocks)] = tensor
    return result


def _replaced(name: str, prefixes: dict[str, str], in_blocks: dict[str, str]) -> str:
    old = next((prefix for prefix in prefixes if name.startswith(prefix)), "")
    name = prefixes.get(old, "") + name[len(old) :]
    for part, new in in_blocks.items():
        name = name.replace(part, new)
    return name
