"""Corrupted checkpoint files: reading raises an error that names the file, or returns the right weights."""

import json
import os
import pickle
import random
import zipfile

import pytest
import torch

from tests.trainers.crash import flip_a_bit
from tests.user_errors import assert_facts, raises_user_error
from trainers.common.runs import checkpoint_file
from trainers.common.runs.digest import digest

CASES = 120  # per kind of corruption


def overwrite(data, rng):
    at, new = rng.randrange(len(data)), rng.randbytes(rng.randint(1, 64))
    return data[:at] + new + data[at + len(new) :]


def zero_a_block(data, rng):
    at = rng.randrange(0, len(data), 512)
    return data[:at] + bytes(len(data[at : at + 4096])) + data[at + 4096 :]


def cut_off(data, rng):
    return data[: rng.randrange(len(data))]


def delete(data, rng):
    at = rng.randrange(len(data))
    return data[:at] + data[at + rng.randint(1, 300) :]


def insert(data, rng):
    at = rng.randrange(len(data))
    return data[:at] + rng.randbytes(rng.randint(1, 300)) + data[at:]


def swap_blocks(data, rng):
    blocks = [data[i : i + 256] for i in range(0, len(data), 256)]
    i, j = rng.sample(range(len(blocks) - 1), 2)
    blocks[i], blocks[j] = blocks[j], blocks[i]
    return b"".join(blocks)


def append(data, rng):
    return data + rng.randbytes(rng.randint(1, 300))


CORRUPTIONS = (flip_a_bit, overwrite, zero_a_block, cut_off, delete, insert, swap_blocks, append)


@pytest.fixture
def trained(make, tmp_path):
    """A trainer with checkpoints of epochs 1 and 2, and the path of the second one."""
    trainer = make("CLIPFit", output=tmp_path / "run")
    for epoch in range(2):
        for p in trainer.tuned.parameters():
            p.data += torch.randn(p.shape)
        trainer.save_model(epoch, str(tmp_path / "run"))
    return trainer, tmp_path / "run" / "clipfit" / "model.pth.tar-2"


def tensors(trainer):
    return {name: tensor.clone() for name, tensor in trainer.tuned.state_dict().items()}


@pytest.mark.parametrize("corrupt", CORRUPTIONS)
def test_corrupted_bytes(trained, corrupt):
    trainer, path = trained
    data, rng = path.read_bytes(), random.Random(corrupt.__name__)
    right = tensors(trainer)
    trainer.tuned.load_state_dict({name: torch.zeros_like(tensor) for name, tensor in right.items()})
    before, detected = tensors(trainer), 0
    for case in range(CASES):
        path.write_bytes(corrupt(data, rng))
        try:
            if case % 4:
                trainer.load_model(str(path.parents[1]), epoch=2)
            else:
                assert trainer.resume_model_if_exist(str(path.parents[1])) == 2
        except ValueError as error:
            assert_facts(str(error), path, "corrupted", "model.pth.tar-1 (epoch 1)", "--load-epoch 1")
            expected, detected = before, detected + 1
        else:
            expected = right
        assert all(torch.equal(tensor, expected[name]) for name, tensor in tensors(trainer).items())
        trainer.tuned.load_state_dict(before)
    # Changes in the padding between the parts of an archive, and after its end, have no effect.
    assert detected >= (0 if corrupt is append else CASES / 2)


def test_every_byte_of_a_tensor_counts(trained):
    """torch.load itself returns a changed tensor without an error."""
    trainer, path = trained
    data = path.read_bytes()
    values = trainer.tuned.state_dict()["visual.ln_pre.weight"].numpy().tobytes()
    at = data.index(values)
    for i in range(0, len(values), 16):
        path.write_bytes(data[: at + i] + bytes([data[at + i] ^ 1]) + data[at + i + 1 :])
        assert torch.load(path, weights_only=True)["epoch"] == 2
        with raises_user_error(path, "checksum", "data/"):
            checkpoint_file.read(str(path))


def test_a_file_that_was_edited_and_saved_again(trained):
    """The checksums of the archive match, the digest does not. Without a digest the file is valid."""
    _, path = trained
    state = torch.load(path, weights_only=True)
    state["optimizer"]["param_groups"][0]["lr"] = 1.0
    torch.save(state, path)
    with raises_user_error(path, "digest", "model.pth.tar-1 (epoch 1)"):
        checkpoint_file.read(str(path))
    del state["digest"]
    torch.save(state, path)
    assert checkpoint_file.read(str(path))["optimizer"]["param_groups"][0]["lr"] == 1.0


def test_the_digest_covers_everything_that_is_restored(trained):
    trainer, path = trained
    state = torch.load(path, weights_only=True)
    assert state.pop("digest") == digest(state)
    assert {
        "state_dict",
        "optimizer",
        "scheduler",
        "scaler",
        "random",
        "best_result",
        "epoch",
        "meta",
        "settings",
    } <= set(state)


