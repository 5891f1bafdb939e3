"""The jobs of every protocol and method: their commands, folders, defaults, and what is refused."""

from types import SimpleNamespace

import pytest

from datasets import catalogue
from tools.recipe import read_table
from tools.sweeping.methods import known, refusal
from tools.sweeping.plan import PROTOCOLS, plan

KEYS = ("--", "OPTIM.LR", "0.1")


def value(job, flag):
    return job.argv[job.argv.index(flag) + 1]


def folders(jobs, args):
    return [str(job.output.relative_to(args.output)) for job in jobs]


def test_a_training_and_its_evaluations(args):
    parsed = args("base2new", "--datasets", "dtd", "--seeds", "2", "--shots", "4", *KEYS)
    base, new = plan(parsed)
    run = "dtd/shots_4/CLIPFit/vit_b16_ep100/seed2"
    assert folders([base, new], parsed) == [f"train_base/{run}", f"test_new/{run}"]
    assert new.training is base and "--eval-only" in new.argv and "--eval-only" not in base.argv
    assert value(new, "--model-dir") == str(base.output)
    assert value(base, "DATASET.SUBSAMPLE_CLASSES") == "base" and value(new, "DATASET.SUBSAMPLE_CLASSES") == "new"
    for job in (base, new):
        assert value(job, "--output-dir") == str(job.output) and value(job, "--root") == parsed.root
        assert value(job, "--trainer") == "CLIPFit" and value(job, "--backbone") == "ViT-B/16"
        assert value(job, "--dataset-config-file") == "configs/datasets/dtd.yaml"
        assert value(job, "--config-file") == "configs/trainers/CLIPFit/vit_b16_ep100.yaml"
        assert value(job, "--seed") == "2" and value(job, "DATASET.NUM_SHOTS") == "4"
        assert job.argv[-4:] == ["TRAINER.CLIPFIT.BETA", "8.0", "OPTIM.LR", "0.1"]  # one's own keys come last


def test_fewshot_with_the_best_epoch(args):
    parsed = args("fewshot", "--datasets", "eurosat", "--seeds", "1", "--shots", "1", "8", "--best-val")
    jobs = plan(parsed)
    assert folders(jobs, parsed) == [f"eurosat/shots_{n}/CLIPFit/vit_b16_ep100_best_val/seed1" for n in (1, 8)]
    assert all(value(job, "TEST.FINAL_MODEL") == "best_val" and job.training is None for job in jobs)


def test_targets_with_folders_of_their_own(args):
    argv = ("cross_dataset", "--methods", "TipAdapterF", "--datasets", "digits", "--targets", "folder=a/b", "digits")
    parsed = args(*argv, "--seeds", "1", "--config", "micro", "--backbone", "RN50")
    source, target = plan(parsed)
    run = "shots_16/TipAdapterF/micro/seed1"
    assert folders([source, target], parsed) == [f"train/digits/{run}", f"test/digits/folder/{run}"]
    assert value(source, "--root") == parsed.root and value(target, "--root") == "a/b"
    assert target.training is source and value(target, "--backbone") == "RN50"
    assert "TRAINER.TIP.ALPHA" not in source.argv  # --config: no key of the recipe


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("method", known())
def test_every_method_has_jobs_or_a_refusal(args, method, protocol):
    for backbone, dataset in (("micro", "digits"), ("ViT-B/16", "dtd"), ("RN50", "dtd")):
        argv = (protocol, "--methods", method, "--datasets", dataset, "--backbone", backbone, "--seeds", "1")
        why = refusal(method, known()[method], protocol, backbone)
        if why:
            with pytest.raises(ValueError) as error:
                plan(args(*argv))
            assert str(error.value) == why and method in why
        else:
            jobs = plan(args(*argv))
            assert jobs and len({job.output for job in jobs}) == len(jobs)
            assert all(value(job, "--config-file").endswith(".yaml") for job in jobs)


def test_what_is_refused():
    vit, heads = SimpleNamespace(needs_vit=True), SimpleNamespace(per_class=True)
    for name in ("RN50", "RN101", "RN50x4", "RN50x64"):
        assert name in refusal("MaPLe", vit, "fewshot", name)
    for name in ("micro", "ViT-B/16", "a/RN50.pt", ""):
        assert not refusal("MaPLe", vit, "base2new", name)
    assert "base2new" in refusal("Probe", heads, "base2new", "")
    assert not refusal("Probe", heads, "fewshot", "RN50")
    assert not refusal("Plain", SimpleNamespace(), "base2new", "RN50")  # a trainer that says nothing about itself


