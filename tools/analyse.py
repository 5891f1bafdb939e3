"""Analyses finished runs: what fine-tuning changed, its gradients, and the image features before and after.

python tools/analyse.py RUN                                 everything that is possible for the run
python tools/analyse.py RUN_NONE RUN_KD RUN_MSE             several runs in one plot, labelled by what differs
python tools/analyse.py RUN --only rank --top 6             the most changed layers, as a value of the TUNE key

  change      squared change of each tuned tensor, per layer
  rank        the most changed layers of each parameter set
  gradients   squared gradients per layer, and by loss term    (runs with TRAIN.TRACE True; TRAIN.TRACE_TERMS N)
  iterations  change of each layer at every iteration          (runs with TRAIN.TRACE True)
  tsne        image features of the test images                (needs the dataset of the run)

Writes a page, and each figure as PNG and PDF with a CSV file of its unrounded numbers. See docs/analyses.md.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import trainers  # noqa: E402, F401  (makes dassl importable)
from runtime.arguments import Parser  # noqa: E402
from runtime.user_errors import exit_code  # noqa: E402
from tools.classifier_options import add_options, load_plugins, output_folder  # noqa: E402


def parse_args(argv=None):
    parser = Parser(description=__doc__)
    add_options(parser, "epoch", "backbone", several=True)
    parser.add_argument("--only", nargs="+", default=[], metavar="ANALYSIS", help="analyses (default: all possible)")
    parser.add_argument("--out", metavar="FOLDER", help="output folder (default: RUN/analysis, or output/analysis)")
    parser.add_argument("--top", type=int, default=6, help="number of most changed layers per set (default: 6)")
    parser.add_argument("--root", default="", help="folder with the datasets (default: that of the run)")
    parser.add_argument("--embedding", choices=("tsne", "umap"), default="tsne", help="default: tsne")
    parser.add_argument("--perplexity", type=float, default=30, help="of t-SNE; for UMAP: neighbours (default: 30)")
    parser.add_argument("--seed", type=int, default=1, help="of the embedding and the sample of images (default: 1)")
    parser.add_argument("--images", type=int, default=2000, help="largest number of test images (default: 2000)")
    parser.add_argument("--classes", default="", help="classes of the picture: a,b,c (default: all, or 20 of them)")
    parser.add_argument("--batch-size", type=int, default=100, help="images per batch (default: 100)")
    parser.add_argument("--workers", type=int, default=2, help="data loader processes (default: 2)")
    return parser.parse_args(argv)


def check_args(args) -> None:
    """Raises ValueError for a number that is too small."""
    for name, least in (("top", 1), ("perplexity", 1), ("images", 1), ("batch_size", 1), ("workers", 0), ("seed", 0)):
        if getattr(args, name) < least:
            raise ValueError(f"--{name.replace('_', '-')} must be at least {least}, got {getattr(args, name)}")


def run(args) -> None:
    from tools.analysing.page import analyse, check_names, print_sections, write_files  # imports pandas and matplotlib
    from tools.analysing.runs import load_runs
    from tools.analysing.sections import Options

    check_args(args)
    check_names(args.only)
    load_plugins(args)
    runs = load_runs(args.runs, args.epoch, args.backbone)
    classes = tuple(name.strip() for name in args.classes.split(",") if name.strip())
    names = ("top", "root", "embedding", "perplexity", "seed", "images", "batch_size", "workers", "backbone")
    options = Options(classes=classes, **{name: getattr(args, name) for name in names})
    sections, notes = analyse(runs, args.only, options)
    print_sections(sections, notes)
    print(f"Page: {write_files(runs, sections, notes, output_folder(args, 'analysis'))}")


def main(argv=None) -> int:
    return exit_code(run, parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
