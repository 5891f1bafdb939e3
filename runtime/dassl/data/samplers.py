"""Orders in which a loader visits the images."""

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


class _DrawnSampler(Sampler):
    """A sampler whose `draw()` makes a whole epoch. The length is that of a first draw; others may differ."""

    def draw(self) -> list[int]:
        raise NotImplementedError

    def __iter__(self):
        return iter(self.draw())

    def __len__(self) -> int:
        return self.length


class RandomDomainSampler(_DrawnSampler):
    """Batches of equal shares from `n_domain` random domains, until one has too few images left."""

    def __init__(self, data_source, batch_size: int, n_domain: int):
        self.data_source = data_source
        self.domain_dict = _indices_by(data_source, "domain")
        self.domains = self.order_domains(list(self.domain_dict))
        self.batch_size = batch_size
        self.n_domain = n_domain if n_domain and n_domain > 0 else len(self.domains)
        if batch_size % self.n_domain or self.n_domain > len(self.domains):
            raise ValueError(
                f"BATCH_SIZE {batch_size} must be a multiple of the {self.n_domain} domains in a batch, "
                f"of which the dataset has {len(self.domains)}"
            )
        self.n_img_per_domain = batch_size // self.n_domain
        smallest = min(len(indices) for indices in self.domain_dict.values())
        if smallest < self.n_img_per_domain:
            raise ValueError(f"A domain has {smallest} images, but a batch takes {self.n_img_per_domain}")
        self.length = len(self.draw())

    def order_domains(self, domains: list[int]) -> list[int]:
        return domains

    def batch_domains(self) -> list[int]:
        return random.sample(self.domains, self.n_domain)

    def draw(self) -> list[int]:
        left = {domain: list(indices) for domain, indices in self.domain_dict.items()}
        drawn, enough = [], True
        while enough:
            for domain in self.batch_domains():
                chosen = random.sample(left[domain], self.n_img_per_domain)
                drawn += chosen
                taken = set(chosen)
                left[domain] = [index for index in left[domain] if index not in taken]
                enough = enough and len(left[domain]) >= self.n_img_per_domain
        return drawn


class SeqDomainSampler(RandomDomainSampler):
    """Batches of equal shares from all domains, in the domains' order."""

    def __init__(self, data_source, batch_size: int):
        super().__init__(data_source, batch_size, n_domain=0)

    def order_domains(self, domains: list[int]) -> list[int]:
        return sorted(domains)

    def batch_domains(self) -> list[int]:
        return self.domains


class RandomClassSampler(_DrawnSampler):
    """Batches of `n_ins` images from each of `batch_size // n_ins` random classes."""

    def __init__(self, data_source, batch_size: int, n_ins: int):
        if batch_size < n_ins:
            raise ValueError(f"BATCH_SIZE {batch_size} must be at least N_INS {n_ins}")
        self.data_source = data_source
        self.batch_size = batch_size
        self.n_ins = n_ins
        self.ncls_per_batch = batch_size // n_ins
        self.index_dic = _indices_by(data_source, "label")
        self.labels = list(self.index_dic)
        if len(self.labels) < self.ncls_per_batch:
            raise ValueError(
                f"BATCH_SIZE // N_INS is {self.ncls_per_batch}, but there are {len(self.labels)} classes"
            )
        self.length = len(self.draw())

    def _shares(self, label: int) -> list[list[int]]:
        """The images of a class in random groups of n_ins; a small class repeats images to fill one."""
        indices = list(self.index_dic[label])
        if len(indices) < self.n_ins:
            indices = np.random.choice(indices, size=self.n_ins, replace=True).tolist()
        random.shuffle(indices)
        return [indices[i : i + self.n_ins] for i in range(0, len(indices) - self.n_ins + 1, self.n_ins)]

    def draw(self) -> list[int]:
        shares = {label: self._shares(label) for label in self.labels}
        left, drawn = list(self.labels), []
        while len(left) >= self.ncls_per_batch:
            for label in random.sample(left, self.ncls_per_batch):
                drawn += shares[label].pop(0)
                if not shares[label]:
                    left.remove(label)
        return drawn


SAMPLERS = ["RandomSampler", "SequentialSampler", "RandomDomainSampler"]
SAMPLERS += ["SeqDomainSampler", "RandomClassSampler"]


def build_sampler(sampler_type, cfg=None, data_source=None, batch_size=32, n_domain=0, n_ins=16) -> Sampler:
    """The sampler of that name. Raises ValueError on an unknown name or sizes that do not fit the data."""
    check_availability(sampler_type, SAMPLERS, what="A sampler (DATALOADER.*.SAMPLER)")
    if sampler_type == "RandomSampler":
        return RandomSampler(data_source)
    if sampler_type == "SequentialSampler":
        return SequentialSampler(data_source)
    if sampler_type == "RandomDomainSampler":
        return RandomDomainSampler(data_source, batch_size, n_domain)
    if sampler_type == "SeqDomainSampler":
        return SeqDomainSampler(data_source, batch_size)
    return RandomClassSampler(data_source, batch_size, n_ins)
