"""Comparison of results with published numbers."""

import re

import pytest

from tests.tools.reporting.trees import report, write_pair, write_record
from tests.user_errors import assert_facts
from tools.reporting import captions
from tools.reporting.comparison import compare
from tools.reporting.files import contents
from tools.reporting.published import published
from tools.reporting.text import print_report

PAPER = {}  # protocol, shots -> dataset -> method -> column -> number, of the CLIPFit paper
for number in published().numbers:
    if number.source == "CLIPFit":
        datasets = PAPER.setdefault((number.protocol, number.shots), {})
        datasets.setdefault(number.dataset, {}).setdefault(number.method, {})[number.column] = number.value


def compared(*paths):
    """Returns (group, row, column) -> comparison, of the first table."""
    result = report(*paths, options=["--published"])
    return {(item.group, item.row.title, item.column): item for item in result.comparisons[0]}


def write_all(root, method="CLIPFit", seeds=(1, 2, 3), shift=0.0, **more):
    """Writes base-to-new records on all datasets, with the paper's accuracies + shift ± 0.3."""
    for dataset, numbers in PAPER["base2new", "16"].items():
        if dataset != "Average":
            printed = numbers[method]
            for seed in seeds:
                offset = shift + (seed - 2) * 0.3
                write_pair(root / method / dataset, f"seed{seed}", printed["Base"] + offset, printed["New"] + offset,
                           method=method, dataset=dataset, seed=seed, backbone="ViT-B/16", **more)  # fmt: skip


def test_results_equal_to_the_papers_and_shifted(tmp_path):
    write_all(tmp_path)
    write_all(tmp_path, "MaPLe", shift=1.5)
    comparisons = compared(tmp_path)
    assert len(comparisons) == 2 * 12 * 3  # Base, New, H on 11 datasets and their average
    average = comparisons["Average (11 datasets)", "CLIPFit", "H"]
    assert average.number.value == 79.03 and abs(average.difference) < 0.01 and average.outside is False
    assert comparisons["EuroSAT", "CLIPFit", "Base"].difference == pytest.approx(0)
    maple = comparisons["Average (11 datasets)", "MaPLe", "New"]
    assert maple.difference == pytest.approx(1.5, abs=0.02) and maple.outside is True
    numbers = re.findall(
        r"\d+", captions.published_caption(list(comparisons.values())).removeprefix(captions.PUBLISHED)
    )
    assert numbers == ["36", "72", "4"]  # marked, compared, expected by chance


def test_doubtful_numbers_of_the_paper_have_a_note(tmp_path):
    write_all(tmp_path, "KgCoOp")
    comparisons = compared(tmp_path)
    (note,) = comparisons["Caltech101", "KgCoOp", "New"].notes
    assert_facts(note, "Table 1", "97.72", "93.7", "94.40")
    assert comparisons["Caltech101", "KgCoOp", "Base"].notes == []


def test_averages_over_other_datasets_are_not_compared(tmp_path):
    write_pair(tmp_path / "a", "x", dataset="EuroSAT", backbone="ViT-B/16")
    write_pair(tmp_path / "b", "x", dataset="UCF101", backbone="ViT-B/16")
    write_pair(tmp_path / "c", "x", dataset="Digits", backbone="ViT-B/16")
    assert {group for group, *_ in compared(tmp_path)} == {"EuroSAT", "UCF101"}


@pytest.mark.parametrize(
    "backbone, count",
    [
        ("micro", 0),
        ("RN50", 0),
        ("ViT-B/16", 1),
        ("w/ViT-B-16.pt", 1),
        ("open_clip:ViT-B-16-quickgelu/openai", 1),
        ("open_clip:ViT-B-16/laion2b_s34b_b88k", 0),
    ],
)
def test_only_the_papers_backbone(tmp_path, backbone, count):
    write_record(tmp_path, dataset="EuroSAT", backbone=backbone)
    assert len(compared(tmp_path)) == count


def test_one_seed(tmp_path):
    write_record(tmp_path / "a", dataset="EuroSAT", backbone="ViT-B/16")
    (item,) = compared(tmp_path).values()
    assert item.number.value == 90.13 and item.outside is None


