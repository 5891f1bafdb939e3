"""Training, resuming and evaluating a trainer and dataset in the style of third parties."""

import re

import pytest
import torch

from dassl.data import build_data_loader
from dassl.engine import SimpleTrainer, TrainerBase, TrainerX, TrainerXU, build_trainer
from dassl.engine import trainer as engine_trainer
from dassl.utils import load_checkpoint, set_random_seed
from tests import terminal
from tests.user_errors import raises_user_error

from . import toy

PROGRESS = re.compile(
    r"^epoch \[(\d+)/(\d+)\] batch \[(\d+)/(\d+)\] time \d+\.\d{3} \(\d+\.\d{3}\) data \d+\.\d{3} \(\d+\.\d{3}\) "
    r"loss (\d+\.\d{4}) \((\d+\.\d{4})\) acc \d+\.\d{4} \(\d+\.\d{4}\) lr (\d\.\d{4}e-\d\d) eta \d+:\d\d:\d\d$"
)


def start(root, output, seed=1, interrupt_at=None, **options):
    """Returns a trainer, built from the random state of `seed`."""
    set_random_seed(seed)
    trainer = build_trainer(toy.make_cfg(root, output, **options))
    trainer.interrupt_at = interrupt_at
    return trainer


def weights(trainer):
    return torch.cat([p.detach().flatten() for p in trainer.model.parameters()])


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def parse_test_res(log, end_signal="Finish training"):
    """Returns what CoOp's averaging script reads from a log: the last accuracy after the signal."""
    accuracy = None
    ready = False
    for line in log.splitlines():
        ready = ready or line.strip() == end_signal
        match = re.search(r"\* accuracy: ([\.\deE+-]+)%", line.strip())
        if match and ready:
            accuracy = float(match.group(1))
    return accuracy


def test_a_whole_run(toy_root, tmp_path, capsys):
    trainer = start(toy_root, tmp_path / "out")
    before = weights(trainer)
    trainer.train()
    assert not torch.equal(weights(trainer), before)
    out, err = capsys.readouterr()
    lines = out.splitlines()
    progress = [PROGRESS.match(line) for line in lines if line.startswith("epoch [")]
    assert [m.group(1, 2, 3, 4) for m in progress] == [(str(e), "4", str(b), "2") for e in range(1, 5) for b in (1, 2)]
    lrs = toy.cosine_lrs(0.05, 4) + [0.05 * (1 - 0.5**0.5) / 2]
    shown = [float(m.group(7)) for m in progress]
    expected = [lrs[e + b] for e in range(4) for b in (0, 1)]  # the last batch prints the LR of the next epoch
    assert shown == pytest.approx(expected, rel=1e-4)
    assert trainer.lrs == pytest.approx([lrs[e] for e in range(4) for _ in (0, 1)], rel=1e-12)
    order = ["Loading trainer: ToyTrainer", "Loading dataset: ToyColors", "Building transform_train"]
    order += ["Loading evaluator: Classification", "No checkpoint found, train from scratch"]
    order += [f"Initialize tensorboard (log_dir={tmp_path}/out/tensorboard)"]
    order += [f"Checkpoint saved to {tmp_path}/out/toy_learner/model.pth.tar-4", "Finish training"]
    order += ["Deploy the last-epoch model", "Evaluate on the *test* set", "=> result", "* total: 12"]
    positions = [lines.index(line) for line in order]
    assert positions == sorted(positions)
    assert re.match(r"Elapsed: \d+:\d\d:\d\d$", lines[-1])
    accuracy = trainer.test()
    assert parse_test_res(out) == pytest.approx(accuracy, abs=0.005)
    assert "1/1" not in err  # a progress bar is for terminals
    assert files(tmp_path / "out") == ["tensorboard", "toy_learner"]
    assert files(tmp_path / "out" / "toy_learner") == ["checkpoint", "model.pth.tar-4"]
    assert files(tmp_path / "out" / "tensorboard")[0].startswith("events.out")
    state = load_checkpoint(f"{tmp_path}/out/toy_learner/model.pth.tar-4")
    assert {"state_dict", "epoch", "optimizer", "scheduler", "val_result"} <= set(state) and state["epoch"] == 4


