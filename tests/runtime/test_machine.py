"""What a machine has: the line about CUDA. Free memory: fast_loader/test_image_cache.py."""

from types import SimpleNamespace

import pytest
import torch

from dassl.utils import collect_env_info
from runtime.machine import cuda_text


@pytest.mark.parametrize(
    "cuda, hip, gpus, facts",
    [
        ("13.0", None, 0, ("built for CUDA 13.0", "no GPU found")),
        ("13.0", None, 2, ("built for CUDA 13.0", "2 GPUs found")),
        (None, "6.2", 1, ("built for ROCm 6.2", "1 GPU found")),
        (None, None, 0, ("CPU only",)),
    ],
)
def test_the_line_about_cuda(monkeypatch, cuda, hip, gpus, facts):
    monkeypatch.setattr(torch, "version", SimpleNamespace(cuda=cuda, hip=hip))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: f"GPU-{index}")
    assert all(fact in cuda_text() for fact in facts), cuda_text()
    assert cuda_text() in collect_env_info() and collect_env_info().count("GPU-") == gpus
