"""The paper's numbers in paper_results.json, and the comparison with them."""

import json
import re
from pathlib import Path

import pytest

from tests.tools.reporting.trees import report, write_pair, write_record
from tests.user_errors import assert_facts
from tools.reporting import captions
from tools.reporting.paper import FILE, compare, load, look_up


def compared(*paths):
    """Returns (group, row, column) -> comparison, of the first table."""
    result = report(*paths, options=["--paper"])
    return {(item.group, item.row.title, item.column): item for item in result.comparisons[0]}


def test_the_file_contains_no_local_paths():
    text = FILE.read_text()
    assert "farm" not in text and "sha256" not in text and '": "/' not in text


@pytest.mark.parametrize(
    "path, number",
    [
        ("base_to_new 16 Average CLIPFit hm", 79.03),
        ("base_to_new 16 Average CLIP hm", 71.70),
        ("base_to_new 16 DescribableTextures CLIPFit new", 63.50),
        ("base_to_new 4 EuroSAT KgCoOp base", None),
        ("few_shot 16 Average CLIPFit", 81.27),
        ("few_shot 2 SUN397 CoOp", None),
        ("distribution_shift Average CLIPFit", 61.74),
        ("cross_dataset Average CLIPFit", 65.85),
        ("cross_dataset Average NoSuchMethod", None),
    ],
)
def test_numbers_as_printed(path, number):
    value = look_up(path.split())
    if number is None and "KgCoOp" in path:
        assert isinstance(value, float)
    else:
        assert value == number


def test_every_note_refers_to_existing_numbers():
    notes = [note for note in load()["notes"] if "paths" in note]
    assert len(notes) > 30
    for note in notes:
        values = [look_up(path) for path in note["paths"]]
        assert all(v is not None for v in values) or "lost values" in note["comment"]
        if isinstance(note["printed"], float):
            assert note["printed"] in values


def write_all(root, method="CLIPFit", seeds=(1, 2, 3), shift=0.0, **more):
    """Writes base-to-new records on all datasets, with the paper's accuracies + shift ± 0.3."""
    for dataset, numbers in load()["base_to_new"]["16"].items():
        if dataset != "Average":
            printed = numbers[{"ZeroshotCLIP": "CLIP"}.get(method, method)]
            for seed in seeds:
                offset = shift + (seed - 2) * 0.3
                write_pair(root / method / dataset, f"seed{seed}", printed["base"] + offset, printed["new"] + offset,
                           method=method, dataset=dataset, seed=seed, backbone="ViT-B/16", **more)  # fmt: skip


def test_results_equal_to_the_papers_and_shifted(tmp_path):
    write_all(tmp_path)
    write_all(tmp_path, "MaPLe", shift=1.5)
    comparisons = compared(tmp_path)
    assert len(comparisons) == 2 * 12 * 3  # Base, New, H on 11 datasets and their average
    average = comparisons["Average (11 datasets)", "CLIPFit", "H"]
    assert average.printed == 79.03 and abs(average.difference) < 0.01 and average.outside is False
    assert comparisons["EuroSAT", "CLIPFit", "Base"].difference == pytest.approx(0)
    maple = comparisons["Average (11 datasets)", "MaPLe", "New"]
    assert maple.difference == pytest.approx(1.5, abs=0.02) and maple.outside is True
    numbers = re.findall(r"\d+", captions.paper_caption(list(comparisons.values())).removeprefix(captions.PAPER))
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


@pytest.mark.parametrize("backbone, count", [("micro", 0), ("RN50", 0), ("ViT-B/16", 1), ("w/ViT-B-16.pt", 1)])
def test_only_the_papers_backbone(tmp_path, backbone, count):
    write_record(tmp_path, dataset="EuroSAT", backbone=backbone)
    assert len(compared(tmp_path)) == count


def test_one_seed(tmp_path):
    write_record(tmp_path / "a", dataset="EuroSAT", backbone="ViT-B/16")
    (item,) = compared(tmp_path).values()
    assert item.printed == 90.13 and item.outside is None


def test_distribution_shift_and_cross_dataset_have_the_papers_averages(tmp_path):
    for protocol, name in (("domain_shift", "distribution_shift"), ("cross_dataset", "cross_dataset")):
        for dataset, numbers in load()[name].items():
            settings = {"DATASET.NAME": "ImageNet", "OPTIM.MAX_EPOCH": 100, "X": protocol}
            source = {"dataset": "ImageNet", "classes": "all", "settings": settings}
            if dataset == "ImageNet":
                write_record(tmp_path / protocol / dataset, dataset=dataset, accuracy=numbers["CLIPFit"],
                             backbone="ViT-B/16", changes={"settings": settings})  # fmt: skip
            elif dataset != "Average":
                write_record(tmp_path / protocol / dataset, dataset=dataset, accuracy=numbers["CLIPFit"],
                             backbone="ViT-B/16", source=source)  # fmt: skip
    cross, shift = report(tmp_path).tables
    averages = [{item.group: item for item in compare(table) if "Average" in item.group} for table in (cross, shift)]
    assert [list(items) for items in averages] == [["Average (10 datasets)"], ["Average with source (3 datasets)"]]
    for items, printed in zip(averages, (65.85, 61.74), strict=True):
        (item,) = items.values()
        assert item.printed == printed and abs(item.difference) < 0.006


def test_the_file_is_valid_and_complete():
    data = json.loads(Path(FILE).read_text())
    assert {"base_to_new", "few_shot", "distribution_shift", "cross_dataset", "notes"} <= data.keys()
    assert [len(data["base_to_new"][shots]) for shots in ("4", "8", "16")] == [12, 12, 12]
    assert [len(data["few_shot"][shots]) for shots in ("1", "2", "4", "8", "16")] == [12] * 5
