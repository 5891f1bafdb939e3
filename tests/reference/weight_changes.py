"""Reference for changes of weight matrices: plain CLIP, called with the changed matrices in place of its own.

The names of the changes' tensors are those of the project: "changes.<parameter>.<matrix>.<tensor>".
"""

import copy

import torch
from clip import clip
from torch.func import functional_call

THIRDS = {"q": 0, "k": 1, "v": 2}


def rows_of(weight, matrix):
    """The rows of q, k or v in a matrix that has all three; all rows of another matrix."""
    n_out, n_in = weight.shape
    if matrix in THIRDS and n_out == 3 * n_in:
        return slice(THIRDS[matrix] * n_in, (THIRDS[matrix] + 1) * n_in)
    return slice(0, n_out)


def by_matrix(tensors):
    """(parameter, matrix) -> its tensors, by their own names."""
    found = {}
    for name, tensor in tensors.items():
        parameter, matrix, own = name.removeprefix("changes.").rsplit(".", 2)
        found.setdefault((parameter, matrix), {})[own] = tensor
    return found


def with_low_rank(weights, tensors, scale, keep=None):
    """The weights with W + scale B A in place of W. `keep(n_in)` multiplies the input of A, as dropout does."""
    changed = dict(weights)
    for (parameter, matrix), own in by_matrix(tensors).items():
        A = own["A"] if keep is None else own["A"] * keep(own["A"].shape[1])
        pad = torch.zeros_like(weights[parameter])
        pad[rows_of(pad, matrix)] = scale * own["B"] @ A
        changed[parameter] = changed[parameter] + pad
    return changed


def with_singular_values(weights, tensors):
    """The weights with U diag(sigma) V in place of each changed matrix, computed in fp64."""
    changed = {name: weights[name].clone() for name in {parameter for parameter, _ in by_matrix(tensors)}}
    for (parameter, matrix), own in by_matrix(tensors).items():
        rows = rows_of(weights[parameter], matrix)
        U, _, V = torch.linalg.svd(weights[parameter][rows].double(), full_matrices=False)
        changed[parameter][rows] = (U @ torch.diag(own["sigma"].double()) @ V).float()
    return {**weights, **changed}


class PlainChanges:
    """Trains the tensors `learned` of changes. `change(weights, tensors)` returns the weights of the changed CLIP."""

    def __init__(self, model, prompts, learned, change):
        self.model = copy.deepcopy(model).requires_grad_(False)
        self.tokens = clip.tokenize(prompts)
        self.parameters = {name: p.detach().clone().requires_grad_() for name, p in learned}
        self.change = change

    def logits(self, image):
        weights = self.change(dict(self.model.named_parameters()), self.parameters)
        return functional_call(self.model, weights, (image, self.tokens))[0]

    def set_gradients(self, image, label):
        """Computes the gradients of one step. Returns the loss terms."""
        for p in self.parameters.values():
            p.grad = None
        loss = torch.nn.functional.cross_entropy(self.logits(image), label)
        loss.backward()
        return {"ce": loss}

    def objective(self, terms):
        return terms["ce"]
