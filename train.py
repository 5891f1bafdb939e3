r"""Trains or evaluates one method on one dataset. Takes the flags of CoOp's train.py.

python train.py --trainer CLIPFit --root data --seed 1 --output-dir output/mine \
    --dataset-config-file configs/datasets/digits.yaml --config-file configs/trainers/CLIPFit/micro_ep100.yaml

Config values are merged in this order, and later ones win: Dassl's defaults, the keys that methods and datasets add,
--dataset-config-file, --config-file, the other flags, trailing KEY VALUE pairs.
"""

import argparse
import contextlib
import os
import sys
import threading
from functools import partial

import runtime  # noqa: F401  (makes dassl importable)
from runtime import processes, run_page, stop_signals
from runtime.arguments import Parser, example
from runtime.config_limits import check_limits
from runtime.config_values import flat_keys, merge_pairs, merge_yaml  # noqa: F401
from runtime.installation import find_config
from runtime.user_errors import exit_code

FLAGS = {  # flag: (config key, help)
    "root": ("DATASET.ROOT", "folder with the datasets"),
    "output_dir": ("OUTPUT_DIR", "run directory: log.txt, checkpoints, result.json"),
    "resume": ("RESUME", "run directory to resume from"),
    "seed": ("SEED", "random seed; negative: not fixed"),
    "source_domains": ("DATASET.SOURCE_DOMAINS", "names of the source domains"),
    "target_domains": ("DATASET.TARGET_DOMAINS", "names of the target domains"),
    "transforms": ("INPUT.TRANSFORMS", "data augmentation"),
    "trainer": ("TRAINER.NAME", "method, e.g. CLIPFit or ZeroshotCLIP"),
    "backbone": ("MODEL.BACKBONE.NAME", "a path or a name; python tools/backbones.py lists the names"),
    "head": ("MODEL.HEAD.NAME", "name of the head; CLIP methods ignore it"),
}


def parse_args(argv=None):
    parser = Parser(description=__doc__)
    for name, (key, text) in FLAGS.items():
        options = {"type": int if name == "seed" else str}
        if name in ("source_domains", "target_domains", "transforms"):
            options["nargs"] = "+"
        parser.add_argument(f"--{name.replace('_', '-')}", help=f"{text} ({key})", **options)
    parser.add_argument("--config-file", default="", help="YAML file of the method, in configs/trainers")
    parser.add_argument("--dataset-config-file", default="", help="YAML file of the dataset, in configs/datasets")
    parser.add_argument(
        "--plugin", action="append", default=[], metavar="FILE_OR_MODULE",
        help="third-party method or dataset to import; repeatable (PLUGINS; or environment variable CLIPFIT_PLUGINS)",
    )  # fmt: skip
    parser.add_argument("--eval-only", action="store_true", help="evaluate without training")
    parser.add_argument("--model-dir", default="", help="run directory to evaluate with --eval-only")
    parser.add_argument(
        "--load-epoch",
        type=int,
        help="epoch of the checkpoint to evaluate (default: the best checkpoint, else the newest)",
    )
    parser.add_argument("--no-train", action="store_true", help="build the model and the data, then stop")
    parser.add_argument("--wandb", action="store_true", help="also log the training curves to Weights & Biases")
    parser.add_argument(
        "--verbose", action="store_true",
        help="print the complete log: also arguments, config and system info, which otherwise only log.txt has, and at "
        "a terminal a line per batch instead of the live display",
    )  # fmt: skip
    parser.add_argument(
        "--quiet", action="store_true",
        help="do not write the page of the run, which follows a training at a terminal; what is printed stays the same",
    )  # fmt: skip
    parser.add_argument("opts", nargs=argparse.REMAINDER, help="KEY VALUE pairs that override the config")
    return parser.parse_args(argv)


