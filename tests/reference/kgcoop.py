"""Reference for KgCoOp: CoOp with a distance to the text features of hand-written prompts."""

from .coop import PlainCoOp, template_features


class PlainKgCoOp(PlainCoOp):
    def __init__(self, *args, template, weight, **kwargs):
        super().__init__(*args, **kwargs)
        self.weight = weight
        self.fixed = template_features(self.teacher, [template.format(name) for name in self.names])

    def terms(self, image, label):
        cosines = (self.text() * self.fixed).sum(dim=-1)
        return {**super().terms(image, label), "kd": self.weight * (1 - cosines.mean())}
