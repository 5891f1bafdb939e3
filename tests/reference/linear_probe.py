"""Reference for the linear probe: a matrix and a bias on the image features, and CoOp's search of C as a plain loop."""

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

from .coop import PlainCoOp, normalised


class PlainLinearProbe(PlainCoOp):
    """`head` has the tuned parameters weight and bias."""

    def __init__(self, model, classnames, head, normalize, unprojected=False, **kwargs):
        super().__init__(model, classnames, "X", model.token_embedding.weight[:1], **kwargs)
        del self.parameters["ctx"]
        self.parameters |= {name: p.detach().clone().requires_grad_(True) for name, p in head.items()}
        self.normalize, self.unprojected = normalize, unprojected

    def image(self, image):
        features = self.before_projection(image) if self.unprojected else self.model.encode_image(image)
        return normalised(features) if self.normalize else features

    def before_projection(self, image):
        visual = self.model.visual
        x = visual.conv1(image).flatten(2).permute(0, 2, 1)
        x = torch.cat([visual.class_embedding.expand(len(image), 1, -1), x], dim=1) + visual.positional_embedding
        x = visual.transformer(visual.ln_pre(x).permute(1, 0, 2)).permute(1, 0, 2)
        return visual.ln_post(x[:, 0])

    def logits(self, image):
        return self.image(image) @ self.parameters["weight"].t() + self.parameters["bias"]


def search_c(train, val):
    """C and the classifier that CoOp's linear probe ends with, for (features, labels) of training and validation."""

    def fit(C):
        classifier = LogisticRegression(solver="lbfgs", max_iter=1000, C=C).fit(*train)
        return classifier, (classifier.predict(val[0]) == val[1]).mean()

    grid = [1e6, 1e4, 1e2, 1, 1e-2, 1e-4, 1e-6]
    peak = grid[int(np.argmax([fit(C)[1] for C in grid]))]
    left, right = np.log10(peak) - 1, np.log10(peak) + 1
    for _ in range(8):
        (left_fit, left_accuracy), (right_fit, right_accuracy) = fit(10**left), fit(10**right)
        if left_accuracy < right_accuracy:
            best = 10**right, right_fit
            left = (left + right) / 2
        else:
            best = 10**left, left_fit
            right = (left + right) / 2
    return best
