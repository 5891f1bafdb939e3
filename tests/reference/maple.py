"""Reference for MaPLe: tokens overwritten in place before each of the first blocks of both encoders."""

import torch

from .coop import PlainCoOp, normalised


class PlainMaPLe(PlainCoOp):
    """`learned` has the tuned parameters, named as in the project."""

    def __init__(self, model, classnames, text, learned, **kwargs):
        prefix = "prompt_learner."
        super().__init__(model, classnames, text, learned[prefix + "ctx"], **kwargs)
        layernorms = {name: p for name, p in self.parameters.items() if name != "ctx"}
        self.parameters = {n: p.detach().clone().requires_grad_(True) for n, p in learned.items() if prefix in n}
        self.parameters |= layernorms
        self.deeper = sum("compound_prompts_text" in name for name in learned)

    def get(self, name):
        return self.parameters[f"prompt_learner.{name}"]

    def text(self):
        n = self.n_ctx
        x = self.embedding.clone()
        x[:, 1 : 1 + n] = self.get("ctx")
        x = x + self.model.positional_embedding
        for i, block in enumerate(self.model.transformer.resblocks):
            if 1 <= i <= self.deeper:
                x = x.clone()
                x[:, 1 : 1 + n] = self.get(f"compound_prompts_text.{i - 1}")
            x = block(x.permute(1, 0, 2)).permute(1, 0, 2)
        x = self.model.ln_final(x)[torch.arange(len(x)), self.tokens.argmax(dim=-1)]
        return normalised(x @ self.model.text_projection)

    def image(self, image):
        visual, n = self.model.visual, self.n_ctx
        x = visual.conv1(image).reshape(len(image), visual.conv1.out_channels, -1).permute(0, 2, 1)
        x = torch.cat([visual.class_embedding.expand(len(image), 1, -1), x], dim=1) + visual.positional_embedding
        first = self.get("ctx") @ self.get("proj.weight").t() + self.get("proj.bias")
        x = visual.ln_pre(torch.cat([x, first.expand(len(image), -1, -1)], dim=1))
        for i, block in enumerate(visual.transformer.resblocks):
            if 1 <= i <= self.deeper:
                project = f"compound_prompt_projections.{i - 1}"
                x = x.clone()
                x[:, -n:] = self.get(f"compound_prompts_text.{i - 1}") @ self.get(f"{project}.weight").t() + self.get(
                    f"{project}.bias"
                )
            x = block(x.permute(1, 0, 2)).permute(1, 0, 2)
        return normalised(visual.ln_post(x[:, 0]) @ visual.proj)
