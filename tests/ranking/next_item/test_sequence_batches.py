"""Targets, padding, augmentation, negatives: what a batch is made of, by hand."""

import numpy as np
import pytest
import torch

from recspark.errors import TrainingError
from recspark.handover.reader import REAL
from recspark.ranking.draws import uniform_draws
from recspark.ranking.next_item.augment import (
    AugmentationKnobs,
    augment_sequences,
    crop_sequences,
    mask_items,
    reorder_items,
    slide_windows,
    with_masked_targets,
)
from recspark.ranking.next_item.batch import latest_events, to_batch, trimmed, with_last_target, with_next_targets
from recspark.ranking.next_item.negatives import NegativeSampler, popularity_shares
from tests.ranking.next_item.sequences import N_ITEMS, make_sequences

DRAW = {"seed": 3, "epoch": 1}
UNIFORM = popularity_shares(np.zeros(N_ITEMS), 0.0)


def rows(items: list[list[int]], **more: np.ndarray) -> dict[str, np.ndarray]:
    array = np.array(items, np.int32)
    events = array >= 0
    return {
        "sequence_idx": np.arange(len(items), dtype=np.int64),
        "items": array,
        "event_types": np.where(events, array + 10, 0).astype(np.int32),
        "times": np.where(events, np.arange(array.shape[1]) + 1, 0).astype(np.float32),
        "length": events.sum(1).astype(np.int32),
        "weight": np.ones(len(items), np.float32),
        "user_numbers": np.zeros((len(items), 1), np.float32),
        "user_categories": np.zeros((len(items), 1), np.int32),
        **more,
    }


def some(n: int, length: int = 10) -> dict[str, np.ndarray]:
    """n rows of up to `length` events, whose items are their places."""
    lengths = np.random.default_rng(0).integers(1, length + 1, n)
    return rows(np.where(np.arange(length) < lengths[:, None], np.arange(length), -1).tolist())


def test_every_event_says_the_next():
    told = with_next_targets(rows([[4, 5, 6, -1], [7, -1, -1, -1], [1, 2, 3, 4]]))
    assert told["items"].tolist() == [[4, 5, -1, -1], [-1] * 4, [1, 2, 3, -1]]
    assert told["targets"].tolist() == [[5, 6, -1, -1], [-1] * 4, [2, 3, 4, -1]]
    assert told["length"].tolist() == [2, 0, 3]


def test_the_last_event_is_what_models_are_judged_by():
    told = with_last_target(rows([[4, 5, 6, -1], [7, -1, -1, -1], [1, 2, 3, 4]]))
    assert told["targets"].tolist() == [[-1, 6, -1, -1], [-1] * 4, [-1, -1, 4, -1]]
    assert to_batch(told).seen.tolist() == [[4, 5, -1, -1], [-1] * 4, [1, 2, 3, -1]], "the target is not among what was seen"
    assert to_batch(told).last.tolist() == [1, 0, 2]


def test_what_is_padding_in_every_row_is_trimmed():
    assert trimmed(with_next_targets(rows([[4, 5, 6, -1, -1], [1, 2, -1, -1, -1]])))["targets"].tolist() == [[5, 6], [2, -1]]
    assert trimmed(rows([[-1, -1]]))["items"].tolist() == [[-1]]


def test_models_that_read_less_read_the_latest():
    latest = latest_events(rows([[4, 5, 6, -1], [7, -1, -1, -1], [1, 2, 3, 4]]), 2)
    assert latest["items"].tolist() == [[5, 6], [7, -1], [3, 4]]
    assert latest["event_types"].tolist() == [[15, 16], [17, 0], [13, 14]]
    assert latest["times"].tolist() == [[2, 3], [1, 0], [3, 4]]
    assert latest["length"].tolist() == [2, 1, 2]
    assert latest_events(rows([[4, -1]]), 5)["items"].tolist() == [[4, -1]]


def test_padding_rows_have_no_events_and_no_weight():
    batch = to_batch({**with_next_targets(rows([[1, 2], [3, 4]])), REAL: np.array([True, False])})
    assert (batch.weight.tolist(), batch.targets.tolist(), batch.items.tolist()) == ([1, 0], [[2, -1], [-1, -1]], [[1, -1], [-1, -1]])
    assert batch.mask.tolist() == [[True, False], [False, False]]
    assert batch.to(torch.device("cpu")).rows.tolist() == [0, 1]


