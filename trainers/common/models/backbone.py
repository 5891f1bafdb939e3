"""What methods, tools and records may ask of a vision-language model, whoever made it.

`load_backbone` in `backbones.py` returns a `Backbone`. Nothing else in the project names an architecture.
"""

from __future__ import annotations

import torch
from torch import nn

from . import places
from .image import image_encoder
from .preprocess import Preprocess
from .text import TextEncoder


class Backbone:
    """A frozen vision-language model. This class describes OpenAI's CLIP; subclasses describe other libraries' models.

    Attributes:
        name: MODEL.BACKBONE.NAME.
        library: whose model it is: "openai", "open_clip" or "transformers".
        model: the whole frozen model, with its library's parameter names.
        image_encoder: module: images (B, 3, H, W) -> features (B, dim), not normalised. Of BLIP-2, (B, queries, dim).
        text_encoder: module with the interface of `text.TextEncoder`, and its `tokenizer`.
        preprocess: how images become its input.
        dim: length of the features.
        activation: name of the function in the FFNs, for records; "" if the architecture says it.
    """

    library = "openai"
    logit_bias: float | None = None  # a constant, which the softmax cancels

    def __init__(self, name: str, model: nn.Module, activation: str):
        self.name = name
        self.model = model
        self.image_encoder = image_encoder(model.visual)
        self.text_encoder = TextEncoder(model)
        self.preprocess = Preprocess(model.visual.input_resolution)
        self.activation = activation

    @property
    def dim(self) -> int:
        return self.text_encoder.dim

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the matrices, and of the images that the encoder takes."""
        return self.model.dtype

    @property
    def logit_scale(self) -> torch.Tensor:
        """The learned factor of the cosine similarities."""
        return self.model.logit_scale.exp().reshape(())

    def logits(self, image_features: torch.Tensor, text_features: torch.Tensor, scale=None) -> torch.Tensor:
        """Returns logits (B, n_cls) of normalised features (B, dim) and (n_cls, dim). `scale` replaces `logit_scale`.

        Of several features per image (B, queries, dim), as in BLIP-2, the most similar one counts.
        """
        scale = self.logit_scale if scale is None else scale
        logits = scale * image_features @ text_features.t()
        return logits if logits.dim() == 2 else logits.amax(dim=1)

    @property
    def causal(self) -> bool:
        """Whether a text token attends to its predecessors only: then later tokens do not change a feature."""
        return self.text_encoder.causal

    def is_image(self, name: str) -> bool:
        """Whether a parameter belongs to the image encoder."""
        return places.is_image(self.model, name)

    def is_text(self, name: str) -> bool:
        """Whether a parameter belongs to the text encoder."""
        return places.is_text(self.model, name)

    def in_encoder(self, name: str, image: bool) -> bool:
        """Whether the image encoder (else the text encoder) has a parameter."""
        return self.is_image(name) if image else self.is_text(name)

    def name_in_encoder(self, name: str) -> str:
        """Returns the name that a parameter of `model` has in its encoder."""
        return name[len("visual.") :] if self.is_image(name) else name

    def recompute(self, enabled: bool) -> None:
        """Activation checkpointing: if enabled, the backward pass recomputes each block from its input."""
        self.image_encoder.recompute = self.text_encoder.recompute = enabled

    def compile(self, enabled: bool) -> None:
        """If enabled, the blocks of the image encoder are compiled in training."""
        self.image_encoder.compiled = enabled

    @property
    def image_tokens_obstacle(self) -> str:
        """Why `image_encoder` takes no learned tokens as its second argument (`image.ViT`); "" if it takes them."""
        return "" if hasattr(self.model.visual, "transformer") else "its image encoder is a ResNet"

    @property
    def image_width(self) -> int:
        """Width of the image tokens, where the encoder takes learned ones."""
        return self.model.visual.conv1.out_channels

    @property
    def n_blocks(self) -> tuple[int, int]:
        """Number of blocks of the image and of the text encoder, where both take learned tokens."""
        return len(self.model.visual.transformer.resblocks), len(self.model.transformer.resblocks)

    def identity_projection(self) -> tuple[dict[str, torch.Tensor], int]:
        """Returns tensors that leave out the projection of the image features, if they are put in its place.

        Returns:
            name in the image encoder -> tensor, and the length of the features then; ({}, 0) without a projection.
        """
        tensors = places.identity_projection(self.model)
        length = max((len(tensor) for tensor in tensors.values()), default=0)
        return {self.name_in_encoder(name): tensor for name, tensor in tensors.items()}, length

    def projection(self) -> list[str]:
        """Returns the names of the parameters of the linear projection that ends the image encoder; [] without one."""
        return list(places.projection(self.model))

    def project(self, features: torch.Tensor, tensors: dict[str, torch.Tensor]) -> torch.Tensor:
        """Returns image features (B, dim), given those before the projection (B, D) and the projection's parameters."""
        return places.project(features, tensors)

    def insertion_points(self, image: bool) -> list[dict[str, tuple[str, int]]]:
        """Returns where modules can be inserted into each block of one encoder; see `places.insertion_points`."""
        return places.insertion_points(self.model, image)

    def identity(self) -> dict:
        """Returns the hashes of the weights and the INPUT keys that follow from them, for records and checkpoints."""
        return {
            "fingerprint": self.model.fingerprint,
            "weights_digest": getattr(self.model, "weights_digest", ""),
            "input": {**self.preprocess.keys(), "SIZE": [self.preprocess.size] * 2},  # lists, as in JSON
        }
