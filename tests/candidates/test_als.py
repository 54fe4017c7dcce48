from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from implicit.als import AlternatingLeastSquares
from pyspark.sql import functions as F
from scipy.optimize import nnls
from scipy.sparse import csr_matrix

from recspark.candidates.als import fit_als
from recspark.errors import ConfigError, LimitError, TrainingError
from recspark.handover.files import PROGRESS
from recspark.tables import VECTORS
from recspark.tables.contract import conform

N = 12
# Even users like even items, odd users odd ones; who is at (user, user) or (user, user + 1) is held out.
CHECKERBOARD = [(user, item) for user in range(N) for item in range(N) if (user - item) % N not in (0, N - 1)]
SMALL: dict[str, Any] = {"weights": {"use": 1.0}, "rank": 2, "max_iter": 5, "reg": 0.01}


def _by_kind(frame: Any) -> tuple[dict[int, Any], dict[int, Any]]:
    rows = frame.collect()
    return tuple({row.idx: (np.array(row.vector), row.bias) for row in rows if row.kind == kind} for kind in ("user", "item"))  # type: ignore[return-value]


def _score(users: dict[int, Any], items: dict[int, Any], user: int, item: int) -> float:
    return float(users[user][0] @ items[item][0] + users[user][1] + items[item][1])


@pytest.fixture
def fit(tmp_path: Path) -> Callable[..., tuple[Any, dict[str, Any]]]:
    """Fit in two tasks, in a folder of its own unless told: the rows, and what the job told."""
    folders = itertools.count()

    def run(frame: Any, context: Any = None, **knobs: Any) -> tuple[Any, dict[str, Any]]:
        told: dict[str, Any] = {}
        context = frame.limit(0) if context is None else context
        given = {"folder": str(tmp_path / f"fit-{next(folders)}"), "n_slots": 2, "earlier": lambda: None, **SMALL, **knobs}
        return fit_als(frame, context, tell=told.__setitem__, **given), told

    return run


@pytest.mark.parametrize("engine", ["blocked", "mllib"])
def test_implicit_ranks_the_held_out_item_of_the_users_own_colour_first(events, fit, engine) -> None:  # type: ignore[no-untyped-def]
    frame = events([(user, item) for user, item in CHECKERBOARD if (user + item) % 2 == 0])
    vectors, told = fit(frame, alpha=10.0, engine=engine)
    conform(vectors.withColumns({"horizon": F.lit("h"), "source": F.lit("als")}), VECTORS, "the function")
    users, items = _by_kind(vectors)
    assert set(users) == set(items) == set(range(N))
    assert all(len(vector) == 2 and bias == 0 for vector, bias in [*users.values(), *items.values()])
    for user in range(N):
        other_colour = [_score(users, items, user, item) for item in range(N) if (user + item) % 2]
        assert _score(users, items, user, user) > max(other_colour) + 0.5
    if engine == "blocked":
        # Two blocks for two slots, as the hash deals 12 users, in processes of their own; 5 events a user.
        assert [(block["n_users"], block["n_events"]) for block in told["fit"]["blocks"]] == [(4, 20), (8, 40)]
        assert len({block["process"] for block in told["fit"]["blocks"]} | {os.getpid()}) == 3
        assert len(told["fit"]["losses"]) == len(told["fit"]["seconds"]) == SMALL["max_iter"]


@pytest.mark.parametrize("engine", ["blocked", "mllib"])
def test_explicit_predicts_held_out_ratings(events, fit, engine) -> None:  # type: ignore[no-untyped-def]
    # 5 on the own colour, 1 on the other; an event without a value is no rating.
    rows = [(user, item, "use", 5.0 if (user + item) % 2 == 0 else 1.0) for user, item in CHECKERBOARD]
    users, items = _by_kind(fit(events([*rows, (N, 0, "use")]), model="explicit", engine=engine, max_iter=10, reg=0.05)[0])
    assert N not in users
    for user in range(N):
        assert _score(users, items, user, user) == pytest.approx(5, abs=0.7)
        assert _score(users, items, user, (user + 1) % N) == pytest.approx(1, abs=0.7)


