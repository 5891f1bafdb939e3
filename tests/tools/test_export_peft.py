"""tools/export.py --to peft: the package peft computes our features from it, and a run starts from it."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.tools.tuned import trained  # noqa: F401  (fixture)
from tests.trainers.helpers import make_trainer
from tests.user_errors import assert_user_error, raises_user_error
from tools import export
from trainers.common import load_tuned

MATRICES = ("TRAINER.CLIPLORA.MATRICES", "('q','v','o','down')", "TRAINER.CLIPLORA.ALPHA", "8.0", "OPTIM.LR", "0.5")


@pytest.fixture
def adapter(trained, tmp_path, capsys):  # noqa: F811
    """Returns (run, folder): a run of CLIPLoRA and its export, which the export has compared with the run."""
    pytest.importorskip("peft")
    run = trained("CLIPLoRA", *MATRICES).output_dir
    folder = tmp_path / "peft"
    assert export.main([run, "--to", "peft", "--out", str(folder)]) == 0
    line = [line for line in capsys.readouterr().out.splitlines() if "logits" in line][0]
    assert float(line.split()[-1]) < 1e-4  # the export's own comparison with peft
    return run, folder


@pytest.fixture
def start(trained, tmp_path):  # noqa: F811
    """start(folder, *keys) -> a new trainer that starts from a folder."""

    def start(folder, *keys):
        run = trained("CLIPLoRA", *MATRICES)
        keys = ("DATASET.SUBSAMPLE_CLASSES", "base", *MATRICES, "MODEL.INIT_WEIGHTS", str(folder), *keys)
        return make_trainer("CLIPLoRA", run.cfg.DATASET.ROOT, run.cfg.MODEL.BACKBONE.NAME, tmp_path / "new", *keys)

    return start


def test_the_folder(adapter):
    _, folder = adapter
    config = json.loads((folder / "adapter_config.json").read_text())
    assert (config["peft_type"], config["r"], config["lora_alpha"], config["use_rslora"]) == ("LORA", 2, 8, True)
    tensors = load_file(folder / "adapter_model.safetensors")
    assert len(config["target_modules"]) == (2 + 3) * 4 and len(tensors) == (2 + 3) * 4 * 2  # blocks x matrices
    name = "base_model.model.vision_model.encoder.layers.0.self_attn.v_proj.lora_A.weight"
    assert tensors[name].shape == (2, 128)
    assert any(tensor.any() for name, tensor in tensors.items() if "lora_B" in name)


def test_a_run_starts_from_the_folder(adapter, start):
    run, folder = adapter
    classifier = load_tuned(run, precision="fp32")
    expected = classifier.trainer.tuned.state_dict()
    started = start(folder).tuned.state_dict()
    assert started.keys() == expected.keys()
    assert all(torch.equal(started[name], tensor) for name, tensor in expected.items())
    # With LoRA's scale alpha / r and another alpha, the factor is in B.
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**config, "use_rslora": False, "lora_alpha": 2}))
    started = start(folder).tuned.state_dict()
    for name, tensor in expected.items():
        factor = 2 / 2 / (8 / 2**0.5) if name.endswith(".B") else 1
        assert torch.allclose(started[name], factor * tensor)


def test_folders_that_do_not_fit(adapter, start):
    _, folder = adapter
    with raises_user_error(folder, "RANK", "(2, 128)", "(3, 128)"):
        start(folder, "TRAINER.CLIPLORA.RANK", "3")
    with raises_user_error(folder, "BLOCKS", "layers.1."):
        start(folder, "TRAINER.CLIPLORA.BLOCKS", "0")
    with raises_user_error(folder, "MATRICES", "mlp.fc1"):
        start(folder, "TRAINER.CLIPLORA.MATRICES", "('q','v','o','up','down')")
    config = json.loads((folder / "adapter_config.json").read_text())
    for change, facts in {
        "use_dora": "use_dora",
        "peft_type": "peft_type",
        "r": "adapter",
    }.items():
        (folder / "adapter_config.json").write_text(json.dumps({**config, change: "x"}))
        with raises_user_error(folder, facts):
            start(folder)
    (folder / "adapter_config.json").write_text(json.dumps({**config, "r": 8}))  # its scale would be another one
    with raises_user_error(folder, "r 8", "(2, "):
        start(folder)
    (folder / "adapter_config.json").write_text(json.dumps(config))
    path = folder / "adapter_model.safetensors"
    tensors = load_file(path)
    save_file({name: float("nan") * tensor for name, tensor in tensors.items()}, path)
    with raises_user_error(folder, "NaN", "corrupted", error=FloatingPointError):
        start(folder)
    path.write_bytes(b"x")
    with raises_user_error(folder, "corrupted"):
        start(folder)


def test_what_the_layout_cannot_hold_is_refused(trained, tmp_path, capsys):  # noqa: F811
    runs = {
        "TUNE": trained("CLIPLoRA", "TRAINER.CLIPLORA.TUNE", "('image_layernorm',)"),
        "CLIPLoRA": trained("CLIPFit"),
    }
    for fact, run in runs.items():
        capsys.readouterr()
        code = export.main([run.output_dir, "--to", "peft", "--out", str(tmp_path / "out")])
        assert_user_error((code, *capsys.readouterr()), "--to peft", run.cfg.TRAINER.NAME, fact, "onnx")
        assert not (tmp_path / "out").exists()


def test_methods_that_cannot_start_from_the_folder(adapter, trained, tmp_path):  # noqa: F811
    _, folder = adapter
    cfg = trained("CLIPLoRA", *MATRICES).cfg
    for method in ("CLIPSVD", "CLIPFit"):
        with raises_user_error("MODEL.INIT_WEIGHTS", folder, method, "CLIPLoRA"):
            keys = ("MODEL.INIT_WEIGHTS", str(folder))
            make_trainer(method, cfg.DATASET.ROOT, cfg.MODEL.BACKBONE.NAME, tmp_path / method, *keys)
