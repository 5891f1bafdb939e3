"""Reference for prompt tuning: learned tokens before the prompts, and after the patches of the images."""

import torch
from clip import clip

from .coop import PlainCoOp, normalised


class PlainPromptTuning(PlainCoOp):
    """`learned` has the tuned parameters, named as in the project. `template` has "{}" for the class name."""

    def __init__(self, model, classnames, template, n_ctx, learned, **kwargs):
        super().__init__(model, classnames, "X", torch.zeros(n_ctx, model.token_embedding.embedding_dim), **kwargs)
        del self.parameters["ctx"]
        self.parameters |= {name: p.detach().clone().requires_grad_(True) for name, p in learned.items()}
        prompts = [template.format(name) for name in self.names]
        words = clip.tokenize(prompts)
        self.has_text = "prompt_learner.ctx" in self.parameters
        self.tokens = words
        if self.has_text:  # <start>, n_ctx ids of "X", the prompt and <end>, which stays the largest id
            x = clip.tokenize(["X"])[:, 1:2].expand(len(words), n_ctx)
            self.tokens = torch.cat([words[:, :1], x, words[:, 1 : 77 - n_ctx]], dim=1)
        self.embedding = self.model.token_embedding(self.tokens)

    def text(self):
        n = self.n_ctx
        x = self.embedding
        if self.has_text:
            ctx = self.parameters["prompt_learner.ctx"].expand(len(x), -1, -1)
            x = torch.cat([x[:, :1], ctx, x[:, 1 + n :]], dim=1)
        x = x + self.model.positional_embedding
        deep = self.parameters.get("deep_text_tokens", ())
        for i, block in enumerate(self.model.transformer.resblocks):
            if 1 <= i <= len(deep):
                x = torch.cat([x[:, :1], deep[i - 1].expand(len(x), -1, -1), x[:, 1 + n :]], dim=1)
            x = block(x.permute(1, 0, 2)).permute(1, 0, 2)
        x = self.model.ln_final(x)[torch.arange(len(x)), self.tokens.argmax(dim=-1)]
        return normalised(x @ self.model.text_projection)

    def image(self, image):
        visual = self.model.visual
        tokens = self.parameters.get("image_tokens", torch.zeros(0, 0, visual.conv1.out_channels))
        x = visual.conv1(image).flatten(2).permute(0, 2, 1)
        x = torch.cat([visual.class_embedding.expand(len(image), 1, -1), x], dim=1) + visual.positional_embedding
        length = x.shape[1]
        for i, block in enumerate(visual.transformer.resblocks):
            if i < len(tokens):
                x = torch.cat([x[:, :length], tokens[i].expand(len(image), -1, -1)], dim=1)
            x = visual.ln_pre(x) if i == 0 else x
            x = block(x.permute(1, 0, 2)).permute(1, 0, 2)
        return normalised(visual.ln_post(x[:, 0]) @ visual.proj)
