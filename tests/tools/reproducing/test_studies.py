"""Studies: the shipped file, the strict reader, and names on the command line."""

import pytest

from tests.user_errors import assert_facts, assert_user_error, raises_user_error
from tools import reproduce
from tools.reporting.published import published
from tools.reproducing.results import AVERAGE, printed
from tools.reproducing.rows import MostChanged
from tools.reproducing.studies import NO_PAPER, read_studies, select

POSTER = {"poster-table1", "poster-table2", "poster-figure4"}
OK = "title: T\n  protocol: fewshot\n  methods: [CLIPFit]\n"
ROWS = "title: T\n  protocol: fewshot\n  rows: {a: {keys: {X: '{n}'}}}\n"


def study(tmp_path, text, name="mine"):
    file = tmp_path / "mine.yaml"
    file.write_text(f"{name}:\n  {text}")
    return str(file)


def test_all_tables_and_figures_of_the_paper_are_there():
    names = {f"table{i}" for i in range(1, 13)} | {f"figure{i}" for i in range(3, 12)}
    names |= {"layernorm-freezing", "bias-freezing", "regularisers"}
    studies = read_studies([])
    assert {name for name, study in studies.items() if study.in_all} == names
    assert studies.keys() == names | {"number-of-biases", "number-of-layernorms"} | POSTER


COLUMNS = {"base2new": ["Base", "New", "H"], "cross_dataset": ["Accuracy"], "domain_shift": ["Accuracy"]}


@pytest.mark.parametrize("name", [name for name, study in read_studies([]).items() if study.paper and study.rows])
def test_each_row_has_its_number_in_the_paper(name):
    study = read_studies([])[name]
    if name == "table7":  # its columns have other names
        assert all(published().look_up(f"CLIPFit/efficiency/{row.method}/params") for row in study.rows)
        return
    for row in study.rows:
        for shots in study.shots:
            for column in COLUMNS.get(study.protocol, [str(shots)]):
                number = printed(study, row, "IWildCamWilds" if name == "poster-table2" else AVERAGE, column, shots)
                assert (number is None) == (row.paper == NO_PAPER), (row.name, column)


def test_paper_numbers_of_some_cells():
    studies = read_studies([])

    def number(name, row, dataset, column, shots):
        return printed(studies[name], next(r for r in studies[name].rows if r.name == row), dataset, column, shots)

    assert number("table1", "CLIPFit", AVERAGE, "H", 16) == 79.03
    assert number("table4", "KgCoOp + UL", AVERAGE, "New", 16) == 74.96
    assert number("table5", "(b) text biases", AVERAGE, "Base", 16) == 83.33
    assert number("table6", "with KD", AVERAGE, "4", 4) == 75.94
    assert number("table10", "TipAdapterF", "ImageNet", "16", 16) == 73.1
    assert number("layernorm-freezing", "six most changed", AVERAGE, "4", 4) == 77.03
    assert number("poster-table1", "Compacter + LN", AVERAGE, "16", 16) == 69.69
    assert number("poster-table1", "Linear probe from LN", AVERAGE, "all", -1) == 84.36
    assert number("poster-table2", "LayerNorm tuning", "FMoWWilds", "all", -1) == 47.59
    assert number("table5", "(b) text biases", "EuroSAT", "Base", 16) is None  # only the average is printed


@pytest.mark.parametrize(
    ("text", "facts"),
    [
        (OK + "  shot: [1]\n", ("mine", "'shot'", "shots", "allowed")),
        (OK + "  shots: 1\n", ("shots", "1", "a list")),
        (OK + "  shots: [0]\n", ("shots", "0")),
        (OK + "  shots: []\n", ("shots", "empty")),
        (OK + "  show: tabel\n", ("show", "'tabel'", "accuracy")),
        (OK + "  show: curve\n", ("curve", "vary")),
        (OK + "  paper: few_shot/{dataset.__class__}\n", ("paper", "dataset.__class__", "{row}")),
        (OK + "  rows: {a: {}}\n", ("rows", "methods")),
        (OK + "  vary: {OPTIM.LR: 0.1}\n", ("OPTIM.LR", "list", "0.1")),
        (OK.replace("fewshot", "few"), ("protocol", "'few'", "fewshot")),
        (OK.replace("title: T", "notes: []"), ("title", "missing")),
        ("title: T\n  protocol: fewshot\n", ("methods", "rows")),
        ("title: T\n  protocol: fewshot\n  methods: []\n", ("methods", "rows")),
        ("title: T\n  protocol: fewshot\n  rows: {a: {metod: CoOp}}\n", ("a", "'metod'", "method")),
        (
            "title: T\n  protocol: fewshot\n  rows: {a: {keys: {X: {most_changed: s, count: 1, run: b}}}}\n",
            ("a", "'b'", "run"),
        ),
        ("title: T\n  protocol: fewshot\n  rows: {a: {keys: {X: {most_changed: s}}}}\n", ("count", "missing")),
        ("[1]\n", ("mine", "[1]")),
        (OK + "  in_all: 1\n", ("in_all", "1", "true or false")),
        (OK + "  values: {n: [1]}\n", ("values", "rows", "vary")),
        (ROWS + "  values: {n: 1}\n", ("values", "n", "list", "1")),
        (ROWS + "  values: {n: [1, 2, 1]}\n", ("values", "n", "duplicate", "1")),
        (ROWS + "  values: {m: [1]}\n", ("values", "{m}")),
        (ROWS + "  values: {n: [1], m: [1]}\n", ("values", "n", "m")),
        (ROWS + "  values: {n: [1]}\n  rehearsal: {m: [1]}\n", ("rehearsal", "m")),
    ],
)
def test_wrong_fields(tmp_path, text, facts):
    with raises_user_error("mine.yaml", *facts):
        read_studies([study(tmp_path, text)])