@pytest.mark.parametrize("frequency,n_lines", [(1, 2), (2, 1), (3, 2), (10, 2)])
def test_print_frequency(toy_root, tmp_path, capsys, frequency, n_lines):
    start(toy_root, tmp_path, OPTIM__MAX_EPOCH=1, TRAIN__PRINT_FREQ=frequency, TEST__NO_TEST=True).train()
    assert capsys.readouterr().out.count("epoch [1/1]") == n_lines


def test_same_seed_same_run(toy_root, tmp_path):
    runs = []
    for seed in (1, 1, 2):
        trainer = start(toy_root, tmp_path / str(len(runs)), seed=seed, TEST__NO_TEST=True)
        trainer.train()
        runs.append(weights(trainer))
    assert torch.equal(runs[0], runs[1]) and not torch.equal(runs[0], runs[2])


@pytest.mark.parametrize("workers,optimizer", [(0, "sgd"), (2, "adam")])
def test_a_killed_run_resumes_in_its_epoch_with_its_learning_rates(toy_root, tmp_path, workers, optimizer, capsys):
    options = {"DATALOADER__NUM_WORKERS": workers, "OPTIM__NAME": optimizer, "TRAIN__CHECKPOINT_FREQ": 1}
    options["OPTIM__LR"] = 0.01
    whole = start(toy_root, tmp_path / "whole", **options)
    whole.train()
    killed = start(toy_root, tmp_path / "killed", interrupt_at=(2, 1), **options)
    with pytest.raises(KeyboardInterrupt):
        killed.train()
    assert files(tmp_path / "killed" / "toy_learner") == ["checkpoint", "model.pth.tar-1", "model.pth.tar-2"]
    capsys.readouterr()
    resumed = start(toy_root, tmp_path / "killed", seed=99, **options)
    resumed.train()
    out = capsys.readouterr().out
    assert f"Found checkpoint at {tmp_path}/killed (will resume training)" in out and "epoch [3/4]" in out
    assert "epoch [2/4]" not in out
    assert resumed.lrs == whole.lrs[-4:] == [lr for lr in toy.cosine_lrs(0.01, 4)[2:] for _ in (0, 1)]
    fresh = start(toy_root, tmp_path / "killed", **options)
    assert fresh.resume_model_if_exist(str(tmp_path / "killed")) == 4
    assert torch.equal(weights(fresh), weights(resumed)) and fresh.optim.state_dict()["state"]


def test_resuming_into_another_folder(toy_root, tmp_path):
    options = {"TRAIN__CHECKPOINT_FREQ": 2, "TEST__FINAL_MODEL": "best_val"}
    killed = start(toy_root, tmp_path / "killed", interrupt_at=(3, 0), **options)
    with pytest.raises(KeyboardInterrupt):
        killed.train()
    resumed = start(toy_root, tmp_path / "new", seed=5, RESUME=str(tmp_path / "killed"), **options)
    resumed.train()
    assert resumed.best_result >= killed.best_result > 0
    best = load_checkpoint(str(tmp_path / "new" / "toy_learner" / "model-best.pth.tar"))  # copied from the resumed run
    assert torch.equal(resumed.model.head.bias, best["state_dict"]["head.bias"])
    assert "model-best.pth.tar" in files(tmp_path / "new" / "toy_learner")
    with raises_user_error(f"RESUME {str(tmp_path / 'nothing')!r}", "OUTPUT_DIR", error=FileNotFoundError):
        start(toy_root, tmp_path / "new", RESUME=str(tmp_path / "nothing")).train()


