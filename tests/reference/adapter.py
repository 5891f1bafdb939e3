"""Reference for Adapter and Compacter: the blocks of CLIP's ViT written out, with a bottleneck at both places."""

import copy
import math

import torch
from clip import clip

from .coop import PlainCoOp, normalised

INSERTED = "inserted."


def gelu(x):
    """The tanh approximation."""
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


class PlainAdapter(PlainCoOp):
    """`learned` has the tuned parameters, named as in the project; those that are CLIP's own are tuned in place."""

    def __init__(self, model, classnames, template, learned):
        self.model = copy.deepcopy(model).requires_grad_(False)
        self.tokens = clip.tokenize([template.format(name.replace("_", " ")) for name in classnames])
        self.parameters = {}
        for name, p in learned.items():
            own = p.detach().clone() if name.startswith((INSERTED, "shared.")) else self.model.get_parameter(name)
            self.parameters[name] = own.requires_grad_(True)

    def adapt(self, y, place):
        """What stands at a place, such as "image.blocks.0.after_ffn", applied to y (..., d)."""
        if f"{INSERTED}{place}.down.bias" not in self.parameters:
            return y
        z = gelu(y @ self.matrix(f"{place}.down") + self.parameters[f"{INSERTED}{place}.down.bias"])
        return y + z @ self.matrix(f"{place}.up") + self.parameters[f"{INSERTED}{place}.up.bias"]

    def matrix(self, layer):
        """The matrix (n_in, n_out) of a layer."""
        return self.parameters[f"{INSERTED}{layer}.weight"].t()

    def blocks(self, x, transformer, encoder, mask=None):
        for i, block in enumerate(transformer.resblocks):
            z = block.ln_1(x).transpose(0, 1)
            y = block.attn(z, z, z, need_weights=False, attn_mask=mask)[0].transpose(0, 1)
            x = x + self.adapt(y, f"{encoder}.blocks.{i}.after_attention")
            x = x + self.adapt(block.mlp(block.ln_2(x)), f"{encoder}.blocks.{i}.after_ffn")
        return x

    def text(self):
        x = self.model.token_embedding(self.tokens) + self.model.positional_embedding
        x = self.blocks(x, self.model.transformer, "text", torch.full((77, 77), float("-inf")).triu(1))
        x = self.model.ln_final(x)[torch.arange(len(x)), self.tokens.argmax(dim=-1)]
        return normalised(x @ self.model.text_projection)

    def image(self, image):
        visual = self.model.visual
        x = visual.conv1(image).flatten(2).transpose(1, 2)
        x = torch.cat([visual.class_embedding.expand(len(image), 1, -1), x], dim=1) + visual.positional_embedding
        x = self.blocks(visual.ln_pre(x), visual.transformer, "image")
        return normalised(visual.ln_post(x[:, 0]) @ visual.proj)


class PlainCompacter(PlainAdapter):
    def matrix(self, layer):
        rule = self.parameters[f"{INSERTED}{layer.partition('.')[0]}.rule"]
        left, right = (self.parameters[f"{INSERTED}{layer}.{side}"] for side in ("left", "right"))
        return sum(torch.kron(a, s @ t) for a, s, t in zip(rule, left, right, strict=True))
