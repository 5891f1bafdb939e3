"""Predictions of zero-shot CLIP for the images of an evaluation, computed once for all runs.

They depend on the backbone, the prompts, the class names and the images. They are those of ZeroshotCLIP with the same
options: with the prompt of the dataset (DATASET.TEMPLATE, TEMPLATES, DESCRIPTIONS), not with that of the method or its
teacher, so that all methods are compared with the same predictions. With MODEL.START_FROM, the CLIP is the started
one: what the run was before its own training. MODEL.INIT_WEIGHTS changes nothing.

They are kept in the store of features (DATALOADER.FEATURES).
"""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import fields

import numpy as np
import torch

from dassl.config import cfg_default

from . import prompt_ensemble
from .cached_features import store_identity
from .finite import InvalidLogits, LogitsCheck
from .outcomes import Outcomes, join, of_batch
from .prompts import get_template
from .runs.feature_store import FeatureStore

# Compare with zero-shot CLIP: the first run on a test set evaluates it too, and keeps its predictions for other runs
cfg_default.TEST.ZERO_SHOT = True

COLUMNS = [field.name for field in fields(Outcomes) if field.name != "labels"]
WHOLE = ("predicted", "ranks")  # integers


def zero_shot_outcomes(trainer, split: str, items) -> tuple[Outcomes, dict] | None:
    """Returns the outcomes of zero-shot CLIP for the images of a split, and what to record of it.

    None if TEST.ZERO_SHOT is off, if the trainer is zero-shot CLIP itself, or if the logits are infinite or NaN.

    Args:
        items: the images of the split, in the order of its loader.
    """
    if not trainer.cfg.TEST.ZERO_SHOT or trainer.zero_shot:
        return None
    started = time.time()
    labels = np.array([item.label for item in items])
    prompts = reference_prompts(trainer)
    keys = image_keys(trainer.run.images.keys(split), labels)
    identity = reference_identity(trainer, prompts) if keys is not None else None
    store = FeatureStore(trainer.cfg, identity, "zero-shot predictions")
    rows, found = store.read(keys) if keys is not None else (None, np.zeros(1, dtype=bool))
    computed = not found.all()
    if computed:
        try:
            outcomes = compute(trainer, trainer.val_loader if split == "val" else trainer.test_loader, prompts)
        except InvalidLogits as error:
            print(f"Note: not compared with zero-shot CLIP, as {error}")
            return None
        if keys is not None:
            store.add(keys, np.stack([getattr(outcomes, name) for name in COLUMNS], axis=1).astype(float))
        kept = ", kept for other runs" if store.folder else ""
        print(f"Zero-shot CLIP: predicted {len(labels):,} images in {time.time() - started:.1f} s{kept}")
    else:
        columns = {name: rows[:, i] for i, name in enumerate(COLUMNS)}
        outcomes = Outcomes(labels, **{n: c.astype(np.int64) if n in WHOLE else c for n, c in columns.items()})
    return outcomes, {"prompt": describe(trainer, prompts), "stored": not computed}


def reference_prompts(trainer) -> list[list[str]]:
    """Returns the prompts of each class that ZeroshotCLIP has with this config."""
    section = trainer.cfg.DATASET
    templates = section.TEMPLATES or (() if section.DESCRIPTIONS_DIGEST else (get_template(trainer.cfg),))
    return prompt_ensemble.class_prompts(trainer.cfg, list(trainer.dm.dataset.classnames), tuple(templates))


def describe(trainer, prompts: list[list[str]]) -> str:
    """Returns the prompt template, or the number of prompts: "80 prompts per class"."""
    most = max(map(len, prompts))
    single = most == 1 and not trainer.cfg.DATASET.TEMPLATES and not trainer.cfg.DATASET.DESCRIPTIONS_DIGEST
    return get_template(trainer.cfg) if single else f"{most} prompts per class"


def reference_identity(trainer, prompts: list[list[str]]) -> dict | None:
    """Returns what the predictions depend on, apart from the images; None if that is unknown."""
    identity = store_identity(trainer, augmented=False)
    digest = hashlib.sha256(json.dumps(prompts).encode()).hexdigest()
    return identity and {**identity, "content": "zero-shot predictions", "columns": COLUMNS, "prompts": digest}


def image_keys(contents: list, labels: np.ndarray) -> np.ndarray | None:
    """Returns a key (N,) of uint64 per image, of its content and its label; None if a content is unknown."""
    if None in contents:
        return None
    texts = (f"{content} {label}".encode() for content, label in zip(contents, labels.tolist()))
    return np.array([int.from_bytes(hashlib.sha256(text).digest()[:8], "little") for text in texts], dtype=np.uint64)


def text_features(trainer, prompts: list[list[str]]) -> torch.Tensor:
    """Returns the text features (n_cls, E) of the frozen CLIP, given the prompts of each class."""
    passes, index = prompt_ensemble.passes(prompts)
    with trainer.autocast():
        text = torch.cat([trainer.encode_text(trainer.pack_prompts(some), tuned=False) for some in passes])
        return prompt_ensemble.class_means(text, index.to(trainer.device))


@torch.inference_mode(False)  # encoders may keep tensors that training uses
@torch.no_grad()
def compute(trainer, loader, prompts: list[list[str]]) -> Outcomes:
    """Returns the outcomes of zero-shot CLIP for the images of a loader. Raises InvalidLogits if a logit is NaN."""
    check = LogitsCheck()
    batches = []
    text = text_features(trainer, prompts)
    for batch in loader:
        image, label = trainer.parse_batch_test(batch)
        with trainer.autocast():
            features = trainer.encode_image(image, tuned=False)
        with torch.autocast(trainer.device.type, enabled=False):
            logits = trainer.backbone.logits(features, text, trainer.backbone.logit_scale)
        check.add(logits)
        batches.append(of_batch(logits, label))
    check.check()
    return join(batches)
