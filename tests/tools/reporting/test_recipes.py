"""Tables show the settings that differ from a method's recipe, even if all runs share them."""

import csv
import json
import shutil
from pathlib import Path

import pytest

from tests.tools.reporting.trees import report, write_log, write_pair, write_record
from tools.reporting import recipes
from tools.reporting.files import write_files
from tools.reporting.rows import comparable
from tools.reporting.run import read_record
from tools.sweep import parse_args
from tools.sweeping.plan import plan
from tools.sweeping.state import expected_record
from trainers.common.runs.record_schema import counts

ROOT = Path(__file__).resolve().parents[3]
BETA, EPOCHS, REG = "TRAINER.CLIPFIT.BETA", "OPTIM.MAX_EPOCH", "TRAINER.CLIPFIT.REG"
TABLE = """
CLIPFit:
  base2new: [{config: usual, TRAINER.CLIPFIT.BETA: 8.0}]
  fewshot:
    - {config: usual, TRAINER.CLIPFIT.BETA: 2.0}
    - {datasets: [dtd], TRAINER.CLIPFIT.BETA: 8}
  cross_dataset: [{config: usual, TRAINER.CLIPFIT.BETA: 8.0}]
"""
USUAL = {EPOCHS: 100, "OPTIM.LR": 1e-5, "INPUT.SIZE": [32, 32], REG: "kd"}


@pytest.fixture(autouse=True)
def configs(tmp_path_factory, monkeypatch):
    """A repository with one recipe."""
    folder = tmp_path_factory.mktemp("repository") / "configs"
    (folder / "trainers" / "CLIPFit").mkdir(parents=True)
    (folder / "recipes.yaml").write_text(TABLE)
    (folder / "trainers/CLIPFit/usual.yaml").write_text(
        "OPTIM: {MAX_EPOCH: 100, LR: 1e-5}\nINPUT: {SIZE: '(32, 32)'}\nDATALOADER: {NUM_WORKERS: 8}\n"
    )
    (folder / "trainers/CLIPFit/mine.yaml").write_text("_BASE_: usual.yaml\nTRAINER: {CLIPFIT: {REG: mse}}\n")
    monkeypatch.setattr(recipes, "CONFIGS", folder)
    return folder


def write(folder, *opts, config="usual", method="CLIPFit", **settings):
    """Writes a record with KEY VALUE pairs on its command line. Pairs that affect training are in its settings, too."""
    command = ["train.py", "--config-file", f"configs/trainers/{method}/{config}.yaml", *map(str, opts)]
    pairs = {key: value for key, value in zip(opts[::2], opts[1::2], strict=True) if counts(key)}
    settings = {**USUAL, BETA: 2.0, **pairs, **settings}
    return write_record(folder, method, config=config, changes={"command": command}, **settings)


def settings(result, table=0) -> dict:
    """Returns (dataset, row title) -> setting column."""
    texts = {}
    for group in result.tables[table].groups:
        for title in group.cells:
            texts[group.title, title] = result.tables[table].row(title).setting(group.datasets)
    return texts


def setting(result):
    """Returns the setting column of the only row."""
    (text,) = settings(result).values()
    return text


@pytest.mark.parametrize(
    "opts, label",
    [
        ((), ""),
        ((BETA, 2.0), ""),  # as in the recipe
        ((BETA, 4.0), "BETA 4.0"),
        ((EPOCHS, 5, BETA, 4.0), "MAX_EPOCH 5, BETA 4.0"),
        ((REG, "mse"), "REG mse"),  # not stated by the recipe
        ((REG, "kd"), "REG kd"),  # may be the default, which the report does not know
        (("DATALOADER.NUM_WORKERS", 0), ""),  # does not affect training
    ],
)
def test_settings_of_the_command_line(tmp_path, opts, label):
    for seed in (1, 2):
        write(tmp_path / f"{seed}", *opts, seed=seed)
    result = report(tmp_path)
    title = f"CLIPFit ({label})" if label else "CLIPFit"
    assert settings(result) == {("Digits", title): f"usual, {label}" if label else "usual"}


