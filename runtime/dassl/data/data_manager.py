"""Builds the loaders of training, validation and test images."""

import math

import torch

from .dataset_wrapper import DatasetWrapper
from .datasets import build_dataset
from .fast_loader import fast_pixels
from .fast_loader.image_cache import image_cache
from .fast_loader.loader import Loader, start_method
from .fast_loader.shared_images import shared_images
from .samplers import build_sampler
from .transforms import build_transform, check_input


def build_data_loader(
    cfg,
    sampler_type="SequentialSampler",
    data_source=None,
    batch_size=64,
    n_domain=0,
    n_ins=2,
    tfm=None,
    is_train=True,
    dataset_wrapper=None,
    once=False,
) -> Loader:
    """Builds a loader of batches {img, label, domain, impath, index}.

    A training loader drops an incomplete last batch, unless it is the only batch. Set `once` for images that are read
    only once: the loader then neither caches images nor keeps its worker processes.

    Raises ValueError if there are no images.
    """
    if not data_source:
        raise ValueError(
            f"{cfg.DATASET.NAME} has no {'training' if is_train else 'test'} images: check its folder and split file"
        )
    sampler = build_sampler(
        sampler_type, cfg=cfg, data_source=data_source, batch_size=batch_size, n_domain=n_domain, n_ins=n_ins
    )
    dataset = (dataset_wrapper or DatasetWrapper)(cfg, data_source, transform=tfm, is_train=is_train)
    fast_pixels.prepare(cfg.INPUT.SIZE)
    num_workers = cfg.DATALOADER.NUM_WORKERS
    cache = None
    if not once and isinstance(dataset, DatasetWrapper) and (num_workers == 0 or start_method() == "fork"):
        cache = dataset.cache = image_cache(cfg.DATALOADER.CACHE_GB, cfg.INPUT.EXIF_ORIENTATION, cfg.INPUT.CROP_BORDER)
    loader = Loader(
        dataset,
        num_workers=num_workers,
        persistent=not once,
        cache=cache,
        batch_bytes=3 * math.prod(cfg.INPUT.SIZE) * batch_size,
        batch_size=batch_size,
        sampler=sampler,
        drop_last=is_train and len(data_source) >= batch_size,
        pin_memory=torch.cuda.is_available() and cfg.USE_CUDA,
    )
    if is_train:
        report_unused(len(sampler), batch_size)
    return loader


def report_unused(n_images: int, batch_size: int) -> None:
    """Prints a line if the batch size exceeds the number of images, or more than a tenth of them is dropped."""
    dropped = n_images % batch_size
    if n_images < batch_size:
        print(
            f"Note: BATCH_SIZE {batch_size} exceeds the {n_images:,} training images: each epoch is one smaller batch"
        )
    elif dropped > n_images / 10:
        print(
            f"Note: each epoch leaves out {dropped:,} of {n_images:,} training images, the incomplete last batch of "
            f"BATCH_SIZE {batch_size}; other ones in each epoch if they are shuffled"
        )


class DataManager:
    """Builds the dataset, the transforms and the loaders, in this order.

    Attributes: dataset, train_loader_x, train_loader_u (or None), val_loader (or None), test_loader (None if there are
    no test images and TEST.NO_TEST), num_classes, num_source_domains, lab2cname.
    """

    def __init__(self, cfg, custom_tfm_train=None, custom_tfm_test=None, dataset_wrapper=None):
        check_input(cfg.INPUT)
        self.dataset = dataset = build_dataset(cfg)
        tfm_train = self._transform(cfg, custom_tfm_train, is_train=True)
        tfm_test = self._transform(cfg, custom_tfm_test, is_train=False)

        def train_loader(data_source, options):
            return build_data_loader(
                cfg,
                sampler_type=options.SAMPLER,
                data_source=data_source,
                batch_size=options.BATCH_SIZE,
                n_domain=options.N_DOMAIN,
                n_ins=options.N_INS,
                tfm=tfm_train,
                is_train=True,
                dataset_wrapper=dataset_wrapper,
            )

        def test_loader(data_source, once):
            loader = build_data_loader(
                cfg,
                sampler_type=cfg.DATALOADER.TEST.SAMPLER,
                data_source=data_source,
                batch_size=cfg.DATALOADER.TEST.BATCH_SIZE,
                tfm=tfm_test,
                is_train=False,
                dataset_wrapper=dataset_wrapper,
                once=once,
            )
            if custom_tfm_test is None and dataset_wrapper is None:
                shared = shared_images(tfm_test, cfg.INPUT.EXIF_ORIENTATION, cfg.INPUT.CROP_BORDER)
                loader.dataset.shared = shared
            return loader

        options_x, options_u = cfg.DATALOADER.TRAIN_X, cfg.DATALOADER.TRAIN_U
        options_u = options_x if options_u.SAME_AS_X else options_u
        self.train_loader_x = train_loader(dataset.train_x, options_x)
        self.train_loader_u = train_loader(dataset.train_u, options_u) if dataset.train_u else None
        validates_every_epoch = cfg.TEST.FINAL_MODEL == "best_val"
        self.val_loader = test_loader(dataset.val, once=not validates_every_epoch) if dataset.val else None
        has_test = dataset.test or not cfg.TEST.NO_TEST  # no test images are an error, unless none are needed
        self.test_loader = test_loader(dataset.test, once=True) if has_test else None

        self._num_classes = dataset.num_classes
        self._num_source_domains = len(cfg.DATASET.SOURCE_DOMAINS)
        self._lab2cname = dataset.lab2cname
        if cfg.VERBOSE:
            self.show_dataset_summary(cfg)

    @staticmethod
    def _transform(cfg, custom, is_train: bool):
        if custom is None:
            return build_transform(cfg, is_train=is_train)
        print(f"* Using custom transform for {'training' if is_train else 'testing'}")
        return custom

    @property
    def num_classes(self) -> int:
        return self._num_classes

    @property
    def num_source_domains(self) -> int:
        return self._num_source_domains

    @property
    def lab2cname(self) -> dict[int, str]:
        return self._lab2cname

    def show_dataset_summary(self, cfg) -> None:
        rows = [
            ("Dataset", cfg.DATASET.NAME),
            ("Source", cfg.DATASET.SOURCE_DOMAINS),
            ("Target", cfg.DATASET.TARGET_DOMAINS),
            ("# classes", f"{self.num_classes:,}"),
        ]
        for name in ("train_x", "train_u", "val", "test"):
            items = getattr(self.dataset, name)
            rows.append((f"# {name}", f"{len(items):,}" if items else ""))
        rows = [(name, str(value)) for name, value in rows if value]
        widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
        ruler = "  ".join("-" * width for width in widths)
        print("\n".join([ruler, *(f"{name:<{widths[0]}}  {value}" for name, value in rows), ruler]))
