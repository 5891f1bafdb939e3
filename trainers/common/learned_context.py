"""Text features of prompts with learned tokens, of classes and of captions, for CoOp and the methods based on it."""

from __future__ import annotations

import torch

from .prompt_learner import PromptLearner, place_in_captions


class LearnedContext:
    """Mixin of a ClipTrainer whose tuned module is a `PromptLearner`, or has one as `prompt_learner`.

    A caption has the learned tokens where the prompt of a class has them, and stands in place of the class name.
    """

    for_any_text = ("text_features",)

    @property
    def learner(self) -> PromptLearner | None:
        """Embeds the prompts of the classes; None if no token of the prompts is learned."""
        return self.tuned if isinstance(self.tuned, PromptLearner) else getattr(self.tuned, "prompt_learner", None)

    @property
    def context_tokens(self) -> int:
        return self.text_encoder.tokenizer.count([self.learner.place[0]])[0] if self.learner else 0

    def deep_tokens(self, learner: PromptLearner) -> tuple[torch.Tensor | None, ...]:
        """Returns the argument `deep` of `TextEncoder.forward`."""
        return tuple(getattr(self.tuned, "deep_text_tokens", ()))

    def learned_features(self, learner: PromptLearner) -> torch.Tensor:
        """Returns the normalised text features (n, E), fp32, of the prompts of a learner."""
        packed = learner.packed_prompts
        x = learner(words=self.word_embeddings(packed))
        return self.encode_text(packed, x=x, deep=self.deep_tokens(learner))[0]

    def text_features(self):
        return self.learned_features(self.learner)  # (n_cls, E)

    def caption_tokens(self, captions):
        if self.learner is None:
            return super().caption_tokens(captions)
        return place_in_captions(self.text_encoder.tokenizer, captions, *self.learner.place)

    def encode_captions(self, tokens):
        if self.learner is None:
            return super().encode_captions(tokens)
        return self.learned_features(self.learner.of_other_prompts(self.text_encoder, tokens))
