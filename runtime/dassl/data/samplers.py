"""Samplers: orders in which a loader reads the images."""

import random
from collections import defaultdict

import numpy as np
from torch.utils.data import RandomSampler, Sampler, SequentialSampler

from dassl.utils import check_availability


def _indices_by(data_source, attribute: str) -> dict[int, list[int]]:
    groups = defaultdict(list)
    for index, item in enumerate(data_source):
        groups[getattr(item, attribute)].append(index)
    return dict(groups)


class _EpochSampler(Sampler):
    """A sampler that samples a whole epoch at once. Its length is that of the first epoch; others may differ."""

    def sample_epoch(self) -> list[int]:
        raise NotImplementedError

    def __iter__(self):
        return iter(self.sample_epoch())

    def __len__(self) -> int:
        return self.length


class RandomDomainSampler(_EpochSampler):
    """Samples batches with equally many images of `n_domain` random domains, until a domain has too few images left."""

    def __init__(self, data_source, batch_size: int, n_domain: int):
        self.data_source = data_source
        self.domain_dict = _indices_by(data_source, "domain")
        self.domains = self.order_domains(list(self.domain_dict))
        self.batch_size = batch_size
        self.n_domain = n_domain if n_domain and n_domain > 0 else len(self.domains)
        if batch_size % self.n_domain or self.n_domain > len(self.domains):
            raise ValueError(
                f"BATCH_SIZE {batch_size} must be a multiple of the {self.n_domain} domains per batch (N_DOMAIN), "
                f"which must be at most the {len(self.domains)} domains of the dataset"
            )
        self.n_img_per_domain = batch_size // self.n_domain
        smallest = min(len(indices) for indices in self.domain_dict.values())
        if smallest < self.n_img_per_domain:
            raise ValueError(
                f"BATCH_SIZE {batch_size} takes {self.n_img_per_domain} images per domain, but a domain has only "
                f"{smallest} images: reduce BATCH_SIZE"
            )
        self.length = len(self.sample_epoch())

    def order_domains(self, domains: list[int]) -> list[int]:
        return domains

    def batch_domains(self) -> list[int]:
        return random.sample(self.domains, self.n_domain)

    def sample_epoch(self) -> list[int]:
        left = {domain: list(indices) for domain, indices in self.domain_dict.items()}
        sampled = []
        enough_left = True
        while enough_left:
            for domain in self.batch_domains():
                chosen = random.sample(left[domain], self.n_img_per_domain)
                sampled += chosen
                used = set(chosen)
                left[domain] = [index for index in left[domain] if index not in used]
                enough_left = enough_left and len(left[domain]) >= self.n_img_per_domain
        return sampled


class SeqDomainSampler(RandomDomainSampler):
    """Samples batches with equally many images of all domains, in the order of the domains."""

    def __init__(self, data_source, batch_size: int):
        super().__init__(data_source, batch_size, n_domain=0)

    def order_domains(self, domains: list[int]) -> list[int]:
        return sorted(domains)

    def batch_domains(self) -> list[int]:
        return self.domains


class RandomClassSampler(_EpochSampler):
    """Samples batches with `n_ins` images of each of `batch_size // n_ins` random classes."""

    def __init__(self, data_source, batch_size: int, n_ins: int):
        if batch_size < n_ins:
            raise ValueError(f"BATCH_SIZE must be at least N_INS {n_ins}, got BATCH_SIZE {batch_size}")
        self.data_source = data_source
        self.batch_size = batch_size
        self.n_ins = n_ins
        self.ncls_per_batch = batch_size // n_ins
        self.index_dic = _indices_by(data_source, "label")
        self.labels = list(self.index_dic)
        if len(self.labels) < self.ncls_per_batch:
            raise ValueError(
                f"BATCH_SIZE // N_INS is {self.ncls_per_batch} classes, but the dataset has only "
                f"{len(self.labels)}: reduce BATCH_SIZE"
            )
        self.length = len(self.sample_epoch())

    def _groups(self, label: int) -> list[list[int]]:
        """Splits the images of a class into random groups of n_ins; a smaller class is sampled with replacement."""
        indices = list(self.index_dic[label])
        if len(indices) < self.n_ins:
            indices = np.random.choice(indices, size=self.n_ins, replace=True).tolist()
        random.shuffle(indices)
        return [indices[i : i + self.n_ins] for i in range(0, len(indices) - self.n_ins + 1, self.n_ins)]

    def sample_epoch(self) -> list[int]:
        groups = {label: self._groups(label) for label in self.labels}
        left = list(self.labels)
        sampled = []
        while len(left) >= self.ncls_per_batch:
            for label in random.sample(left, self.ncls_per_batch):
                sampled += groups[label].pop(0)
                if not groups[label]:
                    left.remove(label)
        return sampled


SAMPLERS = ["RandomSampler", "SequentialSampler", "RandomDomainSampler"]
SAMPLERS += ["SeqDomainSampler", "RandomClassSampler"]


def build_sampler(sampler_type, cfg=None, data_source=None, batch_size=32, n_domain=0, n_ins=16) -> Sampler:
    """Builds a sampler by name. Raises ValueError if the name is unknown or the sizes do not fit the data."""
    check_availability(sampler_type, SAMPLERS, key="DATALOADER.*.SAMPLER")
    if sampler_type == "RandomSampler":
        return RandomSampler(data_source)
    if sampler_type == "SequentialSampler":
        return SequentialSampler(data_source)
    if sampler_type == "RandomDomainSampler":
        return RandomDomainSampler(data_source, batch_size, n_domain)
    if sampler_type == "SeqDomainSampler":
        return SeqDomainSampler(data_source, batch_size)
    return RandomClassSampler(data_source, batch_size, n_ins)
