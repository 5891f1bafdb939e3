"""Reference for Tip-Adapter: a one-hot matrix of cached labels, and a grid search of alpha and beta."""

import torch
import torch.nn.functional as F

from .coop import PlainCoOp, normalised, template_features


class PlainTipAdapter(PlainCoOp):
    def __init__(self, model, classnames, template, keys, labels, alpha, beta, layernorm=False):
        super().__init__(model, classnames, "X", model.token_embedding.weight[:1], layernorm=layernorm)
        del self.parameters["ctx"]
        self.parameters["keys"] = keys.detach().clone().requires_grad_(True)
        self.values = F.one_hot(labels, len(self.names)).float()  # (n, K)
        self.alpha, self.beta = alpha, beta
        self.fixed = template_features(model, [template.format(name) for name in self.names])

    def logits(self, image):
        return self.with_cache(self.image(image), self.alpha, self.beta)

    def with_cache(self, f, alpha, beta):
        zero_shot = self.model.logit_scale.exp() * f @ self.fixed.t()
        affinity = f @ self.parameters["keys"].t()
        return zero_shot + alpha * torch.exp(-beta + beta * affinity) @ self.values

    @torch.no_grad()
    def search(self, image, label, scale, step):
        """Returns the first pair (alpha, beta), in the order of beta, with the highest accuracy, and that accuracy."""
        f = normalised(self.model.encode_image(image))
        best, chosen = 0.0, None
        for i in range(step[0]):
            for j in range(step[1]):
                beta, alpha = 0.1 + i * (scale[0] - 0.1) / step[0], 0.1 + j * (scale[1] - 0.1) / step[1]
                accuracy = 100 * (self.with_cache(f, alpha, beta).argmax(-1) == label).float().mean().item()
                if accuracy > best:
                    best, chosen = accuracy, (alpha, beta)
        return chosen, best
