"""Reference for learned tokens in models of open_clip and transformers: loops over the modules of each model."""

from functools import partial

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from .coop import normalised


def image_features(model, image, prompts):
    """Features (B, dim) with `prompts[i]` (n_ctx, D) appended to the tokens before block i."""
    x, norm, blocks, finish = image_parts(model, image)
    n_tokens = x.shape[1]
    for i, block in enumerate(blocks):
        if i < len(prompts):
            x = torch.cat([x[:, :n_tokens], prompts[i].expand(len(x), -1, -1)], dim=1)
        if i == 0:
            x = norm(x)
        x = block(x)
    return finish(x[:, :n_tokens])


def image_parts(model, image):
    """Tokens before the first block, the LayerNorm before it, the blocks, and what follows them."""
    if hasattr(model, "vision_model"):
        x, norm, layers, finish = transformers_image_parts(model, image)
        mask = {} if model.config.model_type in ("blip", "blip-2") else {"attention_mask": None}
        return x, norm, [partial(layer, **mask) for layer in layers], finish
    visual = model.visual
    if hasattr(visual, "trunk"):  # of timm
        trunk = visual.trunk
        x = trunk._pos_embed(trunk.patch_embed(image))
        return x, trunk.norm_pre, trunk.blocks, lambda x: visual.head(trunk.forward_head(trunk.norm(x)))
    x = visual.conv1(image).flatten(2).transpose(1, 2)
    x = torch.cat([visual.class_embedding.expand(len(x), 1, -1), x], dim=1) + visual.positional_embedding
    return x, visual.ln_pre, visual.transformer.resblocks, lambda x: visual._pool(x)[0] @ visual.proj


def transformers_image_parts(model, image):
    vision, kind = model.vision_model, model.config.model_type
    if kind == "siglip2":  # takes patches of 16 x 16 pixels, their channels last
        n = image.shape[-1] // 16
        patches = image.unfold(2, 16, 16).unfold(3, 16, 16).permute(0, 2, 3, 4, 5, 1).reshape(len(image), n * n, -1)
        x = vision.embeddings(patches, torch.tensor([[n, n]] * len(image)))
    else:
        x = vision.embeddings(image)

    def finish(x):
        x = vision.post_layernorm(x)
        if kind.startswith("siglip"):
            return vision.head(x)
        if kind == "blip-2":
            queries = model.query_tokens.expand(len(x), -1, -1)
            return model.vision_projection(model.qformer(queries, encoder_hidden_states=x).last_hidden_state)
        return (model.vision_proj if kind == "blip" else model.visual_projection)(x[:, 0])

    return x, getattr(vision, "pre_layrnorm", nn.Identity()), vision.encoder.layers, finish


def text_features(model, tokens, start, prompts):
    """Features (n, dim) of tokens (n, L): before block i, `prompts[i]` (n_ctx, d) take the places from `start` on."""
    embedding, embed, blocks, mask, finish = text_parts(model, tokens)

    def replaced(x, prompt):
        prompt = prompt.expand(len(x), -1, -1)
        return torch.cat([x[:, :start], prompt, x[:, start + prompt.shape[1] :]], dim=1)

    x = embed(replaced(embedding(tokens), prompts[0]))
    for i, block in enumerate(blocks):
        if 1 <= i < len(prompts):
            x = replaced(x, prompts[i])
        x = block(x, **{"attn_mask" if hasattr(block, "attn") else "attention_mask": mask})
    return finish(x)


def text_parts(model, tokens):
    """Token embedding, what follows it, the blocks, their mask, and what follows them."""
    if hasattr(model, "vision_model"):
        return transformers_text_parts(model, tokens)
    text = getattr(model, "text", model)
    if hasattr(text, "pooler"):  # a BERT, with the mean of the tokens without padding as feature
        kept = tokens != text.config.pad_token_id
        embedding, embed, blocks = bert_parts(text.transformer)

        def mean(x):
            return text.proj((x * kept[..., None]).sum(1) / kept.sum(1, keepdim=True))

        return embedding, embed, blocks, padding_mask(kept), mean
    if getattr(text, "cls_emb", None) is not None:  # CoCa: a class token at the end

        def embed(x):
            return torch.cat([x, text.cls_emb.expand(len(x), 1, -1)], dim=1) + text.positional_embedding

        blocks, mask = text.transformer.resblocks, text._embeds(tokens)[1]
        return text.token_embedding, embed, blocks, mask, lambda x: text.ln_final(x[:, -1]) @ text.text_projection

    def finish(x):
        pool, rows = getattr(text, "text_pool_type", getattr(text, "pool_type", None)), torch.arange(len(x))
        at = {"argmax": tokens.argmax(-1), "last": tokens.shape[1] - 1, "eos": (tokens == 2).int().argmax(-1)}[pool]
        x = text.ln_final(x)[rows, at]
        projection = text.text_projection
        return projection(x) if isinstance(projection, nn.Module) else x @ projection

    blocks = text.transformer.resblocks
    return text.token_embedding, lambda x: x + text.positional_embedding, blocks, text.attn_mask, finish