def setup_cfg(args):
    """Returns the frozen config of a run.

    Raises:
        FileNotFoundError: If a config file is missing.
        ValueError: If a key is unknown, or a value has the wrong type or is not allowed.
    """
    from dassl.config import get_cfg_default

    if not args.eval_only:
        for flag, value in (("--model-dir", args.model_dir), ("--load-epoch", args.load_epoch)):
            if value not in ("", None):
                raise ValueError(
                    f"{flag} {value} needs --eval-only; to train from the weights of a checkpoint, set "
                    "MODEL.INIT_WEIGHTS, and to resume a run, --resume"
                )
    opts = [o for o in args.opts if o != "--"]
    if len(opts) % 2:
        raise ValueError(f"trailing options must be KEY VALUE pairs, got an odd number of words: {' '.join(opts)}")
    plugins = register(args, opts)
    from trainers.common.runs.plugins import defaults_of

    trainer = args.trainer or merged(get_cfg_default(), args, opts).TRAINER.NAME
    cfg = merged(defaults_of(trainer) or get_cfg_default(), args, opts)
    cfg.PLUGINS = tuple(plugins)
    if args.model_dir and "START_FROM" in cfg.MODEL:
        cfg.MODEL.START_FROM = ""  # the checkpoint has it
    complete(cfg)
    check_limits(cfg, training=not args.eval_only and not is_zero_shot(cfg.TRAINER.NAME))
    cfg.freeze()
    return cfg


def check_given(cfg) -> None:
    """Raises ValueError, with an example, if the command line names no method, dataset or backbone."""
    from dassl.engine import TRAINER_REGISTRY

    name = cfg.TRAINER.NAME
    known = name in TRAINER_REGISTRY.registered_names()
    needs_backbone = not name or (known and hasattr(TRAINER_REGISTRY.get(name), "complete_cfg"))
    missing = [] if name else ["--trainer METHOD (TRAINER.NAME)"]
    missing += [] if cfg.DATASET.NAME else ["--dataset-config-file FILE (DATASET.NAME)"]
    if needs_backbone and not cfg.MODEL.BACKBONE.NAME:
        missing.append("--config-file FILE (MODEL.BACKBONE.NAME)")
    if missing:
        raise ValueError(f"missing: {', '.join(missing)}{example(__doc__)}")


def is_zero_shot(trainer: str) -> bool:
    """Whether a registered trainer uses no training images. False for an unknown name."""
    from dassl.engine import TRAINER_REGISTRY

    return trainer in TRAINER_REGISTRY.registered_names() and getattr(TRAINER_REGISTRY.get(trainer), "zero_shot", False)


def complete(cfg) -> None:
    """Sets the keys that follow from others, if the trainer has such keys. Raises ValueError if they do not fit."""
    from dassl.engine import TRAINER_REGISTRY

    if cfg.MODEL.BACKBONE.NAME and cfg.TRAINER.NAME in TRAINER_REGISTRY.registered_names():
        getattr(TRAINER_REGISTRY.get(cfg.TRAINER.NAME), "complete_cfg", lambda cfg: None)(cfg)


def merged(cfg, args, opts: list[str]):
    """`cfg` with the config files, flags and KEY VALUE pairs of the command line merged into it."""
    from trainers import our_name, upstream_sections

    names = []  # of the keys, in the order in which they are merged
    with upstream_sections(cfg):
        for flag, path in (("--dataset-config-file", args.dataset_config_file), ("--config-file", args.config_file)):
            if path:
                names += merge_file(cfg, path, flag)
        pairs = [(key, getattr(args, name)) for name, (key, _) in FLAGS.items()]
        # Empty values are ignored, as in CoOp. Unlike in CoOp, seed 0 is a seed.
        merge_pairs(cfg, [(key, value) for key, value in pairs if value or value == 0], "command line")
        pairs = zip(opts[::2], opts[1::2], strict=True)
        merge_pairs(cfg, [(key, value) for key, value in pairs if key != "PLUGINS"], "command line")  # see `register`
    cfg.TRAINER.NAME = our_name(cfg.TRAINER.NAME)
    by_length = [name for name in names + opts[::2] if name in ("OPTIM.MAX_EPOCH", "OPTIM.ITERATIONS")]
    if by_length[-1:] == ["OPTIM.MAX_EPOCH"] and "ITERATIONS" in cfg.OPTIM:
        cfg.OPTIM.ITERATIONS = ""  # both set the length of the training, and the later one wins
    return cfg


