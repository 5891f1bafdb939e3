"""Archives of PyTorch: the tensors of torch.jit.load and torch.load, checked checksums, and no code that runs."""

import contextlib
import io
import os
import pickle
import random
import zipfile

import pytest
import torch
from clip.model import convert_weights
from torch import nn

from tests.reference.models import random_clip
from trainers.common.runs import inert_pickle, torch_archive

pytestmark = pytest.mark.filterwarnings(
    "ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning"
)


def openai_archive(size: str, path) -> str:
    """Writes a CLIP as OpenAI does: traced, with fp16 matrices, and with its sizes as buffers."""
    model = random_clip(size)
    convert_weights(model)
    sizes = {"input_resolution": model.visual.input_resolution, "context_length": 77, "vocab_size": 49408}
    for name, value in sizes.items():
        model.__dict__.pop(name, None)
        model.register_buffer(name, torch.tensor(value))
    text = torch.zeros(1, 77, dtype=torch.long)
    text[0, 3] = 49407
    side = sizes["input_resolution"]
    model.float()
    traced = torch.jit.trace(model, (torch.zeros(1, 3, side, side), text), check_trace=False)
    convert_weights(traced)
    for name, parameter in traced.named_parameters():
        if name.endswith(("weight", "bias", "proj")) and "ln_" not in name and "token" not in name:
            parameter.data = parameter.data.half()
    traced.save(str(path))
    return str(path)


def equal(ours: dict, expected: dict) -> bool:
    same = [torch.equal(ours[k], v) and ours[k].dtype == v.dtype for k, v in expected.items() if k in ours]
    return ours.keys() == expected.keys() and all(same)


@pytest.mark.parametrize("size", ["tiny", "tiny-RN"])
def test_archives_as_openais_have_the_tensors_of_torch_jit_load(size, tmp_path):
    path = openai_archive(size, tmp_path / "clip.pt")
    expected = torch.jit.load(path, map_location="cpu").state_dict()
    assert {torch.float16, torch.float32} <= {tensor.dtype for tensor in expected.values()}
    assert {"input_resolution", "context_length", "vocab_size"} <= expected.keys()
    assert equal(torch_archive.read(path), expected)
    shapes = torch_archive.read(path, shapes_only=True)
    assert {k: v.shape for k, v in shapes.items()} == {k: v.shape for k, v in expected.items()}
    assert all(tensor.is_meta for tensor in shapes.values())


class Part(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 2)
        self.register_buffer("count", torch.tensor(3))
        self.constant = torch.ones(2)  # an attribute, not in the state_dict
        self.table = {"a": torch.zeros(1)}

    def forward(self, x):
        return self.linear(x) + self.constant + self.table["a"]


def test_scripted_modules_with_shared_modules_and_attributes(tmp_path):
    model = nn.Sequential(Part(), nn.ReLU(), nn.Linear(2, 2, bias=False), nn.BatchNorm1d(2))
    model.append(model[2])
    torch.jit.script(model).save(str(tmp_path / "m.pt"))
    ours = torch_archive.read(str(tmp_path / "m.pt"))
    assert equal(ours, torch.jit.load(str(tmp_path / "m.pt")).state_dict())
    assert "0.count" in ours and "0.constant" not in ours


def test_files_of_torch_save(tmp_path):
    base = torch.arange(12.0)
    content = {
        "state_dict": {"view": base.view(3, 4).t(), "part": base[2:5], "empty": torch.empty(0, 3)},
        "half": nn.Parameter(torch.ones(2, dtype=torch.bfloat16)), "ids": torch.tensor([1, 2]),
        "n": [1, 2.5, "x", None],
    }  # fmt: skip
    torch.save(content, tmp_path / "c.pt")
    ours = torch_archive.read(str(tmp_path / "c.pt"))
    assert equal(ours["state_dict"], content["state_dict"]) and ours["n"] == content["n"]
    assert torch.equal(ours["half"], content["half"]) and torch.equal(ours["ids"], content["ids"])
    parts = ours["state_dict"]
    assert parts["view"].data_ptr() + 8 == parts["part"].data_ptr()  # they share a storage, as in the file


class WritesOnLoad(nn.Module):
    """Its TorchScript code writes a file when it is loaded."""

    def __init__(self, path: str):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))
        self.path = path

    def forward(self, x):
        return x * self.weight

    @torch.jit.export
    def __getstate__(self):
        return self.path, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[str, bool]):
        self.path = state[0]
        self.training = state[1]
        self.weight = torch.ones(2)
        torch.save([self.weight], self.path)