def test_distribution_shift_and_cross_dataset_have_the_papers_averages(tmp_path):
    for protocol in ("domain_shift", "cross_dataset"):
        for dataset, numbers in PAPER[protocol, "16"].items():
            settings = {"DATASET.NAME": "ImageNet", "OPTIM.MAX_EPOCH": 100, "X": protocol}
            source = {"dataset": "ImageNet", "classes": "all", "settings": settings}
            if dataset == "ImageNet":
                write_record(tmp_path / protocol / dataset, dataset=dataset, accuracy=numbers["CLIPFit"]["Accuracy"],
                             backbone="ViT-B/16", changes={"settings": settings})  # fmt: skip
            elif dataset != "Average":
                write_record(tmp_path / protocol / dataset, dataset=dataset, accuracy=numbers["CLIPFit"]["Accuracy"],
                             backbone="ViT-B/16", source=source)  # fmt: skip
    cross, shift = report(tmp_path).tables
    averages = [{item.group: item for item in compare(table) if "Average" in item.group} for table in (cross, shift)]
    assert [list(items) for items in averages] == [["Average (10 datasets)"], ["Average with source (3 datasets)"]]
    for items, printed in zip(averages, (65.85, 61.74), strict=True):
        (item,) = items.values()
        assert item.number.value == printed and abs(item.difference) < 0.006


def test_the_authors_number_comes_first_and_others_that_differ_are_named(tmp_path):
    for method in ("PromptSRC", "CoOp", "MaPLe"):
        write_pair(tmp_path / method, "x", method=method, dataset="DescribableTextures", backbone="ViT-B/16")
    items = compared(tmp_path)
    h = items["DescribableTextures", "PromptSRC", "H"]  # 71.15 in SkipTuning's table, 71.75 in PromptKD's
    assert (h.number.value, h.source) == (71.15, "SkipTuning (others)")
    assert h.others == "71.75 PromptKD (others), 71.49 DePT (others), 69.58 PromptSRC-issue (others)"
    new = items["DescribableTextures", "PromptSRC", "New"]  # the authors' own runs, as printed in an answer
    assert (new.number.value, new.source, new.number.by) == (62.97, "PromptSRC-issue", "authors")
    base = items["DescribableTextures", "CoOp", "Base"]
    assert (base.number.value, base.source, base.others) == (79.44, "CLIPFit (copied)", "79.33 DePT (others)")
    assert items["DescribableTextures", "MaPLe", "Base"].others == "81.93 DePT (others)"  # the others print the same


def test_numbers_of_several_shots_and_another_backbone(tmp_path):
    for shots in (1, 16):
        write_record(tmp_path / f"{shots}", "TipAdapter", "EuroSAT", shots=shots, backbone="RN50")
    items = {column: item for (_, _, column), item in compared(tmp_path).items()}
    assert {column: item.number.value for column, item in items.items()} == {"1": 54.38, "16": 70.54}
    assert items["1"].source == "Tip-Adapter"


def test_zero_shot_clip_is_compared_at_any_number_of_shots(tmp_path):
    write_pair(tmp_path, "x", 56.48, 64.05, method="ZeroshotCLIP", dataset="EuroSAT", backbone="ViT-B/16", shots=4,
               eval_only=True)  # fmt: skip
    items = {column: item for (_, _, column), item in compared(tmp_path).items()}
    assert [items[column].number.value for column in ("Base", "New", "H")] == [56.48, 64.05, 60.03]
    assert not any(item.outside for item in items.values())


def test_the_text_names_sources_and_methods_without_numbers(tmp_path, capsys):
    write_record(tmp_path / "a", "KgCoOp", "EuroSAT", backbone="ViT-B/16")
    write_record(tmp_path / "b", "Mine", "EuroSAT", backbone="ViT-B/16")
    write_record(tmp_path / "c", "Mine", "EuroSAT")  # of another backbone
    print_report(report(tmp_path, options=["--published"]))
    lines = capsys.readouterr().out.splitlines()
    (line,) = (line for line in lines if "16-shot" in line)
    assert {"KgCoOp", "80.00", "CLIPFit", "(others)", "?"} <= set(line.split())
    missing = [line for line in lines if "published.yaml" in line]
    assert [line.rpartition(": ")[2] for line in missing] == ["Mine", "Mine"]


def test_the_files_have_the_published_numbers(tmp_path):
    write_record(tmp_path / "a", "KgCoOp", "EuroSAT", backbone="ViT-B/16")
    write_record(tmp_path / "b", "Mine", "EuroSAT", backbone="ViT-B/16")
    files = dict(contents(report(tmp_path, options=["--paper"]), tmp_path))  # the option's earlier name
    value = f"{PAPER['fewshot', '16']['EuroSAT']['KgCoOp']['Accuracy']:.2f}"
    for name in ("report.html", "report.md", "tables/fewshot_ViT-B-16_published.tex", "results.csv"):
        assert value in files[name] and "CLIPFit (others)" in files[name], name
    assert "known of Mine" in files["report.html"] and "known of Mine" in files["report.md"]
