"""Output trees as written by the scripts of CoOp, CoCoOp, KgCoOp, MaPLe, PromptSRC and CLIPFit's original code."""

import statistics

import pytest

from tests.tools.reporting.trees import assert_problems, numbers, report, write_log, write_record

DTD, PETS = "DescribableTextures", "OxfordPets"


def base2new(root, trainer, shots_folder, config, seeds=(1, 2, 3), dataset=DTD, **settings):
    """Writes the trees of base2new_train.sh and base2new_test.sh. Returns the means of Base and New."""
    base, new = [], []
    for seed in seeds:
        common = f"dtd/{shots_folder}/{trainer}/{config}/seed{seed}"
        base.append(write_log(root / "train_base" / common, trainer, dataset, seed, correct=80 + seed, **settings))
        write_log(
            root / "test_new" / common, trainer, dataset, seed, classes="new", correct=60 + 2 * seed,
            model_dir=f"output/base2new/train_base/{common}", load_epoch=settings.get("epochs"),
        )  # fmt: skip
        new.append(60 + 2 * seed)
    base = statistics.mean(80 + seed for seed in seeds)
    return base, statistics.mean(new)


@pytest.mark.parametrize(
    "trainer, shots_folder, config",
    [
        ("CoOp", "shots_16", "vit_b16_ctxv1"),
        ("CoCoOp", "shots_16", "vit_b16_c4_ep10_batch1_ctxv1"),
        ("MaPLe", "shots_16", "vit_b16_c2_ep5_batch4_2ctx"),
        ("ClipFit", "shots_16_alpha0", "vit_b16_ep100_ctxv1"),
        ("ProGrad", "shots_16", "rn50_ep100"),
        ("MultiModalAdapter", "shots_16", "vit_b16_ep5"),
    ],
)
def test_base_to_new(tmp_path, trainer, shots_folder, config):
    base, new = base2new(tmp_path / "output/base2new", trainer, shots_folder, config)
    result = report(tmp_path, options=("--method", trainer))
    (table,) = result.tables
    method = {"ClipFit": "CLIPFit", "MultiModalAdapter": "MMA"}.get(trainer, trainer)
    assert table.key.title == "Base to new, 16 shots, ViT-B/16" and not result.problems
    assert numbers(table, DTD, method) == {"Base": (base, 3), "New": (new, 3), "H": (2 * base * new / (base + new), 3)}


def test_an_evaluation_has_the_settings_of_its_training(tmp_path):
    """KgCoOp's test script leaves TRAINER.COOP.W at its default."""
    for weight, correct in ((8.0, 80), (4.0, 50)):
        for part, classes in (("train_base", "base"), ("test_new", "new")):
            common = f"dtd/shots_16_{weight}/KgCoOp/vit_b16_ep100_ctxv1/seed1"
            folder, model_dir = tmp_path / part / common, f"output/base2new/train_base/{common}" * (classes == "new")
            printed_weight = {"TRAINER.COOP.W": weight if classes == "base" else 1.0}
            write_log(folder, "KgCoOp", classes=classes, correct=correct, model_dir=model_dir, **printed_weight)
    (table,) = report(tmp_path).tables
    assert numbers(table, DTD, "KgCoOp (W 8.0)") == {"Base": (80, 1), "New": (80, 1), "H": (80, 1)}
    assert numbers(table, DTD, "KgCoOp (W 4.0)") == {"Base": (50, 1), "New": (50, 1), "H": (50, 1)}


def test_evaluations_of_published_weights(tmp_path):
    """In MaPLe's reproduce_maple.sh, Base and New are evaluations."""
    for classes, correct in (("base", 90), ("new", 60)):
        folder = tmp_path / f"test_{classes}" / "dtd/shots_16/MaPLe/x/seed1"
        write_log(folder, "MaPLe", classes=classes, correct=correct, model_dir="weights/base/seed1", load_epoch=5)
    result = report(tmp_path)
    assert numbers(result.tables[0], DTD, "MaPLe") == {"Base": (90, 1), "New": (60, 1), "H": (72, 1)}
    assert not result.problems


