"""tools/run_trainer.py: runs that tools for classes cannot evaluate."""

from tests.user_errors import raises_user_error
from tools.run_trainer import cfg_with_data


def test_a_run_on_captions_has_no_classes():
    state = {"settings": {"DATASET.NAME": "Captions"}, "meta": {"trainer": "CLIPFit"}}
    with raises_user_error("output/pairs", "captions", "tools/retrieve.py"):
        cfg_with_data(state, "output/pairs")