def test_a_name_that_is_taken_or_not_allowed(tmp_path):
    with raises_user_error("table1", "studies.yaml"):
        read_studies([study(tmp_path, OK, "table1")])
    with raises_user_error("../x"):
        read_studies([study(tmp_path, OK, "../x")])


def test_values_of_keys(tmp_path):
    rows = "rows: {a: {keys: {X: [b, c], Y: 1.0}}, d: {keys: {X: {most_changed: s, count: 2, run: a}}}}"
    found = read_studies([study(tmp_path, f"title: T\n  protocol: fewshot\n  {rows}\n")])["mine"]
    assert found.rows[0].keys == {"X": "('b', 'c')", "Y": "1.0"}
    assert found.rows[1].keys == {"X": MostChanged("s", 2, "a")}
    assert (found.shots, found.seeds, found.datasets) == ((1, 2, 4, 8, 16), (1, 2, 3), "paper")


def test_a_row_per_value(tmp_path):
    rows = """rows:
    first: {keys: {X: ["a:first{n}", b]}, rehearsal: {Y: 0}}
    most: {keys: {X: {most_changed: a, count: "{n}", run: all}}}
    all: {}
"""
    text = f"title: T\n  protocol: fewshot\n  show: curve\n  values: {{n: [1, 3]}}\n  rehearsal: {{n: [2]}}\n  {rows}"
    path = study(tmp_path, text)
    found = read_studies([path])["mine"]
    assert [(row.name, row.curve, row.x) for row in found.rows] == [
        ("first 1", "first", (1,)), ("first 3", "first", (3,)), ("most 1", "most", (1,)), ("most 3", "most", (3,)),
        ("all", "", ()),
    ]  # fmt: skip
    assert found.rows[1].keys == {"X": "('a:first3', 'b')"}
    assert found.rows[3].keys == {"X": MostChanged("a", 3, "all")}
    assert found.varied == ("n",)
    rehearsal = read_studies([path], rehearse=True)["mine"]
    assert [row.name for row in rehearsal.rows] == ["first 2", "most 2", "all"]
    assert rehearsal.rows[0].keys == {"X": "('a:first2', 'b')", "Y": "0"}


def test_names():
    studies = read_studies([])
    assert [study.name for study in select(["Table5", "figure6", "table5"], studies)] == ["table5", "figure6"]
    in_all = [study for study in studies.values() if study.in_all]
    assert select(["table1", "all"], studies) == in_all
    assert select(["all", "number-of-biases"], studies) == [*in_all, studies["number-of-biases"]]
    with raises_user_error("'tabel5'", "table5"):
        select(["tabel5"], studies)


@pytest.mark.parametrize(
    ("argv", "facts"),
    [
        (["figure33"], ("'figure33'", "figure3")),
        (["table5", "--studies", "no.yaml"], ("no.yaml",)),
        (["table5", "--methods", "CoOp"], ("--methods", "table5", "CoOp", "CLIPFit")),
        (["table5", "--datasets", "dttd"], ("'dttd'", "dtd")),
        (["table5", "--", "OPTIM.LRR", "1"], ("OPTIM.LRR",)),
        (["all", "--methods", "CoOps"], ("--methods", "'CoOps'", "CLIPFit")),
        (["table4", "--backbone", "RN50"], ("CLIPFit", "image_layernorm")),
    ],
)
def test_user_errors(tmp_path, capsys, argv, facts):
    output = tmp_path / "out"
    end = argv.index("--") if "--" in argv else len(argv)
    code = reproduce.main([*argv[:end], "--output", str(output), "--dry-run", *argv[end:]])
    assert_user_error((code, capsys.readouterr().err), *facts)
    assert not output.exists()


@pytest.mark.parametrize(
    ("argv", "facts"),
    [
        (["--vary", "OPTIM.LR", "1"], ("--vary", "tools/sweep.py", "vary", "--studies")),
        (["--choose", "val"], ("--choose", "tools/sweep.py")),
        (["--table"], ("--table", "tools/sweep.py")),
    ],
)
def test_options_of_a_sweep_only(capsys, argv, facts):
    with pytest.raises(SystemExit) as stop:
        reproduce.parse_args(["table5", *argv])
    assert stop.value.code == 2
    assert_facts(capsys.readouterr().err.strip().splitlines()[-1], *facts)


def test_a_study_of_ones_own(tmp_path, capsys):
    text = "title: Learning rates\n  protocol: fewshot\n  methods: [CLIPFit]\n  vary: {OPTIM.LR: [0.001, 0.002]}\n"
    argv = ["mine", "--studies", study(tmp_path, text + "  datasets: [digits]\n  shots: [1]\n  seeds: [1]\n")]
    assert reproduce.main([*argv, "--output", str(tmp_path / "out"), "--root", str(tmp_path), "--commands"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and "OPTIM.LR 0.001" in lines[0] and "OPTIM.LR" not in lines[1]  # 0.002 is the recipe's