def test_another_epoch_is_another_row(tmp_path):
    """CoOp's shared test script loads epoch 10, but CoOp trains for 50."""
    write_log(tmp_path / "train_base/dtd/seed1", "CoOp", correct=80)
    write_log(tmp_path / "test_new/dtd/seed1", "CoOp", classes="new", model_dir="train_base/dtd/seed1", load_epoch=10)
    result = report(tmp_path)
    assert [row.title for row in result.tables[0].rows] == ["CoOp (epoch 10)", "CoOp (last epoch)"]
    assert {problem.category for problem in result.problems} >= {"unpaired"}


def test_few_shot(tmp_path):
    for shots in (1, 2, 4, 8, 16):
        for seed in (1, 2, 3):
            folder = f"dtd/CoOp/vit_b16_{shots}shots/nctx16_cscFalse_ctpend/seed{seed}"
            write_log(tmp_path / folder, "CoOp", seed=seed, shots=shots, classes="all", correct=50 + 2 * shots + seed)
    write_log(tmp_path / "ZeroshotCLIP/vit_b16/dtd", "ZeroshotCLIP", seed=-1, shots=-1, classes="all", correct=44)
    result = report(tmp_path)
    (table,) = result.tables
    assert table.columns == ["0", "1", "2", "4", "8", "16"] and not result.problems
    assert numbers(table, DTD, "CoOp") == {str(n): (52 + 2 * n, 3) for n in (1, 2, 4, 8, 16)}
    assert numbers(table, DTD, "ZeroshotCLIP") == {"0": (44, 1)}


def test_few_shot_evaluation_of_published_weights(tmp_path):
    """As in PromptSRC's reproduce_few_shot.sh."""
    folder = tmp_path / "few_shot/dtd/MaPLe/x_4shots/seed1"
    write_log(folder, "MaPLe", shots=4, classes="all", model_dir="weights/4shot/seed1", load_epoch=5)
    assert numbers(report(tmp_path).tables[0], DTD, "MaPLe") == {"4": (80, 1)}


def imagenet(root, targets=((DTD, "dtd", 45), (PETS, "oxford_pets", 90)), train=True):
    """Writes the trees of CoCoOp's xd_train.sh and xd_test.sh. The tests do not set shots."""
    trainer, config = "CoCoOp", "vit_b16_c4"
    for seed in (1, 2, 3):
        source = f"imagenet/{trainer}/{config}_16shots/seed{seed}"
        if train:
            write_log(root / source, trainer, "ImageNet", seed, classes="all", correct=70 + seed)
        for dataset, name, correct in targets:
            folder = root / f"evaluation/{trainer}/{config}_16shots/{name}/seed{seed}"
            write_log(folder, trainer, dataset, seed, shots=-1, classes="all", correct=correct + seed,
                      model_dir=f"output/{source}", load_epoch=10)  # fmt: skip


@pytest.mark.parametrize("train", [True, False])
def test_cross_dataset(tmp_path, train):
    imagenet(tmp_path / "output", train=train)
    result = report(tmp_path)
    (table,) = result.tables
    assert table.key.title == "Cross-dataset, trained on ImageNet, 16 shots, ViT-B/16" and not result.problems
    assert numbers(table, DTD, "CoCoOp") == {"Accuracy": (47, 3)}
    assert numbers(table, "Average (2 datasets)", "CoCoOp") == {"Accuracy": ((47 + 92) / 2, 3)}
    assert ("ImageNet" in [group.title for group in table.groups]) == train


def test_distribution_shift(tmp_path):
    imagenet(tmp_path, targets=(("ImageNetV2", "imagenetv2", 60), ("ImageNetSketch", "imagenet_sketch", 45)))
    (table,) = report(tmp_path).tables
    assert table.key.title == "Distribution shift, trained on ImageNet, 16 shots, ViT-B/16"
    assert numbers(table, "Average with source (3 datasets)", "CoCoOp") == {"Accuracy": ((72 + 62 + 47) / 3, 3)}
    assert numbers(table, "Average of targets (2 datasets)", "CoCoOp") == {"Accuracy": ((62 + 47) / 2, 3)}


def test_a_tree_that_was_moved(tmp_path):
    """The tests name output/..., but the tree is in another folder, next to a second tree with the same names."""
    for name, correct in (("first", 80), ("second", 40)):
        for part, classes in (("train_base", "base"), ("test_new", "new")):
            common = "dtd/shots_16/KgCoOp/x/seed1"
            model_dir = f"output/base2new/train_base/{common}" * (classes == "new")
            write_log(tmp_path / name / part / common, "KgCoOp", classes=classes, correct=correct, model_dir=model_dir,
                      **{"TRAINER.COOP.W": float(correct) if classes == "base" else 1.0})  # fmt: skip
    (table,) = report(tmp_path).tables
    assert numbers(table, DTD, "KgCoOp (W 80.0)")["H"] == (80, 1)
    assert numbers(table, DTD, "KgCoOp (W 40.0)")["H"] == (40, 1)


