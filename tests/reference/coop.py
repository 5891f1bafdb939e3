"""Reference for CoOp: prompts of 77 embeddings, encoded with CLIP's own modules."""

import copy

import torch
from clip import clip
from clip.simple_tokenizer import SimpleTokenizer

BPE = SimpleTokenizer()


def normalised(x):
    return x / x.norm(dim=-1, keepdim=True)


def encode_prompts(model, prompts, tokens):
    """Text features (n, E) of prompt embeddings (n, 77, d). The tokens (n, 77) give the position of the end of text."""
    x = prompts + model.positional_embedding
    x = model.transformer(x.permute(1, 0, 2)).permute(1, 0, 2)
    x = model.ln_final(x)
    return x[torch.arange(len(x)), tokens.argmax(dim=-1)] @ model.text_projection


class PlainCoOp:
    """`text` is the context in words ("X" for a token without a word), `ctx` the learned vectors that replace it.

    `parameters` are the tuned parameters, named as in the project. With `layernorm` they include the image LayerNorms.
    """

    def __init__(self, model, classnames, text, ctx, position="end", layernorm=False):
        self.teacher = model
        self.model = copy.deepcopy(model).requires_grad_(False)
        self.names = [name.replace("_", " ") for name in classnames]
        self.n_ctx, self.position = ctx.shape[-2], position
        self.tokens = clip.tokenize([f"{text} {name}." for name in self.names])
        self.embedding = self.model.token_embedding(self.tokens)
        self.parameters = {"ctx": ctx.detach().clone().requires_grad_(True)}
        if layernorm:
            for name, p in self.model.named_parameters():
                if name.startswith("visual.") and "ln_" in name:
                    self.parameters[name] = p.requires_grad_(True)

    def prompts(self):
        prompts = []
        for k, name in enumerate(self.names):
            ctx = self.parameters["ctx"]
            ctx = ctx[k] if ctx.dim() == 3 else ctx
            start, rest = self.embedding[k, :1], self.embedding[k, 1 + self.n_ctx :]
            n, half = len(BPE.encode(name)), self.n_ctx // 2
            if self.position == "end":
                parts = [start, ctx, rest]
            elif self.position == "front":
                parts = [start, rest[:n], ctx, rest[n:]]
            else:
                parts = [start, ctx[:half], rest[:n], ctx[half:], rest[n:]]
            prompts.append(torch.cat(parts))
        return torch.stack(prompts)

    def text(self):
        return normalised(encode_prompts(self.model, self.prompts(), self.tokens))

    def image(self, image):
        return normalised(self.model.encode_image(image))

    def logits(self, image):
        return self.model.logit_scale.exp() * self.image(image) @ self.text().t()

    def terms(self, image, label):
        return {"ce": cross_entropy(self.logits(image), label)}

    def objective(self, terms):
        return sum(terms.values())

    def set_gradients(self, image, label):
        """Computes the gradients of one step. Returns the loss terms."""
        for p in self.parameters.values():
            p.grad = None
        terms = self.terms(image, label)
        self.objective(terms).backward()
        return terms


def cross_entropy(logits, label):
    return -logits.log_softmax(dim=-1)[torch.arange(len(label)), label].mean()


def template_features(model, prompts):
    """Zero-shot text features (n, E) of prompts."""
    with torch.no_grad():
        return normalised(model.encode_text(clip.tokenize(prompts)))
