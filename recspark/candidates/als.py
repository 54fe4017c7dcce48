"""Matrix factorisation by alternating least squares: vectors of users and items."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from recspark.candidates.als_blocks import Recipe
from recspark.candidates.als_mllib import fit_mllib, no_vectors
from recspark.candidates.als_stage import Fit, fit_blocks
from recspark.candidates.fold_in import fitted_side, fold_in
from recspark.candidates.weights import add_up_pairs, keep_latest_ratings
from recspark.columns import ITEM
from recspark.errors import ConfigError
from recspark.handover.arrays import publish
from recspark.tables.lineage import ContextRows, Earlier, LearnRows, Slots, Tell, WorkFolder
from recspark.tables.weights import ValueAs, with_weight

Engine = Literal["auto", "blocked", "mllib"]
Model = Literal["implicit", "explicit", "pmf"]
Solver = Literal["cg", "cholesky"]


def engine_misfits(*, engine: Engine, model: Model, nonnegative: bool, solver: Solver, half_life_days: float | None) -> list[str]:
    """A sentence for each of these knobs of vectors_als that excludes another, or that the engine would not read."""
    problems = []
    if model == "pmf" and nonnegative:
        problems.append(
            "vectors_als.nonnegative: true excludes vectors_als.model: pmf, whose factors are Gaussian; set it to false, or choose another model"
        )
    if engine == "mllib":
        other = "or set vectors_als.engine: blocked"
        if model == "pmf":
            problems.append(f"vectors_als.model: pmf is not known to MLlib's ALS; choose implicit or explicit, {other}")
        if model == "explicit" and half_life_days is not None:
            problems.append(f"vectors_als.half_life_days: {half_life_days:g}: MLlib's ALS cannot weigh ratings; leave it out, {other}")
        if solver != "cg":
            problems.append(f"vectors_als.solver: {solver} is not read by MLlib's ALS, which has one of its own; leave it out, {other}")
    return problems


def _weighted_events(
    interactions: DataFrame, since: DataFrame, weights: dict[str, float], value_as: ValueAs, half_life_days: float | None, alpha: float
) -> DataFrame:
    """user_idx, item_idx, weight: what is learnt from, an event a row: pairs are added up where they lie together."""
    weighted = with_weight(interactions, weights, value_as=value_as, half_life_days=half_life_days, since=since).filter("weight > 0")
    return weighted.select("user_idx", "item_idx", (F.col("weight") * alpha).alias("weight"))


def _weighted_ratings(interactions: DataFrame, since: DataFrame, weights: dict[str, float], half_life_days: float | None) -> DataFrame:
    """user_idx, item_idx, weight, target: each pair's latest rating; it weighs as its type and its age say."""
    weighted = with_weight(interactions, weights, value_as="ignore", half_life_days=half_life_days, since=since)
    latest = keep_latest_ratings(weighted, weights, also=["weight"])
    return latest.select("user_idx", "item_idx", "weight", F.col("rating").alias("target"))


def _item_arrays(vectors: DataFrame) -> dict[str, np.ndarray] | None:
    """idx [n], vector [n x rank] and bias [n] of the item vectors, None where there are none; item-sized, they pass the driver."""
    rows = vectors.filter(F.col("kind") == ITEM).select("idx", "vector", "bias").toArrow().combine_chunks()
    if not rows.num_rows:
        return None
    factors = rows.column("vector").combine_chunks().flatten().to_numpy().reshape(rows.num_rows, -1)
    return {"idx": rows.column("idx").to_numpy(), "vector": factors, "bias": rows.column("bias").to_numpy()}


