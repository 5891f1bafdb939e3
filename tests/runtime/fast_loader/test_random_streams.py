"""Fewer processes than DATALOADER.NUM_WORKERS give the same images."""

import os
import random

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms as T

from dassl.data import DatasetWrapper, build_data_loader
from dassl.data.datasets import Datum
from dassl.data.fast_loader import random_streams
from dassl.utils import set_random_seed
from tests.reference.loader import plain_loader
from tests.user_errors import assert_facts

from .. import toy


@pytest.fixture
def items(tmp_path):
    items = []
    for i in range(11):
        Image.new("RGB", (40, 40), (20 * i, 0, 99)).save(tmp_path / f"{i}.png")
        items.append(Datum(str(tmp_path / f"{i}.png"), label=i))
    return items


def noisy(image):
    """A transform that uses the generators of random, NumPy and torch."""
    return T.functional.to_tensor(image) + random.random() + np.random.rand() + torch.rand(3, 40, 40)


def make(items, tmp_path, workers, **options):
    cfg = toy.make_cfg(tmp_path, tmp_path, DATALOADER__NUM_WORKERS=workers)
    return build_data_loader(cfg, "RandomSampler", items, 2, tfm=noisy, **options)


@pytest.mark.parametrize("once", [False, True])
@pytest.mark.parametrize("workers, n_cores, processes", [(4, 2, 2), (3, 2, 1), (6, 4, 3)])
def test_images_do_not_depend_on_the_cores(items, tmp_path, cores, workers, n_cores, processes, once):
    """Compares complete and interrupted passes with those of torch's loader with all workers."""
    cores(n_cores)
    results = []
    for loader in (plain_loader(items, noisy, 2, workers), make(items, tmp_path, workers, once=once)):
        set_random_seed(5)
        results.append([*loader, next(iter(loader)), *loader, *loader])
    plain, ours = results
    assert loader.num_workers == processes and len(plain) == 16
    assert all(torch.equal(a["img"], b["img"]) for a, b in zip(plain, ours, strict=True))


@pytest.mark.parametrize("workers, n_cores, processes", [(4, 3, 2), (6, 5, 3), (5, 4, 1)])
def test_each_process_has_as_many_of_the_workers(items, tmp_path, cores, workers, n_cores, processes):
    cores(n_cores)
    assert make(items, tmp_path, workers).num_workers == processes


class Process(DatasetWrapper):
    def __getitem__(self, index):
        return os.getpid()


def test_one_line_says_how_many_processes_are_started(items, tmp_path, cores, monkeypatch, capsys):
    monkeypatch.setattr(random_streams, "_said", set())
    for n_cores, workers, processes in ((2, 8, 2), (2, 8, 2), (1, 2, 1), (8, 8, 8), (3, 0, 0)):
        cores(n_cores)
        assert make(items, tmp_path, workers).num_workers == processes
    first, second = [line for line in capsys.readouterr().out.splitlines() if "NUM_WORKERS" in line]
    assert_facts(first, "DATALOADER.NUM_WORKERS 8", " 2 ")
    assert_facts(second, "DATALOADER.NUM_WORKERS 2", " 1 ")
    cores(2)
    loader = make(items, tmp_path, 4, dataset_wrapper=Process)
    assert len({pid for batch in loader for pid in batch.tolist()}) == 2


def test_cores_are_those_that_the_process_may_use(monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3, 5, 7}, raising=False)
    assert random_streams.n_cores() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    assert random_streams.n_cores() == os.cpu_count()
