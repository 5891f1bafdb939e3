"""Reference for FLYP: CLIP's contrastive loss on images and one caption of each."""

from clip import clip

from .sets import PlainTuning, everything


class PlainFLYP(PlainTuning):
    """`choose(label)` gives the numbers of the prompts that are the captions."""

    def __init__(self, model, prompts, choose):
        super().__init__(model, prompts, everything)
        self.prompts, self.choose = prompts, choose

    def logits(self, image, label):
        captions = clip.tokenize([self.prompts[i] for i in self.choose(label).tolist()])
        return self.model(image, captions)[0]

    def set_gradients(self, image, label):
        self.model.zero_grad()
        logits = self.logits(image, label)
        both = -logits.log_softmax(1).diagonal().mean() / 2, -logits.log_softmax(0).diagonal().mean() / 2
        sum(both).backward()
        return dict(zip(("image", "text"), both, strict=True))

    def objective(self, terms):
        return sum(terms.values())
