"""Evaluates retrieval: the image that belongs to a caption among all images, and the captions of an image among all.

python tools/retrieve.py zero-shot --data glyph_captions
python tools/retrieve.py RUN --data glyph_captions
python tools/retrieve.py zero-shot RUN RUN --data dataset_flickr30k.json --images flickr30k-images --backbone ViT-B/16
python tools/retrieve.py RUN --data captions.csv --split val

RUN is a finished run of a method that encodes any text, such as CLIPFit, LoRA or CoOp, whose learned context then
stands before each caption. It is compared with zero-shot CLIP with the same backbone. --data is Karpathy's JSON file of
Flickr30k or COCO, a CSV file with rows image,caption[,split], or the bundled glyph_captions. Prints recall at 1, 5 and
10 in both directions, the median ranks, and the mean of the six recalls with its 95 % confidence interval. Features are
kept on disk for the next call. See docs/retrieval.md.
"""

import contextlib
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import runtime  # noqa: E402, F401, I001  (makes dassl importable, so it comes first)

from runtime.arguments import Parser  # noqa: E402
from runtime.user_errors import exit_code  # noqa: E402
from tools.classifier_options import OPTIONS, check_distinct, load_plugins  # noqa: E402


def parse_args(argv=None):
    parser = Parser(description=__doc__)
    parser.add_argument(
        "models", nargs="+", metavar="RUN", help="zero-shot, or run directory, checkpoint, or tuned.safetensors"
    )
    parser.add_argument("--data", required=True, help="glyph_captions, or a JSON or CSV file with captions")
    parser.add_argument("--images", default="", help="folder of the images (default: next to the file)")
    parser.add_argument("--root", default="data", help="folder of the bundled captions (default: data)")
    parser.add_argument("--split", default="test", choices=("train", "val", "test"), help="default: test")
    parser.add_argument(
        "--captions", type=int, default=0, metavar="N", help="use the first N captions per image (default: all)"
    )
    for name in ("epoch", "device", "precision"):
        parser.add_argument(f"--{name}", **OPTIONS[name])
    parser.add_argument(
        "--backbone", default="", help="CLIP model (default: that of the run; for zero-shot, micro on glyph_captions, "
        "else ViT-B/16)",
    )  # fmt: skip
    parser.add_argument("--batch-size", type=int, default=100, help="images per batch (default: 100)")
    parser.add_argument("--workers", type=int, default=2, help="data loader processes (default: 2)")
    parser.add_argument(
        "--output", default="output/retrieval", help="folder of the results (default: output/retrieval)"
    )
    parser.add_argument("--plugin", action="append", default=[], metavar="FILE_OR_MODULE", help="as for train.py")
    return parser.parse_args(argv)


def check(args) -> None:
    """Raises ValueError if a number is too small or a model is given twice."""
    for name, least in (("captions", 0), ("batch_size", 1), ("workers", 0)):
        if getattr(args, name) < least:
            raise ValueError(f"--{name.replace('_', '-')} must be at least {least}, got {getattr(args, name)}")
    check_distinct(args.models)


def read_data(args):
    """Returns the images and their captions."""
    from datasets.retrieval import choose, load

    captions = choose(load(args.data, args.images, args.root), args.split, args.data)
    return captions.first(args.captions) if args.captions else captions


def evaluate_all(args, captions) -> list:
    """Returns each result, together with that of zero-shot CLIP with the same backbone; zero-shot CLIP comes first."""
    from tools.retrieving import models
    from tools.retrieving.features import prepare
    from tools.retrieving.results import evaluate
    from trainers.common.inference.captions import check_encoder

    default = "micro" if args.data == "glyph_captions" else ""
    zero_shot, results = {}, []
    for name in args.models:
        if name != models.ZERO_SHOT:
            check_encoder(name, args.epoch)
    for name in args.models:
        if name == models.ZERO_SHOT:
            model = reference = models.zero_shot(args.backbone or default, args.device, args.precision)
        else:
            options = {"epoch": args.epoch, "device": args.device, "precision": args.precision}
            model = models.tuned(name, backbone=args.backbone, **options)
            reference = models.zero_shot_of(model)
        for each in (reference, model):
            prepare(each, args.batch_size, args.workers)
        key = reference.key()
        if key not in zero_shot:
            zero_shot[key] = evaluate(reference, captions)
            results.append((zero_shot[key], zero_shot[key]))
        if model is not reference:
            results.append((evaluate(model, captions), zero_shot[key]))
    return results


def run(args) -> None:
    check(args)
    load_plugins(args)
    captions = read_data(args)
    print(f"{args.data}, {args.split}: {captions.describe()}")
    from tools.retrieving import results as files

    with contextlib.redirect_stdout(sys.stderr):  # notes of the loaders
        results = evaluate_all(args, captions)
    backbones = dict.fromkeys(result.backbone for result, _ in results)
    found = {name: files.published(name, args.data, args.split, captions) for name in backbones}
    recalls = {name: values for name, (_, values) in found.items() if values}
    rows = files.table(results, recalls)
    notes = notes_of(results, captions)
    print(files.text(rows))
    print("\n".join(notes))
    heading = f"Retrieval on {args.data}, {args.split}: {captions.describe()}"
    data = {"source": args.data, "split": args.split, "captions_per_image": args.captions or None, **captions.content()}
    files.write(args.output, data, results, recalls, files.markdown(heading, rows, notes))
    print(f"Results: {args.output}")


def notes_of(results: list, captions) -> list[str]:
    """Returns what a reader of the table must know."""
    from trainers.common.inference.retrieval import DEPTHS

    notes = [
        "image R@k: right image among the first k for a caption; text R@k: a right caption among the first k for an "
        "image; in %. mean R: mean of the six, with its 95 % bootstrap interval over images.",
    ]
    n_images = len(captions.images)
    if n_images <= max(DEPTHS):
        notes.append(f"image R@k is 100 % for every model if k is at least the number of images, here {n_images}")
    for result, _ in results:
        if result.context_tokens:
            notes.append(f"{result.label}: captions stand in its learned context of {result.context_tokens} tokens.")
        if result.n_cut:
            room = f" without the {result.context_tokens} tokens of the context" if result.context_tokens else ""
            notes.append(f"{result.n_cut:,} captions were cut off at the context length of {result.backbone}{room}.")
    return list(dict.fromkeys(notes))


def main(argv=None) -> int:
    return exit_code(run, parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