def test_mllibs_explicit_biases_are_damped_means(events, fit) -> None:  # type: ignore[no-untyped-def]
    # Mean 3. Item 0: 3 + (1 + 1) / (2 + 5); item 1: 3 + (-2) / (1 + 5). User 0: (4 - b_0) / (1 + 5) ...
    rows = [(0, 0, "use", 4.0), (1, 0, "use", 4.0), (1, 1, "use", 1.0)]
    users, items = _by_kind(fit(events(rows), model="explicit", engine="mllib")[0])
    biases = {0: 3 + 2 / 7, 1: 3 - 1 / 3}
    assert {idx: bias for idx, (_, bias) in items.items()} == pytest.approx(biases)
    # ... user 1: (4 - b_0 + 1 - b_1) / (2 + 5).
    assert {idx: bias for idx, (_, bias) in users.items()} == pytest.approx({0: (4 - biases[0]) / 6, 1: (5 - sum(biases.values())) / 7})


@pytest.mark.parametrize("engine", ["blocked", "mllib"])
def test_nonnegative_factors_learn_the_ratings_themselves(events, fit, engine) -> None:  # type: ignore[no-untyped-def]
    rows = [(user, item, "use", 4.0) for user, item in CHECKERBOARD]
    knobs = {"model": "explicit", "nonnegative": True, "rank": 6, "max_iter": 10, "engine": engine}
    users, items = _by_kind(fit(events(rows), **knobs)[0])
    assert all((vector >= 0).all() and bias == 0 for vector, bias in [*users.values(), *items.values()])
    assert _score(users, items, 0, 0) == pytest.approx(4, abs=0.3)


def test_the_loss_is_that_of_implicits_fit(events, fit) -> None:  # type: ignore[no-untyped-def]
    # Hu, Koren and Volinsky: confidence 1 + 2 r, every pair without events 1; both near their optimum.
    random = np.random.default_rng(4)
    w = (random.random((60, 40)) < 0.2) * random.integers(1, 4, (60, 40))
    rows = [(int(user), int(item), "use", float(w[user, item])) for user, item in np.argwhere(w)]
    knobs = {"rank": 4, "max_iter": 30, "alpha": 2.0, "alpha0": 1.0, "nu": 0.0, "reg": 0.5, "unobserved": "missing_pairs"}
    told = fit(events(rows), value_as="linear", **knobs)[1]
    peer = AlternatingLeastSquares(factors=4, regularization=0.5, iterations=30, use_gpu=False, num_threads=1, random_state=1)
    peer.fit(csr_matrix(np.where(w > 0, 1.0 + 2 * w, 0).astype(np.float32)), show_progress=False)
    x, y = peer.user_factors.astype(float), peer.item_factors.astype(float)
    expected = (np.where(w > 0, 1 + 2 * w, 1) * ((w > 0) - x @ y.T) ** 2).sum() + 0.5 * ((x**2).sum() + (y**2).sum())
    assert told["fit"]["losses"][-1] == pytest.approx(expected, rel=0.01)


def test_partitions_and_blocks_change_nothing_beyond_rounding(events, fit) -> None:  # type: ignore[no-untyped-def]
    frame = events([(user, item, "use", 1.0 + user % 3) for user, item in CHECKERBOARD])
    found = []
    for partitions, n_slots in ((1, 1), (2, 2), (7, 2)):
        shuffled = frame.orderBy(F.xxhash64("event_key", F.lit(partitions))).repartition(partitions)
        users, items = _by_kind(fit(shuffled, n_slots=n_slots, max_iter=2)[0])
        found.append(np.array([users[i][0] for i in range(N)] + [items[i][0] for i in range(N)]))
    np.testing.assert_allclose(found[1], found[0], atol=1e-5)
    np.testing.assert_allclose(found[2], found[0], atol=1e-5)


