"""Reference for MMRL and MMRL++: padded prompts and all image tokens, block by block, with tokens after the first."""

import copy

import torch
from clip import clip

from .coop import cross_entropy, normalised


class PlainMMRL:
    """`layers` are the blocks with learned tokens, counted from 1. `learned` has the tuned parameters."""

    def __init__(self, model, classnames, template, learned, layers, alpha, weight, scale):
        self.teacher = model
        self.model = copy.deepcopy(model).requires_grad_(False)
        self.tokens = clip.tokenize([template.format(name.replace("_", " ")) for name in classnames])
        self.layers, self.alpha, self.weight, self.scale = layers, alpha, weight, scale
        self.parameters = {}
        for name, p in learned.items():
            is_own = name.startswith(("tokens", "projection", "inserted.", "change."))
            tensor = p.detach().clone() if is_own else self.model.get_parameter(name)
            self.parameters[name] = tensor.requires_grad_(True)

    def projected(self, encoder, i):
        name = f"inserted.{encoder}.projections.{i}"
        return self.parameters["tokens"] @ self.parameters[f"{name}.weight"].t() + self.parameters[f"{name}.bias"]

    def mixed(self, tokens, outputs):
        """What is inserted at a block with tokens, given the outputs of those before."""
        return tokens

    def projection(self):
        return self.parameters["projection"]

    def blocks(self, x, transformer, encoder, causal):
        """Runs x (B, T, d) through all blocks. Learned tokens stand in rows 1 to n from the first layer on."""
        n = len(self.parameters["tokens"])
        for i, block in enumerate(transformer.resblocks):
            if i + 1 in self.layers:
                tokens, rest = self.projected(encoder, i).expand(len(x), -1, -1), x[:, 1:]
                if i + 1 != self.layers[0]:
                    tokens, rest = self.mixed(tokens, x[:, 1 : 1 + n]), x[:, 1 + n :]
                x = torch.cat([x[:, :1], tokens, rest], dim=1)
            length = x.shape[1]
            mask = torch.full((length, length), float("-inf")).triu(1) if causal else None
            z = block.ln_1(x).transpose(0, 1)
            x = x + block.attn(z, z, z, need_weights=False, attn_mask=mask)[0].transpose(0, 1)
            x = x + block.mlp(block.ln_2(x))
        return x

    def text(self):
        x = self.model.token_embedding(self.tokens) + self.model.positional_embedding
        x = self.model.ln_final(self.blocks(x, self.model.transformer, "text", causal=True))
        end = self.tokens.argmax(dim=-1) + len(self.parameters["tokens"])
        return normalised(x[torch.arange(len(x)), end] @ self.model.text_projection)

    def images(self, image):
        """The features of the class token and of the learned tokens."""
        visual, n = self.model.visual, len(self.parameters["tokens"])
        x = visual.conv1(image).flatten(2).transpose(1, 2)
        x = torch.cat([visual.class_embedding.expand(len(image), 1, -1), x], dim=1) + visual.positional_embedding
        x = visual.ln_post(self.blocks(visual.ln_pre(x), visual.transformer, "image", causal=False))
        representation = x[:, 1 : 1 + n].mean(dim=1) @ self.projection()
        return normalised(x[:, 0] @ visual.proj), normalised(representation)

    def both_logits(self, image):
        text = self.text()
        return [self.scale * feature @ text.t() for feature in self.images(image)]

    def logits(self, image):
        one, other = self.both_logits(image)
        return self.alpha * one + (1 - self.alpha) * other

    def terms(self, image, label):
        features, text = self.images(image), self.text()
        one, other = (self.scale * feature @ text.t() for feature in features)
        with torch.no_grad():
            teacher = normalised(self.teacher.encode_image(image)), normalised(self.teacher.encode_text(self.tokens))
        return {
            "ce": self.alpha * cross_entropy(one, label),
            "ce_rep": (1 - self.alpha) * cross_entropy(other, label),
            "reg_image": self.weight * (1 - (features[0] * teacher[0]).sum(dim=-1).mean()),
            "reg_text": self.weight * (1 - (text * teacher[1]).sum(dim=-1).mean()),
        }

    def objective(self, terms):
        return sum(terms.values())

    def set_gradients(self, image, label):
        """Computes the gradients of one step. Returns the loss terms."""
        for p in self.parameters.values():
            p.grad = None
        terms = self.terms(image, label)
        self.objective(terms).backward()
        return terms


class PlainMMRLPP(PlainMMRL):
    def __init__(self, *arguments, beta=0.9):
        super().__init__(*arguments)
        self.beta = beta

    def low_rank(self, name):
        return self.parameters[f"{name}.A"] @ self.parameters[f"{name}.B"]

    def projected(self, encoder, i):
        weight = self.parameters[f"inserted.{encoder}.weight"] + self.low_rank(f"inserted.{encoder}.residuals.{i}")
        return self.parameters["tokens"] @ weight.t() + self.parameters[f"inserted.{encoder}.biases.{i}"]

    def mixed(self, tokens, outputs):
        return self.beta * tokens + (1 - self.beta) * outputs

    def projection(self):
        return self.model.visual.proj + self.low_rank("change")
