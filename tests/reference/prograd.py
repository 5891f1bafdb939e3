"""Reference for ProGrad: two backward passes; the part of one gradient that opposes the other is removed."""

import torch

from .coop import PlainCoOp, cross_entropy, normalised, template_features


class PlainProGrad(PlainCoOp):
    def __init__(self, *args, template, T=1.0, strength=1.0, **kwargs):
        super().__init__(*args, **kwargs)
        self.T, self.strength = T, strength
        self.fixed = template_features(self.teacher, [template.format(name) for name in self.names])

    def terms(self, image, label):
        student = self.logits(image)
        with torch.no_grad():
            features = normalised(self.teacher.encode_image(image))
            teacher = self.teacher.logit_scale.exp() * features @ self.fixed.t()
        p = (teacher / self.T).exp() / (teacher / self.T).exp().sum(dim=-1, keepdim=True)
        kl = -(p * (student / self.T).log_softmax(dim=-1)).sum(dim=-1).mean() * self.T**2
        return {"xe_loss": cross_entropy(student, label), "kl_loss": kl}

    def objective(self, terms):
        return terms["xe_loss"]

    def set_gradients(self, image, label):
        gradients = {}
        for term in ("xe_loss", "kl_loss"):
            for p in self.parameters.values():
                p.grad = None
            terms = self.terms(image, label)
            terms[term].backward()
            gradients[term] = [p.grad.clone() for p in self.parameters.values()]
        for p, g, guide in zip(self.parameters.values(), gradients["xe_loss"], gradients["kl_loss"], strict=True):
            cosine = torch.cosine_similarity(g.flatten(), guide.flatten(), dim=0)
            along = guide / guide.norm()
            p.grad = g - self.strength * (g.flatten() @ along.flatten()) * along if cosine < 0 else g
        return terms