def register(args, opts: list[str]) -> list[str]:
    """Registers methods, datasets, plugins and their config keys. Returns the plugins as the user named them."""
    from runtime.config_files import read_yaml
    from trainers.common.runs.known_plugins import requested
    from trainers.common.runs.plugins import load_all

    configs = []
    for path in (args.dataset_config_file, args.config_file):
        with contextlib.suppress(ValueError, OSError):  # reported when the file is merged
            configs += [read_yaml(find_config(path))] if path else []
    sources = requested(args.plugin, configs, dict(zip(opts[::2], opts[1::2], strict=True)))
    load_all(sources)
    return sources


def merge_file(cfg, path: str, flag: str) -> list[str]:
    """Merges a YAML file and its bases. Returns the names of the keys in them, in that order.

    `flag` is the option that names the file in an error.
    """
    from runtime.config_files import read_chain

    path = find_config(path)
    if not os.path.isfile(path):
        folder = os.path.dirname(path)
        names = sorted(f for f in os.listdir(folder) if f.endswith(".yaml")) if os.path.isdir(folder) else []
        hint = f"; available in {folder}: {', '.join(names)}" if names else ""
        raise FileNotFoundError(f"{flag} {path} does not exist{hint}")
    names = []
    for file, content in read_chain(path):
        merge_yaml(cfg, content, file)
        names += flat_keys(content)
    return names


def head(args, cfg) -> str:
    """Returns the first lines of a log: arguments, config and system info, in the form that CoOp's tools expect."""
    from dassl.utils import collect_env_info

    arguments = "".join(f"{key}: {value}\n" for key, value in sorted(vars(args).items()))
    return (
        f"***************\n** Arguments **\n***************\n{arguments}"
        f"************\n** Config **\n************\n{cfg}\n"
        f"** System info **\n{collect_env_info()}\n\n"
    )


class Start:
    """A stdout that also keeps what is printed, for the log."""

    def __init__(self, console):
        self.console = console
        self.text = ""

    def log_only(self, text: str) -> None:
        self.text += text

    def __getattr__(self, name: str):
        return getattr(self.console, name)

    def write(self, text: str) -> int:
        self.text += text
        return self.console.write(text)


@contextlib.contextmanager
def log_if_it_starts(folder: str):
    """If the block succeeds, logs to `folder`/log.txt, including what the block printed.

    So a wrong config or missing data leave no files. Yields the stdout of the block.
    """
    from dassl.utils import setup_logger
    from trainers.common.distributed import is_main
    from trainers.common.runs.files import explain_write_error

    with contextlib.redirect_stdout(Start(sys.stdout)) as start:
        yield start
    if not is_main():
        return
    path = os.path.join(folder, "log.txt")
    setup_logger(path)
    log = sys.stdout.file
    with explain_write_error(path):
        try:
            log.write(start.text)
        except OSError:
            sys.stdout.file = None
            with contextlib.suppress(OSError):
                log.close()  # otherwise Python fails again at exit
            raise


def check_folders(cfg, model_dir: str = "") -> None:
    """Raises an OSError if OUTPUT_DIR cannot be a folder or be written, or if RESUME or `model_dir` does not exist."""
    from trainers.common.runs.nearby import hint

    existing = os.path.abspath(cfg.OUTPUT_DIR)
    while not os.path.lexists(existing):
        existing = os.path.dirname(existing)
    if not os.path.isdir(existing):
        raise NotADirectoryError(f"--output-dir {cfg.OUTPUT_DIR} must be a folder, but {existing} is a file")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise PermissionError(f"--output-dir {cfg.OUTPUT_DIR}: no permission to write in {existing}")
    if model_dir and not os.path.exists(model_dir):
        raise FileNotFoundError(f"--model-dir {model_dir} does not exist: give a run directory{hint(model_dir)}")
    if cfg.RESUME and not os.path.isdir(cfg.RESUME):
        raise FileNotFoundError(f"--resume {cfg.RESUME} does not exist: give a run directory{hint(cfg.RESUME)}")


