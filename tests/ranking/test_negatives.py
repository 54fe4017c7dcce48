"""Negatives drawn from the catalogue, and the slates of the past that they stand in."""

import numpy as np
import pytest
import torch

from recspark.ranking.dimensions import expand_features
from recspark.ranking.draws import uniform
from recspark.ranking.negatives import Catalogue, PastSlates, add_past, fit_catalogue
from recspark.ranking.train import train_ranker
from tests.ranking.contract import dimensions
from tests.slate_files import N_HISTORY, N_ITEMS, N_SLOTS, make_slates, plan_files

ALIKE = Catalogue(np.arange(1, 11) / 10)  # ten items


def real(columns: dict, rows: slice = slice(None)) -> dict:
    return {name: array[rows] for name, array in {**columns, "is_real": np.ones(len(columns["items"]), bool)}.items()}


def past_of(columns: dict, **changed: float) -> dict:
    """The slates of the past alone."""
    knobs = PastSlates(**{"n_slates": 3, "n_negatives": 4, **changed})
    catalogue = Catalogue(np.arange(1, N_ITEMS + 1) / N_ITEMS)
    together = add_past(columns, knobs, catalogue, dimensions(), seed=1, epoch=0)
    assert all(np.array_equal(together[name][: len(array)], array) for name, array in columns.items())
    return {name: together[name][len(array) :] for name, array in columns.items()}


def test_numbers_are_uniform_and_follow_from_their_keys():
    numbers = uniform(3, np.arange(2000)[:, None], np.arange(50))
    assert numbers.shape == (2000, 50)
    assert (numbers.min() >= 0, numbers.max() < 1) == (True, True)
    assert np.histogram(numbers, 10, (0, 1))[0] == pytest.approx(np.full(10, 10_000), rel=0.04)
    assert abs(np.corrcoef(numbers[:-1, 0], numbers[1:, 0])[0, 1]) < 0.05
    assert np.array_equal(uniform(3, 7, np.arange(50)), numbers[7])
    assert not np.isin(uniform(4, 7, np.arange(50)), numbers[7]).any()


def test_nobody_is_given_what_they_have():
    taken = np.array([[0, 1, 2, 3, 4, 5, 6, 7], [9, -1, -1, -1, -1, -1, -1, -1]])
    drawn = ALIKE.draw((0, np.arange(2)[:, None]), taken, 500)
    assert set(drawn[0]) - {-1} == {8, 9}
    assert set(drawn[1]) == set(range(9))
    # Sixteen draws of which eight in ten are taken: about 0.8 ** 16 = 3 % find nothing.
    assert 0 < (drawn[0] == -1).mean() < 0.07


def test_who_has_everything_gets_nothing():
    assert ALIKE.draw((0, np.zeros((1, 1), int)), np.arange(10)[None], 3).tolist() == [[-1, -1, -1]]


def test_items_are_drawn_as_their_events_to_a_power(tmp_path):
    slates = make_slates(2, 1)
    # Item 5 has seven events, item 7 two; a padding counts for nothing.
    slates["history_items"] = np.array([[5, 5, 5, 5, -1], [5, 5, 5, 7, 7]], np.int32)
    plan = plan_files(tmp_path, [slates])
    shares = {alpha: np.diff(fit_catalogue(plan, N_ITEMS, alpha=alpha, seed=0).shares, prepend=0) for alpha in (0.0, 0.5, 1.0)}
    assert shares[0.0] == pytest.approx(np.full(N_ITEMS, 1 / N_ITEMS))
    assert shares[1.0][[5, 7]] == pytest.approx([7 / 9, 2 / 9])
    assert shares[0.5][[5, 7]] == pytest.approx(np.sqrt([7, 2]) / np.sqrt([7, 2]).sum())
    assert (shares[1.0] > 0).sum() == 2
    slates["history_items"][:] = -1
    nothing = fit_catalogue(plan_files(tmp_path / "none", [slates]), N_ITEMS, alpha=1.0, seed=0)
    assert np.diff(nothing.shares, prepend=0) == pytest.approx(np.full(N_ITEMS, 1 / N_ITEMS))


def test_a_slate_of_the_past_ends_before_its_positive():
    columns = real(make_slates(20, 1))
    past = past_of(columns)
    assert len(past["items"]) == 60
    events = past["history_length"]
    assert set(events) == set(range(N_HISTORY))
    for i in range(60):
        own = i // 3
        assert past["user_idx"][i] == columns["user_idx"][own]
        assert past["items"][i, 0] == columns["history_items"][own, events[i]]
        # Ages were 5, 4, 3, 2, 1 days: the event before the positive is a day before it.
        assert past["history_ages"][i, : events[i]].tolist() == list(range(events[i], 0, -1))
        has = {*columns["history_items"][own], *columns["items"][own][columns["labels"][own] > 0]}
        assert not has & {*past["items"][i, 1 : past["n_items"][i]]}
    assert (past["items"][:, 5:] == -1).all()
    assert set(past["n_items"]) == {5}
    assert past["labels"].tolist() == [[1] + [0] * (N_SLOTS - 1)] * 60
    assert (set(past["weight"]), set(past["n_positives"])) == ({1}, {1})
    assert len(np.unique(past["features"].reshape(60 * N_SLOTS, -1), axis=0)) == 1


def test_what_is_drawn_does_not_depend_on_the_batch():
    columns = make_slates(20, 1)
    together = past_of(real(columns))
    halves = [past_of(real(columns, rows)) for rows in (slice(0, 7), slice(7, 20))]
    for name, array in together.items():
        assert np.array_equal(np.concatenate([half[name] for half in halves]), array), name


def test_requests_without_a_past_and_padding_get_no_further_slates():
    columns = real(make_slates(4, 1))
    columns["history_length"][1], columns["is_real"][2] = 0, False
    assert past_of(columns, n_slates=2)["request_idx"].tolist() == [1000, 1000, 1003, 1003]
    columns["is_real"][:] = False
    assert len(past_of(columns)["items"]) == 0


def test_a_slate_has_room_for_so_many_negatives():
    past = past_of(real(make_slates(20, 1)), n_negatives=50)
    assert set(past["n_items"]) == {N_SLOTS}


def test_the_past_teaches_what_the_slates_do_not_hold(make_world):
    # One slate of 200 has a label: what users like is in their histories alone.
    world = make_world(n_fit=200, n_tune=100, weight=(np.arange(200) == 0).astype(np.float32))
    arguments = world.arguments(epochs=10, patience=10, learning_rate=1e-2, k=4)
    alone = train_ranker(**arguments)
    taught = train_ranker(**arguments | {"past": PastSlates(n_slates=2, n_negatives=7), "folder": str(world.folder / "taught")})
    # By chance 0.32, with the liked half first 0.64; see tests.ranking.test_train_ranker.
    assert alone["metrics"]["tune_ndcg_at_4"] < 0.4
    assert taught["metrics"]["tune_ndcg_at_4"] > 0.5
    assert taught["parameters"]["past"] == {"n_slates": 2, "n_negatives": 7, "alpha": 0.0, "weight": 1.0}


def test_the_features_of_a_slate_of_the_past_say_nothing():
    known = dimensions()
    expanded = expand_features(
        torch.from_numpy(past_of(real(make_slates(4, 1)))["features"]).reshape(-1, N_SLOTS, len(known.feature_names)), known.feature_names
    )
    logs = expanded[..., len(known.feature_names) :]
    assert torch.allclose(
        logs, torch.tensor(known.feature_means[len(known.feature_names) :]).clamp(min=float(np.log(1 / (2 * N_SLOTS)))), atol=1e-5
    )
