"""Stand-in for CoOp's train.py: imports register trainers, `extend_cfg` sets keys, empty flags are ignored."""

import argparse

import torch

import datasets.dtd  # noqa: F401
import trainers.coop  # noqa: F401
import trainers.zsclip  # noqa: F401
from dassl.config import get_cfg_default
from dassl.engine import build_trainer
from dassl.utils import collect_env_info, set_random_seed, setup_logger

KEYS = {"root": "DATASET.ROOT", "output_dir": "OUTPUT_DIR", "resume": "RESUME", "seed": "SEED"}
KEYS.update({"trainer": "TRAINER.NAME", "backbone": "MODEL.BACKBONE.NAME"})


def extend_cfg(cfg):
    from yacs.config import CfgNode as CN

    cfg.TRAINER.COOP = CN()
    cfg.TRAINER.COOP.N_CTX = 16
    cfg.TRAINER.COOP.CTX_INIT = ""
    cfg.TRAINER.COOP.PREC = "fp16"
    cfg.DATASET.SUBSAMPLE_CLASSES = "all"


def setup_cfg(args):
    cfg = get_cfg_default()
    extend_cfg(cfg)
    for path in (args.dataset_config_file, args.config_file):
        if path:
            cfg.merge_from_file(path)
    for flag, key in KEYS.items():
        if getattr(args, flag):
            cfg.merge_from_list([key, getattr(args, flag)])
    cfg.merge_from_list(args.opts)
    cfg.freeze()
    return cfg


def main(args):
    cfg = setup_cfg(args)
    if cfg.SEED >= 0:
        print(f"Setting fixed seed: {cfg.SEED}")
        set_random_seed(cfg.SEED)
    setup_logger(cfg.OUTPUT_DIR)
    torch.backends.cudnn.benchmark = True
    print(cfg)
    print(collect_env_info())
    trainer = build_trainer(cfg)
    if args.eval_only:
        trainer.load_model(args.model_dir, epoch=args.load_epoch)
        trainer.test()
        return
    if not args.no_train:
        trainer.train()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    for name in ("root", "output-dir", "resume", "config-file", "dataset-config-file", "trainer", "backbone"):
        parser.add_argument(f"--{name}", default="")
    parser.add_argument("--seed", type=int, default=-1)
    parser.add_argument("--eval-only", action="store_true")
    parser.add_argument("--model-dir", default="")
    parser.add_argument("--load-epoch", type=int)
    parser.add_argument("--no-train", action="store_true")
    parser.add_argument("opts", default=None, nargs=argparse.REMAINDER)
    main(parser.parse_args())
