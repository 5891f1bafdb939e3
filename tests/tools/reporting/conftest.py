"""Replaces configs/recipes.yaml by an empty table, so that labels in these tests do not depend on it."""

import pytest

from tools.reporting import recipes


@pytest.fixture(scope="package", autouse=True)
def no_recipes(tmp_path_factory):
    configs = tmp_path_factory.mktemp("repository") / "configs"
    configs.mkdir()
    (configs / "recipes.yaml").write_text("")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recipes, "CONFIGS", configs)
        yield
