"""What the samplers promise of each batch."""

from collections import Counter

import pytest

from dassl.data.samplers import build_sampler


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
    drawn = list(build_sampler("RandomSampler", data_source=DATA))
    assert drawn != sorted(drawn) and sorted(drawn) == list(range(97))


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
    "name,options,words",
    [
        ("RandomSampling", {}, "must be one of .*'RandomSampling'"),
        ("RandomDomainSampler", {"batch_size": 9, "n_domain": 2}, "BATCH_SIZE 9 must be a multiple of the 2"),
        ("RandomDomainSampler", {"batch_size": 10, "n_domain": 5}, "5 domains in a batch, of which .* has 4"),
        ("SeqDomainSampler", {"batch_size": 400}, "A domain has 24 images, but a batch takes 100"),
        ("RandomClassSampler", {"batch_size": 2, "n_ins": 3}, "BATCH_SIZE 2 must be at least N_INS 3"),
        ("RandomClassSampler", {"batch_size": 80, "n_ins": 10}, "there are 7 classes"),
    ],
)
def test_mistakes(name, options, words):
    with pytest.raises(ValueError, match=words):
        build_sampler(name, data_source=DATA, **options)