def test_decay_weighs_and_a_pairs_events_are_added_up(events, fit) -> None:  # type: ignore[no-untyped-def]
    # Ten days of a half-life of ten: half the weight; two events of weight 1 are one of weight 2.
    pairs = [(user, item) for user, item in CHECKERBOARD if (user + item) % 2 == 0]
    decayed = fit(events([(user, item, "use", None, 10.0 * (user % 2)) for user, item in pairs]), half_life_days=10.0)[0]
    halved = fit(events([(user, item, "use", 1.0 if user % 2 else 0.5, 0.0) for user, item in pairs]), value_as="linear")[0]
    twice = fit(events([(user, item, "use", 0.5, 0.0) for user, item in pairs for _ in range(2 if user % 2 else 1)]), value_as="linear")[0]
    expected = _by_kind(halved)
    for found in (_by_kind(decayed), _by_kind(twice)):
        for one, other in zip(found, expected, strict=True):
            assert set(one) == set(other)
            np.testing.assert_allclose([one[i][0] for i in sorted(one)], [other[i][0] for i in sorted(one)], atol=1e-5)


def test_a_fit_goes_on_from_its_saved_states_and_a_finished_one_stands(events, fit, tmp_path) -> None:  # type: ignore[no-untyped-def]
    frame = events([(user, item) for user, item in CHECKERBOARD if (user + item) % 2 == 0])
    whole, half = str(tmp_path / "whole"), str(tmp_path / "half")
    expected, told = fit(frame, folder=whole, checkpoint_interval=2)
    # What a fit that was killed in its fifth iteration has left: the states after the fourth.
    shutil.copytree(Path(whole) / "of-2" / "4", Path(half) / "of-2" / "4")
    with np.load(Path(half) / "of-2" / "4" / "0.npz") as saved:
        assert saved["losses"].tolist() == told["fit"]["losses"][:4]
    found, again = fit(frame, folder=half, checkpoint_interval=2)
    note = json.loads((Path(half) / PROGRESS).read_text())["note"]
    assert note.startswith(f"ALS iteration 5/5  loss {again['fit']['losses'][-1]:.6g}  ")
    assert again["fit"]["seconds"][:4] == told["fit"]["seconds"][:4]
    assert sorted(found.collect()) == sorted(expected.collect())
    # Finished: nothing is learnt anew, from whatever it is given.
    stands, _ = fit(events([]), folder=whole, checkpoint_interval=2)
    assert sorted(stands.collect()) == sorted(expected.collect())


@pytest.mark.parametrize(
    "knobs",
    [
        {},
        {"unobserved": "missing_pairs"},
        {"model": "explicit", "nu": 0.5, "bias_reg": 0.3},
        {"model": "pmf"},
        {"nonnegative": True},
        {"model": "explicit", "nonnegative": True},
    ],
)
def test_context_users_are_folded_in_as_a_half_step_of_the_fit(events, fit, knobs) -> None:  # type: ignore[no-untyped-def]
    # The newest of user u's events is u days old; nobody has item N + 1. Guests have the events of users 0 and 1, and one of an
    # item that nobody knows.
    rows = [(user, item + 2 * (item == N - 1), "use", 1.0 + (user + item) % 4, 20.0 - user) for user, item in CHECKERBOARD]
    guests = [(100 + user, item, *rest) for user, item, *rest in rows if user < 2] + [
        (100, N, "use", 1.0, 20.0),
        (102, N + 2, "use", 1.0, 20.0),
    ]
    known = [*range(N - 1), N + 1]
    users, items = _by_kind(fit(events(rows), events(guests), max_iter=1, half_life_days=9.0, **knobs)[0])
    assert set(users) == {*range(N), 100, 101}
    assert set(items) == set(known)
    # What half a step of the fit makes of user 0: least squares by hand, a row for each observed pair, each unobserved one, each factor.
    y, c = np.array([items[i][0] for i in known]), np.array([items[i][1] for i in known])
    model, nonnegative = knobs.get("model", "implicit"), "nonnegative" in knobs
    biased = model == "explicit" and not nonnegative
    f = np.column_stack([y, np.ones(N)]) if biased else y
    for user in (0, 1):
        own = {item: (value, 0.5 ** (user / 9)) for u, item, _, value, _ in rows if u == user}
        held = np.isin(known, list(own))
        if model == "implicit":
            w = np.array([np.log2(1 + own[i][0]) * own[i][1] if i in own else 0.0 for i in known])
            pull, unobserved = w + (0.3 * held if "unobserved" in knobs else 0), 0.3
        else:
            w = np.array([own[i][1] if i in own else 0.0 for i in known])
            pull, unobserved = w * (np.array([own[i][0] if i in own else 0.0 for i in known]) - c), 0.0
        nu = 0.0 if model == "pmf" else knobs.get("nu", 1.0)
        lam = 0.01 * (held.sum() + unobserved * N) ** nu * np.array([1, 1, 0.3] if biased else [1, 1])
        a, b = (f.T * w) @ f + unobserved * f.T @ f + np.diag(lam), f.T @ pull
        root = np.linalg.cholesky(a).T  # a = root' root: |root x - root'^-1 b|^2 is x' a x - 2 b' x and a constant
        expected = nnls(root, np.linalg.solve(root.T, b))[0] if nonnegative else np.linalg.solve(a, b)
        vector, bias = users[100 + user]
        np.testing.assert_allclose(np.append(vector, bias) if biased else vector, expected, atol=1e-4)
        assert biased or bias == 0


