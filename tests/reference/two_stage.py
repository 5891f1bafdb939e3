"""Reference for 2SFS: LayerNorms, then a classifier; each with AdamW and a cosine schedule of its own."""

import math

import torch

from .coop import cross_entropy, normalised
from .sets import PlainTuning


class PlainTwoStage(PlainTuning):
    """`classifier` is None in stage 1, whose parameters are those that `names` gives."""

    classifier = None

    def text(self):
        return normalised(self.model.encode_text(self.tokens))

    def image(self, image):
        return normalised(self.model.encode_image(image))

    def start_stage_2(self):
        with torch.no_grad():
            self.classifier = self.text()
        for p in self.parameters.values():
            p.requires_grad_(False)
        self.parameters = {"classifier": self.classifier.requires_grad_()}

    def logits(self, image):
        weights = self.text() if self.classifier is None else normalised(self.classifier)
        return self.model.logit_scale.exp() * self.image(image) @ weights.t()

    def set_gradients(self, image, label):
        for p in self.parameters.values():
            p.grad = None
        loss = cross_entropy(self.logits(image), label)
        loss.backward()
        return {"ce": loss}

    def run(self, batches, first, lr, min_lr, decay):
        """Trains on all batches, the first `first` of them in stage 1. Returns (learning rate, loss) of each."""
        steps, optimiser = [], None
        for i, (image, label) in enumerate(batches):
            if i == first:
                self.start_stage_2()
            if i in (0, first):
                optimiser = torch.optim.AdamW(self.parameters.values(), weight_decay=decay)
            done, length = (i, first) if i < first else (i - first, len(batches) - first)
            optimiser.param_groups[0]["lr"] = min_lr + (lr - min_lr) * (1 + math.cos(math.pi * done / length)) / 2
            steps.append((optimiser.param_groups[0]["lr"], self.set_gradients(image, label)["ce"].item()))
            optimiser.step()
        return steps
