"""Reference for TCP: tokens computed from the text feature of the class, overwritten before a block."""

import torch
from clip import clip

from .coop import PlainCoOp, cross_entropy, normalised, template_features


class PlainTCP(PlainCoOp):
    """`learned` has the tuned parameters, named as in the project; `template` is the teacher's prompt."""

    def __init__(self, model, classnames, prompt, template, layer, learned, weight=8.0):
        super().__init__(model, classnames, prompt, learned["ctx"])
        self.tokens = clip.tokenize([prompt.format(name) for name in self.names])
        self.embedding = self.model.token_embedding(self.tokens)
        self.parameters = {name: p.detach().clone().requires_grad_(True) for name, p in learned.items()}
        self.layer, self.weight = layer, weight
        self.teacher_text = template_features(model, [template.format(name) for name in self.names])

    def text(self):
        n, p = self.n_ctx, self.parameters
        hidden = self.teacher_text @ p["meta_net.linear1.weight"].t() + p["meta_net.linear1.bias"]
        hidden = hidden * torch.sigmoid(1.702 * hidden)
        class_tokens = hidden @ p["meta_net.linear2.weight"].t() + p["meta_net.linear2.bias"]
        x = self.embedding.clone()
        x[:, 1 : 1 + n] = p["ctx"]
        x = x + self.model.positional_embedding
        for i, block in enumerate(self.model.transformer.resblocks):
            if i == self.layer:
                x = torch.cat([x[:, :1], class_tokens.view(len(x), n, -1), x[:, 1 + n :]], dim=1)
            x = block(x.permute(1, 0, 2)).permute(1, 0, 2)
        x = self.model.ln_final(x)[torch.arange(len(x)), self.tokens.argmax(dim=-1)]
        return normalised(x @ self.model.text_projection)

    def terms(self, image, label):
        text = self.text()
        logits = self.model.logit_scale.exp() * self.image(image) @ text.t()
        distance = 1 - (text * self.teacher_text).sum(dim=-1).mean()
        return {"ce": cross_entropy(logits, label), "kd": self.weight * distance}