def test_a_finished_run_is_only_evaluated_again(toy_root, tmp_path, capsys):
    first = start(toy_root, tmp_path)
    first.train()
    accuracy = parse_test_res(capsys.readouterr().out)
    again = start(toy_root, tmp_path, seed=2)
    again.train()
    out = capsys.readouterr().out
    assert again.losses == [] and "epoch [" not in out
    assert parse_test_res(out) == accuracy
    assert torch.equal(weights(again), weights(first))


def test_an_unfinished_first_checkpoint_is_ignored(toy_root, tmp_path, capsys):
    (tmp_path / "toy_learner").mkdir()
    (tmp_path / "toy_learner" / "model.pth.tar-1").write_bytes(b"half")
    start(toy_root, tmp_path, OPTIM__MAX_EPOCH=1).train()
    assert "train from scratch" in capsys.readouterr().out


def test_more_epochs_than_the_saved_schedule(toy_root, tmp_path):
    start(toy_root, tmp_path).train()
    with raises_user_error("T_max", "4", "9"):
        start(toy_root, tmp_path, OPTIM__MAX_EPOCH=9).train()


@pytest.mark.parametrize("name", ["ToyTrainer", "ToyTrainerCoOp"])
def test_evaluation_only(toy_root, tmp_path, capsys, name):
    trained = start(toy_root, tmp_path / "run")
    trained.train()
    accuracy = trained.test()
    capsys.readouterr()
    fresh = start(toy_root, tmp_path / "eval", seed=8, TRAINER__NAME=name)
    bias = fresh.model.head.bias.detach().clone()
    fresh.load_model(str(tmp_path / "run"), epoch=4)
    if name == "ToyTrainer":
        assert fresh.test() == accuracy
        assert parse_test_res(capsys.readouterr().out, "=> result") == pytest.approx(accuracy, abs=0.005)
    else:
        assert torch.equal(fresh.model.head.bias, bias)  # load_model drops this tensor
        assert torch.equal(fresh.model.head.weight, trained.model.head.weight)
        assert "(epoch = 4)" in capsys.readouterr().out
    assert not (tmp_path / "eval").exists()  # evaluation writes nothing


def test_which_checkpoint_evaluation_loads(toy_root, tmp_path, capsys):
    trained = start(toy_root, tmp_path / "run", TRAIN__CHECKPOINT_FREQ=1)
    trained.train()
    run, fresh = str(tmp_path / "run"), start(toy_root, tmp_path / "eval", seed=8)
    capsys.readouterr()
    fresh.load_model(run)
    out = capsys.readouterr().out
    assert "No model-best.pth.tar in" in out
    assert "model.pth.tar-4 to toy_learner (epoch=4, val_result=None)" in out
    assert torch.equal(weights(fresh), weights(trained))
    fresh.load_model(run, epoch=2)
    assert not torch.equal(weights(fresh), weights(trained))
    trained.save_model(3, run, is_best=True, val_result=61.234)
    fresh.load_model(run)
    assert "model-best.pth.tar to toy_learner (epoch=4, val_result=61.23)" in capsys.readouterr().out
    with raises_user_error("model.pth.tar-7", "--load-epoch", error=FileNotFoundError):
        fresh.load_model(run, epoch=7)
    with raises_user_error(tmp_path / "nowhere", "--model-dir", error=FileNotFoundError):
        fresh.load_model(str(tmp_path / "nowhere"))
    fresh.load_model("")
    assert "load_model() is skipped" in capsys.readouterr().out
    fresh.model.head = torch.nn.Linear(16, 5)
    with raises_user_error(run, "size mismatch for head.weight"):
        fresh.load_model(run)