def test_draws_belong_to_rows():
    ids = np.arange(1000)
    draws = uniform_draws(ids, 50, purpose=0, **DRAW)
    assert np.array_equal(uniform_draws(ids[::-1], 50, purpose=0, **DRAW), draws[::-1])
    assert np.array_equal(uniform_draws(ids[7:9], 3, purpose=0, **DRAW), draws[7:9, :3])
    for other in ({"seed": 4, "epoch": 1, "purpose": 0}, {"seed": 3, "epoch": 2, "purpose": 0}, {"seed": 3, "epoch": 1, "purpose": 1}):
        assert abs(np.corrcoef(uniform_draws(ids, 50, **other).ravel(), draws.ravel())[0, 1]) < 0.02
    # 50,000 draws: each tenth holds a tenth of them, +- 4 standard deviations.
    assert np.histogram(draws, 10, (0, 1))[0] == pytest.approx(np.full(10, 5000), abs=4 * 67)
    assert abs(np.corrcoef(draws[:-1].ravel(), draws[1:].ravel())[0, 1]) < 0.02
    assert abs(np.corrcoef(draws[:, :-1].ravel(), draws[:, 1:].ravel())[0, 1]) < 0.02


def test_windows_and_crops_are_contiguous_and_reach_everywhere():
    columns = some(400)
    length = columns["length"]
    for taken, kept in (
        (slide_windows(columns, 4, **DRAW), np.minimum(length, 4)),
        (crop_sequences(columns, 0.5, **DRAW), np.ceil(length / 2)),
    ):
        events = taken["items"] >= 0
        assert np.array_equal(events, np.arange(events.shape[1]) < kept[:, None])
        assert np.array_equal(taken["length"], kept)
        steps = np.diff(taken["items"], axis=1)[events[:, 1:]]
        assert set(steps.tolist()) == {1}
        assert np.array_equal(taken["event_types"], np.where(events, taken["items"] + 10, 0))
        assert np.array_equal(taken["times"], np.where(events, taken["items"] + 1, 0))
        full = length == 10
        assert {*taken["items"][full, 0].tolist()} == {*range(10 - int(kept[full][0]) + 1)}
    assert slide_windows(columns, 4, **DRAW)["items"].shape == (400, 4)
    assert slide_windows(columns, 20, **DRAW)["items"].tolist() == columns["items"].tolist()


def test_masks_take_the_item_alone():
    columns = some(2000)
    masked = mask_items(columns, 0.3, **DRAW)
    events, hidden = columns["items"] >= 0, masked["items"] == -2
    assert not (hidden & ~events).any()
    assert np.array_equal(masked["items"][~hidden], columns["items"][~hidden])
    assert hidden[events].mean() == pytest.approx(0.3, abs=0.02)
    assert masked["event_types"] is columns["event_types"]


