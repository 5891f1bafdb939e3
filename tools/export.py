"""Writes what a run tuned in the form that other programs load.

python tools/export.py RUN --to openai          weights for OpenAI's clip: clip.load(...)
python tools/export.py RUN --to open_clip       weights and config for open_clip.create_model(...)
python tools/export.py RUN --to huggingface     for transformers: CLIPModel and CLIPProcessor.from_pretrained(...)
python tools/export.py RUN --to head            the classes as a linear layer on image features
python tools/export.py RUN --to onnx            a graph from images to logits, the classes inside
python tools/export.py RUN --to delta           the tuned tensors alone, from any checkpoint

RUN is the output folder of a run, a checkpoint, or a tuned.safetensors. Everything is fp32. What was written is loaded
with the library that it is for, where that is installed, and its logits are compared.
"""

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch  # noqa: E402

from runtime.user_errors import exit_code, one_line  # noqa: E402
from tools.classifier_options import add_options, load  # noqa: E402
from tools.exporting import TARGETS  # noqa: E402
from tools.exporting.common import about, write_json  # noqa: E402

TOLERANCE = 1e-5  # largest difference of a cosine similarity


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser, "epoch", "classes", "template", "backbone")
    parser.add_argument("--to", required=True, choices=TARGETS, help="what to write")
    parser.add_argument("--out", metavar="FOLDER", help="where to (default: RUN/exported/TARGET)")
    parser.add_argument("--overwrite", action="store_true", help="replace FOLDER if it is there already")
    return parser.parse_args(argv)


def choose_folder(args) -> str:
    beside = args.run if os.path.isdir(args.run) else os.path.dirname(args.run)
    folder = os.path.normpath(args.out or os.path.join(beside, "exported", args.to))
    if os.path.exists(folder) and not (os.path.isdir(folder) and (args.overwrite or not os.listdir(folder))):
        raise FileExistsError(f"{folder} is there already: give another --out, or replace the folder with --overwrite")
    return folder


def run(args) -> None:
    target, folder = TARGETS[args.to], choose_folder(args)
    if args.to == "delta" and (args.classes or args.template):
        raise ValueError("--classes and --template have no effect on --to delta: give them where the delta is loaded")
    classifier = load(args, precision="fp32", device="cpu")
    os.makedirs(os.path.dirname(folder) or ".", exist_ok=True)
    with tempfile.TemporaryDirectory(dir=os.path.dirname(folder) or ".", prefix=".export-") as temporary:
        inside = os.path.join(temporary, "folder")
        os.mkdir(inside)
        more = target.write(classifier, inside) or {}
        write_json(inside, "classes.json", {**about(classifier), **more})
        compare(target, classifier, inside)
        for name in os.listdir(inside):  # safetensors makes files that others may not read
            shutil.copymode(os.path.join(inside, "classes.json"), os.path.join(inside, name))
        if os.path.isdir(folder):
            shutil.rmtree(folder)
        os.replace(inside, folder)
    print(f"{folder}:")
    for name in sorted(os.listdir(folder)):
        print(f"  {name}  {os.path.getsize(os.path.join(folder, name)) / 1000:,.1f} KB")
    print(f'\nIn Python:\n\nfolder = "{folder}"\n{target.HOW}')


def compare(target, classifier, folder: str) -> None:
    """Load what was written and compare its logits; raises ValueError if they differ."""
    side = classifier.trainer.clip.visual.input_resolution
    images = torch.randn(4, 3, side, side, generator=torch.Generator().manual_seed(0))
    try:
        found = target.check(classifier, folder, images)
    except ImportError as error:
        print(f"Not checked: {one_line(error)}")
        return
    if not found <= TOLERANCE * classifier.trainer.clip.logit_scale.exp().item():
        raise ValueError(f"what was written gives other logits, they differ by up to {found:.2g}: nothing is kept")
    print(f"Loaded again, its logits differ by at most {found:.2g}")


def main(argv=None) -> int:
    return exit_code(run, parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