def test_best_on_validation(toy_root, tmp_path, capsys, monkeypatch):
    results = iter([40.0, 70.0, 70.0, 60.0])
    tested = []

    def test(self, split=None):
        tested.append(split)
        return next(results) if split == "val" else 0.0

    monkeypatch.setattr(toy.ToyTrainer, "test", test, raising=False)
    trainer = start(toy_root, tmp_path, TEST__FINAL_MODEL="best_val")
    trainer.train()
    assert tested == ["val"] * 4 + [None]  # the final evaluation is the only one on test images
    best = load_checkpoint(str(tmp_path / "toy_learner" / "model-best.pth.tar"))
    assert (best["epoch"], best["val_result"]) == (2, 70.0)
    assert "Deploy the model with the best val performance" in capsys.readouterr().out
    assert torch.equal(trainer.model.head.bias, best["state_dict"]["head.bias"])


def test_best_on_validation_after_a_kill(toy_root, tmp_path, monkeypatch):
    """The run is killed after its best epoch; later epochs are worse, so the earlier model stays the best."""
    results = iter([40.0, 70.0, 60.0, 50.0])
    monkeypatch.setattr(
        toy.ToyTrainer, "test", lambda self, split=None: next(results) if split == "val" else 0.0, raising=False
    )
    options = {"TEST__FINAL_MODEL": "best_val"}
    with pytest.raises(KeyboardInterrupt):
        start(toy_root, tmp_path, interrupt_at=(2, 0), **options).train()
    resumed = start(toy_root, tmp_path, seed=3, **options)
    resumed.train()
    assert resumed.best_result == 70.0 and len(resumed.losses) == 4
    assert load_checkpoint(str(tmp_path / "toy_learner" / "model-best.pth.tar"))["epoch"] == 2


@pytest.fixture
def no_val(tmp_path):
    toy.write_images(str(tmp_path / "data"), counts=(("train", 3), ("test", 2)))
    return tmp_path / "data"


def test_models_are_never_selected_on_test_images(no_val, tmp_path):
    trainer = start(no_val, tmp_path, TEST__FINAL_MODEL="best_val")
    with raises_user_error("TEST.FINAL_MODEL best_val", "ToyColors", "TEST.FINAL_MODEL last_step"):
        trainer.train()
    assert trainer.losses == []
    with raises_user_error("ToyColors", "TEST.SPLIT test"):
        trainer.test(split="val")
    assert trainer.test() >= 0.0  # evaluation on test images needs no validation images


def test_val_split_for_the_final_test(toy_root, tmp_path, capsys):
    start(toy_root, tmp_path, TEST__SPLIT="val", OPTIM__MAX_EPOCH=1).train()
    out = capsys.readouterr().out
    assert "Evaluate on the *val* set" in out and "* total: 9" in out


def test_fewshot_cache_of_a_third_party_dataset(toy_root, tmp_path):
    cfg = {"DATASET__NUM_SHOTS": 2, "SEED": 1}
    first = start(toy_root, tmp_path, **cfg).dm.dataset
    again = start(toy_root, tmp_path, seed=7, **cfg).dm.dataset
    assert len(first.train_x) == 6 and [d.impath for d in first.train_x] == [d.impath for d in again.train_x]


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite(toy_root, tmp_path, monkeypatch, loss):
    trainer = start(toy_root, tmp_path)
    after = iter([torch.tensor(1.0), torch.tensor(1.0), torch.tensor(1.0), torch.tensor(loss)])

    def scripted_loss(output, label):
        return output.sum() * 0 + next(after)

    monkeypatch.setattr(toy.F, "cross_entropy", scripted_loss)
    with raises_user_error("epoch 2", "batch 2", "OPTIM.LR", error=FloatingPointError):
        trainer.train()


@pytest.mark.parametrize(
    "options,facts",
    [
        ({"TRAINER__NAME": "ToyTrainr"}, ("TRAINER.NAME", "'ToyTrainr'", "'ToyTrainer'")),
        ({"TEST__FINAL_MODEL": "best"}, ("TEST.FINAL_MODEL", "'best'", "'best_val'")),
        ({"TEST__SPLIT": "valid"}, ("TEST.SPLIT", "'valid'", "'val'")),
    ],
)
def test_user_errors_in_the_configuration(toy_root, tmp_path, options, facts):
    with raises_user_error(*facts):
        start(toy_root, tmp_path, **options)


