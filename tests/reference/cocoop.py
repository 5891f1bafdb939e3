"""Reference for CoCoOp: encodes all prompts per image, one image at a time."""

import torch

from .coop import PlainCoOp, encode_prompts, normalised


class PlainCoCoOp(PlainCoOp):
    """`meta_net` has the four tensors of the two layers, by name."""

    def __init__(self, *args, meta_net, **kwargs):
        super().__init__(*args, **kwargs)
        self.parameters.update({name: p.detach().clone().requires_grad_(True) for name, p in meta_net.items()})

    def logits(self, image):
        p = self.parameters
        rows = []
        for feature in self.image(image):
            hidden = (p["meta_net.linear1.weight"] @ feature + p["meta_net.linear1.bias"]).clamp(min=0)
            shift = p["meta_net.linear2.weight"] @ hidden + p["meta_net.linear2.bias"]
            prompts = self.embedding.clone()
            prompts[:, 1 : 1 + self.n_ctx] = p["ctx"] + shift
            text = normalised(encode_prompts(self.model, prompts, self.tokens))
            rows.append(self.model.logit_scale.exp() * text @ feature)
        return torch.stack(rows)
