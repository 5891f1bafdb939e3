"""A classifier from what a run tuned, for any images and any classes; no dataset is needed.

from trainers.common import load_tuned
classifier = load_tuned("output/mine")
print(classifier.predict(["cat.jpg", "dog.jpg"]).names)
"""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from dassl.data.transforms import build_transform
from dassl.utils import read_image

from ..runs.checkpoint import put_in_place
from .saved_run import find_method, make_bare, make_cfg, read_run


@dataclass(frozen=True)
class Predictions:
    """Logits (B, n_cls), fp32 on the CPU, of B images for the classes named."""

    logits: torch.Tensor
    classnames: list[str]

    @property
    def probabilities(self) -> torch.Tensor:
        """(B, n_cls); every row sums to 1."""
        return self.logits.softmax(dim=-1)

    @property
    def names(self) -> list[str]:
        """The most probable class of each image."""
        return [self.classnames[i] for i in self.logits.argmax(dim=-1).tolist()]

    def top(self, k: int = 5) -> list[list[tuple[str, float]]]:
        """Name and probability of the k most probable classes of each image, the most probable first."""
        best = self.probabilities.topk(min(k, len(self.classnames)), dim=-1)
        rows = zip(best.indices.tolist(), best.values.tolist())
        return [[(self.classnames[i], p) for i, p in zip(*row)] for row in rows]


def load_tuned(
    path: str | os.PathLike,
    classnames: list[str] | None = None,
    *,
    template: str = "",
    epoch: int | None = None,
    device: str | torch.device | None = None,
    precision: str = "",
    backbone: str = "",
) -> Classifier:
    """A classifier from a run's output folder, a checkpoint or a tuned.safetensors.

    Args:
        classnames: what to tell apart; default: the classes the run was trained on.
        template: the prompt, with {} for the class name; default: the run's. Methods that learn the prompt ignore it.
        epoch: of a run's folder, the checkpoint of this epoch; default: the best on validation data, else the newest.
        device: e.g. "cpu" or "cuda:1"; default: CUDA where there is one.
        precision: fp32, fp16, bf16 or amp; default: what the run was configured to.
        backbone: path or name of the CLIP, where it is not found under the name it had in training.

    Raises:
        FileNotFoundError, ValueError: nothing is there, it is damaged, it belongs to another backbone, or the method
            cannot be used for these classes.
    """
    state, file = read_run(path, epoch)
    options = {"template": template, "device": device, "precision": precision, "backbone": backbone}
    return Classifier(state, file, classnames, **options)


