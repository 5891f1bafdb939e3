"""Classifiers on features of a CLIP that is not trained in the episodes: nearest class mean, and text prompts.

Every image and every class name is encoded once for all episodes.
"""

import contextlib
import io

import torch
import torch.nn.functional as F

from dassl.data.data_manager import build_data_loader
from dassl.data.datasets import Datum
from dassl.data.transforms import build_transform
from trainers.common import load_tuned
from trainers.common.finite import LogitsCheck
from trainers.common.inference.saved_run import find_method, make_bare
from trainers.common.models.loading import resolve_precision
from trainers.common.runs.digest import digest

from .sampling import Episode
from .trained import load_once


def nearest_mean(support: torch.Tensor, labels: torch.Tensor, queries: torch.Tensor) -> torch.Tensor:
    """Returns the similarities (n, ways) of query features (n, E) with the class means of support features (m, E).

    The mean of the normalised features of a class is normalised again; similarities are cosines.
    """
    means = torch.stack([support[labels == label].mean(0) for label in range(int(labels.max()) + 1)])
    return queries @ F.normalize(means, dim=-1).t()


def frozen_trainer(cfg, classnames: list[str]):
    """Returns the trainer of `cfg` without data. Its CLIP is that of the methods trained at the same precision."""
    device = torch.device("cuda" if torch.cuda.is_available() and cfg.USE_CUDA else "cpu")
    section = find_method(cfg.TRAINER.NAME).section
    precision = resolve_precision(cfg.TRAINER[section].PREC, device, f"TRAINER.{section}.PREC")
    model = cfg.MODEL.BACKBONE
    with contextlib.redirect_stdout(io.StringIO()):
        return make_bare(cfg, classnames, device, load_once(model.NAME, precision, device, model.ACTIVATION))


class FrozenFeatures:
    """Features of a frozen CLIP, or of the tuned CLIP of a finished run.

    Args:
        cfg: config of ZeroshotCLIP.
        classnames: all classes of the dataset.
        run: run directory; "": the frozen CLIP.
        backbone: name or path of the CLIP of `run`, if it differs from that in training.
    """

    def __init__(self, cfg, classnames: list[str], run: str = "", backbone: str = ""):
        if run:
            classifier = load_tuned(run, classnames, backbone=backbone)
            self.trainer, self.weights = classifier.trainer, digest(classifier.state["state_dict"])
        else:
            self.trainer, self.weights = frozen_trainer(cfg, classnames), ""
        self.trainer.set_model_mode("eval")
        with contextlib.redirect_stdout(io.StringIO()):
            self.transform = build_transform(self.trainer.cfg, is_train=False)
        self.classnames = classnames
        self.images = {}  # path -> feature (E,)
        self.text = None

    def identity(self) -> dict:
        """Returns the identity of the CLIP: its name, hashes of its weights, and a digest of the tuned weights."""
        trainer = self.trainer
        return {"backbone": trainer.cfg.MODEL.BACKBONE.NAME, **trainer.model_identity(), "tuned_weights": self.weights}

    @torch.no_grad()
    def of_images(self, paths: list[str]) -> torch.Tensor:
        """Returns normalised image features (n, E), fp32 on the CPU."""
        new = [path for path in dict.fromkeys(paths) if path not in self.images]
        if new:
            trainer = self.trainer
            loader = build_data_loader(
                trainer.cfg,
                data_source=[Datum(impath=path) for path in new],
                batch_size=trainer.cfg.DATALOADER.TEST.BATCH_SIZE,
                tfm=self.transform,
                is_train=False,
                once=True,
            )
            with trainer.autocast():
                features = [trainer.encode_image(trainer.parse_batch_test(batch)[0]).float().cpu() for batch in loader]
            features = torch.cat(features)
            if features.dim() != 2:
                raise ValueError(
                    f"episodes need one feature per image, but MODEL.BACKBONE.NAME {trainer.cfg.MODEL.BACKBONE.NAME} "
                    f"has {features.shape[1]}: use another backbone"
                )
            self.images.update(zip(new, features, strict=True))
        return torch.stack([self.images[path] for path in paths])

    @torch.no_grad()
    def of_classes(self, names: list[str]) -> torch.Tensor:
        """Returns normalised text features (n, E), fp32 on the CPU."""
        if self.text is None:
            if self.trainer.image_conditioned_text:
                raise ValueError(f"the text features of {self.trainer.cfg.TRAINER.NAME} depend on the image")
            with self.trainer.autocast():
                self.text = self.trainer.text_features().float().cpu()
        return self.text[[self.classnames.index(name) for name in names]]

    def accuracy(self, episode: Episode, by_text: bool) -> float:
        """Returns the accuracy on the queries of an episode, in percent.

        Args:
            by_text: classify with the text features of the class names, else with the class means of the support set.
        """
        paths, labels = zip(*episode.support, strict=True)
        query_paths, query_labels = zip(*episode.queries, strict=True)
        queries = self.of_images(query_paths)
        if by_text:
            similarities = queries @ self.of_classes(episode.classes).t()
        else:
            similarities = nearest_mean(self.of_images(paths), torch.tensor(labels), queries)
        check = LogitsCheck()
        check.add(similarities)
        check.check()
        return 100.0 * (similarities.argmax(1) == torch.tensor(query_labels)).double().mean().item()