def test_all_leaves_out_what_is_refused_and_says_so(args, monkeypatch, capsys):
    monkeypatch.setattr(known()["CLIP_Adapter"], "per_class", True)
    methods = {job.setting.method for job in plan(args("base2new", "--methods", "all", "--backbone", "RN50"))}
    refused = {name for name, trainer in known().items() if trainer.per_class or trainer.needs_vit}
    assert {"CLIP_Adapter", "MaPLe"} <= refused and methods == set(known()) - refused
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == len(refused) and all(any(name in line for line in lines) for name in refused)
    assert any("MaPLe" in line and "RN50" in line for line in lines)


def test_a_method_needs_neither_a_recipe_nor_files(args, monkeypatch):
    from tools.sweeping import methods

    monkeypatch.setattr(methods, "known", lambda: {"TaskRes": SimpleNamespace})
    for dataset, config in (("dtd", "vit_b16_ep100"), ("digits", "micro_ep100")):
        parsed = args("fewshot", "--methods", "all", "--datasets", dataset, "--seeds", "1", "--shots", "4")
        (job,) = plan(parsed)
        assert value(job, "--config-file") == f"configs/trainers/_base_/{config}.yaml"
        assert folders([job], parsed) == [f"{dataset}/shots_4/TaskRes/{config}/seed1"]


def test_known_methods():
    ours = [name for name, trainer in known().items() if trainer.__module__.startswith("trainers.")]
    assert ours[:3] == list(read_table())[1:4] and "ZeroshotCLIP2" in ours
    assert "ClipFit" not in known()  # another name of CLIPFit, whose recipe it would miss


def test_defaults(args):
    def datasets(*argv):
        return {value(job, "--dataset-config-file").split("/")[-1][:-5] for job in plan(args(*argv))}

    eleven = set(catalogue.paper_configs())
    assert datasets("base2new", "--datasets", "all") == eleven and len(eleven) == 11
    assert datasets("base2new") == {"digits"}
    assert datasets("cross_dataset") == eleven
    assert datasets("domain_shift") == {"imagenet", "imagenetv2", "imagenet_sketch", "imagenet_a", "imagenet_r"}
    jobs = plan(args("fewshot", "--methods", "all", "--datasets", "digits"))
    assert len(jobs) == len(known()) * 5 * 3 and len({job.output for job in jobs}) == len(jobs)
    assert [job.title for job in jobs[:2]] == [f"{m} on digits, 1 shots, seed 1" for m in list(known())[:2]]
    assert len(plan(args("fewshot", "--seeds", "1", "1", "--shots", "4", "4"))) == 1
    assert len(plan(args("fewshot", "--methods", "CoOp", "CoOp", "--seeds", "1", "--shots", "4"))) == 1


@pytest.mark.parametrize(
    "argv, facts",
    [
        (("base2new", "--methods", "ClipFit"), ("method 'ClipFit'", "CLIPFit, CoOp")),
        (("base2new", "--methods", "CoOp", "all"), ("method 'all'", "CLIPFit, CoOp")),
        (("base2new", "--datasets", "dtd", "imagenet1k"), ("dataset 'imagenet1k'", "caltech101, digits")),
        (("base2new", "--methods", "MaPLe", "--backbone", "RN50"), ("MaPLe", "RN50")),
        (("cross_dataset", "--targets", "dtd", "cifar"), ("dataset 'cifar'",)),
        (("cross_dataset", "--targets", "folder=a", "folder=b"), ("--targets", "folder")),
        (("fewshot", "--targets", "dtd"), ("--targets", "cross_dataset", "fewshot")),
        (("fewshot", "--shots", "4", "0"), ("--shots", "got 0")),
        (("fewshot", "--seeds", "-1"), ("--seeds", "got -1")),
        (("fewshot", "--config", "rn50"), ("config 'rn50' for CLIPFit", "micro_ep100")),
    ],
)
def test_mistakes(args, argv, facts):
    with pytest.raises(ValueError) as error:
        plan(args(*argv))
    assert all(fact in str(error.value) for fact in facts)