def test_a_trainer_without_trainable_parameters(toy_root, tmp_path, capsys, monkeypatch):
    """Like CoOp's zero-shot CLIP, it registers no model; training only evaluates it."""

    def build_model(self):
        self.losses, self.model = [], lambda image: image.mean(dim=(2, 3))

    monkeypatch.setattr(toy.ToyTrainer, "build_model", build_model)
    trainer = start(toy_root, tmp_path)
    trainer.load_model(str(tmp_path / "anything"), epoch=3)
    trainer.train()
    out = capsys.readouterr().out
    assert "epoch [" not in out and "Checkpoint saved" not in out
    assert parse_test_res(out) == pytest.approx(trainer.test(), abs=0.005) == 100.0  # the channel is the class


@pytest.mark.parametrize("count_iter,steps", [("train_x", 2), ("train_u", 4), ("smaller_one", 2)])
def test_training_on_labelled_and_unlabelled_images(toy_root, tmp_path, capsys, count_iter, steps):
    """COUNT_ITER selects the length of an epoch; the shorter loader restarts."""
    paths_per_step = []

    class Toy(TrainerXU):
        build_model = toy.ToyTrainer.build_model

        def forward_backward(self, batch_x, batch_u):
            image, label, image_u = self.parse_batch_train(batch_x, batch_u)
            assert image.shape == (8, 3, 8, 8) and label.shape == (8,) and image_u.shape == (4, 3, 8, 8)
            paths_per_step.append((batch_x["impath"], batch_u["impath"]))
            return {"loss": torch.tensor(0.5)}

    options = {"TRAIN__COUNT_ITER": count_iter, "OPTIM__MAX_EPOCH": 1, "TEST__NO_TEST": True}
    trainer = Toy(toy.make_cfg(toy_root, tmp_path, TRAIN__PRINT_FREQ=steps, **options))
    unlabelled = trainer.dm.dataset.train_x[:17]
    loader = {"sampler_type": "RandomSampler", "data_source": unlabelled, "batch_size": 4}
    trainer.train_loader_u = build_data_loader(trainer.cfg, tfm=trainer.train_loader_x.dataset.transform, **loader)
    trainer.train()
    assert len(paths_per_step) == steps and capsys.readouterr().out.count(f"batch [{steps}/{steps}]") == 1
    passes = [paths for _, batch in paths_per_step for paths in batch]
    assert len(set(passes)) == len(passes) == 4 * steps  # no image twice within a pass
    labelled = [paths for batch, _ in paths_per_step for paths in batch]
    assert len(set(labelled[:16])) == 16 and len(labelled) == 8 * steps


def test_both_loaders_start_as_in_upstream(toy_root, tmp_path):
    """Both loaders start their pass before the first batch, since starting uses a random number."""
    trainer = TrainerXU.__new__(TrainerXU)
    events = []

    class Loader(list):
        def __iter__(self):
            events.append(self[0])
            return super().__iter__()

    trainer.train_loader_x, trainer.train_loader_u = Loader("xx"), Loader("uuu")
    trainer.cfg = toy.make_cfg(toy_root, tmp_path, TRAIN__COUNT_ITER="train_u")
    trainer.run_steps = lambda batches: events.extend(map("".join, batches))
    trainer.run_epoch()
    assert events == ["x", "u", "xu", "xu", "x", "xu"]
    trainer.cfg = toy.make_cfg(toy_root, tmp_path, TRAIN__COUNT_ITER="both")
    with raises_user_error("TRAIN.COUNT_ITER", "'smaller_one'", "'both'"):
        trainer.run_epoch()


