"""The model of a prediction: a run, or zero-shot CLIP."""

from tools.classifier_options import ZERO_SHOT, load, load_plugins, read_classes
from trainers.common.inference.captions import NO_CLASS, check_encoder, load_encoder
from trainers.common.inference.classifier import Classifier


def load_for_classes(args) -> Classifier:
    """Returns the classifier of the given classes or, by default, of those of the run."""
    if args.run == ZERO_SHOT:
        return zero_shot(args, read_classes(args.classes))
    return load(args)


def load_for_search(args) -> Classifier:
    """Returns the encoders of a run. Raises ValueError if they cannot compare images with texts."""
    if args.run == ZERO_SHOT:
        return zero_shot(args, NO_CLASS)
    load_plugins(args)
    check_encoder(args.run, args.epoch)
    options = {name: getattr(args, name) for name in ("epoch", "device", "precision", "backbone")}
    return load_encoder(args.run, **options)


def zero_shot(args, classnames: list[str] | None) -> Classifier:
    from tools.zero_shot import load_zero_shot  # imports train.py

    if args.epoch is not None:
        raise ValueError(f"--epoch {args.epoch} has no effect with {ZERO_SHOT}: remove it")
    options = {name: getattr(args, name) for name in ("template", "device", "precision")}
    return load_zero_shot(args.backbone, classnames, **options)