def _fitting() -> list[int]:
    """The worker processes that are connected with each other, as tasks of a fit are."""
    workers = [process for process in psutil.Process().children(recursive=True) if "python" in process.name()]
    ends = [(worker.pid, one.laddr.port, one.raddr.port) for worker in workers for one in worker.net_connections() if one.raddr]
    owner = {port: pid for pid, port, _ in ends}
    return sorted({pid for pid, _, port in ends if owner.get(port, pid) != pid})


def test_a_task_that_is_killed_in_mid_iteration_changes_nothing(events, fit, tmp_path) -> None:  # type: ignore[no-untyped-def]
    # 9,000 events and 32 factors: an iteration takes long enough to be met.
    frame = events([(user, item) for user in range(150) for item in range(120) if (user + item) % 2 == 0])
    knobs = {"max_iter": 300, "rank": 32, "checkpoint_interval": 10}
    folder, killed = tmp_path / "killed", []

    def kill_one() -> None:
        while len(list(folder.glob("of-2/*/*.npz"))) < 2:
            time.sleep(0.002)
        killed.append(_fitting()[0])
        os.kill(killed[0], signal.SIGKILL)

    killer = threading.Thread(target=kill_one, daemon=True)
    killer.start()
    found, told = fit(frame, folder=str(folder), **knobs)
    killer.join()
    assert killed[0] not in [block["process"] for block in told["fit"]["blocks"]]
    assert len(told["fit"]["losses"]) == 300
    assert sorted(found.collect()) == sorted(fit(frame, **knobs)[0].collect())


def test_a_warm_start_begins_where_the_earlier_fit_ended_and_initialises_new_items(events, fit) -> None:  # type: ignore[no-untyped-def]
    pairs = [(user, item) for user, item in CHECKERBOARD if (user + item) % 2 == 0]
    earlier, first = fit(events(pairs), max_iter=10)
    grown = events([*pairs, (0, N), (1, N)])
    cold, warm = fit(grown, max_iter=1)[1], fit(grown, max_iter=1, warm_start=True, earlier=lambda: earlier)[1]
    assert warm["fit"]["losses"][0] < 1.05 * first["fit"]["losses"][-1] + 2 < cold["fit"]["losses"][0]
    other = fit(grown, max_iter=1, rank=3, warm_start=True, earlier=lambda: earlier)[1]
    assert other["fit"]["losses"] == fit(grown, max_iter=1, rank=3)[1]["fit"]["losses"]


