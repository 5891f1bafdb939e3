"""Measures the throughput of an evaluation of retrieval, compared with that of its two towers alone.

    python benchmarks/retrieval.py                  # ViT-B/16, 1,000 images, 5,000 captions, fp32
    python benchmarks/retrieval.py --images 200 --captions 1000

Ours is what tools/retrieve.py does: it reads JPEG files, tokenises the captions, encodes both, ranks in both
directions and resamples for the intervals. No feature is stored. The time in the towers is measured in the same
evaluation, so that a varying speed of the machine does not distort the ratio. CPU seconds count neither the time in
which other programs run, nor the processes that read images (--workers 0 reads them in the same process). Captions are
5 to 25 random words. Padded captions are those of one batch in OpenAI's text encoder, with 77 tokens each.
"""

import json
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from contextlib import redirect_stdout
from pathlib import Path

from cases import default_device, in_process, machine, make_parser, random_weights, synchronize

SIZE = (500, 375)  # pixels of an image, as in Flickr30k
TOWERS = ("image tower", "text tower")
PARTS = ("evaluation", *TOWERS, "ranking", "padded captions")
CLOCKS = {"wall": "seconds", "cpu": "CPU seconds"}
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
    print("| part | seconds | CPU seconds |\n| --- | ---: | ---: |")
    for part in PARTS:
        cells = [f"{statistics.median(run[part][clock] for run in runs):.4g}" for clock in CLOCKS]
        print(f"| {part} | {' | '.join(cells)} |")
    for clock, name in CLOCKS.items():
        share = statistics.median(sum(run[tower][clock] for tower in TOWERS) / run["evaluation"][clock] for run in runs)
        print(f"\nThe evaluation has {100 * share:.1f} % of the towers' own throughput, in {name}.")
    factor = statistics.median(run["padded captions"]["wall"] / run["text tower"]["wall"] for run in runs)
    print(f"\nCaptions are encoded {factor:.1f} times as fast as with 77 tokens each.")


def run(args) -> dict:
    """Returns the seconds of an evaluation and of its parts by both clocks, and the peak memory in MB."""
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
    clock = Clock(device)
    with tempfile.TemporaryDirectory() as folder:
        paths = write_images(Path(folder), args.images)
        captions = Captions(paths, texts, [i * args.images // args.captions for i in range(args.captions)])
        warm_up(trainer, texts)
        trainer.image_features = clock.timed("image tower", trainer.image_features)
        trainer.encode_text = clock.timed("text tower", trainer.encode_text)
        retrieval.rank_both = clock.timed("ranking", retrieval.rank_both)
        clock.timed("evaluation", results.evaluate)(model, captions)
    tokens = trainer.text_encoder.tokenizer(texts[: args.batch]).to(device)
    with torch.inference_mode():
        clock.timed("padded captions", trainer.clip.encode_text)(tokens)
    seconds = {part: dict(clock.seconds[part]) for part in PARTS}
    for name in CLOCKS:
        seconds["padded captions"][name] *= args.captions / len(tokens)
    return {**seconds, "seconds": seconds["evaluation"]["wall"], "mb": peak_memory(device)}


class Clock:
    """Sums the wall time and the CPU time of functions."""

    def __init__(self, device):
        self.device = device
        self.seconds = {part: Counter() for part in PARTS}

    def now(self) -> dict:
        synchronize(self.device)
        return {"wall": time.perf_counter(), "cpu": time.process_time()}

    def timed(self, part: str, function):
        """Returns the function, with its time added to that of the part."""

        def measured(*args, **kwargs):
            started = self.now()
            result = function(*args, **kwargs)
            self.seconds[part].update({name: value - started[name] for name, value in self.now().items()})
            return result

        return measured


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
