"""The jobs of each protocol and method: commands, run directories, defaults, and unsupported combinations."""

from types import SimpleNamespace

import pytest

from datasets import catalogue
from tests.user_errors import raises_user_error
from tools.recipe import read_table
from tools.sweeping.methods import registered_methods
from tools.sweeping.plan import PROTOCOLS, plan

KEYS = ("--", "OPTIM.LR", "0.1")
# method -> what RN50 does not have, as the error says
NOT_ON_RESNETS = dict.fromkeys(("MaPLe", "IVLP", "PromptSRC", "PromptTuning", "MMRL", "MMRLPP"), "ResNet")
NOT_ON_RESNETS |= dict.fromkeys(("Adapter", "Compacter", "CompacterPP", "CLIPLoRA", "CLIPSVD", "MMA"), "blocks")
NOT_ON_RESNETS |= dict.fromkeys(("CLIPFit", "LayerNormTuning", "TwoStage"), "'image_layernorm'")
NOT_ON_RESNETS["SkipTuning"] = "'image_block'"


def value(job, flag):
    return job.argv[job.argv.index(flag) + 1]


def folders(jobs, args):
    return [str(job.output.relative_to(args.output)) for job in jobs]


def test_base2new_is_a_training_and_an_evaluation(args):
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
        assert job.argv[-4:] == ["TRAINER.CLIPFIT.BETA", "8.0", "OPTIM.LR", "0.1"]  # the user's keys come last


def test_fewshot_with_best_val(args):
    parsed = args("fewshot", "--datasets", "eurosat", "--seeds", "1", "--shots", "1", "8", "--best-val")
    jobs = plan(parsed)
    assert folders(jobs, parsed) == [f"eurosat/shots_{n}/CLIPFit/vit_b16_ep100_best_val/seed1" for n in (1, 8)]
    assert all(value(job, "TEST.FINAL_MODEL") == "best_val" and job.training is None for job in jobs)


def test_target_datasets_outside_the_root(args):
    argv = ("cross_dataset", "--methods", "TipAdapterF", "--datasets", "digits", "--targets", "folder=a/b", "digits")
    parsed = args(*argv, "--seeds", "1", "--config", "micro", "--backbone", "RN50")
    source, target = plan(parsed)
    run = "shots_16/TipAdapterF/micro/seed1"
    assert folders([source, target], parsed) == [f"train/digits/{run}", f"test/digits/b/{run}"]
    assert value(source, "--root") == parsed.root and value(target, "--root") == "a/b"
    assert target.training is source and value(target, "--backbone") == "RN50"
    assert "TRAINER.TIP.ALPHA" not in source.argv  # --config replaces the recipe


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("method", registered_methods())
def test_every_method_has_jobs_or_is_unsupported(args, method, protocol):
    for backbone, dataset in (("micro", "digits"), ("ViT-B/16", "imagenet"), ("RN50", "imagenet")):
        argv = (protocol, "--methods", method, "--datasets", dataset, "--backbone", backbone, "--seeds", "1")
        trainer = registered_methods()[method]
        if protocol == "retrieval" and not getattr(trainer, "takes_captions", lambda: False)():
            with raises_user_error(method, "captions", error=ValueError):
                plan(args(*argv))
        elif protocol == "base2new" and getattr(trainer, "per_class", False):
            with raises_user_error(method, "base2new", "new classes", error=ValueError):
                plan(args(*argv))
        elif backbone == "RN50" and method in NOT_ON_RESNETS:
            with raises_user_error(method, NOT_ON_RESNETS[method], error=ValueError):
                plan(args(*argv))
        else:
            jobs = plan(args(*argv))
            assert jobs and len({job.output for job in jobs}) == len(jobs)
            assert all(value(job, "--config-file").endswith(".yaml") for job in jobs)


def test_settings_decide_what_a_backbone_supports(args):
    sets = "('text_ffn_output_bias', 'image_batchnorm')"
    assert plan(args("fewshot", "--backbone", "RN50", "--", "TRAINER.CLIPFIT.TUNE", sets))
    argv = ("fewshot", "--methods", "CLIPLoRA", "--backbone", "RN50", "--", "TRAINER.CLIPLORA.ENCODERS")
    assert plan(args(*argv, "text"))
    with raises_user_error("CLIPLoRA", "RN50", "'image'", error=ValueError):
        plan(args(*argv, "image"))
    assert plan(args("fewshot", "--methods", "MaPLe", "--backbone", "no/such/file.pt"))  # which the runs report


def test_all_skips_unsupported_methods_and_prints_them(args, monkeypatch, capsys):
    monkeypatch.setattr(registered_methods()["CLIP_Adapter"], "per_class", True)
    methods = {job.setting.method for job in plan(args("base2new", "--methods", "all", "--backbone", "RN50"))}
    per_class = [name for name, trainer in registered_methods().items() if getattr(trainer, "per_class", False)]
    assert "CLIP_Adapter" in per_class
    unsupported = {**NOT_ON_RESNETS, **dict.fromkeys(per_class, "base2new")}
    assert methods == set(registered_methods()) - set(unsupported)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == len(unsupported)
    for name, fact in unsupported.items():
        assert any(f" {name}:" in line and fact in line for line in lines)


