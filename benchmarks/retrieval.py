"""Measures the throughput of an evaluation of retrieval, compared with that of its two towers alone.

    python benchmarks/retrieval.py                  # ViT-B/16, 1,000 images, 5,000 captions, fp32
    python benchmarks/retrieval.py --images 200 --captions 1000

Ours is what tools/retrieve.py does: it reads JPEG files, tokenises the captions, encodes both, ranks in both
directions and resamples for the intervals. No feature is stored. The time in the towers is measured in the same
evaluation, so that a varying speed of the machine does not distort the ratio. Captions are 5 to 25 random words. Plain
is OpenAI's text encoder on captions padded to 77 tokens, on one batch.
"""

import json
import random
import statistics
import sys
import tempfile
import time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

from cases import default_device, in_process, machine, make_parser, random_weights, timed

SIZE = (500, 375)  # pixels of an image, as in Flickr30k
PARTS = ("seconds", "image_tower", "text_tower", "ranking", "plain_text")
WORDS = (
    "a the man woman child dog cat horse bird car bus street house tree field water beach boat red blue green black "
    "small large old young sitting standing running walking jumping holding wearing playing riding eating looking next "
    "to in on under with near front of and two three several people ball table shirt hat snow grass mountain"
).split()


def main() -> None:
    parser = make_parser(__doc__, rounds=1)
    parser.add_argument("--images", type=int, default=1000, help="number of images (default: 1000)")
    parser.add_argument("--captions", type=int, default=5000, help="number of captions (default: 5000)")
    parser.add_argument("--batch", type=int, default=100, help="images per batch (default: 100)")
    parser.add_argument("--workers", type=int, default=1, help="processes that read images (default: 1)")
    args = parser.parse_args()
    if args.case:
        print(json.dumps(run(args)))
        return
    options = ["--size", args.size, "--precision", args.precision]
    options += [
        word for name in ("images", "captions", "batch", "workers") for word in (f"--{name}", getattr(args, name))
    ]
    with random_weights(args.size) as weights:
        runs = [in_process(__file__, "evaluation", *options, "--weights", weights) for _ in range(args.rounds)]
    report(args, runs)


def report(args, runs: list[dict]) -> None:
    print(f"\n{args.size}, {args.images:,} images, {args.captions:,} captions, {args.precision}; {machine()}\n")
    print("| part | seconds |\n| --- | ---: |")
    middle = {part: statistics.median(run[part] for run in runs) for part in PARTS}
    for part, seconds in middle.items():
        print(f"| {part.replace('_', ' ')} | {seconds:.4g} |")
    share = statistics.median((run["image_tower"] + run["text_tower"]) / run["seconds"] for run in runs)
    print(f"\nThe evaluation has {100 * share:.1f} % of the towers' own throughput.")
    print(
        f"Captions are encoded {middle['plain_text'] / middle['text_tower']:.1f} times as fast as with 77 tokens each."
    )


def run(args) -> dict:
    """Returns the seconds of an evaluation and of its parts, and the peak memory in MB."""
    import torch

    import runtime  # noqa: F401, I001  (makes dassl importable)
    from datasets.retrieval import Captions
    from tools.retrieving import models, results
    from tools.retrieving.features import prepare
    from trainers.common.inference import retrieval
    from trainers.common.runs.record import peak_memory

    device = default_device()
    with redirect_stdout(sys.stderr):
        model = models.zero_shot(args.weights, precision=args.precision)
    trainer = model.trainer
    prepare(model, args.batch, args.workers)
    trainer.cfg.defrost()
    trainer.cfg.DATALOADER.FEATURES = ""
    rng = random.Random(0)
    texts = [" ".join(rng.choices(WORDS, k=rng.randint(5, 25))) + "." for _ in range(args.captions)]
    with tempfile.TemporaryDirectory() as folder:
        paths = write_images(Path(folder), args.images)
        captions = Captions(paths, texts, [i * args.images // args.captions for i in range(args.captions)])
        warm_up(trainer, texts)
        trainer.image_features, image_tower = timed(trainer.image_features, device)
        trainer.encode_text, text_tower = timed(trainer.encode_text, device)
        retrieval.rank_both, ranking = timed(retrieval.rank_both, device)
        start = time.perf_counter()
        with redirect_stderr(sys.stderr):
            results.evaluate(model, captions)
        seconds = time.perf_counter() - start
    tokens = trainer.text_encoder.tokenizer(texts[: args.batch]).to(device)
    plain, plain_text = timed(trainer.clip.encode_text, device)
    with torch.inference_mode():
        plain(tokens)
    return {
        "seconds": seconds,
        "image_tower": sum(image_tower),
        "text_tower": sum(text_tower),
        "ranking": sum(ranking),
        "plain_text": plain_text[0] * args.captions / len(tokens),
        "mb": peak_memory(device),
    }


def warm_up(trainer, texts: list[str]) -> None:
    import torch

    from trainers.common.inference.captions import caption_features

    side = trainer.backbone.preprocess.size
    with torch.inference_mode():
        trainer.image_features(torch.zeros(2, 3, side, side, device=trainer.device))
    caption_features(trainer, texts[:8])


def write_images(folder: Path, count: int) -> list[str]:
    """Writes random JPEG files. Returns their paths."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    paths = []
    for number in range(count):
        pixels = rng.integers(0, 256, (SIZE[1] // 10, SIZE[0] // 10, 3), dtype=np.uint8)
        paths.append(str(folder / f"{number}.jpg"))
        Image.fromarray(pixels).resize(SIZE, Image.Resampling.BICUBIC).save(paths[-1], quality=90)
    return paths


if __name__ == "__main__":
    main()
