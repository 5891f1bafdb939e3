"""The trees of these tests know no recipe, so that no change of configs/recipes.yaml changes their labels."""

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