def build(args, cfg, stdout: Start):
    """Returns the trainer, with the checkpoint to evaluate loaded."""
    import torch

    from dassl.engine import build_trainer
    from dassl.utils import set_random_seed
    from trainers.common import distributed

    if cfg.SEED >= 0:
        print(f"Setting fixed seed: {cfg.SEED}")
        set_random_seed(cfg.SEED)
    elif distributed.size() > 1:
        set_random_seed(distributed.of_main(torch.initial_seed() % 2**32))
    if torch.cuda.is_available() and cfg.USE_CUDA:
        torch.backends.cudnn.benchmark = True
        processes.note_other_gpus()
    (stdout.write if args.verbose else stdout.log_only)(head(args, cfg))
    if args.wandb:
        import wandb  # noqa: F401  (if it is missing, fail before the model is built)
    trainer = build_trainer(cfg)
    distributed.check_trainer(trainer)
    if args.eval_only:
        trainer.load_model(args.model_dir, epoch=args.load_epoch)
    elif not args.no_train and hasattr(trainer, "check_training"):
        trainer.check_training()
    return trainer


def start(args):
    """Returns the trainer of a run, ready to be trained or evaluated. From now on, stdout is also logged."""
    cfg = setup_cfg(args)
    check_given(cfg)
    check_folders(cfg, args.model_dir)
    processes.connect(cfg.USE_CUDA)
    with log_if_it_starts(cfg.OUTPUT_DIR) as stdout:
        return build(args, cfg, stdout)


def run(args) -> None:
    with live_display(args) as display:
        trainer = start(args)
        if display:
            display.follow(trainer, trains=not args.eval_only)
        if args.eval_only or not args.no_train:
            train_or_test(trainer, args)
        if args.eval_only or args.no_train or args.quiet or not run_page.at_terminal():
            return
        from trainers.common.distributed import is_main

        if is_main():
            if display:
                display.status = "Writing the page of the run"
            run_page.write(trainer.cfg.OUTPUT_DIR)


def live_display(args):
    """Returns the display of a run at a terminal, else a context manager that gives None."""
    if args.verbose or not sys.stdout.isatty():
        return contextlib.nullcontext()
    from runtime.display import terminal  # imports rich
    from runtime.display.run import RunDisplay

    console = terminal()
    return RunDisplay(console) if console else contextlib.nullcontext()


def train_or_test(trainer, args) -> None:
    from trainers.common.distributed import is_main

    if args.wandb:
        from trainers.common.runs.wandb_curves import curves_of
    with curves_of(trainer) if args.wandb and is_main() else contextlib.nullcontext():
        if args.eval_only:
            trainer.test()
        else:
            trainer.train()


RESUME = "The same command continues from the last checkpoint, if any."


def hide_os_errors(args) -> None:
    """Excepthook for threads that prints no OSError.

    TensorBoard's thread hands its OSError to the next `write_scalar`, which raises it. So it would be printed twice.
    """
    if not issubclass(args.exc_type, OSError):
        threading.__excepthook__(args)


def main(argv=None) -> int:
    """Runs the command line and returns the exit code.

    A user error becomes one line on stderr; with CLIPFIT_DEBUG=1 it keeps its traceback.
    """
    args = parse_args(argv)
    threading.excepthook = hide_os_errors
    with stop_signals.handled():
        program = partial(exit_code, run, args, resume=RESUME)
        return processes.run(program)


if __name__ == "__main__":
    sys.exit(main())
