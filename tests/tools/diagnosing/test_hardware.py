"""Memory, GPUs and disk space on other machines than this one."""

import os
from types import SimpleNamespace

import pytest
import torch

from tools.diagnosing import hardware
from tools.diagnosing.findings import ERROR, NOTE, OK


def states(findings) -> list[str]:
    return [finding.state for finding in findings]


@pytest.mark.parametrize("free, state", [(3.9e9, NOTE), (64e9, OK), (float("inf"), NOTE)])
def test_memory(monkeypatch, free, state):
    monkeypatch.setattr(hardware, "free_memory", lambda: free)
    assert states(hardware.memory()) == [state]


def test_cores(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "getloadavg", lambda: (1.0, 1.0, 1.0), raising=False)
    cores, name = hardware.processor()
    assert "of 64 CPU cores" in cores.text and name.text.startswith("CPU: ")
    monkeypatch.setattr(os, "getloadavg", lambda: (80.0, 1.0, 1.0), raising=False)
    assert [finding.state for finding in hardware.processor()] == [OK, NOTE, OK]


def test_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 90000)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda index: (70e9, 80e9))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: f"H{index}")
    texts = [finding.text for finding in hardware.gpus()]
    assert any("H0" in text and "70.0 of 80.0 GB" in text for text in texts) and any("GPU 1" in text for text in texts)
    assert "GPU" in texts[-1] and "fp16" in texts[-1]


def test_a_driver_without_a_gpu_that_torch_finds(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(hardware.shutil, "which", lambda name: "/usr/bin/nvidia-smi")
    cuda, run = hardware.gpus()
    assert cuda.state == NOTE and "nvidia-smi" in cuda.remedy and "fp32" in run.text
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert states(hardware.gpus()) == [OK, OK] and "hides" in next(hardware.gpus()).text


@pytest.mark.parametrize(
    "free, needed, state", [(5e7, True, ERROR), (5e7, False, NOTE), (1e9, True, NOTE), (9e9, True, OK)]
)
def test_free_space(tmp_path, monkeypatch, free, needed, state):
    monkeypatch.setattr(hardware.shutil, "disk_usage", lambda path: SimpleNamespace(free=free))
    (finding,) = hardware.space(str(tmp_path / "not" / "yet"), "output folder", needed)
    assert finding.state == state and bool(finding.remedy) == (state != OK)


def test_a_folder_that_cannot_be_used(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    assert states(hardware.space(str(tmp_path / "file" / "run"), "output folder", True)) == [ERROR]
    monkeypatch.setattr(hardware.os, "access", lambda path, mode: False)
    assert states(hardware.space(str(tmp_path), "output folder", True)) == [ERROR]
    assert states(hardware.space(str(tmp_path), "cache")) == [NOTE]


def test_little_shared_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(hardware, "SHARED", tmp_path)
    monkeypatch.setattr(
        hardware.shutil, "disk_usage", lambda path: SimpleNamespace(free=64e6 if path == tmp_path else 9e9)
    )
    last = list(hardware.disk("output"))[-1]
    assert last.state == NOTE and "--shm-size" in last.remedy and "NUM_WORKERS" in last.remedy