def test_code_in_a_torchscript_archive_does_not_run(tmp_path):
    target = tmp_path / "written"
    outer = nn.Sequential(WritesOnLoad(str(target)), nn.Linear(2, 2))
    torch.jit.script(outer).save(str(tmp_path / "evil.pt"))
    torch.jit.load(str(tmp_path / "evil.pt"))  # the code works, so the test can fail
    target.unlink()
    assert torch_archive.read(str(tmp_path / "evil.pt")).keys() == {"1.weight", "1.bias"}
    assert not target.exists()


class Evil:
    def __init__(self, command: str):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.mark.parametrize("torchscript", [False, True])
@pytest.mark.parametrize("protocol", [2, pickle.HIGHEST_PROTOCOL])
def test_a_hostile_pickle_does_not_run(torchscript, protocol, tmp_path):
    target, path = tmp_path / "written", str(tmp_path / "evil.pt")
    evil = pickle.dumps({"state_dict": Evil(f"touch {target}")}, protocol=protocol)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("evil/data.pkl", evil)
        archive.writestr("evil/version", "3\n")
        if torchscript:
            archive.writestr("evil/constants.pkl", evil)
    with pytest.raises(ValueError, match="TorchScript") if torchscript else contextlib.nullcontext():
        stand_in = torch_archive.read(path)["state_dict"]
        assert isinstance(stand_in, inert_pickle.StandIn) and stand_in.origin.endswith(".system")
    assert not target.exists()
    pickle.loads(evil)  # the pickle works, so the test can fail
    assert target.exists()


def test_a_pickle_cannot_change_what_it_names():
    """BUILD sets attributes: here of the function that rebuilds tensors, for all later files."""
    function = b"ctorch._utils\n_rebuild_tensor_v2\n"
    hostile = b"\x80\x02" + function + b"N}(X\x0c\x00\x00\x00__defaults__(K\x01tu\x86b."
    before = inert_pickle._tensor.__defaults__, torch._utils._rebuild_tensor_v2.__defaults__
    inert_pickle.load(io.BytesIO(hostile))
    assert before == (inert_pickle._tensor.__defaults__, torch._utils._rebuild_tensor_v2.__defaults__)


def test_modules_that_contain_themselves_end(tmp_path, monkeypatch):
    monkeypatch.setattr(torch_archive, "MAX_SCRIPT_ATTRIBUTES", 1000)
    # an object whose state is {"a": the object}
    pickled = b"\x80\x02c__torch__\nM\n)\x81q\x00}X\x01\x00\x00\x00ah\x00sb."
    with zipfile.ZipFile(tmp_path / "m.pt", "w") as archive:
        archive.writestr("m/data.pkl", pickled)
        archive.writestr("m/constants.pkl", b"\x80\x02).")
    with pytest.raises(ValueError, match="1,000"):
        torch_archive.read(str(tmp_path / "m.pt"))


@pytest.mark.parametrize("kind", ["torch.save", "TorchScript"])
def test_flipped_bits_are_detected_or_harmless(kind, tmp_path):
    """One bit of each byte of the directory, where members can get lost, and 150 bits anywhere."""
    path = tmp_path / "m.pt"
    model = nn.Sequential(nn.Linear(30, 40), nn.LayerNorm(40))
    if kind == "TorchScript":
        torch.jit.script(model).save(str(path))
    else:
        torch.save(model.state_dict(), path)
    content, expected = path.read_bytes(), dict(model.state_dict())
    rng, detected = random.Random(0), 0
    with zipfile.ZipFile(path) as archive:
        directory = range(archive.start_dir, len(content))
    for position in [*directory, *(rng.randrange(len(content)) for _ in range(150))]:
        damaged = bytearray(content)
        damaged[position] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        try:
            ours = torch_archive.read(str(path))
        except Exception:
            detected += 1
        else:
            assert isinstance(ours, dict) and equal(ours, expected)  # in unused bytes
    assert detected > len(directory) / 2


def test_a_member_that_expands_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(torch_archive, "MAX_EXPANDED", 10_000)
    with zipfile.ZipFile(tmp_path / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb/data.pkl", b"\x80\x02." + bytes(1_000_000))
    with pytest.raises(ValueError, match="1,000,003"):
        torch_archive.read(str(tmp_path / "bomb.pt"))
