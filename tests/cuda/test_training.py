"""Training on a GPU: every method at every precision, CUDA graphs, torch.compile, resuming, the command line."""

import json
import subprocess
import sys

import pytest
import torch

from dassl.engine import TRAINER_REGISTRY
from tests.trainers.helpers import batch_of, cut_off_after, train_step
from tests.trainers.test_every_method import METHODS, TRAINABLE
from trainers.common import load_tuned

TOLERANCE = {"fp32": 5e-3, "fp16": 0.03, "bf16": 0.15, "amp": 0.03}  # at fp32, convolutions use TF32


def precision(method: str, value: str) -> tuple[str, str]:
    section = "COOP" if method == "ClipFit" else TRAINER_REGISTRY.get(method).section
    return f"TRAINER.{section}.PREC", value


def steps(trainer, sizes=(4, 4, 4)) -> tuple[list[dict], dict[str, torch.Tensor]]:
    """Runs steps on random batches. Returns their summaries, and the tuned tensors after them on the CPU."""
    for group in trainer.optim.param_groups:
        group["lr"] = 0.01
    reports = [train_step(trainer, batch_of(trainer, n, seed=i)) for i, n in enumerate(sizes)]
    return reports, {name: tensor.detach().cpu() for name, tensor in trainer.tuned.state_dict().items()}


def assert_close(one, other, tolerance: float):
    (reports, tuned), (other_reports, other_tuned) = one, other
    for a, b in zip(reports, other_reports, strict=True):
        a, b = ({name: value for name, value in report.items() if name != "acc"} for report in (a, b))
        assert a == pytest.approx(b, rel=tolerance, abs=tolerance)
    distances = {name: (tensor - other_tuned[name]).abs().max().item() for name, tensor in tuned.items()}
    assert all(d <= tolerance * max(1, tuned[name].abs().max()) for name, d in distances.items()), distances


@pytest.mark.parametrize("prec", TOLERANCE)
@pytest.mark.parametrize("method", TRAINABLE)
def test_steps_equal_those_on_the_cpu(build, method, prec):
    cpu = build(method, *precision(method, "fp32"), "USE_CUDA", "False")
    gpu = build(method, *precision(method, prec))
    assert gpu.device.type == "cuda" and gpu.precision == prec
    assert all(p.dtype == torch.float32 and p.device.type == "cuda" for p in gpu.tuned.parameters())
    assert_close(steps(cpu), steps(gpu), TOLERANCE[prec])


@pytest.mark.parametrize("prec", ["fp32", "fp16", "bf16", "amp"])
@pytest.mark.parametrize("method", TRAINABLE)
def test_a_cuda_graph_computes_the_same(build, method, prec):
    """Batches of two sizes alternate, so that two graphs and eager steps are mixed."""
    sizes = (4, 4, 3, 4, 4, 4, 3, 4, 3, 3, 3, 4)
    plain = build(method, *precision(method, prec), "MODEL.CUDA_GRAPH", "False")
    graph = build(method, *precision(method, prec))
    assert_close(steps(plain, sizes), steps(graph, sizes), 1e-4 if prec == "fp32" else 1e-2)
    assert len(graph.gradients.captured) == 2
    evaluated = []
    for trainer in (plain, graph):  # with the weights of the last step, not those at capture
        trainer.set_model_mode("eval")
        with torch.inference_mode():
            evaluated.append(trainer.model_inference(batch_of(trainer)["img"].cuda()))
    assert torch.allclose(*evaluated, atol=0.05 if prec == "fp32" else 0.5)


@pytest.mark.parametrize("prec", ["fp32", "fp16"])
@pytest.mark.parametrize("key", ["MODEL.CUDA_GRAPH", "MODEL.ACTIVATION_CHECKPOINTING"])
def test_compiled_blocks(build, prec, key):
    sizes = (4,) * 6
    plain = build("CLIPFit", *precision("CLIPFit", prec), "MODEL.CUDA_GRAPH", "False")
    fast = build("CLIPFit", *precision("CLIPFit", prec), "MODEL.COMPILE", "True", key, "True")
    assert_close(steps(plain, sizes), steps(fast, sizes), 1e-3 if prec == "fp32" else 2e-2)
    fast.set_model_mode("eval")
    with torch.inference_mode():
        assert fast.model_inference(batch_of(fast)["img"].cuda()).isfinite().all()


def test_steps_that_cannot_be_captured_run_eagerly(build, monkeypatch, capsys):
    sizes = (4,) * 8
    plain, reading = build("CLIPFit", "MODEL.CUDA_GRAPH", "False"), build("CLIPFit")
    losses = reading.losses

    def reading_losses(image, label):
        float(image.sum())
        return losses(image, label)

    monkeypatch.setattr(reading, "losses", reading_losses)
    assert_close(steps(plain, sizes), steps(reading, sizes), 1e-2)
    assert not reading.gradients.captured
    notes = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Note: ")]
    assert sum("CUDA graph" in line and "eager" in line for line in notes) == 1
    assert_close(steps(plain), steps(build("CLIPFit")), 10)  # the GPU still works: other trainers run


