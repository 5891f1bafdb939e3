"""The digest depends on every value and type, and not on their storage."""

import hashlib
import itertools
import math
import struct

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainers.common.runs.digest import digest

PLAIN = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5) | st.binary(max_size=5)
)
NESTED = st.recursive(
    PLAIN,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=3)
    ),
    max_leaves=6,
)


def exact(value):
    """A string that is equal for two values if and only if their digests must be equal."""
    if isinstance(value, dict):
        return "{" + ",".join(sorted(f"{exact(k)}:{exact(v)}" for k, v in value.items())) + "}"
    if isinstance(value, (list, tuple)):
        return f"{type(value).__name__}[{','.join(map(exact, value))}]"
    return f"{type(value).__name__} {value!r}"


@settings(max_examples=300)
@given(NESTED, NESTED)
def test_equal_exactly_where_values_and_types_are(one, other):
    assert (digest(one) == digest(other)) == (exact(one) == exact(other))


def test_look_alikes_differ():
    values = [0, 0.0, -0.0, False, None, "", b"", [], (), {}, "0", [0], (0,), [[]], [[], []], [[[]]], {0: 0}, {"0": 0}]
    values += ["ab", ["a", "b"], ["ab"], math.inf, math.nan, {"a": {"b": 1}}, {"a": 1, "b": 1}, "a\0b", "é", "e\u0301"]
    values += [
        torch.zeros(n, dtype=t) for n in (0, 1, 2) for t in (torch.float32, torch.int32, torch.uint8, torch.bool)
    ]
    values += [torch.zeros(()), torch.zeros(1, 2), torch.zeros(2, 1), torch.zeros(0, 1), torch.zeros(2).bfloat16()]
    for one, other in itertools.combinations(values, 2):
        assert digest(one) != digest(other), (one, other)


def test_plain_formula():
    """The digest of an example, computed from the definition."""
    tensor = torch.tensor([[1.5, -2.0]])
    content = b"dict 2;" + b"str 1;a" + b"torch.float32 (1, 2);" + np.array([1.5, -2.0], "<f4").tobytes()
    content += b"str 1;b" + b"tuple 2;" + b"int 7;" + b"float " + struct.pack("<d", 0.5)
    assert digest({"b": (7, 0.5), "a": tensor}) == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.bool])
def test_one_changed_bit_of_a_tensor(dtype):
    tensor = torch.arange(12).reshape(3, 4).to(dtype)
    changed = tensor.clone()
    changed.view(torch.uint8).view(-1)[-1] ^= 1
    assert digest(tensor) != digest(changed) and digest(tensor) == digest(tensor.clone())


def test_storage_does_not_matter():
    tensor = torch.randn(4, 6)
    for same in (tensor.t().contiguous().t(), torch.stack([tensor, tensor])[1], torch.nn.Parameter(tensor)):
        assert digest(same) == digest(tensor)
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})


@pytest.mark.parametrize("value", [{1, 2}, np.float64(1), object(), [np.zeros(2)]])
def test_unsupported_types(value):
    if isinstance(value, float):  # numpy's float64 is a Python float
        assert digest(value) == digest(1.0)
        return
    with pytest.raises(TypeError, match=type(value[0] if isinstance(value, list) else value).__name__):
        digest(value)
