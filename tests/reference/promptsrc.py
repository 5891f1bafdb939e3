"""Reference for IVLP and PromptSRC: learned tokens in both encoders, the three losses, and the mean over epochs."""

import math

import torch
from clip import clip

from .coop import PlainCoOp, normalised
from .prompt_tuning import PlainPromptTuning


class PlainIVLP(PlainPromptTuning):
    """`learned` has the tuned parameters, named as in the project. `text` is the context in words."""

    has_text = True

    def __init__(self, model, classnames, text, learned, **kwargs):
        PlainCoOp.__init__(self, model, classnames, text, learned["prompt_learner.ctx"], **kwargs)
        del self.parameters["ctx"]
        self.parameters |= {name: p.detach().clone().requires_grad_(True) for name, p in learned.items()}


class PlainPromptSRC(PlainIVLP):
    """`templates` are those of the teacher."""

    def __init__(self, model, classnames, text, learned, templates, weights=(25.0, 10.0), **kwargs):
        super().__init__(model, classnames, text, learned, **kwargs)
        self.weights = weights
        with torch.no_grad():
            features = [model.encode_text(clip.tokenize([t.format(n) for n in self.names])) for t in templates]
            self.teacher_text = normalised(torch.stack(features).mean(dim=0))

    def terms(self, image, label):
        text, features = self.text(), self.image(image)
        with torch.no_grad():
            teacher = normalised(self.teacher.encode_image(image))
            log_q = (self.teacher.logit_scale.exp() * teacher @ self.teacher_text.t()).log_softmax(dim=-1)
        log_p = (self.model.logit_scale.exp() * features @ text.t()).log_softmax(dim=-1)
        return {
            "ce": -log_p[torch.arange(len(label)), label].mean(),
            "text": self.weights[0] * (text - self.teacher_text).abs().mean(),
            "image": self.weights[1] * (features - teacher).abs().mean(),
            "kl": (log_q.exp() * (log_q - log_p)).mean(),
        }


def gaussian_mean(tensors, mean, std):
    """The mean of the tensors after epoch 1, 2, ..."""
    weights = [math.exp(-0.5 * ((epoch - mean) / std) ** 2) for epoch in range(1, len(tensors) + 1)]
    return sum(w * tensor.double() for w, tensor in zip(weights, tensors, strict=True)) / sum(weights)
