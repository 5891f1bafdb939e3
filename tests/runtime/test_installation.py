"""What differs where the code is an installed package."""

import pytest

from runtime import user_errors
from runtime.installation import ROOT, find_config


def test_a_config_of_the_repository_is_found_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = "configs/datasets/digits.yaml"
    assert find_config(name) == str(ROOT / name)
    assert find_config("configs/datasets/gone.yaml") == "configs/datasets/gone.yaml"
    (tmp_path / "configs" / "datasets").mkdir(parents=True)
    (tmp_path / name).touch()
    assert find_config(name) == name


@pytest.mark.parametrize("installed, command", [(True, 'pip install "clipfit[report]"'), (False, "pip install -r ")])
def test_a_missing_package_is_an_extra_of_the_installed_one(installed, command, monkeypatch):
    monkeypatch.setattr(user_errors, "INSTALLED", installed)
    assert command in user_errors.one_line(ModuleNotFoundError("No module named 'jinja2'", name="jinja2"))
