"""The published numbers: the shipped file, its sources and methods, and files that are refused."""

from itertools import groupby

import pytest

from tests.tools.reporting.trees import write_record
from tests.user_errors import assert_user_error, raises_user_error
from tools.report import main
from tools.reporting.printed_numbers import BY, is_backbone
from tools.reporting.published import FILE, published, read

OK = {
    "sources": "{S: {title: T, link: L, read: README, seeds: 3}}",
    "tables": "[{source: S, where: Table 1, by: authors, protocol: base2new, backbone: RN50, shots: 16, "
    "columns: [Base, New], results: {CoOp: {EuroSAT: [80, 70.5]}}}]",
}


def write(tmp_path, **parts):
    file = tmp_path / "published.yaml"
    file.write_text("\n".join(f"{name}: {text}" for name, text in {**OK, **parts}.items()))
    return file


def test_the_file_contains_no_local_paths():
    text = FILE.read_text()
    assert "farm" not in text and "sha256" not in text and '": "/' not in text


@pytest.mark.parametrize(
    "path, value",
    [
        ("CLIPFit/base2new/16/Average/CLIPFit/H", 79.03),
        ("CLIPFit/base2new/16/Average/ZeroshotCLIP/H", 71.70),
        ("CLIPFit/base2new/16/DescribableTextures/CLIPFit/New", 63.50),
        ("CLIPFit/fewshot/16/Average/CLIPFit/Accuracy", 81.27),
        ("CLIPFit/fewshot/2/SUN397/CoOp/Accuracy", None),  # not readable
        ("CLIPFit/domain_shift/16/Average/CLIPFit/Accuracy", 61.74),
        ("CLIPFit/cross_dataset/16/Average/CLIPFit/Accuracy", 65.85),
        ("CLIPFit/cross_dataset/16/Average/NoSuchMethod/Accuracy", None),
        ("CLIPFit/efficiency/MaPLe/params", 3550000),
        ("SkipTuning/base2new/16/EuroSAT/SkipTuning/New", 83.00),
        ("PromptSRC/base2new/16/Average/IVLP/Base", 84.21),
        ("CLIP-SVD/fewshot/1/Average/CLIPLoRA/Accuracy", 72.20),
        ("Tip-Adapter/fewshot/16/EuroSAT/TipAdapterF/Accuracy", 84.54),
        ("ProLIP/base2new/16/Average/ProLIP/H", 78.61),
        ("poster/domain_generalization/LayerNorm Tuning/FMoWWilds", 47.59),
        ("NoSuchSource/x", None),
    ],
)
def test_numbers_as_printed(path, value):
    assert published().look_up(path) == value


def test_each_method_is_a_trainer_or_marked_as_not_implemented():
    from trainers import register_all

    register_all()
    from dassl.engine import TRAINER_REGISTRY

    methods = {number.method for number in published().numbers}
    not_implemented = set(published().not_implemented)
    assert methods - set(TRAINER_REGISTRY.registered_names()) == not_implemented, (
        "not_implemented in configs/published.yaml must name the methods of the file that are no trainers"
    )


def test_h_and_averages_fit_the_other_numbers_or_have_a_remark():
    """Guards against misread or mistyped numbers: H, and averages over datasets that the source prints."""
    cells, remarked = {}, set()
    for number in published().numbers:
        key = (number.source, number.where, number.by, number.protocol, number.shots, number.method, number.backbone)
        cells.setdefault(key, {})[number.dataset, number.column] = number
        if number.remarks:
            remarked.add((*key, number.dataset))
    checked = 0
    for key, found in cells.items():
        for (dataset, column), number in found.items():
            if column == "H" and (dataset, "Base") in found:
                base, new = (found[dataset, name].value for name in ("Base", "New"))
                expected = 2 * base * new / (base + new)
            elif number.averaged and column != "H" and all((name, column) in found for name in number.averaged):
                expected = sum(found[name, column].value for name in number.averaged) / len(number.averaged)
            else:
                continue
            checked += 1
            assert abs(number.value - expected) < 0.0151 or (*key, dataset) in remarked, (number, expected)
    assert checked > 400


def test_the_authors_own_numbers_come_first():
    for numbers in published().index.values():
        order = [BY.index(number.by) for number in numbers]
        assert order == sorted(order)
    by_cell = published().find("base2new", "Average", "MaPLe", "H", "16", "ViT-B/16")
    assert [(by, {n.value for n in group}) for by, group in groupby(by_cell, lambda n: n.by)] == [
        ("authors", {78.55}), ("copied", {78.55}), ("others", {78.55, 78.35}),
    ]  # fmt: skip


