"""Features of images and of captions by a model, kept on disk for all evaluations of it (DATALOADER.FEATURES)."""

import contextlib
import hashlib
import io

import numpy as np
import torch

from dassl.data.datasets import Datum
from datasets.retrieval import Captions
from trainers.common.cached_features import ROWS, store_identity, stored_features
from trainers.common.inference.captions import token_features
from trainers.common.runs.feature_store import FeatureStore

from .models import Model

DATASET = "retrieval"  # folder in the feature store


def prepare(model: Model, batch_size: int, workers: int) -> None:
    """Sets how the images are read."""
    cfg = model.trainer.cfg
    cfg.defrost()
    cfg.DATASET.NAME = DATASET
    cfg.DATALOADER.TEST.BATCH_SIZE = batch_size
    cfg.DATALOADER.NUM_WORKERS = workers
    cfg.freeze()


def image_features(model: Model, captions: Captions) -> torch.Tensor:
    """Returns normalised features (n, E) of the images, fp32 on the CPU; of BLIP-2 (n, Q, E).

    Raises:
        OSError: an image cannot be read.
    """
    trainer = model.trainer
    items = [Datum(impath=path) for path in captions.images]

    def encode(image):
        return trainer.encode_image(image).flatten(1)  # (B, E) or (B, Q E)

    with contextlib.redirect_stdout(io.StringIO()):
        found = stored_features(trainer, items, encode, dtype=torch.float32, of="images", **model.tuned)[0]
    return found if found.shape[1] == trainer.backbone.dim else found.unflatten(1, (-1, trainer.backbone.dim))


def text_features(model: Model, captions: Captions) -> tuple[torch.Tensor, int]:
    """Returns normalised features (m, E) of the captions, fp32 on the CPU, and how many captions were cut off."""
    trainer = model.trainer
    distinct = list(dict.fromkeys(captions.captions))
    tokens, was_cut = trainer.caption_tokens(distinct)
    keys = np.array([caption_key(text) for text in distinct], dtype=np.uint64)

    def compute(missing: np.ndarray):
        for rows in np.split(missing, range(ROWS, len(missing), ROWS)):
            yield rows, token_features(trainer, tokens[rows]).numpy()

    store = FeatureStore(trainer.cfg, store_identity(trainer, augmented=False, of="captions", **model.tuned))
    features, _ = store.complete(keys, compute)
    row_of = {text: row for row, text in enumerate(distinct)}
    rows = [row_of[text] for text in captions.captions]
    return torch.from_numpy(features)[rows], sum(was_cut[row] for row in rows)


def caption_key(text: str) -> int:
    """Returns the key of a caption in the feature store: 64 bits of its SHA-256."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")
