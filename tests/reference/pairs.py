"""Reference for training on captions: CLIP's contrastive loss in plain loops, captions of 77 tokens."""

import math

import torch
from clip import clip

from .clipfit import PlainCLIPFit


def contrastive(logits, captions, chosen):
    """The losses of images and of captions of a batch, for logits (B, B).

    Args:
        captions: all captions of each image.
        chosen: the caption of each image that the batch has.
    """
    n = len(logits)
    image_loss = text_loss = 0.0
    for i in range(n):
        texts = [j for j in range(n) if j == i or chosen[j] not in captions[i]]
        images = [j for j in range(n) if j == i or chosen[i] not in captions[j]]
        image_loss += -(logits[i, i] - torch.stack([logits[i, j] for j in texts]).logsumexp(0)) / n
        text_loss += -(logits[i, i] - torch.stack([logits[j, i] for j in images]).logsumexp(0)) / n
    return image_loss, text_loss


class PlainPairs(PlainCLIPFit):
    """CLIPFit on captions. `parameters` are the tuned parameters of the student, by name."""

    def __init__(self, model, beta=8.0):
        super().__init__(model, ["a"], "kd", beta)

    def set_gradients(self, image, captions, chosen):
        self.student.zero_grad()
        tokens = clip.tokenize(chosen)
        logits = self.student(image, tokens)[0]
        image_loss, text_loss = contrastive(logits, captions, chosen)
        text = self.student.encode_text(tokens)
        with torch.no_grad():
            teacher = self.teacher.encode_text(tokens)
        cosines = [torch.dot(a, b) / (a.norm() * b.norm()) for a, b in zip(text, teacher, strict=True)]
        terms = {
            "image": image_loss / 2,
            "text": text_loss / 2,
            "kd": self.beta * (1 - sum(cosines) / len(cosines)),
        }
        sum(terms.values()).backward()
        return terms


def choose(captions, seed):
    """A random caption of each image, as training chooses it after torch.manual_seed(seed)."""
    torch.manual_seed(seed)
    numbers = torch.rand(len(captions)).tolist()
    return [own[math.floor(x * len(own))] for own, x in zip(captions, numbers, strict=True)]