SAME = [
    "ViT-B/16", "weights/ViT-B-16.pt", "C:\\w\\ViT-B-16.pt", "open_clip:ViT-B-16/openai",
    "open_clip:ViT-B-16-quickgelu/openai",
]  # fmt: skip
OTHERS = [
    "ViT-B/32", "open_clip:ViT-B-16/laion2b_s34b_b88k", "open_clip:ViT-B-16-SigLIP/webli", "ViT-B-16-finetuned.pt",
    "micro",
]  # fmt: skip


def test_names_of_a_backbone():
    assert [name for name in SAME + OTHERS if is_backbone(name, "ViT-B/16")] == SAME


def test_a_file_of_ones_own(tmp_path):
    (first, second) = read(write(tmp_path)).numbers
    assert (first.path, first.value, second.value) == ("S/base2new/16/EuroSAT/CoOp/Base", 80.0, 70.5)


def changed(old, new):
    assert old in OK["tables"]
    return {"tables": OK["tables"].replace(old, new)}


@pytest.mark.parametrize(
    "parts, facts",
    [
        ({"sources": "{}"}, ("table 1", "'S'")),  # a number without source
        (changed("source: S, ", ""), ("table 1", "source")),
        ({"sources": "{S: {title: T, link: L, read: README}}"}, ("sources: S", "seeds")),
        ({"sources": "{S: {title: T, link: L, read: README, seeds: three}}"}, ("seeds", "three")),
        (changed("by: authors", "by: me"), ("Table 1", "by", "authors, copied, others", "'me'")),
        (changed("base2new", "few_shot"), ("protocol", "fewshot", "'few_shot'")),
        (changed("[Base, New]", "[Base, Novel]"), ("columns", "Novel")),
        (changed("shots: 16, ", ""), ("shots",)),
        (changed("base2new", "fewshot"), ("shots", "columns")),
        (changed("[80, 70.5]", "[80]"), ("CoOp", "EuroSAT", "Base, New")),
        (changed("70.5", "705"), ("EuroSAT", "705")),
        (changed("70.5", "'70.5'"), ("EuroSAT", "'70.5'")),
        (changed("70.5", ".nan"), ("EuroSAT", "nan")),
        (changed("EuroSAT", "EuroSat"), ("CoOp", "'EuroSat'", "EuroSAT")),
        (changed("EuroSAT", "Average"), ("CoOp", "Average", "average")),
        (changed("backbone", "backbones"), ("'backbones'", "backbone")),
        (changed("results: {", "average: all, results: {"), ("average", "'all'")),
        (changed("{EuroSAT: [80, 70.5]}", "{EuroSAT: [80, 70], EuroSAT: [1, 2]}"), ("EuroSAT", "line")),
        ({"tables": OK["tables"][:-1] + ", " + OK["tables"][1:]}, ("table 2", "S/base2new/16/EuroSAT/CoOp/Base")),
        ({"remarks": "[{source: S, where: W, text: T, numbers: [S/*/Nothing]}]"}, ("remark 1", "S/*/Nothing")),
        ({"studies": "{T: {a: 1}}"}, ("studies", "'T'")),
        ({"tables": "["}, ("published.yaml",)),
        (changed("CoOp", "1"), ("Table 1", "results", "1")),
        (changed("results: {", "average: [EuroSat], results: {"), ("average", "'EuroSat'", "EuroSAT")),
        (changed("results: {", "average: [{a: b}], results: {"), ("average", "'a'")),
        ({"datasets": "{all: 3}"}, ("datasets: all", "3")),
        ({"not_implemented": "[{a: b}]"}, ("not_implemented", "'a'")),
        ({"sources": "{S: {title: T, link: L, read: README, seeds: 0}}"}, ("sources: S", "seeds", "0")),
    ],
)
def test_malformed_files_are_refused(tmp_path, parts, facts):
    with raises_user_error("published.yaml", *facts):
        read(write(tmp_path, **parts))


def test_the_report_refuses_a_malformed_file_in_one_line(tmp_path, monkeypatch, capsys):
    write_record(tmp_path / "run", "CoOp", "EuroSAT", backbone="RN50")
    monkeypatch.setattr("tools.reporting.published.FILE", write(tmp_path, sources="{}"))
    published.cache_clear()
    code = main([str(tmp_path / "run"), "--published"])
    published.cache_clear()
    assert_user_error((code, capsys.readouterr().err), "published.yaml", "table 1", "'S'")
    assert not (tmp_path / "run" / "report").exists()