def test_reading_with_torch_1_13(trained, monkeypatch):
    """torch 1.13 refuses floats with `weights_only`. The file is read without building objects, and verified."""
    _, path = trained
    load = torch.load

    def old(*args, weights_only, **kwargs):
        if weights_only:
            raise pickle.UnpicklingError("Unsupported operand 71")
        return load(*args, weights_only=False, **kwargs)

    monkeypatch.setattr(torch, "load", old)
    state = checkpoint_file.read(str(path))
    monkeypatch.undo()
    assert digest(state) == digest(checkpoint_file.read(str(path)))
    state["scheduler"]["base_lrs"] = Evil(path.with_name("was here"))
    torch.save({**state, "digest": "0" * 64}, path)
    with raises_user_error(path, "StandIn"):
        checkpoint_file.read(str(path))
    assert not path.with_name("was here").exists()


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


OTHERS = {
    "empty": b"",
    "text": b"this is no checkpoint",
    "json": json.dumps({"state_dict": {}}).encode(),
    "start of an archive": b"PK\x03\x04",
    "zeros": bytes(5000),
}


@pytest.mark.parametrize("kind", [*OTHERS, "zip", "list", "no tensors", "state dict", "folder", "safetensors"])
@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_files_that_are_no_checkpoints(trained, kind):
    trainer, path = trained
    path.unlink()
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("data.pkl", "x")
    elif kind == "list":
        torch.save([1, 2], path)
    elif kind == "no tensors":
        torch.save({"state_dict": {"a": 3}, "epoch": 2}, path)
    elif kind == "state dict":
        torch.save(tensors(trainer), path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "safetensors":
        from safetensors.torch import save_file

        save_file(tensors(trainer), path)
    else:
        path.write_bytes(OTHERS[kind])
    for call in (
        lambda: trainer.load_model(str(path.parents[1]), 2),
        lambda: trainer.resume_model_if_exist(str(path.parents[1])),
    ):
        with raises_user_error(path, "model.pth.tar-1 (epoch 1)", error=(ValueError, FileNotFoundError)):
            call()


def test_invalid_content_of_a_checkpoint(trained):
    """Without a digest, a checkpoint may contain anything."""
    trainer, path = trained
    whole = checkpoint_file.read(str(path))
    changes = [{"meta": {"x": 1}}, {"optimizer": {"state": {}}}, {"random": {"python": 3}}, {"scheduler": [1]}]
    changes += [{"epoch": None}, {"random": {**whole["random"], "torch": torch.zeros(3)}}]
    for change in changes:
        torch.save({**whole, **change}, path)
        with raises_user_error(path, error=ValueError):
            trainer.resume_model_if_exist(str(path.parents[1]))


def test_the_error_names_the_newest_intact_checkpoint(trained, capsys):
    trainer, path = trained
    folder, run = path.parent, str(path.parents[1])
    trainer.save_model(2, run)
    trainer.save_model(1, run, val_result=50.0, model_name="model-best.pth.tar")
    for name in ("model.pth.tar-3", "model.pth.tar-1"):
        (folder / name).write_bytes(b"corrupted")
    with raises_user_error(folder / "model.pth.tar-3", "model.pth.tar-2 (epoch 2)", "--load-epoch 2"):
        trainer.load_model(run, epoch=3)
    facts = (folder / "model.pth.tar-9", "--model-dir", "model.pth.tar-2 (epoch 2)")
    with raises_user_error(*facts, error=FileNotFoundError):
        trainer.load_model(run, epoch=9)
    path.write_bytes(b"corrupted")
    with raises_user_error(path, "model-best.pth.tar (epoch 2)", "without --load-epoch"):
        trainer.load_model(run, epoch=2)
    (folder / "model-best.pth.tar").write_bytes(b"corrupted")
    with raises_user_error(folder / "model-best.pth.tar", "--output-dir", error=ValueError):
        trainer.load_model(run)


def test_the_command_in_the_error_works(trained):
    """After running it, the run resumes from the intact checkpoint."""
    trainer, path = trained
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError) as caught:
        trainer.resume_model_if_exist(str(path.parents[1]))
    message = str(caught.value)
    assert os.system(message[message.index("echo ") :]) == 0
    assert trainer.resume_model_if_exist(str(path.parents[1])) == 1


def test_newest(trained):
    trainer, path = trained
    folder, pointer, run = str(path.parent), path.parent / "checkpoint", str(path.parents[1])
    trainer.save_model(9, run)
    pointer.write_text("model.pth.tar-1\n")
    assert checkpoint_file.newest(folder) == "model.pth.tar-1"  # named by the file `checkpoint`
    for lose_name in (lambda: pointer.write_text(""), lambda: pointer.write_text("\n"), pointer.unlink):
        lose_name()
        assert checkpoint_file.newest(folder) == "model.pth.tar-10"  # not model.pth.tar-2, the last alphabetically
    pointer.write_bytes(b"\xff\xfe model")
    with raises_user_error("model.pth.tar-10 (epoch 10)", error=FileNotFoundError):
        trainer.resume_model_if_exist(run)
    pointer.write_text("model.pth.tar-7\n")
    with raises_user_error("model.pth.tar-7", "model.pth.tar-10 (epoch 10)", "echo", error=FileNotFoundError):
        trainer.resume_model_if_exist(run)
    assert checkpoint_file.newest(str(path.parents[2])) is None


@pytest.mark.parametrize("name", ["../other/model.pth.tar-1", "/etc/passwd", "a\x1bb"])
def test_the_file_checkpoint_names_no_file_outside_its_folder(tmp_path, name):
    (tmp_path / "checkpoint").write_text(name + "\n")
    with raises_user_error(tmp_path / "checkpoint"):
        checkpoint_file.newest(str(tmp_path))
