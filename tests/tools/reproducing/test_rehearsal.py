"""A cut of the rehearsal: every study has its page, its figures and a number in every cell; each run runs once."""

import csv
import json
import re

import pytest

from tools.reproducing import rehearsal
from tools.reproducing.studies import read_studies, select

CUT = ("--rehearse", "--methods", "CLIPFit", "--datasets", "digits", "--shots", "1")
SMALL = ("--rehearse", "--datasets", "symbols", "--shots", "1")  # fewer test images, and no distribution shift


@pytest.fixture(scope="module")
def cut(in_process, tmp_path_factory):
    output = tmp_path_factory.mktemp("rehearsal")
    code, started = in_process("all", *CUT, "--output", str(output), "--", "OPTIM.MAX_EPOCH", "1")
    assert code == 0
    return output, started


def test_every_study_is_on_the_page_and_marked(cut):
    output, started = cut
    page = (output / "studies" / "studies.html").read_text()
    markdown = (output / "studies" / "studies.md").read_text()
    sections = re.findall(r"<section>.*?</section>", page, re.S)
    for study in select(["all"], read_studies([])):
        for show in study.shows:
            picture = show in ("change", "gradients", "iterations", "embedding")
            anchor = f"{study.name}-{show}" if picture else study.name
            section = next(text for text in sections if f'<h2 id="{anchor}"' in text)
            assert rehearsal.MARK in section
            assert ("<figure>" in section) == (picture or show == "curve"), anchor
            if picture or show == "curve":
                assert (output / f"studies/plots/{anchor}.png").stat().st_size > 5_000
                assert (output / f"studies/plots/{anchor}.pdf").read_bytes().startswith(b"%PDF")
    assert markdown.count(rehearsal.MARK) == len(sections) + 1  # and at the top
    assert len(set(started)) == len(started)


def test_no_cell_is_a_hole(cut):
    output, _ = cut
    for study in select(["all"], read_studies([])):
        shown = [show for show in study.shows if show in ("accuracy", "averages", "curve", "efficiency")]
        for _ in shown:
            rows = list(csv.DictReader(open(output / f"studies/tables/{study.name}.csv")))
            assert {row.get("row") or row["method"] for row in rows} >= {
                row.name for row in study.rows if row.method == "CLIPFit"
            }
            for row in rows:
                numbers = {key: value for key, value in row.items() if not key.endswith((" std", "paper", "device"))}
                assert all(numbers.values()), (study.name, row)
                assert 0 < float(row.get("H") or row.get("1") or row["Accuracy"]) <= 100


def test_change_in_a_figure_is_that_of_the_weights(cut):
    """The sum over the layers in figure 3 equals the squared difference of the tuned tensors and CLIP's."""
    from trainers.common.models.loading import load_clip
    from trainers.common.runs import tuned_weights

    output, _ = cut
    rows = list(csv.DictReader(open(output / "studies/tables/figure3-change.csv")))
    folder = output / "base2new/train_base/digits/shots_1/CLIPFit/micro_ep100/seed1"
    tuned = tuned_weights.read(str(folder / "clipfit/tuned.safetensors"))["state_dict"]
    clip = dict(load_clip("micro", "fp32").named_parameters())
    assert {row["tensor"] for row in rows} == tuned.keys()
    for row in rows:
        expected = sum((tuned[row["tensor"]] - clip[row["tensor"]].detach()).flatten().double() ** 2)
        assert float(row["value"]) == pytest.approx(float(expected), rel=1e-5)


def test_most_changed_layers_are_those_of_the_run(cut):
    output, started = cut
    page = (output / "studies" / "studies.md").read_text()

    records = [json.loads((folder / "result.json").read_text()) for folder in started]
    tunes = {tuple(record["settings"].get("TRAINER.CLIPFIT.TUNE", ())) for record in records}
    chosen = [
        tune for tune in tunes if any(entry.startswith("image_layernorm:") and entry.count(",") == 5 for entry in tune)
    ]
    assert len(chosen) == 1 and "text\\_ffn\\_output\\_bias" in page


def test_a_further_study_is_rehearsed_by_its_name(in_process, tmp_path):
    code, started = in_process("number-of-biases", *SMALL, "--output", str(tmp_path), "--", "OPTIM.MAX_EPOCH", "1")
    assert code == 0 and len(started) == 7  # the first, last and most changed 1 and 2 of 2, and all
    rows = [row for row in csv.DictReader(open(tmp_path / "studies/tables/number-of-biases.csv"))]
    assert [row["row"] for row in rows if row["1"]] == [
        "first 1", "first 2", "last 1", "last 2", "most changed 1", "most changed 2", "all (CLIPFit)",
    ]  # fmt: skip
    assert (tmp_path / "studies/plots/number-of-biases.png").stat().st_size > 5_000


def files(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_an_interrupted_reproduction_is_resumed_with_the_same_page(in_process, tmp_path):
    argv = ["regularisers", "layernorm-freezing", *SMALL]
    keys = ("--", "OPTIM.MAX_EPOCH", "1")
    one, two = tmp_path / "one", tmp_path / "two"
    code, all_runs = in_process(*argv, "--output", str(one), *keys)
    assert code == 0
    code, before = in_process(*argv, "--output", str(two), *keys, limit=3)
    assert code == 130 and len(before) == 3 and not (two / "studies").exists()
    code, after = in_process(*argv, "--output", str(two), *keys)
    assert code == 0 and len(before) + len(after) == len(all_runs) and not set(before) & set(after)
    assert files(one / "studies") == files(two / "studies")
    code, again = in_process(*argv, "--output", str(two), *keys)
    assert code == 0 and not again and files(one / "studies") == files(two / "studies")


def test_missing_data_are_named_and_are_holes(in_process, tmp_path, capsys):
    study = tmp_path / "mine.yaml"
    study.write_text("mine: {title: T, protocol: fewshot, shots: [1], seeds: [1], methods: [ZeroshotCLIP]}")
    argv = ["mine", "--studies", str(study), "--datasets", "digits", "dtd", "--backbone", "micro"]
    code, started = in_process(*argv, "--output", str(tmp_path / "out"), "--config", "micro")
    assert code == 1 and len(started) == 1
    out = capsys.readouterr().out
    assert "dtd is not in" in out and "tools/prepare_data.py dtd" in out
    rows = {row["dataset"]: row for row in csv.DictReader(open(tmp_path / "out/studies/tables/mine.csv"))}
    assert rows["Digits"]["1"] and not rows["DescribableTextures"]["1"] and not rows["Average of 2 datasets"]["1"]
    assert "DescribableTextures" in (tmp_path / "out/studies/studies.md").read_text()
