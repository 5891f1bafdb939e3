"""The composition of batches per sampler."""

from collections import Counter

import pytest

from dassl.data.samplers import build_sampler
from tests.user_errors import raises_user_error


class Item:
    def __init__(self, i):
        self.label, self.domain = i % 7, i % 4


DATA = [Item(i) for i in range(97)]


def batches(sampler, size):
    indices = list(sampler)
    assert len(set(indices)) == len(indices)
    return [indices[i : i + size] for i in range(0, len(indices), size)]


def test_sequential_and_random():
    assert list(build_sampler("SequentialSampler", data_source=DATA)) == list(range(97))
    indices = list(build_sampler("RandomSampler", data_source=DATA))
    assert indices != sorted(indices) and sorted(indices) == list(range(97))


@pytest.mark.parametrize("n_domain,domains", [(2, 2), (0, 4)])
def test_random_domains(n_domain, domains):
    sampler = build_sampler("RandomDomainSampler", data_source=DATA, batch_size=8, n_domain=n_domain)
    orders = set()
    for batch in batches(sampler, 8):
        counts = Counter(DATA[i].domain for i in batch)
        assert len(counts) == domains and set(counts.values()) == {8 // domains}
        orders.add(tuple(counts))
    assert len(orders) > 1 and len(sampler) > 0


def test_sequential_domains():
    sampler = build_sampler("SeqDomainSampler", data_source=DATA, batch_size=8)
    for batch in batches(sampler, 8):
        assert [DATA[i].domain for i in batch] == [0, 0, 1, 1, 2, 2, 3, 3]
    assert len(sampler) == 96  # 24 images in the smaller domains


def test_classes():
    sampler = build_sampler("RandomClassSampler", data_source=DATA, batch_size=9, n_ins=3)
    for batch in batches(sampler, 9):
        assert list(Counter(DATA[i].label for i in batch).values()) == [3, 3, 3]


def test_small_classes_repeat_images():
    sampler = build_sampler("RandomClassSampler", data_source=DATA[:14], batch_size=8, n_ins=4)
    indices = list(sampler)
    assert Counter(Counter(DATA[i].label for i in indices).values()) == {4: 6}  # six of seven classes fit


@pytest.mark.parametrize(
    "name,options,facts",
    [
        ("RandomSampling", {}, ("DATALOADER.*.SAMPLER", "'RandomSampling'", "RandomClassSampler")),
        ("RandomDomainSampler", {"batch_size": 9, "n_domain": 2}, ("BATCH_SIZE 9", "2 domains")),
        ("RandomDomainSampler", {"batch_size": 10, "n_domain": 5}, ("BATCH_SIZE 10", "5 domains", "4 domains")),
        ("SeqDomainSampler", {"batch_size": 400}, ("24 images", "BATCH_SIZE 400", "100")),
        ("RandomClassSampler", {"batch_size": 2, "n_ins": 3}, ("BATCH_SIZE 2", "N_INS 3")),
        ("RandomClassSampler", {"batch_size": 80, "n_ins": 10}, ("BATCH_SIZE // N_INS", "8", "7")),
    ],
)
def test_user_errors(name, options, facts):
    with raises_user_error(*facts):
        build_sampler(name, data_source=DATA, **options)
