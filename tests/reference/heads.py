"""References for heads on frozen features: CLAP, TaskRes and ProLIP as losses; LP++ and GDA as plain loops in NumPy."""

import copy

import numpy as np
import torch
from clip import clip

from .coop import normalised


class PlainHead:
    """Trains `parameters` of a classifier on the image features of a frozen CLIP."""

    def __init__(self, model, prompts, parameters):
        self.model = copy.deepcopy(model).requires_grad_(False)
        self.raw = self.model.encode_text(clip.tokenize(prompts))
        self.parameters = {name: p.detach().clone().requires_grad_(True) for name, p in parameters.items()}

    def logits(self, image):
        return self.model.logit_scale.exp() * self.image(image) @ normalised(self.weights()).t()

    def image(self, image):
        return normalised(self.model.encode_image(image))

    def weights(self):
        return self.raw

    def terms(self, image, label):
        return {"ce": torch.nn.functional.cross_entropy(self.logits(image), label)}

    def objective(self, terms):
        return sum(terms.values())

    def set_gradients(self, image, label):
        for p in self.parameters.values():
            p.grad = None
        terms = self.terms(image, label)
        self.objective(terms).backward()
        return terms


class PlainTaskRes(PlainHead):
    def weights(self):
        return self.raw + 0.5 * self.parameters["residual"]


class PlainCLAP(PlainHead):
    multipliers = None

    def weights(self):
        return self.parameters["weight"]

    def terms(self, image, label):
        n_cls, constraint = len(self.raw), 0
        for k in range(n_cls):
            constraint += self.multipliers[k] * ((self.parameters["weight"][k] - self.raw[k]) ** 2).sum() / n_cls
        return {**super().terms(image, label), "constraint": constraint}

    def confidence(self, image, label):
        """The mean probability of each class on its images, by zero-shot CLIP."""
        logits = self.model.logit_scale.exp() * self.image(image) @ normalised(self.raw).t()
        probabilities = logits.softmax(-1)
        return [probabilities[label == k, k].mean().item() for k in range(len(self.raw))]


class PlainProLIP(PlainHead):
    """With a ViT: its projection; with a ResNet: the weight of the attention pooling's projection."""

    lambda_ = None

    def image(self, image):
        ((name, weight),) = self.parameters.items()
        features = torch.func.functional_call(self.model.visual, {name[len("visual.") :]: weight}, (image,))
        return normalised(features)

    def terms(self, image, label):
        ((name, weight),) = self.parameters.items()
        change = weight - self.model.get_parameter(name)
        return {**super().terms(image, label), "distance": self.lambda_ * (change**2).sum()}


def lp_plus_plus(features, labels, text, val, bias, steps, accumulate):
    """Returns W (K, E), b (K,), alpha (K,) and the step that is best on `val`, all in fp64 and by hand."""
    (n, _), n_cls = features.shape, len(text)
    onehot = np.eye(n_cls)[labels]
    similarity = features @ text.T
    weight, bias = onehot.T @ features, bias.copy()
    alpha = np.full(n_cls, 250 * np.mean([similarity[labels == k, k].mean() for k in range(n_cls)]))
    step_size = 4 * n / np.linalg.eigvalsh(features.T @ features).max()
    alpha_step_size = n / (4 * (similarity**2).sum(0).max())
    velocity, velocity_b, gradient_alpha = 0, 0, 0
    best = -1
    for step in range(1, steps + 1):
        logits = features @ weight.T + bias + alpha * similarity
        p = np.exp(logits - logits.max(1, keepdims=True))
        error = (p / p.sum(1, keepdims=True) - onehot) / n
        velocity = 0.9 * velocity + error.T @ features
        velocity_b = 0.9 * velocity_b + error.sum(0)
        gradient_alpha = (error * similarity).sum(0) + (gradient_alpha if accumulate else 0)
        weight, bias = weight - step_size * velocity, bias - step_size * velocity_b
        if step % 10 == 0:
            alpha = alpha - alpha_step_size * gradient_alpha
        predicted = (val[0] @ weight.T + bias + alpha * (val[0] @ text.T)).argmax(1)
        if (predicted == val[1]).sum() >= best:
            best, result = (predicted == val[1]).sum(), (weight.copy(), bias.copy(), alpha.copy(), step)
    return result


def gda(features, labels, n_cls, shrunk):
    """Returns W (K, E) and b (K,) of a Gaussian classifier with a shared covariance."""
    dim = features.shape[1]
    means = np.stack([features[labels == k].mean(0) for k in range(n_cls)])
    if shrunk:
        covariance = np.cov((features - means[labels]).T)
        inverse = dim * np.linalg.pinv((len(features) - 1) * covariance + np.trace(covariance) * np.eye(dim))
    else:
        inverse = np.linalg.pinv(np.mean([np.cov(features[labels == k].T) for k in range(n_cls)], axis=0))
    return means @ inverse, np.array([np.log(1 / n_cls) - m @ inverse @ m / 2 for m in means])


def gda_new(features, text, k):
    """Returns W (K, E) and b (K,) of new classes, which only have text features (K, E)."""
    dim, means, inverses = features.shape[1], [], []
    for t in text:
        near = features[np.argsort(-(features @ t))[:k]]
        means.append(np.vstack([near, np.tile(t, (16, 1))]).mean(0))
        covariance = (near - t).T @ (near - t) / (len(near) - 1)
        inverses.append(dim * np.linalg.pinv((len(near) - 1) * covariance + np.trace(covariance) * np.eye(dim)))
    inverse = np.mean(inverses, axis=0)
    return np.stack(means) @ inverse, np.array([np.log(1 / len(text)) - m @ inverse @ m / 2 for m in means])
