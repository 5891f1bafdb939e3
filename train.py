"""Train or evaluate one method on one dataset: CoOp's command line, flag for flag.

Config precedence, lowest first: Dassl's defaults, the methods' and datasets' own keys, --dataset-config-file,
--config-file, the other flags, trailing KEY VALUE pairs.
"""

import argparse
import difflib
import os
import signal
import sys
import threading
from contextlib import nullcontext

import runtime  # noqa: F401  (makes dassl importable)
from runtime.user_errors import Terminated, exit_code

FLAGS = {  # flag: (config key, help)
    "root": ("DATASET.ROOT", "folder with the datasets"),
    "output_dir": ("OUTPUT_DIR", "where log.txt, checkpoints and result.json go"),
    "resume": ("RESUME", "folder of an earlier run to continue from"),
    "seed": ("SEED", "0 or higher fixes the seed"),
    "source_domains": ("DATASET.SOURCE_DOMAINS", "source domains"),
    "target_domains": ("DATASET.TARGET_DOMAINS", "target domains"),
    "transforms": ("INPUT.TRANSFORMS", "data augmentation"),
    "trainer": ("TRAINER.NAME", "method, e.g. CLIPFit or ZeroshotCLIP"),
    "backbone": ("MODEL.BACKBONE.NAME", "CLIP: micro, an OpenAI name such as ViT-B/16, or a path"),
    "head": ("MODEL.HEAD.NAME", "name of the head (unused by CLIP methods)"),
}


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, (key, text) in FLAGS.items():
        kind = {"type": int} if name == "seed" else {"type": str}
        if name in ("source_domains", "target_domains", "transforms"):
            kind["nargs"] = "+"
        parser.add_argument(f"--{name.replace('_', '-')}", help=f"{text} ({key})", **kind)
    parser.add_argument("--config-file", default="", help="YAML of the method, under configs/trainers")
    parser.add_argument("--dataset-config-file", default="", help="YAML of the dataset, under configs/datasets")
    parser.add_argument(
        "--plugin", action="append", default=[], metavar="FILE_OR_MODULE",
        help="method or dataset of others to import; may be repeated (also CLIPFIT_PLUGINS, PLUGINS)",
    )  # fmt: skip
    parser.add_argument("--eval-only", action="store_true", help="evaluate, do not train")
    parser.add_argument("--model-dir", default="", help="output folder of the run to evaluate, with --eval-only")
    parser.add_argument("--load-epoch", type=int, help="epoch to evaluate (default: the best, else the newest)")
    parser.add_argument("--no-train", action="store_true", help="build everything and stop")
    parser.add_argument("--wandb", action="store_true", help="send the curves to Weights & Biases, too")
    parser.add_argument("opts", nargs=argparse.REMAINDER, help="KEY VALUE pairs that override the config")
    return parser.parse_args(argv)


def setup_cfg(args):
    """The frozen config of a run.

    Raises:
        FileNotFoundError: a config file is missing.
        ValueError: an unknown key, or a value of the wrong type.
    """
    from dassl.config import get_cfg_default

    opts = [o for o in args.opts if o != "--"]
    if len(opts) % 2:
        raise ValueError(f"trailing options come as KEY VALUE pairs, got {' '.join(opts)}")
    plugins = register(args, opts)
    cfg = get_cfg_default()
    for flag, path in (("--dataset-config-file", args.dataset_config_file), ("--config-file", args.config_file)):
        if path:
            merge_file(cfg, path, flag)
    for name, (key, _) in FLAGS.items():
        value = getattr(args, name)
        if value or value == 0:  # like CoOp, empty values are ignored; unlike CoOp, seed 0 is a seed
            node, leaf = cfg, key.split(".")
            for part in leaf[:-1]:
                node = node[part]
            node[leaf[-1]] = value
    with_remedy(cfg, lambda: cfg.merge_from_list(whole_to_float(cfg, opts)), "command line")
    cfg.PLUGINS = tuple(plugins)
    cfg.freeze()
    return cfg


def register(args, opts: list[str]) -> list[str]:
    """Register methods, datasets and plugins with their config keys; returns the plugins as the user named them."""
    from trainers.common.runs import plugins

    files = [path for path in (args.dataset_config_file, args.config_file) if os.path.isfile(path)]
    sources = plugins.requested(args.plugin, files, dict(zip(opts[::2], opts[1::2], strict=True)))
    plugins.load_all(sources)
    return sources


