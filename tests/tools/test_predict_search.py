"""`tools/predict.py --search`: ranking by a text, the index next to the folder, and user errors."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.tools.tuned import trained  # noqa: F401  (fixture)
from tests.user_errors import assert_facts, assert_user_error
from tools import predict
from tools.predicting import index as index_module
from tools.predicting import search
from tools.zero_shot import load_zero_shot
from trainers.common import load_tuned
from trainers.common.inference.classifier import Classifier

TEXT = "a photo of a zero, written by hand"


@pytest.fixture
def folder(trained, tmp_path):  # noqa: F811
    """Twelve images, in `data/photos/a` and `b`."""
    for i, item in enumerate(trained().dm.dataset.test[::4][:12]):
        path = tmp_path / "data" / "photos" / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(item.impath, path)
    return tmp_path / "data" / "photos"


@pytest.fixture
def call(trained, capsys, monkeypatch):  # noqa: F811
    """call(*arguments) -> (exit code, stdout, stderr); `call.encoded` are the numbers of images of each batch."""
    features = Classifier.features

    def counted(self, images, batch_size=32):
        search_on.encoded.append(len(images))
        return features(self, images, batch_size)

    monkeypatch.setattr(Classifier, "features", counted)

    def search_on(*arguments, run=None):
        search_on.encoded = []
        capsys.readouterr()  # the log of a training
        code = predict.main([str(run or trained().output_dir), *map(str, arguments)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return search_on


def images(folder):
    return [str(path) for path in sorted(folder.rglob("*.png"), key=lambda path: path.relative_to(folder).parts)]


def plain_ranking(classifier, paths, text):
    """Returns (path, cosine similarity) in descending order, by the features of `load_tuned`."""
    own = classifier.with_classes([text], "{}").text_features()
    scores = (classifier.features(paths) @ own.T)[:, 0].tolist()
    return sorted(zip(paths, scores, strict=True), key=lambda item: -item[1])


def test_images_are_ranked_by_their_similarity_to_a_text(call, folder, trained, tmp_path):  # noqa: F811
    files = tmp_path / "found.csv", tmp_path / "found.json"
    others = TEXT, "four"
    code, out, _ = call(folder, *[x for t in others for x in ("--search", t)], "--top", 4, "--csv", files[0])
    assert code == 0 and out == ""
    rows = list(csv.DictReader(files[0].open()))
    classifier = load_tuned(trained().output_dir)
    for text in others:
        expected = plain_ranking(classifier, images(folder), text)[:4]
        found = [row for row in rows if row["text"] == text]
        assert [(row["rank"], row["image"]) for row in found] == [(str(i + 1), p) for i, (p, _) in enumerate(expected)]
        assert [float(row["similarity"]) for row in found] == pytest.approx([s for _, s in expected], abs=1e-5)
    assert call(folder, "--search", TEXT, "--json", files[1])[0] == 0
    (result,) = json.loads(files[1].read_text())
    assert result["text"] == TEXT and len(result["images"]) == 5
    assert [item["image"] for item in result["images"][:4]] == [row["image"] for row in rows if row["text"] == TEXT]
    out = call(folder, "--search", TEXT, "--top", 1)[1].splitlines()
    assert out[0] == TEXT and out[1].split()[1] == result["images"][0]["image"] and len(out) == 2


def test_a_learned_context_stands_before_the_text(call, folder, trained):  # noqa: F811
    run = trained("CoOp").output_dir
    code, out, _ = call(folder, "--search", f"{TEXT}.", "--top", 12, run=run)
    expected = plain_ranking(load_tuned(run), images(folder), TEXT)  # the prompt of a class ends in a full stop
    assert code == 0 and [line.split()[1] for line in out.splitlines()[1:]] == [path for path, _ in expected]


def test_zero_shot_clip_needs_no_run(call, folder, trained):  # noqa: F811
    backbone = trained().cfg.MODEL.BACKBONE.NAME
    code, out, err = call(folder, "--search", TEXT, "--top", 12, "--backbone", backbone, run="zero-shot")
    expected = plain_ranking(load_zero_shot(backbone, ["a class"]), images(folder), TEXT)
    assert code == 0, err
    assert [line.split()[1] for line in out.splitlines()[1:]] == [path for path, _ in expected]


def test_only_new_and_changed_images_are_encoded(call, folder, trained):  # noqa: F811
    assert call(folder, "--search", TEXT)[0] == 0 and sum(call.encoded) == 12
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    (index,) = folder.parent.glob("photos.search-*.npz")
    assert sorted(folder.parent.iterdir()) == [folder, index] and all(p.suffix == ".png" for p in before)
    first = call(folder, "--search", TEXT, "--top", 20)
    assert sum(call.encoded) == 0 and len(first[1].splitlines()) == 13
    a, b, c, d = (folder / path for path in ("a/0.png", "b/1.png", "a/2.png", "b/3.png"))
    a.unlink()  # removed
    Image.effect_noise((16, 16), 90).save(b)  # changed
    c.rename(folder / "b" / "renamed.png")
    shutil.copy(d, folder / "a" / "copy.png")
    Image.effect_noise((16, 16), 90).save(folder / "new.png")
    code, out, err = call(folder, "--search", TEXT, "--top", 20)
    assert code == 0 and sum(call.encoded) == 2
    assert_facts(err.strip().splitlines()[-1], "13 images", "2 encoded", "10 from the index", "2 removed", index)
    found = [line.split() for line in out.splitlines()[1:]]
    expected = plain_ranking(load_tuned(trained().output_dir), images(folder), TEXT)
    assert sorted(path for _, path in found) == sorted(images(folder))
    assert [float(value) for value, _ in found] == pytest.approx([value for _, value in expected], abs=1e-4)
    scores = {path: value for value, path in found}
    assert scores[str(d)] == scores[str(folder / "a" / "copy.png")]
    with np.load(index) as file:
        assert file["features"].shape[0] == 12  # without the removed image; the copy shares a row


def test_each_model_has_its_own_index(call, folder, trained):  # noqa: F811
    call(folder, "--search", TEXT)
    call(folder, "--search", TEXT, "--precision", "bf16")
    assert sum(call.encoded) == 12
    call(folder, "--search", "another text", "--template", "a photo of {}.")
    assert sum(call.encoded) == 0
    call(folder, "--search", TEXT, run=trained("CoOp").output_dir)
    assert sum(call.encoded) == 12 and len(list(folder.parent.glob("*.npz"))) == 3


def compressed(path):
    with np.load(path) as file:
        arrays = dict(file)
    np.savez_compressed(path, **arrays)


def other_model(path):
    with np.load(path) as file:
        arrays = dict(file)
    np.savez(path, **{**arrays, "identity": np.frombuffer(b"{}", np.uint8)})


def other_length(path):
    with np.load(path) as file:
        arrays = dict(file)
    np.savez(path, **{**arrays, "features": arrays["features"][:, :5]})


def pickled(path):
    np.savez(path, identity=np.array([{}], dtype=object), keys=1, features=2)


def cut(path):
    path.write_bytes(path.read_bytes()[:-50])


def emptied(path):
    path.write_bytes(b"")


def flipped(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)


def test_an_index_that_cannot_be_used_is_made_again(call, folder):
    expected = call(folder, "--search", TEXT)[1]
    (index,) = folder.parent.glob("*.npz")
    intact = index.read_bytes()
    for damage in (compressed, other_model, other_length, pickled, flipped, cut, emptied):
        damage(index)
        code, out, err = call(folder, "--search", TEXT)
        (line,) = [line for line in err.splitlines() if line.startswith("Note: ") and "index" in line]
        assert code == 0 and out == expected and sum(call.encoded) == 12, damage
        assert_facts(line, index)
        assert index.stat().st_size == len(intact)
    assert call(folder, "--search", TEXT)[1] == expected and sum(call.encoded) == 0


def test_an_index_that_cannot_be_written(call, folder, monkeypatch):
    expected = call(folder, "--search", TEXT)[1]
    (index,) = folder.parent.glob("*.npz")
    index.unlink()

    def refuse(path):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(index_module, "written_atomically", refuse)
    code, out, err = call(folder, "--search", TEXT)
    (line,) = [line for line in err.splitlines() if line.startswith("Note: ") and "index" in line]
    assert code == 0 and out == expected and not index.exists()
    assert_facts(line, index, "Permission denied")


def test_what_was_encoded_before_an_interruption_is_kept(call, folder, monkeypatch):
    features = Classifier.features

    def stop(self, chunk, batch_size=32):
        if len(call.encoded) == 2:
            raise KeyboardInterrupt
        return features(self, chunk, batch_size)

    with monkeypatch.context() as patch:
        patch.setattr(Classifier, "features", stop)
        code, out, err = call(folder, "--search", TEXT, "--batch-size", 4)
    assert code == 130 and out == "" and call.encoded == [4, 4]
    assert call(folder, "--search", TEXT)[0] == 0 and sum(call.encoded) == 4


def test_a_large_folder_is_saved_from_time_to_time(call, folder, monkeypatch):
    saved = []
    monkeypatch.setattr(search, "SAVE_EVERY", 4)
    monkeypatch.setattr(search, "ROWS", 5)
    write = np.savez
    monkeypatch.setattr(np, "savez", lambda file, **arrays: saved.append(len(arrays["keys"])) or write(file, **arrays))
    code, out, _ = call(folder, "--search", TEXT, "--batch-size", 2, "--top", 20)
    assert code == 0 and saved == [4, 8, 12]
    assert len({line.split()[1] for line in out.splitlines()[1:]}) == 12


def test_unreadable_images_and_links(call, folder, tmp_path):
    (folder / "broken.png").write_bytes(b"\x89PNG no more")
    (folder / "same.png").write_bytes(b"\x89PNG no more")
    (folder / "notes.txt").write_text("no image")
    (folder / "a" / "loop").symlink_to(folder)
    (folder / "itself.png").symlink_to(folder / "itself.png")
    (folder / "link.png").symlink_to(folder / "a" / "0.png")
    code, out, err = call(folder, "--search", TEXT, "--top", 100)
    found = [line.split()[1] for line in out.splitlines()[1:]]
    expected = {path for path in images(folder) if Path(path).stem not in ("broken", "same", "itself")}
    assert code == 1 and set(found) == expected and len(found) == 13
    assert sum(str(folder / "broken.png") in line for line in err.splitlines()) == 1
    assert_facts(err.strip().splitlines()[-1], "2 unreadable", "15 images")
    again = call(folder, "--search", TEXT, "--top", 100)
    assert again[:2] == (code, out) and sum(call.encoded) == 0


def test_several_folders(call, folder):
    code, out, _ = call(folder / "a", folder / "b", "--search", TEXT, "--top", 12)
    assert code == 0
    assert [line.split()[1] for line in out.splitlines()] == [
        line.split()[1] for line in call(folder, "--search", TEXT, "--top", 12)[1].splitlines()
    ]


@pytest.mark.parametrize("method", ["CoCoOp", "LinearProbe", "GDA"])
def test_methods_without_features_of_any_text_are_refused(call, folder, trained, method):  # noqa: F811
    run = trained(method).output_dir
    result = call(folder, "--search", TEXT, run=run)
    assert_user_error((result[0], result[2].splitlines()[-1]), run, method)
    assert result[1] == "" and not list(folder.parent.glob("*.npz"))


USER_ERRORS = {
    "a file": (["FOLDER/a/0.png", "--search", "x"], ["--search", "0.png"]),
    "no folder": (["nowhere", "--search", "x"], ["nowhere"]),
    "classes": (["FOLDER", "--search", "x", "--classes", "a,b"], ["--classes", "--search"]),
    "empty text": (["FOLDER", "--search", " "], ["--search", "' '"]),
    "control character": (["FOLDER", "--search", "a\x1b[2J"], ["--search", "U+001B"]),
    "long text": (["FOLDER", "--search", "dog " * 80], ["77 tokens"]),
    "top": (["FOLDER", "--search", "x", "--top", "0"], ["--top", "0"]),
    "output": (["FOLDER", "--search", "x", "--csv", "FOLDER/a/0.png"], ["0.png"]),
}


@pytest.mark.parametrize("name", USER_ERRORS)
def test_user_errors_are_one_line(call, folder, name):
    arguments, facts = USER_ERRORS[name]
    result = call(*[argument.replace("FOLDER", str(folder)) for argument in arguments])
    assert_user_error(result, *facts)
    assert result[1] == "" and not list(folder.parent.glob("*.npz"))
