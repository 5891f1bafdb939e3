"""Names under which official codes register methods, and their config sections."""

import pytest

import train
from dassl.engine import TRAINER_REGISTRY
from tests.user_errors import raises_user_error
from tools.episodes import name_methods, parse_args
from tools.recipe import OFFICIAL_NAMES
from tools.recipe import main as print_recipe
from tools.reporting.run import ALIASES
from tools.reproduce import known_methods
from tools.sweeping.methods import registered_methods, select_methods
from trainers import of_class, our_name, register_all

register_all()
# name in the official code, section there, the method
NAMES = [
    (name, of_class(method, "upstream_section"), ours)
    for ours, method in registered_methods().items()
    for name in of_class(method, "upstream_names")
]


def config(trainer, *opts, flags=()):
    return train.setup_cfg(train.parse_args(["--trainer", trainer, "--backbone", "ViT-B/16", *flags, *opts]))


def test_no_name_is_taken_twice():
    names = [name for name, _, _ in NAMES]
    assert "MultiModalAdapter" in names and len(set(names)) == len(names)
    assert not set(names) & set(registered_methods())


@pytest.mark.parametrize("name, section, ours", NAMES, ids=lambda value: str(value))
def test_an_official_name_is_the_method(name, section, ours, capsys):
    cfg = config(name, *([f"TRAINER.{section}.PREC", "fp32"] if section else []))
    assert cfg.TRAINER.NAME == ours and section not in cfg.TRAINER
    assert not section or cfg.TRAINER[registered_methods()[ours].section].PREC == "fp32"
    assert select_methods([name, "CoOp", ours], "base2new") == [ours, "CoOp"]
    assert known_methods([name]) == [ours]
    args = parse_args(["digits", "--method", name, "NearestMean", ours])
    name_methods(args)
    assert args.method == [ours, "NearestMean"]
    printed = []
    for trainer in (name, ours):
        assert print_recipe([trainer, "base2new", "dtd"]) == 0
        printed.append(capsys.readouterr())
    assert printed[0] == printed[1] and not printed[0].err


def test_reports_and_recipes_know_the_official_names():
    assert {name: ours for name, _, ours in NAMES} == {
        name: ours for name, ours in OFFICIAL_NAMES.items() if name not in ALIASES
    }


def test_a_config_file_of_the_official_code(tmp_path):
    file = tmp_path / "vit.yaml"
    file.write_text('TRAINER:\n  NAME: MultiModalAdapter\n  MMADAPTER:\n    TEXT_CTX_INIT: "a"\n    ADAPTER_DIM: 16\n')
    args = train.parse_args(["--config-file", str(file), "--backbone", "ViT-B/16"])
    cfg = train.setup_cfg(args)
    assert cfg.TRAINER.NAME == "MMA" and (cfg.TRAINER.MMA.TEXT_CTX_INIT, cfg.TRAINER.MMA.ADAPTER_DIM) == ("a", 16)
    file.write_text("TRAINER:\n  MMADAPTER:\n    DIM: 16\n")
    with raises_user_error("TRAINER.MMADAPTER.DIM", "ADAPTER_DIM", str(file)):
        train.setup_cfg(args)


def test_a_plugin_of_that_name_and_its_section_stay(monkeypatch):
    from dassl.config import cfg_default
    from dassl.engine import TrainerX

    monkeypatch.setitem(TRAINER_REGISTRY._obj_map, "MultiModalAdapter", type("MultiModalAdapter", (TrainerX,), {}))
    monkeypatch.setitem(cfg_default.TRAINER, "MMADAPTER", cfg_default.TRAINER.MMA.clone())
    assert our_name("MultiModalAdapter") == "MultiModalAdapter"
    cfg = config("MultiModalAdapter", "TRAINER.MMADAPTER.ADAPTER_DIM", "16")
    assert cfg.TRAINER.NAME == "MultiModalAdapter"
    assert cfg.TRAINER.MMADAPTER.ADAPTER_DIM == 16 and cfg.TRAINER.MMA.ADAPTER_DIM == 32
