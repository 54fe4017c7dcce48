"""What a ranker takes from the slates before it is built, and how slates and items become tensors."""

import math

import numpy as np
import pytest
import torch

from recspark.errors import HandoverError, TrainingError
from recspark.handover.arrays import publish
from recspark.ranking.batch import ItemTable, to_batch
from recspark.ranking.dimensions import expand_features, expanded_names, fit_dimensions, has_labelled_slates
from tests.ranking.contract import NAMES
from tests.slate_files import N_HISTORY, N_ITEMS, make_slates, plan_files, publish_items


def test_labelled_slates_are_found_behind_any_number_of_others(tmp_path):
    empty, last = make_slates(30, 1), make_slates(5, 2)
    empty["weight"][:] = 0
    last["weight"][:4] = 0
    assert not has_labelled_slates(plan_files(tmp_path / "none", [empty]))
    assert has_labelled_slates(plan_files(tmp_path / "one", [empty, last]))


def test_features_are_expanded_by_logarithms_of_positions():
    features = torch.tensor([[[1.0, 0.5, 7.0], [0.0, 0.0, 8.0]]])
    names = ["als_found", "als_reciprocal_position", "age"]
    # Not found counts as at twice the slate's length, 4.
    expected = torch.tensor([[[1.0, 0.5, 7.0, math.log(0.5)], [0.0, 0.0, 8.0, math.log(0.25)]]])
    torch.testing.assert_close(expand_features(features, names), expected)
    assert expanded_names(names) == [*names, "log_als_reciprocal_position"]


def test_constants_are_fitted_on_real_candidates(tmp_path):
    slates = make_slates(20, 1)
    slates["n_items"][:] = 2  # the rest would pull the means down
    slates["user_categories"][3] = 6
    slates["user_idx"][4] = 70
    fitted = fit_dimensions(plan_files(tmp_path, [slates]), ItemTable(publish_items(tmp_path)), NAMES, seed=0)
    column = NAMES.index("als_reciprocal_position")
    assert fitted.feature_means[column] == pytest.approx(0.75)
    assert fitted.feature_stds[column] == pytest.approx(0.25)
    assert fitted.feature_stds[NAMES.index("als_found")] == 1.0, "a feature that does not vary"
    assert (fitted.n_user_codes, fitted.n_event_types, fitted.n_item_codes, fitted.n_items) == (7, 2, 4, N_ITEMS)
    assert (fitted.n_users, fitted.history_length) == (71, N_HISTORY)
    slates["n_items"][:] = 0
    empty = fit_dimensions(plan_files(tmp_path, [slates]), ItemTable(publish_items(tmp_path)), NAMES, seed=0)
    assert (set(empty.feature_means), set(empty.feature_stds)) == ({0.0}, {1.0}), "a sample without candidates"
    with pytest.raises(TrainingError, match="but the 8 features"):
        fit_dimensions(plan_files(tmp_path, [slates]), ItemTable(publish_items(tmp_path)), NAMES[:8], seed=0)


def test_item_tables_must_be_whole(tmp_path):
    arrays = {"item_idx": np.array([0, 2]), "numbers": np.zeros((2, 1), np.float32), "categories": np.zeros((2, 1), np.int32)}
    with pytest.raises(HandoverError, match="must hold every item of the index once"):
        ItemTable(publish(arrays, str(tmp_path)))


def test_vectors_of_items_are_further_numbers(tmp_path):
    arrays = {"item_idx": np.arange(2), "numbers": np.array([[1.0], [2.0]], np.float32), "categories": np.array([[3], [4]], np.int32)}
    table = ItemTable(publish({**arrays, "vectors": np.array([[0.5, 0.25], [5.0, 6.0]])}, str(tmp_path)))
    assert (table.n_items, table.n_numbers) == (2, 3)
    # The item 7 came later, -1 is padding.
    items = table.gather(np.array([[1, 0], [7, -1]], np.int32))
    assert items.numbers.tolist() == [[[2, 5, 6], [1, 0.5, 0.25]], [[0, 0, 0], [0, 0, 0]]]
    assert items.categories.tolist() == [[[4], [3]], [[0], [0]]]


def test_padding_rows_have_no_weight_and_no_candidates(items):
    columns = {**make_slates(3, 1), "is_real": np.array([True, False, True])}
    batch = to_batch(columns, items)
    assert batch.weight.tolist() == [1, 0, 1]
    assert batch.mask.any(1).tolist() == [True, False, True]
