from __future__ import annotations

import pytest

import isthmus
from isthmus.recipes import list_recipes, recipe


@pytest.mark.parametrize("aim", list_recipes())
def test_a_recipe_is_settings_of_the_estimator_and_its_own_copy(aim):
    assert isthmus.Autoencoder(**recipe(aim)).method == recipe(aim)["method"]
    recipe(aim)["options"]["beta"] = 99.0
    assert recipe(aim)["options"]["beta"] != 99.0


def test_an_unknown_aim_is_told_with_the_nearest():
    with pytest.raises(
        ValueError, match=r"no recipe for 'clusters'. Recipes are for clustering. Did you mean 'cluster"
    ):
        recipe("clusters")