def test_what_the_backbone_expects_is_no_difference(tmp_path):
    """The recipe says 32 pixels, this backbone takes 64."""
    folder = write(tmp_path, **{"INPUT.SIZE": [64, 64]})
    assert setting(report(tmp_path)) == "usual, SIZE [64, 64]"
    record = json.loads((folder / "result.json").read_text())
    record["identity"]["input"] = {"SIZE": [64, 64]}
    (folder / "result.json").write_text(json.dumps(record))
    assert setting(report(tmp_path)) == "usual"


def test_recorded_settings_override_the_command_line(tmp_path):
    """The YAML was edited before or after the run."""
    write(tmp_path, **{EPOCHS: 7})
    assert setting(report(tmp_path)) == "usual, MAX_EPOCH 7"


def test_the_protocol_and_the_dataset_choose_the_recipe(tmp_path):
    for dataset in ("DescribableTextures", "EuroSAT"):
        write(tmp_path / dataset, dataset=dataset, **{BETA: 8.0})
    labels = {dataset: text for (dataset, _), text in settings(report(tmp_path)).items()}
    assert labels == {
        "Average (2 datasets)": "usual, BETA 8.0", "DescribableTextures": "usual", "EuroSAT": "usual, BETA 8.0"
    }  # fmt: skip


def test_a_change_on_some_datasets_names_them(tmp_path):
    for dataset, beta in (("UCF101", 2.0), ("EuroSAT", 4.0)):
        write(tmp_path / dataset, dataset=dataset, **{BETA: beta})
    result = report(tmp_path)
    assert [row.title for row in result.tables[0].rows] == ["CLIPFit (BETA 4.0 on EuroSAT)"]
    assert settings(result)["UCF101", "CLIPFit (BETA 4.0 on EuroSAT)"] == "usual"


def test_rows_that_differ_name_the_setting_once(tmp_path):
    for seed, beta in ((1, 2.0), (2, 4.0)):
        write(tmp_path / f"{seed}", seed=seed, **{BETA: beta})
    assert [row.title for row in report(tmp_path).tables[0].rows] == ["CLIPFit (BETA 2.0)", "CLIPFit (BETA 4.0)"]


def test_an_evaluation_has_the_settings_of_its_training(tmp_path):
    """The command line of the evaluation sets no keys."""
    write_pair(tmp_path, "x", config="usual", **USUAL, **{BETA: 4.0})
    assert setting(report(tmp_path)) == "usual, BETA 4.0"


def test_another_yaml(tmp_path):
    write(tmp_path / "a", config="mine", **{REG: "mse"})
    assert setting(report(tmp_path)) == "mine, REG mse"
    write(tmp_path / "a", config="gone")
    assert setting(report(tmp_path)) == "gone, YAML not found"


def test_another_epoch_than_the_recipes(tmp_path):
    write_record(tmp_path, config="usual", **USUAL, **{BETA: 2.0},
                 changes={"evaluation": {"split": "test", "final_model": "best_val"}})  # fmt: skip
    assert setting(report(tmp_path)) == "usual, best_val"


def test_changes_beyond_the_label_are_in_a_note(tmp_path):
    values = {EPOCHS: 5, "OPTIM.LR": 0.1, "INPUT.SIZE": [8, 8], REG: "mse", BETA: 3.0}
    write(tmp_path, *(part for pair in values.items() for part in pair))
    result = report(tmp_path)
    assert setting(result).endswith("and 1 more")
    (note,) = result.tables[0].notes
    assert all(f"{key.rpartition('.')[2]} {value}" in note for key, value in values.items())


def test_a_method_without_a_recipe_is_compared_with_its_yaml(tmp_path, configs):
    (configs / "trainers" / "Mine").mkdir()
    shutil.copy(configs / "trainers/CLIPFit/usual.yaml", configs / "trainers/Mine/usual.yaml")
    write(tmp_path, EPOCHS, 5, method="Mine")
    result = report(tmp_path)
    assert setting(result) == "usual, MAX_EPOCH 5"
    assert result.tables[0].rows[0].recipe(["Digits"]) == "no recipe"


