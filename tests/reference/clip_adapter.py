"""Reference for CLIP-Adapter: two matrices applied to the image features."""

from .coop import PlainCoOp, normalised, template_features


class PlainCLIPAdapter(PlainCoOp):
    def __init__(self, model, classnames, template, down, up, ratio=0.2, layernorm=False):
        super().__init__(model, classnames, "X", model.token_embedding.weight[:1], layernorm=layernorm)
        del self.parameters["ctx"]
        self.ratio = ratio
        self.parameters["fc.0.weight"] = down.detach().clone().requires_grad_(True)
        self.parameters["fc.2.weight"] = up.detach().clone().requires_grad_(True)
        self.fixed = template_features(model, [template.format(name) for name in self.names])

    def text(self):
        return self.fixed

    def image(self, image):
        f = self.model.encode_image(image)
        hidden = (f @ self.parameters["fc.0.weight"].t()).clamp(min=0)
        adapted = (hidden @ self.parameters["fc.2.weight"].t()).clamp(min=0)
        return normalised(self.ratio * adapted + (1 - self.ratio) * f)