def test_parts_are_reordered_with_their_types():
    columns = some(400)
    moved = reorder_items(columns, 0.5, **DRAW)
    assert np.array_equal(np.sort(moved["items"], axis=1), np.sort(columns["items"], axis=1))
    assert np.array_equal(moved["event_types"], np.where(moved["items"] >= 0, moved["items"] + 10, 0))
    assert moved["times"] is columns["times"]
    changed = moved["items"] != columns["items"]
    reach = changed.shape[1] - changed[:, ::-1].argmax(1) - changed.argmax(1)
    assert (reach[changed.any(1)] <= columns["length"][changed.any(1)] // 2).all(), "only a part of each"
    assert changed.any(1)[columns["length"] == 10].mean() > 0.9


def test_masked_targets_are_what_was_hidden():
    columns = some(2000)
    told = with_masked_targets(columns, 0.2, 0.25, **DRAW)
    hidden = told["items"] == -2
    assert np.array_equal(told["targets"], np.where(hidden, columns["items"], -1))
    assert hidden.any(1).all()
    assert np.array_equal(told["event_types"], np.where(hidden, 0, columns["event_types"])), "nothing is told of what happened"
    assert np.array_equal(told["times"], np.where(hidden, np.maximum(columns["times"] - 1, 1), columns["times"])), "nor when"
    last = np.arange(10)[None] == columns["length"][:, None] - 1
    always = with_masked_targets(columns, 0.2, 1.0, **DRAW)["items"] == -2
    assert np.array_equal(always, last)
    only_last = (hidden == last).all(1)[columns["length"] == 10]
    # A quarter by choice, and of the rest those where chance hid the last alone (.8^9 * .2) or nothing (.8^10).
    assert only_last.mean() == pytest.approx(0.25 + 0.75 * (0.8**9 * 0.2 + 0.8**10), abs=0.08)


def test_augmented_rows_are_cropped_masked_or_reordered_the_others_left():
    columns = some(3000)
    changed = augment_sequences(columns, AugmentationKnobs(rows=0.6), **DRAW)
    cropped = changed["length"] < columns["length"]
    masked = (changed["items"] == -2).any(1)
    assert not (cropped & masked).any()
    long = columns["length"] == 10
    assert cropped[long].mean() == pytest.approx(0.2, abs=0.07)
    assert masked[long].mean() == pytest.approx(0.2, abs=0.07)
    assert (changed["items"] == columns["items"]).all(1)[long].mean() == pytest.approx(0.4, abs=0.08)
    assert np.array_equal(augment_sequences(columns, AugmentationKnobs(), **DRAW)["items"], columns["items"])
    half = {name: array[1500:] for name, array in columns.items()}
    assert np.array_equal(augment_sequences(half, AugmentationKnobs(rows=0.6), **DRAW)["items"], changed["items"][1500:])


def test_negatives_are_never_items_of_the_row():
    columns = with_next_targets(make_sequences(300))
    drawn = NegativeSampler(UNIFORM, 40, seed=1).add(columns, epoch=2)
    held = [{*items.tolist(), *targets.tolist()} for items, targets in zip(columns["items"], columns["targets"], strict=True)]
    assert all(not held[row] & {*negatives.tolist()} for row, negatives in enumerate(drawn["negatives"]))
    wide = {**columns, "seen_items": np.tile(np.arange(N_ITEMS - 1, dtype=np.int32), (300, 1))}
    wide["items"], wide["targets"] = np.zeros((300, 1), np.int32), np.zeros((300, 1), np.int32)
    assert set(NegativeSampler(UNIFORM, 40, seed=1).add(wide, epoch=2)["negatives"].ravel().tolist()) == {N_ITEMS - 1}
    wide["targets"][5] = N_ITEMS - 1
    with pytest.raises(TrainingError, match="sequence_idx 105 holds all 12 items"):
        NegativeSampler(UNIFORM, 40, seed=1).add(wide, epoch=2)


def test_negatives_belong_to_rows_and_epochs():
    columns = with_next_targets(make_sequences(50))
    sampler = NegativeSampler(UNIFORM, 8, seed=1)
    drawn = sampler.add(columns, epoch=0)["negatives"]
    parts = [
        sampler.add({name: array[at] for name, array in columns.items()}, epoch=0)["negatives"] for at in (slice(0, 20), slice(20, 50))
    ]
    assert np.array_equal(np.concatenate(parts), drawn)
    assert not np.array_equal(sampler.add(columns, epoch=1)["negatives"], drawn)
    assert not np.array_equal(NegativeSampler(UNIFORM, 8, seed=2).add(columns, epoch=0)["negatives"], drawn)


def test_negatives_come_by_popularity_and_know_their_odds():
    # (1 + count)^(1/2) = 1, 2, 3, 4 for counts 0, 3, 8, 15; the row holds item 3.
    shares = popularity_shares(np.array([0, 3, 8, 15]), 0.5)
    assert shares == pytest.approx([0.1, 0.2, 0.3, 0.4])
    columns = rows([[3, -1]] * 2000)
    drawn = NegativeSampler(shares, 5, seed=0).add(columns, epoch=0)
    found = np.bincount(drawn["negatives"].ravel(), minlength=4) / 10_000
    assert found == pytest.approx([1 / 6, 2 / 6, 3 / 6, 0], abs=0.02)
    expected = np.log(5 * np.array([1 / 6, 2 / 6, 3 / 6]))
    assert drawn["negative_log_odds"] == pytest.approx(expected[drawn["negatives"]], abs=1e-5)


def test_negatives_that_chance_does_not_find_are_found_all_the_same():
    # Of a thousand items the row leaves two: 16 attempts at 5 draws mostly miss them.
    items = np.delete(np.arange(1000, dtype=np.int32), [10, 500])[None]
    drawn = NegativeSampler(popularity_shares(np.zeros(1000), 0.0), 5, seed=0).add(rows(items.tolist()), epoch=0)
    assert set(drawn["negatives"].ravel().tolist()) <= {10, 500}
