from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pyspark.sql import functions as F

from recspark.candidates.als import fit_als, score_als_candidates
from recspark.errors import ConfigError, LimitError
from recspark.tables import REQUESTS, SOURCE_CANDIDATES, VECTORS
from recspark.tables.contract import conform

N = 12
# Even users like even items, odd users odd ones; who is at (user, user) or (user, user + 1) is held out.
CHECKERBOARD = [(user, item) for user in range(N) for item in range(N) if (user - item) % N not in (0, N - 1)]
SMALL: dict[str, Any] = {"weights": {"use": 1.0}, "rank": 2, "max_iter": 5, "reg": 0.01, "n_user_blocks": 2, "n_item_blocks": 2}


def _by_kind(frame: Any) -> tuple[dict[int, Any], dict[int, Any]]:
    rows = frame.collect()
    return tuple({row.idx: (np.array(row.vector), row.bias) for row in rows if row.kind == kind} for kind in ("user", "item"))  # type: ignore[return-value]


def _score(users: dict[int, Any], items: dict[int, Any], user: int, item: int) -> float:
    return float(users[user][0] @ items[item][0] + users[user][1] + items[item][1])


def test_implicit_ranks_the_held_out_item_of_the_users_own_colour_first(events) -> None:  # type: ignore[no-untyped-def]
    frame = events([(user, item) for user, item in CHECKERBOARD if (user + item) % 2 == 0])
    vectors = fit_als(frame, alpha=10.0, **SMALL)
    conform(vectors.withColumns({"horizon": F.lit("h"), "source": F.lit("als")}), VECTORS, "the function")
    users, items = _by_kind(vectors)
    assert set(users) == set(items) == set(range(N))
    assert all(len(vector) == 2 and bias == 0 for vector, bias in [*users.values(), *items.values()])
    for user in range(N):
        other_colour = [_score(users, items, user, item) for item in range(N) if (user + item) % 2]
        assert _score(users, items, user, user) > max(other_colour) + 0.5


def test_explicit_predicts_held_out_ratings(events) -> None:  # type: ignore[no-untyped-def]
    # 5 on the own colour, 1 on the other; an event without a value is no rating.
    rows = [(user, item, "use", 5.0 if (user + item) % 2 == 0 else 1.0) for user, item in CHECKERBOARD]
    users, items = _by_kind(fit_als(events([*rows, (N, 0, "use")]), implicit=False, **{**SMALL, "reg": 0.05}))
    assert N not in users
    for user in range(N):
        assert _score(users, items, user, user) == pytest.approx(5, abs=0.7)
        assert _score(users, items, user, (user + 1) % N) == pytest.approx(1, abs=0.7)


def test_explicit_biases_are_damped_means(events) -> None:  # type: ignore[no-untyped-def]
    # Mean 3. Item 0: 3 + (1 + 1) / (2 + 2) = 3.5; item 1: 3 + (-2) / (1 + 2). User 0: (4 - 3.5) / (1 + 2) ...
    rows = [(0, 0, "use", 4.0), (1, 0, "use", 4.0), (1, 1, "use", 1.0)]
    users, items = _by_kind(fit_als(events(rows), implicit=False, bias_damping=2.0, **SMALL))
    assert {idx: bias for idx, (_, bias) in items.items()} == {0: pytest.approx(3.5), 1: pytest.approx(3 - 2 / 3)}
    # ... user 1: (4 - 3.5 + 1 - 7 / 3) / (2 + 2).
    assert {idx: bias for idx, (_, bias) in users.items()} == {0: pytest.approx(0.5 / 3), 1: pytest.approx((0.5 - 4 / 3) / 4)}


def test_nonnegative_factors_learn_the_ratings_themselves(events) -> None:  # type: ignore[no-untyped-def]
    rows = [(user, item, "use", 4.0) for user, item in CHECKERBOARD]
    users, items = _by_kind(fit_als(events(rows), implicit=False, nonnegative=True, **{**SMALL, "rank": 6}))
    assert all((vector >= 0).all() and bias == 0 for vector, bias in [*users.values(), *items.values()])
    assert _score(users, items, 0, 0) == pytest.approx(4, abs=0.3)


def test_partitions_change_nothing_beyond_rounding(events) -> None:  # type: ignore[no-untyped-def]
    frame = events([(user, item, "use", 1.0 + user % 3) for user, item in CHECKERBOARD])
    found = []
    for partitions in (1, 2, 7):
        shuffled = frame.orderBy(F.xxhash64("event_key", F.lit(partitions))).repartition(partitions)
        users, items = _by_kind(fit_als(shuffled, **{**SMALL, "max_iter": 2}))
        found.append(np.array([users[i][0] for i in range(N)] + [items[i][0] for i in range(N)]))
    np.testing.assert_allclose(found[1], found[0], atol=1e-5)
    np.testing.assert_allclose(found[2], found[0], atol=1e-5)


def test_nothing_learnt_is_an_empty_table(events) -> None:  # type: ignore[no-untyped-def]
    for implicit in (True, False):
        vectors = fit_als(events([(0, 0, "other")]), implicit=implicit, **SMALL)
        conform(vectors.withColumns({"horizon": F.lit("h"), "source": F.lit("als")}), VECTORS, "the function")
        assert vectors.collect() == []


def test_guards(events) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(LimitError, match="2147483648 is above 2147483647"):
        fit_als(events([(2**31, 0)]), **SMALL)
    with pytest.raises(ConfigError, match="explicit ratings do not decay"):
        fit_als(events([(0, 0)]), implicit=False, half_life_days=3.0, **SMALL)
    with pytest.raises(ConfigError, match="decay needs times"):
        fit_als(events([(0, 0)]), half_life_days=3.0, **SMALL)


def test_candidates_are_the_items_nearest_to_the_users_vector(table, seen, features, arrays) -> None:  # type: ignore[no-untyped-def]
    requests = table(REQUESTS, [{"request_idx": 10 + r, "user_idx": r, "k": 1} for r in range(4)]).repartition(2)
    rows = [("als", "user", 0, [1.0, 0.0], 0.5), ("als", "user", 1, [0.0, 1.0], 0.0), ("als", "user", 3, [1.0, 1.0], 0.0)]
    rows += [("als", "item", 2, [9.0, 9.0], 0.0), ("other", "user", 2, [1.0, 1.0], 0.0)]
    vectors = table(VECTORS, [dict(zip(("source", "kind", "idx", "vector", "bias"), row, strict=True)) for row in rows])
    items = arrays(
        idx=np.array([0, 2, 3, 5]), vector=np.array([[1, 0], [2, 1], [2, 0], [9, 9]], np.float32), bias=np.array([0, 0, 1, 0], np.float32)
    )
    frame = score_als_candidates(
        vectors, requests, seen({11: [2], 13: [0, 2, 3]}, {10: [0, 1, 2, 5]}), items, features(6, {5}), n_candidates=2
    )
    conform(frame.withColumns({"horizon": F.lit("h"), "source": F.lit("als")}), SOURCE_CANDIDATES, "the function")
    # User 0 may get 2 (2 + .5) and 0 (1 + .5), 1 has no vector, 5 is not available. User 1: 2 is seen, so 3 (its bias 1) and 0 (0). User 2 has no ALS vector.
    assert {row.request_idx: (row["items"], row.scores) for row in frame.collect()} == {10: ([2, 0], [2.5, 1.5]), 11: ([3, 0], [1.0, 0.0])}
