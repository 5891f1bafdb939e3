"""Tests methods on N-way K-shot episodes: 600 small tasks, each with classes and images of its own.

python tools/episodes.py digits --root data --shots 1 5 --episodes 100
python tools/episodes.py mini_imagenet --root DATA --method NearestMean ZeroshotCLIP CLIPFit -- OPTIM.MAX_EPOCH 20
python tools/episodes.py mini_imagenet --root DATA --method NearestMean --run output/layernorm/seed1

A method is trained on the support images of each episode from the same frozen CLIP, which is loaded once, and tested on
the query images. Two classifiers are not trained: NearestMean (the class means of the support features) and
ZeroshotCLIP (the text prompt). The episodes depend on --seed and are the same for every method. The settings are those
of the method's few-shot recipe; -- KEY VALUE sets config keys. The same command resumes. See docs/experiments.md.
"""

import functools
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import runtime  # noqa: E402, F401, I001  (makes dassl importable, so it comes first)

from tqdm import tqdm  # noqa: E402

from runtime.arguments import Parser  # noqa: E402
from runtime.user_errors import exit_code  # noqa: E402
from tools.episodic.setup import NEAREST_MEAN, NOT_TRAINED, TEXT, build_dataset, identity_of, make_cfg  # noqa: E402


def parse_args(argv=None):
    parser = Parser(description=__doc__, usage="%(prog)s DATASET [options] [-- KEY VALUE ...]")
    parser.add_argument("dataset", metavar="DATASET", help="name of a file in configs/datasets, e.g. mini_imagenet")
    parser.add_argument("--root", default="", help="folder with the datasets, as for train.py")
    parser.add_argument(
        "--method", nargs="+", default=list(NOT_TRAINED), metavar="NAME",
        help=f"trainers such as CLIPFit, or {NEAREST_MEAN} (default: {' '.join(NOT_TRAINED)})",
    )  # fmt: skip
    parser.add_argument("--ways", type=int, default=5, help="classes per episode (default: 5)")
    parser.add_argument(
        "--shots", type=int, nargs="+", default=[1], metavar="N", help="support images per class (default: 1)"
    )
    parser.add_argument("--queries", type=int, default=15, help="query images per class (default: 15)")
    parser.add_argument("--episodes", type=int, default=600, help="number of episodes (default: 600)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the episodes (default: 1)")
    parser.add_argument(
        "--classes", default="all", choices=("all", "base", "new"), help="classes to sample from (default: all)"
    )
    parser.add_argument(
        "--backbone", default="", help="CLIP model (default: micro for bundled datasets, else ViT-B/16)"
    )
    parser.add_argument("--run", default="", help=f"run directory with the tuned CLIP of {NEAREST_MEAN} and {TEXT}")
    parser.add_argument("--output", default="output/episodes", help="folder of the results (default: output/episodes)")
    parser.add_argument("--plugin", action="append", default=[], metavar="FILE_OR_MODULE", help="as for train.py")
    argv = sys.argv[1:] if argv is None else list(argv)
    end = argv.index("--") if "--" in argv else len(argv)
    args = parser.parse_args(argv[:end])
    args.opts = argv[end + 1 :]
    return args


def check(args) -> None:
    """Raises ValueError if a number is too small, or a method cannot start from a run."""
    for name, values, least in (
        ("--ways", [args.ways], 2),
        ("--shots", args.shots, 1),
        ("--queries", [args.queries], 1),
        ("--episodes", [args.episodes], 2),
        ("--seed", [args.seed], 0),
    ):
        if min(values) < least:
            raise ValueError(f"{name} must be at least {least}, got {min(values)}")
    if "MODEL.START_FROM" in args.opts[::2]:
        raise ValueError(
            "MODEL.START_FROM is not supported, as all episodes and methods share one frozen CLIP: use --run for the "
            f"tuned CLIP of {NEAREST_MEAN} and {TEXT}, or pass an export of that run as --backbone"
        )
    trained = [method for method in args.method if method not in NOT_TRAINED]
    if args.run and trained:
        raise ValueError(
            f"--run {args.run} is the tuned CLIP of {NEAREST_MEAN} and {TEXT}, but {trained[0]} is trained from the "
            "frozen CLIP: leave out one of them"
        )


