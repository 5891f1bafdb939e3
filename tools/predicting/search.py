"""Ranks the images of folders by their similarity to texts: `tools/predict.py RUN --search TEXT FOLDER`."""

import csv
import io
import json
import os
import sys
from typing import NamedTuple

import numpy as np
import torch
from tqdm import tqdm

from runtime.decimals import decimals
from tools.records import printable
from trainers.common.classes import check_text
from trainers.common.inference.captions import caption_features
from trainers.common.prompts import fill
from trainers.common.runs.digest import digest
from trainers.common.runs.image_hashes import image_keys

from .images import prepared
from .index import Index

SAVE_EVERY = 8192  # encoded images after which the index is saved; for a large index, a quarter of its images
ROWS = 65_536  # features that are compared at a time


def check_texts(args) -> list[str]:
    """Returns the different texts of --search. Raises ValueError if one is empty, or if another option does not fit."""
    if args.classes:
        raise ValueError("--classes has no effect with --search: remove it")
    for path in args.images:
        if os.path.exists(path) and not os.path.isdir(path):
            raise ValueError(f"--search needs folders, got the file {path}")
    for text in args.search:
        if not check_text(text, "--search").strip():
            raise ValueError(f"--search needs a text, got {text!r}")
    return list(dict.fromkeys(args.search))


def text_features(trainer, texts: list[str], template: str) -> torch.Tensor:
    """Returns normalised features (n, E) of texts, which a template may surround. Raises ValueError for a long text."""
    prompts = fill(template, texts) if template else texts
    features, was_cut = caption_features(trainer, prompts)
    if any(was_cut):
        raise trainer.text_encoder.tokenizer.too_long(prompts[was_cut.index(True)])
    return features


def identity_of(classifier) -> dict:
    """Returns what image features depend on apart from the image, as JSON values."""
    trainer, state = classifier.trainer, classifier.state
    backbone = trainer.backbone.identity()
    groups = ("INPUT.", "MODEL.", f"TRAINER.{trainer.section}.")
    return {
        "backbone": backbone["weights_digest"] or backbone["fingerprint"],
        "method": trainer.cfg.TRAINER.NAME,
        "tuned": digest(dict(state["state_dict"])),
        "settings": {key: value for key, value in sorted(state["settings"].items()) if key.startswith(groups)},
        "precision": trainer.precision,
    }


class Found(NamedTuple):
    """The readable images of a folder, and their features."""

    paths: list  # n images, in the given order
    rows: list  # row of each in `features`; images of equal content have the same
    features: np.ndarray  # (m, E) or (m, queries, E), normalised


def find(classifier, folder: str, paths: list[str], batch_size: int, dim: int) -> Found:
    """Returns the images of a folder with their features. Encodes those that its index does not have, and updates it.

    Unreadable images are reported on stderr. `dim` is the length of a feature.
    """
    keys = image_keys(paths)  # path -> (size, CRC-32); None if it cannot be read
    index = Index(folder, identity_of(classifier), dim)
    before = len(index.keys)
    index.keep(set(keys.values()))
    reused = set(index.keys)
    missing = {}  # one image of each content
    for path in paths:
        if keys[path] not in reused:
            missing.setdefault(keys[path] or path, path)
    encode(classifier, index, keys, list(missing.values()), batch_size)
    row_of = {key: row for row, key in enumerate(index.keys)}
    readable = [path for path in paths if keys[path] in row_of]
    print(
        f"{printable(folder)}: {len(paths):,} images, {len(row_of) - len(reused):,} encoded, {len(reused):,} from the "
        f"index {printable(index.path)}, {before - len(reused):,} removed from it",
        file=sys.stderr,
    )
    return Found(readable, [row_of[keys[path]] for path in readable], index.features)


def encode(classifier, index: Index, keys: dict, paths: list[str], batch_size: int) -> None:
    """Adds images to the index. Saves it from time to time and at the end, also after an interruption.

    Args:
        keys: path -> (size, CRC-32), None if it cannot be read.

    Raises FloatingPointError if a feature is infinite or NaN.
    """
    saved = len(index.keys)
    try:
        with tqdm(total=len(paths), unit=" images", disable=len(paths) < 2 or None) as bar:
            for batch in prepared(classifier, paths, batch_size):
                readable = []
                for path, image in batch:
                    if isinstance(image, OSError):
                        tqdm.write(f"error: {image}", file=sys.stderr)
                    elif keys[path]:
                        readable.append((path, image))
                features = classifier.features([image for _, image in readable], batch_size).numpy()
                for (path, _), feature in zip(readable, features, strict=True):
                    if not np.isfinite(feature).all():
                        raise FloatingPointError(f"{path}: its feature is infinite or NaN; try --precision fp32")
                index.add([keys[path] for path, _ in readable], features)
                bar.update(len(batch))
                if len(index.keys) - saved >= max(SAVE_EVERY, saved // 4):
                    index.save()
                    saved = len(index.keys)
    finally:
        index.save()


def rank(text: torch.Tensor, found: list[Found], top: int) -> list[list[tuple[str, float]]]:
    """Returns for each text the `top` most similar images as (path, cosine similarity), in descending order.

    Of several features per image, the most similar one counts. `text` has normalised features (n_texts, E).
    """
    paths = [path for folder in found for path in folder.paths]
    scores = []  # (images, n_texts) of each folder
    for folder in found:
        parts = []
        for start in range(0, len(folder.features), ROWS):
            similarity = torch.from_numpy(folder.features[start : start + ROWS]) @ text.T
            parts.append(similarity if similarity.dim() == 2 else similarity.amax(dim=1))
        if parts:
            scores.append(torch.cat(parts)[folder.rows].numpy())
    if not paths:
        return [[] for _ in text]
    ranking = np.concatenate(scores)
    best = [np.argsort(-column, kind="stable")[:top] for column in ranking.T]
    return [[(paths[i], float(column[i])) for i in rows] for rows, column in zip(best, ranking.T, strict=True)]


def as_csv(results: dict) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["text", "rank", "image", "similarity"])
    for query, images in results.items():
        writer.writerows((query, rank, path, decimals(value, 6)) for rank, (path, value) in enumerate(images, 1))
    return text.getvalue()


def as_json(results: dict) -> str:
    items = []
    for query, images in results.items():
        found = [{"image": path, "similarity": float(decimals(value, 6))} for path, value in images]
        items.append(json.dumps({"text": query, "images": found}, ensure_ascii=False))
    return "[\n" + ",\n".join(items) + "\n]\n"


def as_text(results: dict) -> str:
    lines = []
    for query, images in results.items():
        lines += [query, *(f"  {decimals(value, 4)}  {printable(path)}" for path, value in images)]
    return "\n".join(lines) + "\n"
