"""Loads a finished run as a classifier for any images and class names. No dataset is needed.

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

import numpy as np
import torch
from PIL import Image

from dassl.data.transforms import build_transform

from ..classes import check_text
from ..compat import read_rgb
from ..finite import LogitsCheck
from ..runs.checkpoint import PROMPT_KEYS, apply_state
from ..runs.finished import read_run
from .calibration import Calibration, find_calibration, model_identity
from .predictions import Predictions
from .saved_run import find_method, make_bare, make_cfg


def load_tuned(
    path: str | os.PathLike,
    classnames: list[str] | None = None,
    *,
    template: str = "",
    epoch: int | None = None,
    device: str | torch.device | None = None,
    precision: str = "",
    backbone: str = "",
    calibrated: bool = False,
) -> Classifier:
    """Loads a classifier from a run directory, a checkpoint or a tuned.safetensors.

    Args:
        classnames: classes to predict; default: the classes the run was trained on.
        template: prompt template, with {} for the class name; default: the run's. Methods that learn the prompt
            ignore it.
        epoch: epoch of the checkpoint in a run directory; default: the best on validation images, else the newest.
        device: e.g. "cpu" or "cuda:1"; default: CUDA if available.
        precision: fp32, fp16, bf16 or amp; default: the run's.
        backbone: name or path of the CLIP, if it differs from that in training.
        calibrated: use the calibration of the run (tools/calibrate.py): its temperature for the probabilities, and its
            scores for prediction sets.

    Raises:
        FileNotFoundError: no checkpoint at `path`, or no calibration.
        ValueError: the checkpoint is corrupted or belongs to another backbone, the method cannot be used for these
            classes, or the calibration is of another model or of other classes.
    """
    state, file = read_run(path, epoch)
    options = {"template": template, "device": device, "precision": precision, "backbone": backbone}
    classifier = Classifier(state, file, classnames, **options)
    if calibrated:
        classifier.use_calibration()
    return classifier


class Classifier:
    """A tuned CLIP that predicts one of `classnames` per image.

    Attributes:
        classnames: the class names.
        state: the tuned weights and their metadata; see `checkpoint.tuned_state`.
        trainer: the method's trainer, without data.
        preprocess: transform of the run's evaluation: PIL image -> tensor (3, side, side).
        calibration: None unless `use_calibration` was called.
    """

    calibration: Calibration | None = None

    def __init__(
        self, state, file, classnames=None, *, template="", device=None, precision="", backbone="", loaded=None
    ):
        self.state, self._file = state, file
        self._options = {"template": template, "device": device, "precision": precision, "backbone": backbone}
        own = state["meta"]["classnames"]
        if classnames is None and not own:
            raise ValueError(f"{file} has no class names: pass `classnames` (option --classes)")
        self.classnames = check_classes(own if classnames is None else classnames, own)
        changes = {
            "DATASET.TEMPLATE": template or state["meta"]["template"],  # so that `datasets` need not be imported
            "MODEL.BACKBONE.NAME": os.fspath(backbone) or (state["meta"]["backbone"] if loaded else ""),
            f"TRAINER.{find_method(state['meta']['trainer']).section}.PREC": precision,
        }
        settings = state["settings"]
        if template:  # instead of the run's several prompts
            settings = {key: value for key, value in settings.items() if key not in PROMPT_KEYS}
        cfg = make_cfg({**state, "settings": settings}, changes)
        with contextlib.redirect_stdout(io.StringIO()):  # hides the log that a training run starts with
            self.trainer = make_bare(cfg, self.classnames, check_device(device), loaded)
            self.preprocess = build_transform(cfg, is_train=False)
        if self.trainer.get_model_names() and not state["state_dict"]:
            raise FileNotFoundError(f"no checkpoint in {file}: the run has not saved one yet")
        with contextlib.redirect_stdout(sys.stderr):  # notes
            apply_state(self.trainer, state, file)
        self.trainer.set_model_mode("eval")

    def with_classes(self, classnames: list[str], template: str = "") -> Classifier:
        """Returns a classifier for other classes, which shares this one's CLIP.

        If this one is calibrated and the run has no calibration for the other classes, the new one is not calibrated;
        a line on stderr says so.
        """
        options = {**self._options, "template": template or self._options["template"]}
        other = Classifier(self.state, self._file, classnames, **options, loaded=self.trainer.backbone)
        if self.calibration:
            try:
                other.use_calibration()
            except (ValueError, OSError) as error:
                print(f"Note: the classifier for the other classes is not calibrated: {error}", file=sys.stderr)
        return other

    def use_calibration(self) -> Calibration:
        """Uses the calibration of the run for all further predictions.

        Raises:
            FileNotFoundError: the run has none.
            ValueError: it is of another model or other classes, or corrupted.
        """
        self.calibration = find_calibration(self._file, model_identity(self.state, self.trainer, self.classnames))
        return self.calibration

    def predict(self, images, batch_size: int = 32) -> Predictions:
        """Classifies images.

        Args:
            images: one image or several: paths, PIL images, arrays (H, W) or (H, W, 3) of uint8, uint16 or floats in
                [0, 1], uint8 tensors (3, H, W), or float tensors (3, side, side) from `preprocess`. Files and PIL
                images are turned upright if the run does that with its images (INPUT.EXIF_ORIENTATION).

        Raises:
            OSError: an image cannot be read.
            ValueError: an image has an unsupported type, shape or range of values.
            InvalidLogits: logits are infinite or NaN.
        """
        logits_check = LogitsCheck()
        logits = [torch.empty(0, len(self.classnames))]
        with torch.no_grad():
            for batch in self._batches(images, batch_size):
                logits.append(self.trainer.model_inference(batch).float().cpu())
                logits_check.add(logits[-1])
        logits_check.check()
        return Predictions(torch.cat(logits), self.classnames, self.calibration)

    def features(self, images, batch_size: int = 32) -> torch.Tensor:
        """Returns normalised image features (B, E), or of BLIP-2 (B, queries, E), fp32 on the CPU.

        `images` are as in `predict`.
        """
        trainer = self.trainer
        with torch.no_grad(), trainer.autocast():
            features = [trainer.encode_image(batch).float().cpu() for batch in self._batches(images, batch_size)]
        return torch.cat(features) if features else torch.empty(0, trainer.backbone.dim)

    def text_features(self) -> torch.Tensor:
        """Returns normalised text features (n_cls, E), fp32 on the CPU.

        Raises:
            ValueError: the method's text features depend on the image (CoCoOp).
        """
        if self.trainer.image_conditioned_text:
            raise ValueError(f"the text features of {self.trainer.cfg.TRAINER.NAME} depend on the image")
        with torch.no_grad(), self.trainer.autocast():
            return self.trainer.text_features().float().cpu()

    def encode_text(self) -> None:
        """Encodes the text of the classes now, which otherwise the first prediction does, if it needs no image."""
        if not self.trainer.image_conditioned_text:
            with torch.no_grad(), self.trainer.autocast():
                self.trainer.text_of_evaluation()

    def prepare(self, image) -> torch.Tensor:
        """Returns the input tensor (3, side, side) of one image. `image` is as in `predict`."""
        description = f"{type(image).__name__} {tuple(getattr(image, 'shape', ()))} {getattr(image, 'dtype', '')}"
        if isinstance(image, torch.Tensor) and image.dtype == torch.uint8 and len(image) == 3:
            image = image.movedim(0, -1).contiguous().cpu().numpy()
        is_picture = isinstance(image, np.ndarray) and image.ndim in (2, 3) and image.shape[2:] in ((), (3,), (4,))
        if is_picture or isinstance(image, (str, os.PathLike, Image.Image)):
            return self.preprocess(self.read(image))
        side = self.trainer.backbone.preprocess.size
        if isinstance(image, torch.Tensor) and image.is_floating_point() and image.shape == (3, side, side):
            return image.float().cpu()
        raise ValueError(
            "an image must be a path, a PIL image, an array (H, W) or (H, W, 3), a uint8 tensor (3, H, W), or a float "
            f"tensor (3, {side}, {side}) from `preprocess`, got {description.strip()}"
        )

    def read(self, image) -> Image.Image:
        """Returns a path, PIL image or array as an RGB image, read as the images of the run.

        Raises:
            OSError: the file cannot be read. The message is one line and names it.
            ValueError: the values have no known scale.
        """
        try:
            return read_rgb(image, self.trainer.cfg.INPUT)
        except Exception as error:  # decoders raise OSError, SyntaxError, ValueError, struct.error, ...
            reason = " ".join(str(error).split()) or type(error).__name__
            if not isinstance(image, (str, os.PathLike)):
                raise ValueError(f"cannot use the image: {reason}") from error
            raise OSError(reason if os.fspath(image) in reason else f"cannot read {image}: {reason}") from error

    def _batches(self, images, batch_size: int) -> Iterator[torch.Tensor]:
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        single = isinstance(images, (str, os.PathLike, Image.Image)) or getattr(images, "ndim", 4) < 4
        images = iter([images] if single else images)
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            while chunk := list(itertools.islice(images, batch_size)):
                yield torch.stack(list(pool.map(self.prepare, chunk))).to(self.trainer.device)


def check_classes(classnames: Iterable[str], own: list[str]) -> list[str]:
    """Returns the class names as a list.

    Args:
        own: the classes that the run was trained on. Only these may have equal names, which their order distinguishes.

    Raises:
        ValueError: no class names, a duplicate, an empty name, one that is not a string or has a control character.
    """
    if isinstance(classnames, str):
        raise ValueError(f"class names must be a list, got the string {classnames!r}")
    names = list(classnames)
    if not names:
        raise ValueError("no class names: give at least one")
    for name in names:
        if not isinstance(name, str) or not name.strip():
            raise ValueError(f"a class name must be a non-empty string, got {name!r}")
        check_text(name, "class name")
    duplicates = sorted({name for name in names if names.count(name) > 1})
    if duplicates and names != list(own):
        raise ValueError(f"duplicate class name {duplicates[0]!r}: give each class a name of its own")
    return names


def check_device(device: str | torch.device | None) -> torch.device | None:
    """Returns `device` as a torch.device, or None. Raises ValueError if it is not available."""
    try:
        if device is not None:
            torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device {str(device)!r} is not available: {str(error).splitlines()[0]}") from error
    return None if device is None else torch.device(device)
