"""The Base/New/H table from run records."""

import json
import statistics

from scripts import base2new_table


def add(output, run, base, new):
    for part, accuracy in (("train_base", base), ("test_new", new)):
        if accuracy is not None:
            folder = output / part / run
            folder.mkdir(parents=True)
            record = {"finished": True, "metrics": {"test": {"accuracy": accuracy}}}
            (folder / "result.json").write_text(json.dumps(record))


def test_mean_std_and_harmonic_mean_over_seeds(tmp_path, capsys):
    add(tmp_path, "digits/shots_16/CLIPFit/micro/seed1", 80.0, 70.0)
    add(tmp_path, "digits/shots_16/CLIPFit/micro/seed2", 90.0, 60.0)
    add(tmp_path, "digits/shots_16/ZeroshotCLIP/micro/seed1", 50.0, 50.0)
    assert base2new_table.main([str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["Method", "Base", "New", "H", "seeds", "setting"]
    h = [2 * 80 * 70 / 150, 2 * 90 * 60 / 150]
    expected = [
        "CLIPFit",
        "85.00 ± 5.00",
        "65.00 ± 5.00",
        f"{statistics.mean(h):.2f} ± {statistics.pstdev(h):.2f}",
        "2",
    ]
    assert [cell.strip() for cell in lines[2].split("  ") if cell.strip()][:5] == expected
    assert "50.00 ± 0.00" in lines[3]


def test_unfinished_runs_are_named_and_not_averaged(tmp_path, capsys):
    add(tmp_path, "digits/shots_16/CLIPFit/micro/seed1", 80.0, 70.0)
    add(tmp_path, "digits/shots_16/CLIPFit/micro/seed2", 10.0, None)
    broken = tmp_path / "test_new/digits/shots_16/CLIPFit/micro/seed3"
    broken.mkdir(parents=True)
    (broken / "result.json").write_text('{"finished": tr')
    assert base2new_table.main([str(tmp_path)]) == 1
    captured = capsys.readouterr()
    assert "80.00 ± 0.00" in captured.out and "10.00" not in captured.out
    assert captured.err.count("missing or unfinished: digits/shots_16/CLIPFit/micro/seed") == 2


def test_nothing_there(tmp_path, capsys):
    assert base2new_table.main([str(tmp_path)]) == 1
    assert "no result.json" in capsys.readouterr().err