@pytest.mark.parametrize("model", ["implicit", "explicit"])
def test_a_fit_stops_where_held_out_events_are_predicted_best(events, fit, model) -> None:  # type: ignore[no-untyped-def]
    # Pure noise, and far more factors than it holds: after the first passes held-out events are predicted worse and worse.
    random = np.random.default_rng(5)
    rows = [(u, i, "use", float(random.integers(1, 6))) for u in range(30) for i in range(60) if random.random() < 0.3]
    rank, reg = (12, 1e-4) if model == "implicit" else (4, 0.003)
    knobs = {"model": model, "rank": rank, "max_iter": 30, "reg": reg, "validation_share": 0.2, "patience": 3, "checkpoint_interval": 4}
    vectors, told = fit(events(rows), **knobs)
    figures = told["fit"]["validation"]
    assert len(figures) == len(told["fit"]["losses"]) < 30
    # The last three were no better than the best before them; until then no three in a row were.
    assert min(figures[-3:]) > min(figures[:-3]) or figures[-4] == min(figures)
    users, items = _by_kind(vectors)
    learnt = sum(block["n_events"] for block in told["fit"]["blocks"])
    assert 0.7 * len(rows) < learnt < 0.9 * len(rows)
    if model == "explicit":
        # The kept factors are the best iteration's: over all ratings their error is below the last one's on held-out ones.
        error = np.mean([(value - _score(users, items, u, i)) ** 2 for u, i, _, value in rows if u in users and i in items]) ** 0.5
        assert error < min(figures)


def test_nothing_learnt_is_an_empty_table(events, fit) -> None:  # type: ignore[no-untyped-def]
    for knobs in ({}, {"model": "explicit"}, {"engine": "mllib"}):
        vectors = fit(events([(0, 0, "other")]), **knobs)[0]
        conform(vectors.withColumns({"horizon": F.lit("h"), "source": F.lit("als")}), VECTORS, "the function")
        assert vectors.collect() == []


def test_a_night_that_learnt_nothing_starts_no_other_warm_and_nothing_left_to_learn_from_has_no_vectors(events, fit, spark) -> None:  # type: ignore[no-untyped-def]
    frame = events([(user, item) for user, item in CHECKERBOARD if (user + item) % 2 == 0])
    nothing = fit(events([(0, 0, "other")]))[0]
    assert fit(frame, warm_start=True, earlier=lambda: nothing)[1]["fit"]["losses"] == fit(frame)[1]["fit"]["losses"]
    # All that there is is held out; guests have nothing to be folded in against.
    vectors, told = fit(frame, frame, validation_share=1 - 1e-9)
    assert vectors.collect() == []
    assert told["fit"]["validation"][0] == 0
    # Tasks that run although there is nothing to do.
    spark.conf.set("spark.sql.adaptive.enabled", "false")
    try:
        assert fit(events([]))[0].collect() == []
    finally:
        spark.conf.unset("spark.sql.adaptive.enabled")


def test_guards(events, fit) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(LimitError, match="2147483648 is above 2147483647"):
        fit(events([(2**31, 0)]), engine="mllib")
    with pytest.raises(LimitError, match=r"1,001 items of 2 factors need 36,036 bytes in each task, and vectors_als.item_bytes is 36,000"):
        fit(events([(0, 1000)]), item_bytes=36_000)
    with pytest.raises(ConfigError, match=r"^vectors_als.model: pmf is not known .*; vectors_als.solver: cholesky is not read by MLlib"):
        fit(events([(0, 0)]), model="pmf", solver="cholesky", engine="mllib")
    # Told as a task finds it. Of a pair's weight one of the two tasks knows; the other must not wait for it.
    with pytest.raises(TrainingError, match="the loss of ALS is nan .* lower vectors_als.reg"):
        fit(events([(0, 0)]), reg=1e300)
    with pytest.raises(TrainingError, match="user 0 and item 0 have weights"):
        fit(events([(0, 0)]), alpha=1e300)
    with pytest.raises(ConfigError, match="decay needs times"):
        fit(events([(0, 0)]), half_life_days=3.0)
