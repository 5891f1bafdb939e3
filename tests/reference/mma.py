"""Reference for MMA: the blocks of CLIP's ViT written out, with an adapter parallel to each."""

from .adapter import INSERTED, PlainAdapter


class PlainMMA(PlainAdapter):
    """`factor` multiplies the gradients of the adapters, as the official code's backward pass does."""

    def __init__(self, model, classnames, template, learned, scale, factor):
        super().__init__(model, classnames, template, learned)
        self.scale, self.factor = scale, factor

    def linear(self, x, name):
        return x @ self.parameters[f"{name}.weight"].t() + self.parameters[f"{name}.bias"]

    def parallel(self, z, encoder, i):
        name = f"{INSERTED}{encoder}.blocks.{i}.parallel_to_block"
        if f"{name}.up.bias" not in self.parameters:
            return 0
        hidden = self.linear(z, f"{name}.down").clamp(min=0)
        hidden = self.linear(hidden, f"shared.{i}").clamp(min=0)
        return self.scale * self.linear(hidden, f"{name}.up")

    def blocks(self, x, transformer, encoder, mask=None):
        for i, block in enumerate(transformer.resblocks):
            z = block.ln_1(x).transpose(0, 1)
            y = x + block.attn(z, z, z, need_weights=False, attn_mask=mask)[0].transpose(0, 1)
            x = y + block.mlp(block.ln_2(y)) + self.parallel(block.ln_1(x), encoder, i)
        return x

    def set_gradients(self, image, label):
        terms = super().set_gradients(image, label)
        for name, p in self.parameters.items():
            if name.startswith((INSERTED, "shared.")):
                p.grad *= self.factor
        return terms