def merge_file(cfg, path: str, flag: str) -> None:
    """Merge a YAML file and its bases; a missing one is answered with the files there are."""
    from yacs.config import CfgNode

    from runtime.config_files import read_chain

    if not os.path.isfile(path):
        folder = os.path.dirname(path)
        there = sorted(f for f in os.listdir(folder) if f.endswith(".yaml")) if os.path.isdir(folder) else []
        hint = f"; {folder} has {', '.join(there)}" if there else ""
        raise FileNotFoundError(f"{flag} {path} does not exist{hint}")
    for file, content in read_chain(path):
        with_remedy(cfg, lambda content=content: cfg.merge_from_other_cfg(CfgNode(content)), file)


def with_remedy(cfg, merge, source: str) -> None:
    """Run a merge; turn yacs' errors into one line that names the nearest known key."""
    try:
        merge()
    except (KeyError, AssertionError) as error:
        key = str(error.args[0]).rpartition(" ")[2] if error.args else "?"
        nearest = difflib.get_close_matches(key, flat_keys(cfg), 1, 0.4)
        hint = f" (did you mean {nearest[0]}?)" if nearest else ""
        raise ValueError(f"{source}: unknown config key {key}{hint}") from error
    except ValueError as error:
        raise ValueError(f"{source}: {' '.join(str(error).split())}") from error


def whole_to_float(cfg, opts: list[str]) -> list[str]:
    """KEY VALUE pairs, with 2 written as 2.0 where the key is a float: yacs takes no whole number there."""
    result = []
    for key, value in zip(opts[::2], opts[1::2], strict=True):
        node = cfg
        for part in key.split("."):
            node = node.get(part) if isinstance(node, dict) else None
        whole = isinstance(node, float) and value.lstrip("+-").isdigit()
        result += [key, f"{value}.0" if whole else value]
    return result


def flat_keys(node, prefix="") -> list[str]:
    """Every key of a config, dotted."""
    keys = []
    for key, value in node.items():
        keys += flat_keys(value, f"{prefix}{key}.") if hasattr(value, "merge_from_list") else [prefix + key]
    return keys


def print_args(args, cfg) -> None:
    print("***************\n** Arguments **\n***************")
    for key in sorted(vars(args)):
        print(f"{key}: {getattr(args, key)}")
    print("************\n** Config **\n************")
    print(cfg)


def run(args) -> None:
    import torch

    from dassl.engine import build_trainer
    from dassl.utils import collect_env_info, set_random_seed, setup_logger

    cfg = setup_cfg(args)
    if cfg.SEED >= 0:
        print(f"Setting fixed seed: {cfg.SEED}")
        set_random_seed(cfg.SEED)
    setup_logger(cfg.OUTPUT_DIR)
    if torch.cuda.is_available() and cfg.USE_CUDA:
        torch.backends.cudnn.benchmark = True
    print_args(args, cfg)
    print(f"** System info **\n{collect_env_info()}\n")

    if args.wandb:
        import wandb  # noqa: F401  (if it is missing, fail before anything is built)

        from trainers.common.runs.wandb_curves import curves_of

    trainer = build_trainer(cfg)
    if args.no_train and not args.eval_only:
        return
    with curves_of(trainer) if args.wandb else nullcontext():
        if args.eval_only:
            trainer.load_model(args.model_dir, epoch=args.load_epoch)
            trainer.test()
        else:
            trainer.train()


def terminate(number, frame) -> None:
    signal.signal(number, signal.SIG_IGN)  # once is enough
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch need not tell that loader processes have been stopped, too
    raise Terminated


def in_thread(args) -> None:
    """TensorBoard's thread leaves an OSError to the next `write_scalar`, which raises it: it is not shown twice."""
    if not issubclass(args.exc_type, OSError):
        threading.__excepthook__(args)


def main(argv=None) -> int:
    """Run; a user's mistake becomes one line on stderr (its traceback with CLIPFIT_DEBUG=1). Returns the exit code."""
    args = parse_args(argv)
    before = signal.signal(signal.SIGTERM, terminate)
    threading.excepthook = in_thread
    try:
        return exit_code(run, args, resume="The same command continues from the last checkpoint.")
    finally:
        signal.signal(signal.SIGTERM, before)


if __name__ == "__main__":
    sys.exit(main())
