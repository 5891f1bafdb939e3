"""The model of a run on a few images: the best classes before and after training, and where it looked."""

import contextlib
import dataclasses
import io

import numpy as np
import torch
from PIL import Image

from trainers.common import load_tuned, prompt_ensemble
from trainers.common.classes import distinct
from trainers.common.inference.classifier import Classifier
from trainers.common.models.insertions import TOKENS
from trainers.common.zero_shot import text_features

from .attention import Grid, Recorder, grid_of, reads_class_token, rollout
from .run import ShownRun

BEST = 5
BATCH = 32


class Model:
    """The classifier of a run, with the zero-shot CLIP that the record compares it with."""

    def __init__(self, run: ShownRun, backbone: str = "", device: str | None = None):
        """
        Raises:
            OSError, ValueError: the weights are not there, or do not fit.
        """
        source, settings = run.record.get("source") or {}, run.record["settings"]
        path = source.get("model_dir") or str(run.folder)
        epoch = source.get("epoch")
        names = list(run.record["identity"].get("classnames") or []) or None
        several = settings.get("DATASET.TEMPLATES") or settings.get("DATASET.DESCRIPTIONS_DIGEST")
        template = run.record["identity"].get("template", "") if source and not several else ""
        with contextlib.redirect_stdout(io.StringIO()):
            self.classifier: Classifier = load_tuned(
                path, names, template=template, epoch=epoch, backbone=backbone, device=device
            )
        self.trainer = self.classifier.trainer
        self.names = distinct(self.classifier.classnames)
        self.prompt = run.zero_shot.get("prompt", "")

    @torch.no_grad()
    def best_classes(self, files: list[str]) -> tuple[list, list]:
        """Returns the BEST classes of each file, as (class, probability), by zero-shot CLIP and by the run.

        The first list is empty for a run that was not compared with zero-shot CLIP. Raises OSError for an image that
        cannot be read.
        """
        before, after = [], []
        text = self.zero_shot_text() if self.prompt else None
        for start in range(0, len(files), BATCH):
            images = torch.stack([self.classifier.prepare(file) for file in files[start : start + BATCH]])
            images = images.to(self.trainer.device)
            after += self.top(self.trainer.model_inference(images))
            if text is not None:
                with self.trainer.autocast():
                    features = self.trainer.encode_image(images, tuned=False)
                backbone = self.trainer.backbone
                before += self.top(backbone.logits(features, text, backbone.logit_scale))
        return before, after

    def zero_shot_text(self) -> torch.Tensor:
        """Returns the text features (n_cls, E) of the zero-shot CLIP that the record compares the run with."""
        trainer, names = self.trainer, list(self.classifier.classnames)
        templates = (self.prompt,) if "{}" in self.prompt else tuple(trainer.cfg.DATASET.TEMPLATES or ())
        return text_features(trainer, prompt_ensemble.class_prompts(trainer.cfg, names, templates))

    def top(self, logits: torch.Tensor) -> list[list[tuple[str, float]]]:
        found = logits.float().softmax(dim=-1).topk(min(BEST, len(self.names)), dim=-1)
        rows = zip(found.indices.tolist(), found.values.tolist(), strict=True)
        return [[(self.names[i], p) for i, p in zip(*row, strict=True)] for row in rows]

    @torch.no_grad()
    def looked(self, files: list[str]) -> list[tuple[Image.Image, np.ndarray, np.ndarray | None]]:
        """Returns for each file its picture as the model gets it, and the rollouts (side, side) before and after.

        The last one is None if training did not change the image encoder.

        Raises:
            OSError: an image cannot be read.
            ValueError: the image encoder gives no attention between patches.
        """
        trainer = self.trainer
        images = torch.stack([self.classifier.prepare(file) for file in files])
        maps = self.attention(images, tuned=False)
        grid = self.grid(images[:1].repeat(2, 1, 1, 1), maps)
        before = rollout(maps, grid).cpu().numpy()
        after = [None] * len(files)
        if trainer.tunes_images():
            learned = "after" if self.inserts_tokens() else "end"
            after = rollout(self.attention(images, tuned=True), dataclasses.replace(grid, learned=learned))
            after = after.cpu().numpy()
        pictures = [picture(image, trainer.cfg.INPUT) for image in images]
        return list(zip(pictures, before, after, strict=True))

    def grid(self, images: torch.Tensor, maps: list[torch.Tensor]) -> Grid:
        """Returns the grid of the patches of the frozen image encoder, given its attention matrices."""
        blocks = getattr(self.trainer.image_encoder, "blocks", ())  # of an encoder of another library
        grid = grid_of(maps, len(blocks))
        if len(blocks) and grid.read == "class":
            images = images.to(self.trainer.device)
            if not reads_class_token(blocks[-1], lambda: self.trainer.encode_image(images, tuned=False), grid.tokens):
                grid = dataclasses.replace(grid, read="patches")
        return grid

    def attention(self, images: torch.Tensor, tuned: bool) -> list[torch.Tensor]:
        with self.trainer.autocast(), Recorder() as recorder:
            self.trainer.encode_image(images.to(self.trainer.device), tuned=tuned)
        return recorder.maps

    def inserts_tokens(self) -> bool:
        """Whether the method inserts learned tokens after the class token."""
        inserted = self.trainer._insertions("image").get("inserted", {})
        return any(TOKENS in block for block in inserted.values())


def picture(image: torch.Tensor, section) -> Image.Image:
    """Returns the picture of an input (3, side, side) of the model. `section` is cfg.INPUT of the run."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (section.PIXEL_MEAN, section.PIXEL_STD))
    pixels = ((image.cpu() * std + mean).clamp(0, 1) * 255).round().byte()
    return Image.fromarray(pixels.movedim(0, -1).numpy())