def name_methods(args) -> None:
    """Gives the methods our names, if they have those of their official codes. Imports the plugins."""
    from trainers import our_name
    from trainers.common.runs.known_plugins import requested
    from trainers.common.runs.plugins import load_all

    load_all(requested(args.plugin))
    args.method = list(dict.fromkeys(map(our_name, args.method)))


def find_pools(args, dataset) -> dict[int, list]:
    """Returns the pools of images for each number of shots. Raises ValueError if there are fewer classes than ways."""
    from tools.episodic.sampling import pools_of

    found = {}
    for shots in args.shots:
        found[shots], too_small = pools_of(dataset, shots, args.queries)
        needed = f"{shots} support and {args.queries} query images"
        if too_small:
            print(f"Left out {len(too_small)} classes with fewer than {needed} (first: {too_small[0]!r})")
        if len(found[shots]) < args.ways:
            raise ValueError(
                f"--ways {args.ways}: {len(found[shots])} classes of {args.dataset} have {needed}: lower --ways, "
                "--shots or --queries"
            )
    return found


def run_episodes(args, results, pools: list, shots: int, accuracy) -> None:
    """Runs the episodes that are not finished yet. `accuracy(episode)` returns the accuracy of one in percent."""
    from tools.episodic.sampling import sample

    task = {"ways": args.ways, "shots": shots, "queries": args.queries, "seed": args.seed}
    numbers = range(len(results.rows), args.episodes)
    with results.start() as file:
        for number in tqdm(numbers, desc=os.path.basename(results.folder), unit="episode", leave=False, disable=None):
            started = time.time()
            episode = sample(pools, number, **task)
            try:
                value = accuracy(episode)
            except FloatingPointError as error:
                raise FloatingPointError(f"{results.folder}, episode {number}: {error}") from error
            results.add(file, (number, ";".join(episode.classes), repr(value), f"{time.time() - started:.3f}"))
    del results.rows[args.episodes :]
    results.write_record(finished=True)


def run(args) -> int:
    check(args)
    name_methods(args)
    cfgs = {(method, shots): make_cfg(args, method, shots) for method in args.method for shots in args.shots}
    from tools.episodic import trained
    from tools.episodic.frozen import FrozenFeatures
    from tools.episodic.results import Results
    from trainers.common.inference.saved_run import find_method
    from trainers.common.runs.files import FolderLock

    for cfg in cfgs.values():
        find_method(cfg.TRAINER.NAME)
    dataset = build_dataset(next(iter(cfgs.values())))
    pools = find_pools(args, dataset)
    frozen = FrozenFeatures(make_cfg(args, TEXT, args.shots[0]), list(dataset.classnames), args.run, args.backbone)
    table = {}
    with FolderLock(args.output):
        for (method, shots), cfg in cfgs.items():
            folder = os.path.join(args.output, f"{method}_{args.ways}way_{shots}shot")
            identity = identity_of(cfg, args, method, shots, pools[shots], frozen.identity())
            results = table[method, shots] = Results(folder, identity)
            results.resume()
            accuracy = functools.partial(trained.accuracy, cfg)
            if method in NOT_TRAINED:
                accuracy = functools.partial(frozen.accuracy, by_text=method == TEXT)
            run_episodes(args, results, pools[shots], shots, accuracy)
    print_table(args, table)
    return 0


def print_table(args, table: dict) -> None:
    """Prints a row per method and a column per number of shots."""
    width = max(len(method) for method in (*args.method, "method"))
    task = f"{args.ways} ways, {args.queries} queries per class, {args.episodes} episodes, seed {args.seed}"
    print(f"{args.dataset}, {task}: accuracy in %, mean and half-width of its 95 % interval")
    print("  ".join([f"{'method':<{width}}", *(f"{f'{shots}-shot':>13}" for shots in args.shots)]))
    for method in args.method:
        cells = [table[method, shots] for shots in args.shots]
        print("  ".join([f"{method:<{width}}", *(f"{r.mean:>6.2f} ± {r.interval:.2f}".rjust(13) for r in cells)]))


def main(argv=None) -> int:
    return exit_code(run, parse_args(argv), resume="The same command resumes.")


if __name__ == "__main__":
    sys.exit(main())
