"""TensorBoard's curves of every method: loss terms, accuracy, learning rate, evaluations."""

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from .test_every_method import TRAINABLE, build  # noqa: F401  (build: a fixture)

TERMS = {name: ("ce", "kd") for name in ("CLIPFit", "ClipFit", "KgCoOp", "TCP")}
TERMS |= {
    "ProGrad": ("xe_loss", "kl_loss"),
    "FLYP": ("image", "text"),
    "CLAP": ("ce", "constraint"),
    "ProLIP": ("ce", "distance"),
}
TERMS |= {"PromptSRC": ("ce", "text", "image", "kl"), "MMRL": ("ce", "ce_rep", "reg_image", "reg_text")}
TERMS["MMRLPP"] = TERMS["MMRL"]


def curves(folder) -> dict[str, list[tuple[int, float]]]:
    """The logged points: tag -> [(step, value), ...]."""
    events = EventAccumulator(str(folder / "tensorboard"), size_guidance={"scalars": 0})
    events.Reload()
    return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


@pytest.mark.parametrize("method", TRAINABLE)
def test_every_method_logs_its_curves(build, method, tmp_path):  # noqa: F811
    options = "OPTIM.MAX_EPOCH 2 TEST.NO_TEST False TEST.FINAL_MODEL best_val DATALOADER.TRAIN_X.BATCH_SIZE 4".split()
    trainer = build(method, *options, output=tmp_path)
    steps, forward_backward = [], trainer.forward_backward

    def step(batch):
        lr = trainer.get_current_lr()
        steps.append({"lr": lr, **forward_backward(batch)})
        return steps[-1]

    trainer.forward_backward = lambda batch: {k: v for k, v in step(batch).items() if k != "lr"}
    trainer.train()
    found, n = curves(tmp_path), trainer.num_batches
    assert len(steps) == 2 * n >= 2  # ProLIP has one step per epoch
    terms = {f"train/{name}" for name in ("loss", "acc", "lr", *TERMS.get(method, ()))}
    assert {tag for tag in found if tag.startswith("train/")} == terms
    for tag in terms:
        name = tag.removeprefix("train/")
        values = [s[name] for s in steps]
        if name != "lr":  # the mean of the epoch so far, as in the log
            values = [sum(values[i // n * n : i + 1]) / (i % n + 1) for i in range(2 * n)]
        assert [step for step, _ in found[tag]] == list(range(2 * n))
        assert [value for _, value in found[tag]] == pytest.approx(values, rel=1e-5, abs=1e-6)
    assert found["train/lr"][0][1] < max(value for _, value in found["train/lr"])  # warm-up
    results = {f"{split}/{name}" for split in ("val", "test") for name in ("accuracy", "error_rate", "macro_f1")}
    assert set(found) == terms | results
    assert [step for step, _ in found["val/accuracy"]] == [0, 1]
    (final,) = found["test/accuracy"]
    assert final == (1, pytest.approx(trainer.run.metrics["test"]["accuracy"]))


def test_a_finished_run_tests_again_at_its_last_epoch(build, tmp_path):  # noqa: F811
    for _ in range(2):
        build("CoOp", "OPTIM.MAX_EPOCH", "3", "TEST.NO_TEST", "False", output=tmp_path).train()
    assert [step for step, _ in curves(tmp_path)["test/accuracy"]] == [2, 2]