def test_logs_and_records_of_a_method_are_not_mixed(tmp_path):
    for seed in (1, 2):
        write_log(tmp_path / f"other/seed{seed}", "CoOp", seed=seed, classes="all", correct=70)
        write_record(tmp_path / f"ours/seed{seed}", "CoOp", DTD, seed, accuracy=75.0, backbone="ViT-B/16")
    (table,) = report(tmp_path).tables
    assert numbers(table, DTD, "CoOp") == {"16": (75, 2)}
    assert numbers(table, DTD, "CoOp (other code)") == {"16": (70, 2)}


def test_several_logs_in_a_folder(tmp_path):
    write_log(tmp_path / "seed1", "MaPLe", classes="all", correct=70)
    write_log(tmp_path / "seed1", "MaPLe", classes="all", correct=71, name="log.txt-2026-01-01-10-00-00")
    write_log(tmp_path / "seed2", "MaPLe", seed=2, classes="all", stop=3)
    write_log(tmp_path / "seed2", "MaPLe", seed=2, classes="all", correct=72, name="log.txt-2026-01-01-10-00-00")
    write_log(tmp_path / "seed3", "MaPLe", seed=3, classes="all", stop=3)
    write_log(tmp_path / "seed3", "MaPLe", seed=3, classes="all", stop=4, name="log.txt-2026-01-01-10-00-00")
    result = report(tmp_path)
    assert numbers(result.tables[0], DTD, "MaPLe") == {"16": (71, 2)}
    later = "log.txt-2026-01-01-10-00-00"
    assert_problems(
        result,
        ("duplicate", "seed1", later, "71.00", "log.txt ", "70.00"),
        ("inconsistent", "seed2", "log.txt ", later),
        ("unfinished", "seed3", 4, 5),
    )


def test_a_training_on_another_dataset_is_not_the_source(tmp_path):
    """Run directories of other datasets have the same names; the source run is missing."""
    write_log(tmp_path / "dtd/CoCoOp/vit_b16_c4_16shots/seed1", "CoCoOp", DTD, classes="all", correct=60)
    write_log(tmp_path / "few/x/CoCoOp/vit_b16_c4/seed1", "CoCoOp", PETS, classes="all", correct=60)
    imagenet(tmp_path, train=False)
    write_log(tmp_path / "test_new/dtd/shots_16/CoCoOp/vit_b16_c4/seed1", "CoCoOp", classes="new",
              model_dir="output/base2new/train_base/dtd/shots_16/CoCoOp/vit_b16_c4/seed1", load_epoch=10)  # fmt: skip
    base2new, few_shot, cross = report(tmp_path).tables
    assert numbers(base2new, DTD, "CoCoOp") == {"New": (80, 1)}
    assert numbers(few_shot, DTD, "CoCoOp") == {"16": (60, 1)} and cross.key.source == "ImageNet"


def test_a_log_of_this_project_replaces_a_corrupted_record(tmp_path):
    """The log has the same settings as the records of the other seeds, so it is in the same row."""
    template = {"DATASET.TEMPLATE": "a photo of a {}."}
    settings = {"OPTIM.MAX_EPOCH": 50, "TRAINER.COOP.N_CTX": 16, **template}
    for seed in (1, 2):
        write_record(tmp_path / f"seed{seed}", "CoOp", DTD, seed, backbone="ViT-B/16", accuracy=70.0, **settings)
    write_log(tmp_path / "seed3", "CoOp", seed=3, classes="all", correct=76, **template)
    (tmp_path / "seed3/result.json").write_text("")
    (table,) = report(tmp_path).tables
    assert numbers(table, DTD, "CoOp") == {"16": (72, 3)}
    write_log(tmp_path / "seed3", "CoOp", seed=3, classes="all", correct=76, **template, **{"OPTIM.MAX_EPOCH": 5})
    assert [row.title for row in report(tmp_path).tables[0].rows] == ["CoOp (MAX_EPOCH 5)", "CoOp (MAX_EPOCH 50)"]