def test_a_method_without_recipe_and_config_files(args, monkeypatch):
    from tools.sweeping import methods

    monkeypatch.setattr(methods, "registered_methods", lambda: {"TextResidual": SimpleNamespace})
    for dataset, config in (("dtd", "vit_b16_ep100"), ("digits", "micro_ep100")):
        parsed = args("fewshot", "--methods", "all", "--datasets", dataset, "--seeds", "1", "--shots", "4")
        (job,) = plan(parsed)
        assert value(job, "--config-file") == f"configs/trainers/_base_/{config}.yaml"
        assert folders([job], parsed) == [f"{dataset}/shots_4/TextResidual/{config}/seed1"]


def test_registered_methods():
    ours = [name for name, trainer in registered_methods().items() if trainer.__module__.startswith("trainers.")]
    listed = [name for name in read_table() if name not in ("every", "default")]
    assert ours[:3] == listed[:3] and "ZeroshotCLIP2" in ours
    assert "ClipFit" not in registered_methods()  # alias of CLIPFit; it has no recipe


def test_defaults(args):
    def datasets(*argv):
        return {value(job, "--dataset-config-file").split("/")[-1][:-5] for job in plan(args(*argv))}

    eleven = set(catalogue.paper_configs())
    assert datasets("base2new", "--datasets", "all") == eleven and len(eleven) == 11
    assert datasets("base2new") == {"digits"}
    assert datasets("cross_dataset") == eleven
    assert datasets("domain_shift") == {"imagenet", "imagenetv2", "imagenet_sketch", "imagenet_a", "imagenet_r"}
    for targets in ((), ("--targets", "all")):
        argv = ("--datasets", "imagenet", "digits", "--seeds", "1", *targets)
        assert datasets("domain_shift", *argv) == datasets("domain_shift") | {
            "digits",
            "digits_rotated",
            "digits_noisy",
        }
        assert datasets("cross_dataset", *argv) == eleven | {"digits", "capital_letters", "symbols"}
    jobs = plan(args("fewshot", "--methods", "all", "--datasets", "digits"))
    assert len(jobs) == len(registered_methods()) * 5 * 3 and len({job.output for job in jobs}) == len(jobs)
    for job, method in zip(jobs[:2], list(registered_methods())[:2], strict=True):
        assert all(part in job.title for part in (method, "digits", "1 shot", "seed 1"))
        setting = job.setting
        assert (setting.method, setting.dataset, setting.shots, setting.seed) == (method, "digits", 1, 1)
    assert len(plan(args("fewshot", "--seeds", "1", "1", "--shots", "4", "4"))) == 1
    assert len(plan(args("fewshot", "--methods", "CoOp", "CoOp", "--seeds", "1", "--shots", "4"))) == 1


def test_the_micro_clip_is_the_default_for_bundled_datasets(args):
    for entry in catalogue.entries().values():
        (job,) = plan(args("fewshot", "--datasets", entry.config, "--seeds", "1", "--shots", "4"))
        assert value(job, "--backbone") == ("micro" if entry.bundled else "ViT-B/16")


def test_targets_of_a_source_that_the_catalogue_does_not_know(args, monkeypatch):
    """A plugin's dataset, with a YAML that is not named like the plugin's module."""
    monkeypatch.setattr("tools.sweeping.plan.check_datasets", lambda option, names: None)
    jobs = plan(args("cross_dataset", "--datasets", "mine", "--seeds", "1"))
    tested = [value(job, "--dataset-config-file") for job in jobs[1:]]
    assert tested == [f"configs/datasets/{name}.yaml" for name in catalogue.paper_configs()[1:]]
    with raises_user_error("domain_shift", "mine", "--targets", error=ValueError):
        plan(args("domain_shift", "--datasets", "mine", "--seeds", "1"))


@pytest.mark.parametrize(
    "argv, facts",
    [
        (("base2new", "--methods", "ClipFit"), ("'ClipFit'", "CLIPFit, CoOp")),
        (("base2new", "--methods", "CoOp", "all"), ("'all'", "CLIPFit, CoOp")),
        (("base2new", "--datasets", "dtd", "imagenet1k"), ("--datasets", "'imagenet1k'", "digits, digits_noisy")),
        (("base2new", "--methods", "MaPLe", "--backbone", "RN50"), ("MaPLe", "RN50")),
        (("cross_dataset", "--targets", "dtd", "cifar"), ("--targets", "'cifar'", "dtd")),
        (("cross_dataset", "--targets", "folder=a", "folder=b"), ("--targets", "folder")),
        (("fewshot", "--targets", "dtd"), ("--targets", "cross_dataset", "fewshot")),
        (("domain_shift", "--datasets", "imagenet", "dtd"), ("domain_shift", "dtd", "--targets")),
        (("fewshot", "--shots", "4", "0"), ("--shots", "1", "0")),
        (("fewshot", "--seeds", "-1"), ("--seeds", "0", "-1")),
        (("fewshot", "--config", "rn50"), ("'rn50'", "CLIPFit", "micro_ep100")),
    ],
)
def test_user_errors(args, argv, facts):
    with raises_user_error(*facts, error=ValueError):
        plan(args(*argv))