def test_the_names_that_trainers_import_from_the_module():
    from torch.utils.tensorboard import SummaryWriter

    assert engine_trainer.SummaryWriter is SummaryWriter
    assert {"AverageMeter", "MetricMeter", "SimpleNet", "TrainerXU"} <= set(dir(engine_trainer))
    with pytest.raises(AttributeError, match="SummaryReader"):
        engine_trainer.SummaryReader  # noqa: B018


def test_base_classes(toy_root, tmp_path):
    with raises_user_error("MODEL.BACKBONE.NAME", "''"):
        SimpleTrainer(toy.make_cfg(toy_root, tmp_path))
    assert issubclass(TrainerX, SimpleTrainer) and issubclass(SimpleTrainer, TrainerBase)
    base = TrainerBase()
    model = torch.nn.Linear(1, 1)
    base.register_model("a", model, torch.optim.SGD(model.parameters(), lr=1.0))
    base.register_model("b", torch.nn.Linear(1, 1))
    assert base.get_model_names() == ["a", "b"] and base.get_model_names("b") == ["b"]
    with raises_user_error("'a'", "registered"):
        base.register_model("a", model)
    with raises_user_error("'c'", "['a', 'b']"):
        base.get_model_names(["c"])
    with raises_user_error("mode", "train", "test", "eval", "'training'"):
        base.set_model_mode("training")
    base.set_model_mode("test", names="a")
    assert not model.training and base._models["b"].training
    before = model.weight.item()
    model.weight.grad = torch.ones(1, 1)
    base.model_backward_and_update(model.weight.sum() * 2)
    assert model.weight.item() == pytest.approx(before - 2)  # gradients were cleared first
    base.update_lr()
    base.write_scalar("x", 1.0, 0)  # has no effect without a writer
    with raises_user_error("super().__init__()", error=AttributeError):
        TrainerBase.__new__(TrainerBase).register_model("a", model)


def test_several_models_are_saved_and_resumed_together(tmp_path):
    def make():
        trainer = TrainerBase()
        for name in ("a", "b"):
            model = torch.nn.Linear(1, 1)
            trainer.register_model(name, model, torch.optim.SGD(model.parameters(), lr=1.0))
        return trainer

    trainer = make()
    assert trainer.resume_model_if_exist(str(tmp_path)) == 0
    trainer.save_model(0, str(tmp_path))
    other = make()
    assert other.resume_model_if_exist(str(tmp_path)) == 1
    assert all(torch.equal(other._models[n].weight, trainer._models[n].weight) for n in ("a", "b"))
    trainer.save_model(1, str(tmp_path))
    (tmp_path / "b" / "checkpoint").write_text("model.pth.tar-1\n")  # the run was killed between both checkpoints
    with raises_user_error("['a', 'b']", "[2, 1]", tmp_path, "OUTPUT_DIR"):
        make().resume_model_if_exist(str(tmp_path))


@pytest.mark.parametrize(
    "frequency, epochs", [(0, [6]), (4, [4, 6]), (-2, [3, 6]), (-4, [1, 2, 3, 4, 5, 6]), (-10, [1, 2, 3, 4, 5, 6])]
)
def test_frequency_of_checkpoints(toy_root, tmp_path, frequency, epochs):
    trainer = start(toy_root, tmp_path, TRAIN__CHECKPOINT_FREQ=frequency, OPTIM__MAX_EPOCH=6, TEST__NO_TEST=True)
    trainer.train()
    expected = [f"model.pth.tar-{epoch}" for epoch in epochs]
    assert [name for name in files(tmp_path / "toy_learner") if name.startswith("model")] == expected


@pytest.mark.parametrize("verbose", [True, False])
def test_an_evaluation_at_a_terminal_has_a_bar(verbose, toy_root, tmp_path):
    def program():
        start(toy_root, tmp_path / "out", VERBOSE=verbose).test()
        return 0

    result = terminal.run(program)
    assert result.code == 0 and ("Evaluating (test)" in result.output) == verbose
