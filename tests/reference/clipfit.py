"""Reference for CLIPFit, from the paper's equations: two CLIPs, prompts of 77 tokens, parameters tuned in place."""

import copy

import torch
from clip import clip


class PlainCLIPFit:
    """Student and teacher as two CLIPs. `parameters` are the tuned parameters of the student, by name."""

    def __init__(self, model, prompts, reg="kd", beta=8.0):
        self.teacher = model
        self.student = copy.deepcopy(model).requires_grad_(False)
        self.tokens = clip.tokenize(prompts).to(model.logit_scale.device)
        self.reg, self.beta = reg, beta
        self.parameters = {
            name: p
            for name, p in self.student.named_parameters()
            if (name.startswith("transformer.") and name.endswith("mlp.c_proj.bias"))
            or (name.startswith("visual.") and "ln_" in name)
        }
        for p in self.parameters.values():
            p.requires_grad_(True)
        with torch.no_grad():
            self.teacher_text = model.encode_text(self.tokens)

    def logits(self, image):
        f = self.student.encode_image(image)
        w = self.student.encode_text(self.tokens)
        f = f / f.norm(dim=-1, keepdim=True)
        w = w / w.norm(dim=-1, keepdim=True)
        return self.student.logit_scale.exp() * f @ w.t()

    def terms(self, image, label):
        log_p = self.logits(image).log_softmax(-1)
        terms = {"ce": -log_p[torch.arange(len(label)), label].mean()}
        if self.reg == "kd":
            w = self.student.encode_text(self.tokens)
            t = self.teacher_text
            cos = (w * t).sum(-1) / (w.norm(dim=-1) * t.norm(dim=-1))
            terms["kd"] = self.beta * (1 - cos.mean())
        if self.reg == "mse":
            frozen = dict(self.teacher.named_parameters())
            squares = [((p - frozen[n]) ** 2).sum() for n, p in self.parameters.items() if n.startswith("transformer.")]
            terms["mse"] = self.beta * sum(squares) / len(squares)
        return terms
