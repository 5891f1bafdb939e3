"""The config of a method in episodes, the dataset, and what identifies a result."""

import contextlib
import io
from pathlib import Path

import train
from datasets import catalogue
from tools.recipe import config_file, recipe

NEAREST_MEAN, TEXT = "NearestMean", "ZeroshotCLIP"  # the classifiers that are not trained
NOT_TRAINED = (NEAREST_MEAN, TEXT)
FOR_EPISODES = ("DATALOADER.NUM_WORKERS", "0", "TEST.FINAL_MODEL", "last_step", "TRAIN.TRACE", "False")
ROOT = Path(__file__).resolve().parents[2]


def make_cfg(args, method: str, shots: int):
    """Returns the config of a method: its few-shot recipe, the command line, then what episodes need."""
    entry = catalogue.resolve(args.dataset)
    trainer = TEXT if method == NEAREST_MEAN else method
    backbone = args.backbone or ("micro" if entry.bundled else "ViT-B/16")
    config, keys = recipe(trainer, "fewshot", entry.config, shots, backbone)
    argv = ["--trainer", trainer, "--backbone", backbone, "--seed", str(args.seed), "--output-dir", args.output]
    argv += ["--root", args.root] if args.root else []
    argv += ["--dataset-config-file", str(ROOT / "configs" / "datasets" / f"{entry.config}.yaml")]
    argv += ["--config-file", str(ROOT / config_file(trainer, config))]
    argv += [word for plugin in args.plugin for word in ("--plugin", plugin)]
    argv += [str(word) for pair in keys.items() for word in pair]
    argv += [*args.opts, *FOR_EPISODES, "DATASET.NUM_SHOTS", str(shots), "DATASET.SUBSAMPLE_CLASSES", args.classes]
    return train.setup_cfg(train.parse_args(argv))


def build_dataset(cfg):
    """Returns the dataset with all of its images, not only the few-shot ones."""
    from dassl.data import datasets

    cfg = cfg.clone()
    cfg.defrost()
    cfg.DATASET.NUM_SHOTS = -1
    with contextlib.redirect_stdout(io.StringIO()):
        return datasets.build_dataset(cfg)


def identity_of(cfg, args, method: str, shots: int, pools: list, model: dict) -> dict:
    """Returns everything that the accuracies depend on, except the number of episodes.

    Args:
        pools: the images of each class; see `sampling.pools_of`.
        model: identity of the CLIP, and of the run that tuned it.
    """
    from trainers.common.inference.saved_run import find_method
    from trainers.common.runs.digest import digest
    from trainers.common.runs.image_hashes import image_keys
    from trainers.common.runs.record import settings

    keys_of = image_keys(list(dict.fromkeys(path for pool in pools for part in pool[1:] for path in part)))
    images = [[pool.name, *(["/".join(Path(p).parts[-2:]) for p in part] for part in pool[1:])] for pool in pools]
    section = find_method(cfg.TRAINER.NAME).section
    keys = settings(cfg, section)
    if method in NOT_TRAINED:
        prompts = ("DATASET.TEMPLATE", "DATASET.DESCRIPTIONS_DIGEST") if method == TEXT else ()
        keys = {key: keys[key] for key in keys if key.startswith(("INPUT.", f"TRAINER.{section}.", *prompts))}
    if method == NEAREST_MEAN:
        model = {key: value for key, value in model.items() if key != "template"}
    return {
        "method": method,
        "dataset": cfg.DATASET.NAME,
        "classes": [pool.name for pool in pools],
        "images": digest(images),
        "content": digest([str(keys_of[path]) for pool in pools for part in pool[1:] for path in part]),
        "ways": args.ways,
        "shots": shots,
        "queries": args.queries,
        "seed": args.seed,
        "model": model,
        "settings": keys,
    }
