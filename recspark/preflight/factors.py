"""The work of ALS, by either engine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recspark.preflight.activity import Activity
from recspark.preflight.work import DRIVER_COPIES, SHUFFLED_ROW, Place, Step, Work, size

# Bytes that an event takes while a task sorts its events into a block.
_BUILDING = 130
# Of candidates.als_blocks: items whose normal equations are in a task at once, and rows that are summed up at once.
_EQUATIONS, _TILE = 2048, 8192
# MLlib solves a row by Cholesky in the JVM: it reaches about this share of the kernels' rate.
_JVM = 0.25


def als_work(activity: Activity, knobs: Mapping[str, Any], place: Place) -> Work:
    """`fit_als`, by the engine that the knobs name, or for `auto` the one whose item factors fit into item_bytes."""
    engine = knobs["engine"]
    if engine == "auto":
        # What MLlib does not know stays with the blocked engine, which refuses.
        known = knobs["model"] != "pmf" and (knobs["model"] == "implicit" or knobs["half_life_days"] is None)
        engine = "mllib" if known and _item_factors(activity, knobs, place) > knobs["item_bytes"] else "blocked"
    return _mllib_work(activity, knobs, place) if engine == "mllib" else _blocked_work(activity, knobs, place)


def _width(knobs: Mapping[str, Any]) -> int:
    return int(knobs["rank"]) + (knobs["model"] == "explicit" and not knobs["nonnegative"])


def _solver(knobs: Mapping[str, Any]) -> str:
    return "nonnegative" if knobs["nonnegative"] else str(knobs["solver"])


def _item_factors(activity: Activity, knobs: Mapping[str, Any], place: Place) -> float:
    """All items' factors, directions and partial products, and the own ones' steps (candidates.als_blocks.item_bytes_of)."""
    own = 3 + (_solver(knobs) == "nonnegative")
    return 4 * activity.n_places * _width(knobs) * (3 + own / place.n_slots)


def _item_step(activity: Activity, knobs: Mapping[str, Any], place: Place, is_dense: bool) -> float:
    """Beside what is kept, in a half-step of items: directions and products, or the normal equations of some items at a time."""
    n, width, places = place.n_slots, _width(knobs), activity.n_places
    if _solver(knobs) != "cholesky":
        return _item_factors(activity, knobs, place) - 4 * width * places + is_dense * 4 * width**2
    at_once = min(max(_EQUATIONS, n), places)
    # Those before go when the next are made; of the own ones the sum and what came, which Python holds twice more while it comes.
    copies = 1 + (places > at_once) + (2 if n == 1 else 4) / n
    return 4 * at_once * copies * (width * (width + 1) / 2 + width) + (8 * place.n_threads + is_dense * 8) * width**2


def _refusal(activity: Activity, knobs: Mapping[str, Any], place: Place) -> str:
    needed = _item_factors(activity, knobs, place)
    if needed <= knobs["item_bytes"]:
        return ""
    return (
        f"needs {size(needed)} in each task for {activity.n_places:,} items, and vectors_als.item_bytes is {size(knobs['item_bytes'])}: raise it "
        "where tasks have the memory, lower vectors_als.rank, or choose engine: mllib where it knows the model"
    )


def _blocked_work(activity: Activity, knobs: Mapping[str, Any], place: Place) -> Work:
    """With P pairs, E events, U users, I items, m places of items, D factors, s steps, n tasks, in each iteration:

    flops       2 * 4 P D (s + 1)  +  2 (U + I) D^2 (s + 1)  +  4 (U + n m) D^2  (the Gram matrices)  +  2 P D  (the loss)
                Cholesky: 2 P D (D + 1) + (U + I) D^3 / 3 instead of the first two
    bytes sent  8 (s + 1) m D (n - 1) + n (n - 1) (12 D^2 + 8); Cholesky: 4 m (D (D + 1) / 2 + 2 D) (n - 1) instead of the first; and
                once 16 m (n - 1)  (candidates.als_blocks)
    task        (24 or 16) P' + factors + 20 (U' + m), or while it is built 130 E'; P', E', U' of the busiest task. Factors: what is kept,
                4 D (m + U') and with validation the best, 4 D (m / n + U'); beside it the largest of
                an item half-step, 4 D m (2 + 3 / n) + 4 D^2 of the Gram matrix, and with biases 4 D U'; or with Cholesky, t = min(m,
                2048): 2 D^2 t (2 + 4 / n), and once less where t = m, + 8 D^2 a thread, and 8 D^2 of Gram matrices;
                the loss's Gram matrices in double precision, as they come from all tasks, 8 D^2 (n + 3) + 4 D^2 + 8 D min(8192, m or U');
                2 files of 4 D (m / n + U') while states are saved, with validation twice as large;
                and 8 D^2 where users are folded in, whose Gram matrix takes the driver 8 D^2
    """
    n, width, steps, iterations = place.n_slots, _width(knobs), knobs["solver_steps"], knobs["max_iter"]
    solver = _solver(knobs)
    pairs, users, items, places = activity.users.pairs, activity.users.rows, activity.items.rows, activity.n_places
    is_weighted = knobs["model"] != "implicit" or knobs["unobserved"] == "missing_pairs"
    is_dense = knobs["model"] == "implicit" and knobs["alpha0"] > 0
    passes = steps + 1 + (solver == "nonnegative")
    if solver == "cholesky":
        rows = 2 * pairs * width * (width + 1) + (users + items) * width**3 / 3
        sent = 4 * places * (width * (width + 1) / 2 + 2 * width) * (n - 1)
    else:
        rows = 8 * pairs * width * passes + is_dense * 2 * (users + items) * width**2 * passes
        sent = 4 * places * width * (2 * (steps + 1) + (solver == "nonnegative")) * (n - 1)
    flops = rows + is_dense * 4 * (users + n * places) * width**2 + 2 * pairs * width
    sent += n * (n - 1) * (is_dense * 12 * width**2 + 8)
    sent_bytes = iterations * sent + 16 * places * (n - 1)
    # Whole users lie together: the busiest task has its share, and the busiest user.
    own_events = activity.n_events / n + activity.users.most
    own_pairs, own_users = min(own_events, pairs / n + activity.users.most), users / n + 1
    own_vectors, has_best = 4 * width * (own_users + places / n), knobs["validation_share"] > 0
    step = _item_step(activity, knobs, place, is_dense) + (width > knobs["rank"]) * 4 * width * own_users
    loss = is_dense * ((8 * (n + 3) + 4) * width**2 + 8 * width * min(_TILE, max(own_users, places)))
    folding = (solver != "nonnegative") * 8 * width**2
    saved = (knobs["checkpoint_interval"] is not None) * 2 * (1 + has_best) * own_vectors
    held = (
        (24 if is_weighted else 16) * own_pairs
        + 4 * width * (own_users + places)
        + has_best * own_vectors
        + max(step, loss, folding, saved)
    )
    vectors = 4 * (users + items) * (knobs["rank"] + 5)
    return Work(
        pairs=pairs,
        unit="pairs",
        flops=iterations * flops,
        steps=(
            Step("rows", activity.n_events + users + items, n),
            Step("moved", (users + items) * knobs["rank"], n),
            Step("least_squares", iterations * flops, n * place.n_threads),
            Step("sent", sent_bytes, n),
        ),
        shuffle_bytes=SHUFFLED_ROW * activity.n_events + vectors + sent_bytes,
        task_bytes=max(_BUILDING * own_events, held) + 20 * (own_users + places),
        # The fitted items, for whom is folded in.
        driver_bytes=DRIVER_COPIES * items * (4 * knobs["rank"] + 12) + is_dense * 8 * width**2,
        iterations=iterations,
        sent_bytes=sent_bytes,
        chosen={"engine": "blocked"},
        refused=_refusal(activity, knobs, place),
    )


def _mllib_work(activity: Activity, knobs: Mapping[str, Any], place: Place) -> Work:
    """In each iteration every row's vector goes to each block of the other side that needs it (Das et al., 2017), as 4 bytes a
    factor and 28 a block; a row's normal equations take D^2 operations a pair, and D^3 / 3. They are a triangle of 4 D^2 bytes in a
    task, as are the Gram matrix that it is told (implicit) and its part of the next, which the driver adds up; non-negative ones are
    solved as a square of 8 D^2."""
    n, width = place.n_slots, knobs["rank"]
    pairs, rows = activity.users.pairs, activity.users.rows + activity.items.rows
    sides = ((activity.users, activity.items), (activity.items, activity.users))
    copies = sum(own.copied(n, others.rows) / max(own.pairs, 1) * own.rows for own, others in sides)
    flops = 2 * pairs * width**2 + rows * width**3 / 3
    iterations = knobs["max_iter"]
    sent = iterations * copies * (4 * width + 28)
    grams = 4 * width**2 * (3 if knobs["model"] == "implicit" else 1) + knobs["nonnegative"] * 8 * width**2
    return Work(
        pairs=pairs,
        unit="pairs",
        flops=iterations * flops,
        steps=(
            Step("rows", 3 * activity.n_events + iterations * copies, n),
            Step("moved", iterations * copies * width, n),
            Step("least_squares", iterations * flops / _JVM, n),
        ),
        shuffle_bytes=3 * SHUFFLED_ROW * activity.n_events + sent,
        # In Spark's own memory: both orders of the pairs, and the vectors that came.
        task_bytes=(24 * pairs + (copies + rows) * 4 * width) / n + grams,
        driver_bytes=(1 << 20) + (knobs["model"] == "implicit") * 8 * width**2,
        iterations=iterations,
        chosen={"engine": "mllib"},
    )
