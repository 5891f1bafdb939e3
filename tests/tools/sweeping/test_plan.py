"""A sweep's jobs are the scripts': the same commands in the same folders, for every protocol and method."""

import pytest

from tests.scripts.commands import commands
from tools.recipe import read_table
from tools.sweeping.plan import ELEVEN, PROTOCOLS, plan

SCRIPT = {  # protocol: what its script takes, and what the sweep takes for the same
    "base2new": (("dtd", "2", "1", "--shots", "4"), ("--datasets", "dtd", "--shots", "4")),
    "fewshot": (("eurosat", "8", "2", "1", "--best-val"), ("--datasets", "eurosat", "--shots", "8", "--best-val")),
    "cross_dataset": (("digits", "2", "1", "--targets", "folder=a/b digits"),
                      ("--datasets", "digits", "--targets", "folder=a/b", "digits")),
    "domain_shift": (("imagenet", "2", "1", "--config", "micro", "--backbone", "RN50"),
                     ("--config", "micro", "--backbone", "RN50")),
}  # fmt: skip


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("method", ["CLIPFit", "TipAdapterF"])
def test_jobs_are_the_scripts(args, tmp_path, method, protocol):
    mine, theirs = SCRIPT[protocol]
    if method == "CLIPFit" and protocol == "domain_shift":
        mine, theirs = mine[:3], ()
    places = ("--data", str(tmp_path / "data"), "--output", str(tmp_path / "out"))
    keys = ("--", "OPTIM.LR", "0.1")
    scripts, _ = commands(tmp_path, f"scripts/{protocol}.sh", method, *mine, *places, *keys)
    jobs = plan(args(protocol, "--methods", method, "--seeds", "2", "1", *theirs, *keys))
    assert [job.argv for job in jobs] == scripts
    for job in jobs:
        assert job.argv[job.argv.index("--output-dir") + 1] == str(job.output)
        assert ("--eval-only" in job.argv) == (job.training is not None)
        assert job.training is None or jobs.index(job.training) < jobs.index(job)


def test_defaults(args):
    def datasets(parsed):
        return {job.argv[job.argv.index("--dataset-config-file") + 1].split("/")[-1][:-5] for job in plan(parsed)}

    assert datasets(args("base2new", "--datasets", "all")) == set(ELEVEN) and len(ELEVEN) == 11
    assert datasets(args("base2new")) == {"digits"}
    assert datasets(args("cross_dataset")) == set(ELEVEN)
    assert datasets(args("domain_shift")) == {"imagenet", "imagenetv2", "imagenet_sketch", "imagenet_a", "imagenet_r"}
    jobs = plan(args("fewshot", "--methods", "all", "--datasets", "digits"))
    assert len(jobs) == len(read_table()) * 5 * 3 and len({job.output for job in jobs}) == len(jobs)
    assert [job.title for job in jobs[:2]] == [f"{m} on digits, 1 shots, seed 1" for m in list(read_table())[:2]]
    assert len(plan(args("fewshot", "--seeds", "1", "1", "--shots", "4", "4"))) == 1


@pytest.mark.parametrize(
    "argv, message",
    [
        (("base2new", "--methods", "ClipFit"), "unknown method 'ClipFit'; there are: CLIPFit, CLIP_Adapter"),
        (("base2new", "--datasets", "dtd", "imagenet1k"), "unknown dataset 'imagenet1k'; there are: caltech101"),
        (("cross_dataset", "--targets", "dtd", "cifar"), "unknown dataset 'cifar'"),
        (("cross_dataset", "--targets", "folder=a", "folder=b"), "--targets names folder twice"),
        (("fewshot", "--targets", "dtd"), "--targets is for cross_dataset and domain_shift, not for fewshot"),
        (("fewshot", "--shots", "4", "0"), "--shots must be 1 or more, got 0"),
        (("fewshot", "--seeds", "-1"), "--seeds must be 0 or more, got -1"),
        (("fewshot", "--config", "rn50"), "unknown config 'rn50' for CLIPFit; there are: micro_ep100"),
    ],
)
def test_mistakes(args, argv, message):
    with pytest.raises(ValueError) as error:
        plan(args(*argv))
    assert str(error.value).startswith(message)