def transformers_text_parts(model, tokens):
    kind, text = model.config.model_type, getattr(model, "text_model", None)
    if kind == "blip-2":
        embeddings, qformer = model.embeddings, model.qformer
        positions = embeddings.position_embeddings.weight[: tokens.shape[1]]
        mask = padding_mask(tokens != model.config.qformer_config.pad_token_id)
        return (
            embeddings.word_embeddings,
            lambda x: qformer.layernorm(x + positions),
            [partial(layer, query_length=0) for layer in qformer.encoder.layer],
            mask,
            lambda x: model.text_projection(x[:, 0]),
        )
    if kind in ("blip", "altclip", "chinese_clip"):
        body = {"blip": getattr(model, "text_encoder", None), "altclip": getattr(text, "roberta", None)}.get(kind, text)
        kept = tokens != model.config.text_config.pad_token_id
        embedding, embed, blocks = bert_parts(body, kept if kind == "altclip" else None)

        def first(x):
            x = getattr(text, "pre_LN", nn.Identity())(x)  # of AltCLIP
            x = getattr(text, "transformation", nn.Identity())(x)
            return (model.text_proj if kind == "blip" else model.text_projection)(x[:, 0])

        return embedding, embed, blocks, padding_mask(kept), first
    length = tokens.shape[1]
    mask = None if "siglip" in kind else torch.full((length, length), float("-inf")).triu(1)[None, None]

    def finish(x):
        x = text.final_layer_norm(x)
        if "siglip" in kind:
            return text.head(x[:, -1])
        at = tokens.argmax(-1) if kind == "clip" else (tokens == text.eos_token_id).int().argmax(-1)
        return model.text_projection(x[torch.arange(len(x)), at])

    positions = text.embeddings.position_embedding.weight[:length]
    return text.embeddings.token_embedding, lambda x: x + positions, text.encoder.layers, mask, finish


def bert_parts(body, kept=None):
    """Parts of a BERT. A RoBERTa numbers the positions of the tokens that are `kept`, from the id of its padding on."""
    embeddings = body.embeddings

    def embed(x):
        ids = torch.arange(x.shape[1])[None]
        if kept is not None:
            ids = kept.cumsum(1) * kept + embeddings.padding_idx
        x = x + embeddings.position_embeddings(ids)
        if hasattr(embeddings, "token_type_embeddings"):
            x = x + embeddings.token_type_embeddings.weight[0]
        return embeddings.LayerNorm(x)

    encoder = body.encoder
    return embeddings.word_embeddings, embed, encoder.layer if hasattr(encoder, "layer") else encoder.layers


def padding_mask(kept):
    return torch.zeros(kept.shape).masked_fill(~kept, torch.finfo(torch.float32).min)[:, None, None]


class PlainLibraryMaPLe:
    """MaPLe on a library's own model. `learned` has the tuned parameters, named as in the project."""

    def __init__(self, model, scale, tokens, start, learned):
        self.model, self.scale, self.tokens, self.start = model, scale, tokens, start
        self.parameters = {name: p.detach().clone().requires_grad_(True) for name, p in learned.items()}
        self.deeper = sum("compound_prompts_text" in name for name in learned)

    def get(self, name):
        return self.parameters[f"prompt_learner.{name}"]

    def prompts(self):
        """Learned tokens of the text encoder and of the image encoder, per block."""
        text = [self.get("ctx"), *(self.get(f"compound_prompts_text.{i}") for i in range(self.deeper))]
        layers = ["proj", *(f"compound_prompt_projections.{i}" for i in range(self.deeper))]
        pairs = zip(text, layers, strict=True)
        return text, [t @ self.get(f"{layer}.weight").t() + self.get(f"{layer}.bias") for t, layer in pairs]

    def logits(self, image):
        text, visual = self.prompts()
        image_feature = normalised(image_features(self.model, image, visual))
        logits = self.scale * image_feature @ normalised(text_features(self.model, self.tokens, self.start, text)).t()
        return logits if logits.dim() == 2 else logits.amax(1)  # of BLIP-2: of the most similar query

    def terms(self, image, label):
        return {"ce": cross_entropy(self.logits(image), label)}

    def set_gradients(self, image, label):
        for p in self.parameters.values():
            p.grad = None
        terms = self.terms(image, label)
        sum(terms.values()).backward()
        return terms
