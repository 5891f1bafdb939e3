"""Measures the zero-shot accuracy of the micro CLIP on scikit-learn's handwritten digits, which it was not trained on.

    python assets/evaluate_micro_clip.py                  # the training images of the Digits dataset
    python assets/evaluate_micro_clip.py --split all

Prints the accuracy among the five base classes, the five new classes and all ten, as in base-to-new.
"""

import argparse
import sys
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import runtime  # noqa: E402, F401
from datasets.digits import CLASSNAMES, load_images  # noqa: E402
from datasets.random_splits import split_three  # noqa: E402
from trainers.common.models.loading import clip, load_clip  # noqa: E402
from trainers.common.prompts import tokenize  # noqa: E402

PROMPTS = ("a photo of the number {}.", "a photo of a {}.", "a photo of the digit {}.", "{}")
CLASSES = {"base": range(5), "new": range(5, 10), "all": range(10)}


def digits(split, side):
    """Returns normalized images (n, 3, side, side) and labels (n,) of a split of the Digits dataset, or of "all"."""
    images = load_images()
    items = list(images) if split == "all" else getattr(split_three(list(images)), split)
    preprocess = clip._transform(side)  # CLIP's own: bicubic resize, centre crop, RGB, normalise
    return torch.stack([preprocess(images[item]) for item in items]), torch.tensor([item.label for item in items])


@torch.no_grad()
def accuracy(model, images, labels, prompt, classes):
    """Returns the accuracy in percent on the images of `classes`, classified among `classes` with one prompt each."""
    classes = torch.tensor(list(classes))
    keep = torch.isin(labels, classes)
    text = model.encode_text(tokenize([prompt.format(CLASSNAMES[c]) for c in classes]))
    logits = model.encode_image(images[keep]) @ torch.nn.functional.normalize(text, dim=-1).T  # (n, n_cls)
    return 100 * (classes[logits.argmax(dim=-1)] == labels[keep]).float().mean().item()


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--backbone",
        default="micro",
        help="CLIP model: micro, an OpenAI name such as ViT-B/16, or a path (default: micro)",
    )
    parser.add_argument(
        "--split", choices=("train", "val", "all"), default="train", help="images to classify (default: train)"
    )
    args = parser.parse_args(argv)
    try:
        model = load_clip(args.backbone)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    images, labels = digits(args.split, model.visual.input_resolution)
    print(f"{len(labels)} images, logit scale {model.logit_scale.exp().item():.1f}; accuracy in %:")
    for prompt in PROMPTS:
        values = "  ".join(f"{k} {accuracy(model, images, labels, prompt, c):5.1f}" for k, c in CLASSES.items())
        print(f"{prompt:28s} {values}")


if __name__ == "__main__":
    main()
