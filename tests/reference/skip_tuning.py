"""Reference for Skip Tuning: the classes nearest to the images of a batch, and full tuning of the upper blocks."""

import torch

from .coop import normalised
from .sets import PlainTuning


class PlainSkipTuning(PlainTuning):
    """`kept` are positions in the order of the classes."""

    def __init__(self, model, prompts, names, kept):
        super().__init__(model, prompts, names)
        self.kept = kept
        with torch.no_grad():
            self.prototypes = normalised(model.encode_text(self.tokens))

    def classes(self, features, label):
        order = []
        for k in range(len(self.prototypes)):
            nearest = 1e4 if k in label.tolist() else (features @ self.prototypes[k]).max().item()
            order.append((-nearest, k))
        order = [k for _, k in sorted(order)]
        return sorted(order[i] for i in self.kept)

    def set_gradients(self, image, label):
        self.model.zero_grad()
        features = normalised(self.model.encode_image(image))
        classes = self.classes(features.detach(), label)
        text = normalised(self.model.encode_text(self.tokens))[classes]
        logits = (self.model.logit_scale.exp() * features @ text.t()).log_softmax(dim=1)
        own = [-logits[i, classes.index(k)] for i, k in enumerate(label.tolist()) if k in classes]
        loss = sum(own) / len(own)
        loss.backward()
        return {"ce": loss}