class Classifier:
    """A tuned CLIP and the classes that it tells apart.

    Attributes:
        classnames: the names of the classes.
        state: what the run tuned and what it fits; see `checkpoint.tuned_state`.
        trainer: the method's trainer, without data.
        preprocess: from a PIL image to a tensor (3, side, side), as in the run's evaluation.
    """

    def __init__(
        self, state, file, classnames=None, *, template="", device=None, precision="", backbone="", clip_model=None
    ):
        self.state, self._file = state, file
        self._options = {"template": template, "device": device, "precision": precision, "backbone": backbone}
        if classnames is None and not state["meta"]["classnames"]:
            raise ValueError(f"{file} does not say which classes it was tuned with: name those to tell apart")
        self.classnames = check_classes(state["meta"]["classnames"] if classnames is None else classnames)
        changes = {
            "DATASET.TEMPLATE": template or state["meta"]["template"],  # `datasets` need not be imported here
            "MODEL.BACKBONE.NAME": os.fspath(backbone),
            f"TRAINER.{find_method(state['meta']['trainer']).section}.PREC": precision,
        }
        cfg = make_cfg(state, changes)
        with contextlib.redirect_stdout(io.StringIO()):  # the log of a training run's start
            self.trainer = make_bare(cfg, self.classnames, check_device(device), clip_model)
            self.preprocess = build_transform(cfg, is_train=False)
        if self.trainer.get_model_names() and not state["state_dict"]:
            raise FileNotFoundError(f"no checkpoint in {file}: the run has not saved one yet")
        with contextlib.redirect_stdout(sys.stderr):  # notes
            put_in_place(self.trainer, state, file)
        self.trainer.set_model_mode("eval")

    def with_classes(self, classnames: list[str], template: str = "") -> Classifier:
        """A classifier for other classes that shares this one's CLIP."""
        options = {**self._options, "template": template or self._options["template"]}
        return Classifier(self.state, self._file, classnames, **options, clip_model=self.trainer.clip)

    def predict(self, images, batch_size: int = 32) -> Predictions:
        """Classify images.

        Args:
            images: one or several of: paths, PIL images, uint8 arrays (H, W, 3), uint8 tensors (3, H, W), or float
                tensors (3, side, side) that `preprocess` has been applied to.

        Raises:
            OSError, ValueError: an image cannot be read or has another form; it is named.
        """
        with torch.no_grad():
            logits = [self.trainer.model_inference(batch).float().cpu() for batch in self._batches(images, batch_size)]
        return Predictions(torch.cat([torch.empty(0, len(self.classnames)), *logits]), self.classnames)

    def features(self, images, batch_size: int = 32) -> torch.Tensor:
        """Normalised image features (B, E), fp32 on the CPU, of `images` as `predict` takes them."""
        trainer = self.trainer
        with torch.no_grad(), trainer.autocast():
            found = [trainer.encode_image(batch).float().cpu() for batch in self._batches(images, batch_size)]
        return torch.cat([torch.empty(0, trainer.clip.text_projection.shape[1]), *found])

    def text_features(self) -> torch.Tensor:
        """Normalised text features of the classes (n_cls, E), fp32 on the CPU.

        Raises ValueError for a method whose text features depend on the image (CoCoOp).
        """
        if self.trainer.image_conditioned_text:
            raise ValueError(f"{self.trainer.cfg.TRAINER.NAME} has no text features that are the same for all images")
        with torch.no_grad(), self.trainer.autocast():
            return self.trainer.text_features().float().cpu()

    def prepare(self, image) -> torch.Tensor:
        """The tensor (3, side, side) of one image; see `predict`."""
        kind = f"{type(image).__name__} {tuple(getattr(image, 'shape', ()))} {getattr(image, 'dtype', '')}".strip()
        if isinstance(image, (str, os.PathLike)):
            image = open_image(image)
        elif isinstance(image, torch.Tensor) and image.dtype == torch.uint8 and len(image) == 3:
            image = Image.fromarray(image.movedim(0, -1).contiguous().cpu().numpy())
        elif isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.shape[2:] in ((), (3,), (4,)):
            image = Image.fromarray(image)
        if isinstance(image, Image.Image):
            return self.preprocess(image.convert("RGB"))
        side = self.trainer.clip.visual.input_resolution
        if isinstance(image, torch.Tensor) and image.is_floating_point() and image.shape == (3, side, side):
            return image.float().cpu()
        raise ValueError(
            "an image must be a path, a PIL image, a uint8 array (H, W, 3), a uint8 tensor (3, H, W), or a float "
            f"tensor (3, {side}, {side}) from `preprocess`; got {kind}"
        )

    def _batches(self, images, batch_size: int) -> Iterator[torch.Tensor]:
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        single = isinstance(images, (str, os.PathLike, Image.Image)) or getattr(images, "ndim", 4) < 4
        images = iter([images] if single else images)
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            while chunk := list(itertools.islice(images, batch_size)):
                yield torch.stack(list(pool.map(self.prepare, chunk))).to(self.trainer.device)


def open_image(path: str | os.PathLike) -> Image.Image:
    """The image in a file, as the data loader reads it. Raises OSError with one line that names the file."""
    try:
        return read_image(os.fspath(path))
    except Exception as error:  # decoders raise OSError, SyntaxError, ValueError, struct.error, ...
        reason = " ".join(str(error).split()) or type(error).__name__
        raise OSError(reason if os.fspath(path) in reason else f"cannot read the image {path} ({reason})") from error


def check_classes(classnames: Iterable[str]) -> list[str]:
    """The names as a list. Raises ValueError on none, on a name that is empty or no text, and on one that is twice."""
    if isinstance(classnames, str):
        raise ValueError(f"class names come as a list, got the text {classnames!r}")
    names = list(classnames)
    if not names:
        raise ValueError("there are no class names: at least one is needed")
    for name in names:
        if not isinstance(name, str) or not name.strip():
            raise ValueError(f"a class name must be a text that is not empty, got {name!r}")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"class names must differ, {twice[0]!r} is there twice")
    return names


def check_device(device: str | torch.device | None) -> torch.device | None:
    """`device` as torch's. Raises ValueError if there is no such device."""
    try:
        if device is not None:
            torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"there is no device {str(device)!r} here: {str(error).splitlines()[0]}") from error
    return None if device is None else torch.device(device)
