"""The clock of the benchmark, its parsing of import times, and modules that a start does not import."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path("benchmarks").resolve()))
import startup  # noqa: E402

# Each import takes tenths of a second, and training does not need it.
NOT_AT_START = {"sklearn", "scipy.stats", "pandas", "matplotlib", "wandb", "transformers", "open_clip", "onnx", "numba"}


def test_a_start_imports_no_more_than_it_needs():
    code = (
        "import sys, train; train.setup_cfg(train.parse_args([])); import dassl.engine; "
        "import trainers.common.runs.wandb_curves; "
        f"from torch.utils.tensorboard import SummaryWriter; print(*({NOT_AT_START} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_the_clock_stops_at_the_first_step(monkeypatch, tmp_path):
    script = tmp_path / "train.py"
    script.write_text("import time\ntime.sleep(0.3)\nprint('epoch [1/1] batch')\ntime.sleep(60)\n")
    monkeypatch.setattr(startup, "TRAIN", str(script))
    started = time.perf_counter()
    assert 0.3 < startup.first_step(str(tmp_path), 0) < time.perf_counter() - started < 30
    script.write_text("raise SystemExit('no data')")
    with pytest.raises(SystemExit, match="no data"):
        startup.first_step(str(tmp_path), 0)


def test_slowest_imports(monkeypatch, tmp_path):
    script = tmp_path / "train.py"
    script.write_text("import csv, decimal")
    monkeypatch.setattr(startup, "TRAIN", str(script))
    imports = startup.slowest_imports(str(tmp_path), most=100)
    assert {"csv", "decimal"} <= {name for name, _ in imports}
    assert [t for _, t in imports] == sorted((t for _, t in imports), reverse=True)
