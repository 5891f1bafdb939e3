"""Reference for methods that tune parameters of CLIP itself: plain training of `clip.model.CLIP`."""

import copy

import torch
from clip import clip
from torch import nn


def layernorms(model):
    """Names of the weights and biases of all LayerNorms."""
    modules = [name for name, module in model.named_modules() if isinstance(module, nn.LayerNorm)]
    return {f"{name}.{kind}" for name in modules for kind in ("weight", "bias")}


def biases(model):
    """Names of all biases."""
    return {name for name, _ in model.named_parameters() if "bias" in name}


def everything(model):
    return {name for name, _ in model.named_parameters()}


class PlainTuning:
    """Trains the parameters of CLIP that `names` gives. `parameters` are these, by name."""

    def __init__(self, model, prompts, names):
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.tokens = clip.tokenize(prompts)
        chosen = names(self.model)
        self.parameters = {name: p.requires_grad_() for name, p in self.model.named_parameters() if name in chosen}

    def logits(self, image):
        return self.model(image, self.tokens)[0]

    def set_gradients(self, image, label):
        """Sets the gradients. Returns the loss terms."""
        self.model.zero_grad()
        loss = nn.functional.cross_entropy(self.logits(image), label)
        loss.backward()
        return {"ce": loss}

    def objective(self, terms):
        return terms["ce"]

    def copy_to(self, tuned):
        """Sets the tuned parameters of a trainer to the same values."""
        with torch.no_grad():
            for name, p in self.parameters.items():
                tuned.get_parameter(name).copy_(p)
