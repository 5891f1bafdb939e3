"""The library of large products on a CPU: chosen by time, kept for the processor, the same in a resumed run."""

import json

import pytest
import torch

from tests.user_errors import raises_user_error
from trainers.common import cpu_products

pytestmark = pytest.mark.skipif(cpu_products._ONEDNN is None, reason="this build of PyTorch has no oneDNN")


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch, tmp_path):
    monkeypatch.setattr(cpu_products, "FOLDER", tmp_path)
    monkeypatch.setattr(cpu_products, "_chosen", None)
    monkeypatch.delenv(cpu_products.VARIABLE)


def timed(monkeypatch, onednn_is_faster):
    """Replaces the times. `onednn_is_faster` gets (rows of x, n_in, n_out) of a product. Returns the products timed."""
    seen = []

    def fastest(functions, x, W):
        seen.append((*x.shape, W.shape[0]))
        return (1.0, 0.5) if onednn_is_faster(*seen[-1]) else (1.0, 0.95)

    monkeypatch.setattr(cpu_products, "fastest", fastest)
    return seen


def test_each_kind_of_product_has_the_faster_library(monkeypatch):
    seen = timed(monkeypatch, lambda rows, n_in, n_out: n_in < n_out)
    # Backward of a wide layer multiplies (rows, n_out) by (n_out, n_in), a narrow product.
    assert cpu_products.chosen() == {"forward-wide", "backward-narrow"}
    assert cpu_products.text() == "forward-wide,backward-narrow" and len(seen) == 6
    assert cpu_products.text() in cpu_products.summary()
    assert cpu_products.involves_onednn(torch.zeros(8, 4)) and not cpu_products.involves_onednn(torch.zeros(4, 4))


def test_without_a_clear_difference_mkl_is_used(monkeypatch):
    timed(monkeypatch, lambda *shape: False)
    assert cpu_products.text() == "mkl"


def test_the_choice_is_kept_for_other_processes(monkeypatch, tmp_path):
    timed(monkeypatch, lambda *shape: True)
    assert cpu_products.text() == "onednn"
    monkeypatch.setattr(cpu_products, "_chosen", None)
    timed(monkeypatch, lambda *shape: False)
    assert cpu_products.text() == "onednn"
    (file,) = tmp_path.iterdir()
    for content in ("", "[1]", '["other"]', "3", json.dumps({"a": 1})):  # damaged: measured again
        file.write_text(content)
        monkeypatch.setattr(cpu_products, "_chosen", None)
        assert cpu_products.text() == "mkl", content
        file.unlink()
    file.parent.rmdir()
    file.parent.write_text("not a folder")
    monkeypatch.setattr(cpu_products, "_chosen", None)
    assert cpu_products.text() == "mkl"


def test_a_resumed_run_and_the_variable_decide_without_a_measurement(monkeypatch):
    seen = timed(monkeypatch, lambda *shape: True)
    cpu_products.choose("forward-square")
    assert cpu_products.text() == "forward-square"
    monkeypatch.setenv(cpu_products.VARIABLE, "mkl")
    cpu_products.choose("forward-square")
    assert cpu_products.text() == "mkl" and not seen
    monkeypatch.setenv(cpu_products.VARIABLE, "blas")
    with raises_user_error(cpu_products.VARIABLE, "mkl, onednn", "forward-square", "'blas'"):
        cpu_products.choose()


@pytest.mark.parametrize("direction", cpu_products.DIRECTIONS)
def test_both_libraries_compute_the_same(monkeypatch, direction):
    x, W, bias = torch.randn(3, 5, 24), torch.randn(40, 24), torch.randn(40)
    monkeypatch.setattr(cpu_products, "_chosen", frozenset(cpu_products.KINDS))
    assert torch.allclose(cpu_products.linear(direction, x, W, bias), x @ W.t() + bias, atol=1e-5)
    monkeypatch.setattr(cpu_products, "_chosen", frozenset())
    assert torch.allclose(cpu_products.linear(direction, x, W, bias), x @ W.t() + bias, atol=1e-5)


def test_times_are_those_of_the_functions():
    calls = []
    one, other = cpu_products.fastest((lambda n: sum(range(n)), calls.append), 100_000)
    assert 0 < other < one and len(calls) == 1 + cpu_products.ROUNDS


def test_a_resumed_run_keeps_its_choice(make, monkeypatch, tmp_path):
    from trainers.common.runs import record

    monkeypatch.setenv(cpu_products.VARIABLE, "forward-wide")
    first = make("CLIPFit", "OPTIM.MAX_EPOCH", "1", output=tmp_path / "run")
    first.run.training = True
    record.begin(first)
    monkeypatch.delenv(cpu_products.VARIABLE)
    again = make("CLIPFit", "OPTIM.MAX_EPOCH", "1", output=tmp_path / "run")
    assert again.model_identity()["cpu_products"] == cpu_products.text() == "forward-wide"