def test_logs_of_this_project_and_of_other_code(tmp_path):
    template = {"DATASET.TEMPLATE": "a photo of a {}."}  # in every config of this project
    write_log(tmp_path / "ours", "ClipFit", classes="all", **template,
              **{EPOCHS: 5, BETA: 8.0, "OPTIM.LR": 1e-5, "INPUT.SIZE": (32, 32)})  # fmt: skip
    write_log(tmp_path / "other", "ClipFit", classes="all", **{EPOCHS: 5})
    rows = {row.title: row.recipe(["DescribableTextures"]) for row in report(tmp_path).tables[0].rows}
    assert rows["CLIPFit (other code)"] == "no recipe"
    assert rows["CLIPFit (MAX_EPOCH 5, YAML not found)"] == "MAX_EPOCH 5, YAML not found"


def test_comparison_with_published_numbers(tmp_path):
    common = {"backbone": "ViT-B/16", "classes": "all"}
    write(tmp_path / "a", dataset="EuroSAT", **common)
    write(tmp_path / "b", BETA, 4.0, dataset="UCF101", **common)
    write_record(tmp_path / "c", "CoOp", "EuroSAT", **common)
    result = report(tmp_path, options=["--published"])
    texts = {(item.group, item.row.method): item.recipe for item in result.comparisons[0]}
    assert texts == {("EuroSAT", "CLIPFit"): "recipe", ("UCF101", "CLIPFit"): "BETA 4.0",
                     ("EuroSAT", "CoOp"): "no recipe"}  # fmt: skip
    out = write_files(result, tmp_path / "report").parent
    for name in ("report.html", "report.md", "tables/fewshot_ViT-B-16_published.tex"):
        text = (out / name).read_text()
        comparison = text[text.index("configs/published.yaml") :].partition('id="runs"')[0]
        assert "BETA 4.0" in comparison, name
    rows = [row for row in csv.DictReader((out / "results.csv").open()) if row["method"] == "CLIPFit"]
    written = {row["dataset"]: row["recipe"] for row in rows if row["average"] == "False"}
    assert written == {"EuroSAT": "recipe", "UCF101": "BETA 4.0"}
    runs = [row for row in csv.DictReader((out / "runs.csv").open()) if row["method"] == "CLIPFit"]
    assert {run["dataset"]: run[BETA] for run in runs} == {"EuroSAT": "2.0", "UCF101": "4.0"}


def test_real_recipes_and_a_real_record(monkeypatch):
    """Runs of an earlier version on the micro CLIP: 2 instead of 100 epochs, otherwise the recipe."""
    monkeypatch.setattr(recipes, "CONFIGS", ROOT / "configs")
    texts = settings(report(ROOT / "tests" / "fixtures" / "earlier" / "base"))
    assert texts == {("Digits", "CLIPFit (MAX_EPOCH 2)"): "micro_ep100, MAX_EPOCH 2"}


@pytest.mark.parametrize("protocol", ["base2new", "fewshot", "cross_dataset", "domain_shift"])
def test_a_sweep_runs_the_recipes(tmp_path, monkeypatch, protocol):
    """The settings that train.py records for each method equal the recipe."""
    monkeypatch.setattr(recipes, "CONFIGS", ROOT / "configs")
    datasets = ["imagenet"] if protocol in ("cross_dataset", "domain_shift") else ["dtd", "digits"]
    shots = ["1", "8"] if protocol == "fewshot" else ["16"]
    argv = [protocol, "--methods", "all", "--datasets", *datasets, "--seeds", "1", "--shots", *shots]
    args = parse_args([*argv, "--root", str(tmp_path), "--output", str(tmp_path)])
    for job in plan(args):
        if job.training is None:
            wanted = expected_record(job)
            method = job.argv[job.argv.index("--trainer") + 1]
            identity = {"trainer": method, "backbone": wanted["backbone"], "fingerprint": "f00d", "precision": "fp32"}
            changes = {"command": job.argv, "identity": identity, "evaluation": wanted["evaluation"]}
            recorded = wanted["settings"]
            folder = write_record(tmp_path, dataset=recorded["DATASET.NAME"], shots=recorded["DATASET.NUM_SHOTS"],
                                  changes={**changes, "settings": recorded})  # fmt: skip
            run = read_record(folder / "result.json")
            assert recipes.differences(run, protocol, comparable(run)) == ("recipe", {}), job.title