def fit_als(
    interactions: LearnRows,
    context: ContextRows,
    *,
    weights: dict[str, float],
    engine: Engine = "auto",
    model: Model = "implicit",
    rank: PositiveInt = 64,
    max_iter: PositiveInt = 10,
    reg: PositiveFloat = 0.003,
    nu: NonNegativeFloat = 1.0,
    alpha: PositiveFloat = 1.0,
    alpha0: NonNegativeFloat = 0.3,
    unobserved: Literal["all_pairs", "missing_pairs"] = "all_pairs",
    bias_reg: NonNegativeFloat = 1.0,
    nonnegative: bool = False,
    init_stddev: PositiveFloat = 0.1,
    solver: Solver = "cg",
    solver_steps: PositiveInt = 3,
    tolerance: NonNegativeFloat = 0.0,
    validation_share: Annotated[float, Field(ge=0, lt=1)] = 0.0,
    patience: PositiveInt = 2,
    warm_start: bool = False,
    value_as: ValueAs = "log",
    half_life_days: PositiveFloat | None = None,
    checkpoint_interval: PositiveInt | None = 5,
    item_bytes: PositiveInt = 4_000_000_000,
    seed: NonNegativeInt = 1,
    folder: WorkFolder,
    n_slots: Slots,
    earlier: Earlier,
    tell: Tell,
) -> DataFrame:
    """Vectors of all users and items with learnt events: kind, idx, vector [rank], bias; score = dot product + the two biases.

    Users of `context` are not learnt from: they are folded in against the fitted items (`fold_in`; by the blocked engine only).
    Users are cut into as many blocks as tasks run at once, and never leave theirs (candidates.als_blocks: algorithm, bytes sent,
    memory). With r the sum of a pair's event weights (`with_weight`), n_u, n_i its row's number of pairs, N the number of rows of
    the other side:

    implicit: sum_observed alpha r (1 - s)^2 + alpha0 sum_all s^2 + sum_rows reg (n + alpha0 N)^nu |x|^2; biases are 0
        (Rendle et al., Revisiting the performance of iALS, RecSys 2022). With `unobserved: missing_pairs` alpha0 (0 - s)^2 counts
        for missing pairs only and observed ones weigh alpha0 + alpha r (Hu, Koren and Volinsky, ICDM 2008).
    explicit: sum w (value - mean - b_u - b_i - p.q)^2 + sum_rows reg n^nu (|p|^2 + bias_reg b^2) over each pair's latest value,
        w its event's weight; an event without a value is no rating. The mean is part of the item's bias. (Koren, Bell and Volinsky, IEEE
        Computer 42(8), 2009; nu = 1: Zhou et al., AAIM 2008.)
    pmf: explicit without biases, the mean apart, nu = 0: the maximum a posteriori of Gaussian factors (Salakhutdinov and
        Mnih, NIPS 2007), where reg is the ratio of the noise's variance to the factors'.
    nonnegative: factors are not below 0; explicit ones learn the values as they are, without mean and biases (NMF: Lee and Seung,
        NIPS 2000).

    The loss is exact after every iteration and never rises; each is a line of the run's progress, and all are told as `fit`. Without any event
    the result is empty. Equal for any partitioning and any number of tasks up to rounding of sums.
    `engine: mllib` knows implicit (as missing_pairs, alpha0 = 1) and explicit, and regularises by reg * n; of the knobs it reads model, rank, max_iter,
    reg, alpha, nonnegative, checkpoint_interval and seed.

    Args:
        weights: weight of each event type; 0 leaves it out.
        engine: blocked, or mllib for catalogues whose item factors no task can hold; auto is blocked, unless whoever runs the job
            has forecast that they exceed item_bytes, and says mllib.
        model: implicit learns from what was used, explicit and pmf from rating values.
        rank: number of factors; finer tastes against time (an iteration costs 8 to 16 * rank multiplications an event) and overfitting.
        max_iter: passes over users and items; 10 to 20 are enough.
        reg: regularisation, above 0: without it a row of few pairs has no one optimum.
        nu: how it grows with a row's number of pairs: 1 in proportion, 0 not at all.
        alpha: implicit: how much an observed pair counts.
        alpha0: implicit: how much an unobserved one counts; less trusts what was not used less to be disliked.
        unobserved: implicit: which pairs alpha0 counts for.
        bias_reg: explicit: regularisation of the biases, over that of the factors.
        nonnegative: non-negative factors; slower to converge.
        init_stddev: of the first item factors, times the root of rank.
        solver: cg, or cholesky: exact half-steps, at rank^2 / 16 times the work an event and far more bytes sent.
        solver_steps: steps of conjugate gradients (or projected gradients) a half-step; 2 to 5.
        tolerance: stop when an iteration lowers the loss by less than this share of it; 0 never stops early.
        validation_share: share of the events (seeded) that is not learnt from, but measured after every iteration (`Validation`); 0 for none.
        patience: stop when so many iterations have not improved that measure, and keep the best.
        warm_start: begin with the item factors of the newest horizon before, where it has as many; new items are initialised, and
            users follow from the items in the first half-step.
        value_as: implicit: how an event's value (a quantity, seconds) enters its weight: ignore, linear, or log (log2(1 + value)).
        half_life_days: after so many days an event weighs half; none for no decay. Needs times.
        checkpoint_interval: iterations between saved states, from which a killed fit goes on; none for no saving.
        item_bytes: how much memory a task may give to item factors: 12 bytes an item and factor, and 12 more (nonnegative: 16) over n_slots.
        seed: of the first factors.
        folder: where the fit keeps its states and its result.
        n_slots: tasks that run at once.
        earlier: the vectors of the newest horizon before, if any.
        tell: is told what the fit was.

    Raises:
        ConfigError: event weights that nothing can be learnt from; decay of events without times; pmf, decaying ratings or a
            solver by MLlib; pmf with non-negative factors; blocks under dynamic allocation.
        LimitError: items beyond item_bytes; an index that MLlib's ALS cannot hold.
    """
    if problems := engine_misfits(engine=engine, model=model, nonnegative=nonnegative, solver=solver, half_life_days=half_life_days):
        raise ConfigError("; ".join(problems))
    implicit = model == "implicit"
    if engine == "mllib":
        pairs = add_up_pairs(with_weight(interactions, weights, value_as=value_as, half_life_days=half_life_days)) if implicit else None
        ratings = pairs.withColumnRenamed("weight", "rating") if pairs else keep_latest_ratings(interactions, weights)
        shape: dict[str, Any] = {"rank": rank, "max_iter": max_iter, "n_blocks": n_slots, "checkpoint_interval": checkpoint_interval}
        return fit_mllib(ratings, implicit=implicit, nonnegative=nonnegative, reg=reg, alpha=alpha, seed=seed, **shape)

    def events_of(rows: DataFrame) -> DataFrame:
        if implicit:
            return _weighted_events(rows, interactions, weights, value_as, half_life_days, alpha)
        return _weighted_ratings(rows, interactions, weights, half_life_days)

    events = events_of(interactions)
    recipe = Recipe(
        rank=rank,
        reg=reg,
        nu=0.0 if model == "pmf" else nu,
        unobserved=alpha0 if implicit else 0.0,
        biased=model == "explicit" and not nonnegative,
        centred=not implicit and not nonnegative,
        bias_reg=bias_reg,
        init_stddev=init_stddev,
        solver="nonnegative" if nonnegative else solver,
        steps=solver_steps,
        max_iter=max_iter,
        tolerance=tolerance,
        seed=seed,
    )
    extra = alpha0 if implicit and unobserved == "missing_pairs" else 0.0
    before = earlier() if warm_start else None
    known = _item_arrays(before) if before is not None else None
    fit = Fit(
        recipe,
        explicit=not implicit,
        extra=extra,
        folder=folder,
        checkpoint_interval=checkpoint_interval,
        item_bytes=item_bytes,
        validation_share=validation_share,
        patience=patience,
        known=publish(known, f"{folder}/items") if known else None,
    )
    found = fit_blocks(events, fit, n_slots)
    tell("fit", {name: found[name] for name in ("losses", "validation", "seconds", "blocks")})
    if not found["files"]:
        return no_vectors(events)
    fitted = interactions.sparkSession.read.parquet(*found["files"])
    # Without guests the items need not pass the driver.
    items = None if context.isEmpty() else _item_arrays(fitted)
    if items is None:
        return fitted
    side = publish(fitted_side(items, recipe), f"{folder}/items")
    return fitted.unionByName(fold_in(events_of(context), side, recipe, explicit=not implicit, extra=extra))