def test_the_number_of_graphs_is_limited(build):
    plain, graph = build("CLIPFit", "MODEL.CUDA_GRAPH", "False"), build("CLIPFit")
    sizes = (1, 2, 3, 4, 5, 6) * 5
    assert_close(steps(plain, sizes), steps(graph, sizes), 1e-2)
    assert len(graph.gradients.captured) == 4


@pytest.mark.parametrize("method", TRAINABLE)
def test_resumed_with_workers_and_graphs(build, method, tmp_path):
    """A resumed run equals an uninterrupted one, with pinned batches from two worker processes."""
    options = "OPTIM.MAX_EPOCH 3 TRAIN.CHECKPOINT_FREQ 1 DATALOADER.TRAIN_X.BATCH_SIZE 4".split()
    options += [*precision(method, "fp32"), "DATALOADER.NUM_WORKERS", "2"]
    whole = build(method, *options)
    whole.train()
    assert whole.gradients.captured
    broken = build(method, *options, output=tmp_path / "broken")
    cut_off_after(broken, 2)
    resumed = build(method, *options, output=tmp_path / "broken")
    resumed.train()
    assert resumed.start_epoch == 2
    for name, tensor in whole.tuned.state_dict().items():
        assert torch.allclose(tensor, resumed.tuned.state_dict()[name], rtol=1e-3, atol=1e-4), name


def test_batches_are_pinned_and_equal_those_on_the_cpu(build):
    one, other = (build("CLIPFit", "USE_CUDA", use) for use in ("True", "False"))
    torch.manual_seed(0)
    pinned = list(one.train_loader_x)
    torch.manual_seed(0)
    for a, b in zip(pinned, other.train_loader_x, strict=True):
        assert a["img"].is_pinned() and not b["img"].is_pinned()
        assert torch.equal(a["img"], b["img"]) and a["impath"] == b["impath"]


@pytest.mark.parametrize("method", METHODS)
def test_tuned_on_the_gpu_used_on_the_cpu(build, method, tmp_path):
    trainer = build(method, "DATASET.SUBSAMPLE_CLASSES", "base", output=tmp_path / "run")
    trainer.train()
    images = [item.impath for item in trainer.dm.dataset.test[:40]]
    gpu, cpu = (load_tuned(tmp_path / "run", device=device).predict(images).logits for device in ("cuda", "cpu"))
    assert (gpu - cpu).abs().max() < 0.02 * cpu.abs().max() and cpu.std() > 0


def test_command_line(tmp_path):
    """The defaults: fp16 on the GPU, whose name and memory are recorded, with about the CPU's accuracy."""
    flags = "train.py --trainer CLIPFit --backbone micro --seed 1 --dataset-config-file configs/datasets/digits.yaml"
    flags += f" --config-file configs/trainers/CLIPFit/micro_ep100.yaml --root {tmp_path}/data"
    options = "DATASET.NUM_SHOTS 16 OPTIM.MAX_EPOCH 3 DATASET.SUBSAMPLE_CLASSES base".split()
    records = {}
    for name, keys in {"gpu": (), "cpu": ("USE_CUDA", "False")}.items():
        command = [sys.executable, *flags.split(), "--output-dir", f"{tmp_path}/{name}", *options, *keys]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]
        records[name] = json.loads((tmp_path / name / "result.json").read_text())
    assert {name: record["identity"]["precision"] for name, record in records.items()} == {"gpu": "fp16", "cpu": "fp32"}
    assert records["gpu"]["device"] == torch.cuda.get_device_name() and records["gpu"]["peak_memory_mb"] > 1
    accuracy = {name: record["metrics"]["test"]["accuracy"] for name, record in records.items()}
    assert accuracy == pytest.approx({name: accuracy["cpu"] for name in accuracy}, abs=3) and accuracy["cpu"] > 70


@pytest.mark.parametrize("prec", ["fp32", "fp16"])
def test_a_trace_is_the_same_with_a_graph_and_changes_nothing(build, prec):
    """Steps 4 to 7 are captured; every second step is split by loss term, in a forward pass of its own."""
    trace = ("TRAIN.TRACE", "True", "TRAIN.TRACE_TERMS", "2")
    eager = build("CLIPFit", *precision("CLIPFit", prec), *trace, "MODEL.CUDA_GRAPH", "False")
    graph = build("CLIPFit", *precision("CLIPFit", prec), *trace)
    plain = build("CLIPFit", *precision("CLIPFit", prec))
    sizes = (4,) * 8
    for trainer in (eager, graph, plain):
        steps(trainer, sizes)
    assert graph.gradients.captured
    for one, other in zip(graph.tuned.parameters(), plain.tuned.parameters(), strict=True):
        assert torch.equal(one, other)
    states = [trainer.trace.state() for trainer in (eager, graph)]
    tolerance = 1e-3 if prec == "fp32" else 5e-2
    for key in ("gradient", "change", "term_gradient"):
        one, other = (state[key] if key == "gradient" else state[key][0] for state in states)
        assert torch.allclose(one.double(), other.double(), rtol=tolerance, atol=1e-12), key
