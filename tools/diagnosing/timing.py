"""What a first run takes here: steps of the micro CLIP are measured, a run of a ViT-B/16 is estimated."""

from __future__ import annotations

import contextlib
import os
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

from runtime.installation import ROOT

from .findings import ERROR, OK, Finding, explain

WARM_UP, STEPS = 1, 5
LIMIT = 2.0  # seconds for the steps, on a machine that is busy or slow
ROUNDS = 2  # of the large product
BACKBONE, DATASET, SHOTS = "ViT-B/16", "dtd", 16  # of the estimate
# Measured time of a step divided by that of its products at the throughput of a large one, on CPUs: 1.1 to 1.22
# (benchmarks/README.md, Roofline).
OVER_ROOFLINE = 1.2


def first_run() -> Iterator[Finding]:
    """Measures training steps of CLIPFit on the micro CLIP, with random images in place of the digits."""
    try:
        with nothing_kept(), one_thread():
            cfg, trainer = micro_trainer()
            seconds = step_seconds(cfg, trainer)
    except Exception as error:  # then no run can train
        remedy = "run the command of docs/troubleshooting.md with CLIPFIT_DEBUG=1, and report its output"
        yield Finding(f"a training step of the micro CLIP failed: {explain(error)}", ERROR, remedy)
        return
    steps = cfg.OPTIM.MAX_EPOCH * (len(trainer.lab2cname) * SHOTS // cfg.DATALOADER.TRAIN_X.BATCH_SIZE)
    yield Finding(
        f"micro CLIP, measured: {1000 * seconds:.0f} ms per step of {cfg.DATALOADER.TRAIN_X.BATCH_SIZE} images; the "
        f"{steps:,} steps of a run on the ten digits, {SHOTS} shots, take {duration(steps * seconds)}",
        OK,
    )


@contextlib.contextmanager
def nothing_kept():
    """In the block, hashes of weights and the choice of a library for products are not kept in the home folder."""
    from trainers.common import cpu_products
    from trainers.common.models import weights_digest

    modules = (cpu_products, weights_digest)
    folders = [module.FOLDER for module in modules]
    try:
        for module in modules:
            module.FOLDER = Path(os.devnull)
        yield
    finally:
        for module, folder in zip(modules, folders, strict=True):
            module.FOLDER = folder


def config(backbone: str, dataset: str):
    """Returns the config of a few-shot run of CLIPFit with its recipe."""
    import train
    from tools.recipe import config_file, recipe

    name, keys = recipe("CLIPFit", "fewshot", dataset, SHOTS, backbone)
    argv = ["--trainer", "CLIPFit", "--backbone", backbone, "--config-file", str(ROOT / config_file("CLIPFit", name))]
    argv += ["--dataset-config-file", str(ROOT / "configs" / "datasets" / f"{dataset}.yaml")]
    argv += [str(word) for pair in keys.items() for word in pair]
    return train.setup_cfg(train.parse_args([*argv, "DATASET.NUM_SHOTS", str(SHOTS)]))


def micro_trainer():
    """Returns the config and the trainer of a run on the digits, without data, but with an optimiser."""
    from datasets.digits import CLASSNAMES
    from trainers.common.inference.saved_run import make_bare

    cfg = config("micro", "digits")
    trainer = make_bare(cfg, list(CLASSNAMES))
    trainer.optim, trainer.sched = type(trainer).__base__.make_optimizer(trainer)
    return cfg, trainer


def step_seconds(cfg, trainer) -> float:
    """Returns the median time of a training step on random images, in seconds."""
    import torch

    size = cfg.DATALOADER.TRAIN_X.BATCH_SIZE
    batch = {
        "img": torch.randn(size, 3, *cfg.INPUT.SIZE),
        "label": torch.randint(len(trainer.lab2cname), (size,)),
    }
    trainer.batch_idx, trainer.num_batches = 0, 2  # not the last step of an epoch, which changes the learning rate
    trainer.set_model_mode("train")
    seconds = []
    deadline = time.monotonic() + LIMIT
    while len(seconds) < WARM_UP + STEPS and (len(seconds) <= WARM_UP or time.monotonic() < deadline):
        begun = time.perf_counter()
        trainer.forward_backward(batch)  # reads the loss, so a GPU has finished
        seconds.append(time.perf_counter() - begun)
    return statistics.median(seconds[WARM_UP:])


@contextlib.contextmanager
def one_thread():
    """In the block, PyTorch has one thread, as sweeps and the quickstart give it for the micro CLIP."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def large_run() -> Iterator[Finding]:
    """Estimates the training of a ViT-B/16 from the throughput of one large product."""
    import torch

    from tools.sweeping.parts import number_of_steps, published_size
    from trainers.common.models.backbone_files import OPENAI
    from trainers.common.models.loading import resolve_precision

    from .flops import packed_prompts, step_flops

    with nothing_kept():
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        precision = resolve_precision("auto", device)
        per_second = throughput(device, precision)
    cfg = config(BACKBONE, DATASET)
    settings = {
        "DATASET.NAME": cfg.DATASET.NAME, "DATASET.NUM_SHOTS": SHOTS, "OPTIM.MAX_EPOCH": cfg.OPTIM.MAX_EPOCH,
        "DATALOADER.TRAIN_X.BATCH_SIZE": cfg.DATALOADER.TRAIN_X.BATCH_SIZE,
    }  # fmt: skip
    size = published_size(settings)
    steps = number_of_steps(settings, size)
    prompts = packed_prompts([f"{'striped' if i % 2 else 'knitted'} texture." for i in range(size.classes)])
    flops = sum(step_flops(OPENAI[BACKBONE], cfg.DATALOADER.TRAIN_X.BATCH_SIZE, prompts).values())
    run = f"the {steps:,} steps of a run on {DATASET}, {SHOTS} shots"
    measured = f"from {per_second / 1e12:.2g} TFLOP/s of one large product in {precision}"
    if device.type == "cuda":
        text = f"{run}, take at least {duration(steps * flops / per_second)} {measured}; a batch of 32 does not fill it"
    else:
        text = f"{run}, take about {duration(OVER_ROOFLINE * steps * flops / per_second)} {measured}"
    yield Finding(f"{BACKBONE}, an estimate: {text}; loading and tests not included")


def throughput(device, precision: str) -> float:
    """Returns the FLOP/s of one large matrix product."""
    import torch

    from .flops import dtype_of, large_product, product_flops

    product = large_product(device, dtype_of(precision, device))
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    seconds = []
    for _ in range(1 + ROUNDS):
        wait()
        begun = time.perf_counter()
        product()
        wait()
        seconds.append(time.perf_counter() - begun)
    return product_flops(device) / min(seconds[1:])


def duration(seconds: float) -> str:
    """Returns "45 s", "12 min" or "3.5 h"."""
    if seconds < 100:
        return f"{seconds:.0f} s" if seconds >= 1 else "less than 1 s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
