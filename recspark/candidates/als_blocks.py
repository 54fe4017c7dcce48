"""Alternating least squares over blocks of users: what one of the tasks does that each hold a block.

Each task keeps its users' events and factors from beginning to end; they never leave it. Each task also owns a block of items.
A user half-step needs all item factors and no one else's users. An item half-step is one system a row, whose product with a
direction is a sum over all users' blocks: each task adds up its users' part for all items, the owner of an item adds the tasks'
parts, takes a conjugate gradient step, and shares the next direction.

With n tasks, m items, D factors (rank, and one for the bias), s steps, in bytes over all tasks:

    sent in an iteration        8 (s + 1) m D (n - 1)  +  small: n (n - 1) (12 D^2 + 8), or without unobserved pairs 8 n (n - 1)
    sent with Cholesky          4 m (D (D + 1) / 2 + 2 D) (n - 1)  +  small
    sent with non-negative      4 (2 s + 3) m D (n - 1)  +  small
    sent at the start           16 (m + n) (n - 1)

and in memory, of a task with P' pairs of U' users:

    events                      16 P', or 24 P' where targets differ from 1: in both orders
    items                       4 m D (3 + 3 / n), or with non-negative 4 m D (3 + 4 / n): `item_bytes_of`
    users                       4 D U', and as much again in an item half-step with biases
    of each row                 some 20 bytes, whatever D
    with Cholesky               2,048 items' normal equations, 2 D^2 each, and twice the own ones of them
    with saved states           2 files, as they are written or read: 8 D (U' + m / n), when no half-step runs
    with validation             the best so far: 4 D (U' + m / n), and twice as much again in the files
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from recspark.errors import TrainingError
from recspark.handover.peers import Peers, blocks_of
from recspark.kernels.als import SOLVED, Solver, errors, gather_rows, normal_equations, solve_rows
from recspark.kernels.als_events import Block
from recspark.kernels.als_items import aim_rows, cg_rows, projected_rows, solve_packed

# Normal equations of this many items travel at a time.
_ITEMS_AT_ONCE = 2048
# Rows that dense products look at together, so that what is copied for them stays small.
_ROWS_AT_ONCE = 8192


@dataclass(frozen=True)
class Recipe:
    """What is minimised, over users u and items i with w weights and t targets of the observed pairs:

        sum_observed w (t - s)^2 + unobserved sum_all s^2 + sum_u l_u (|p_u|^2 + bias_reg b_u^2) + sum_i l_i (|q_i|^2 + bias_reg b_i^2)

    s = p.q, or with `biased` b_u + b_i + p.q, and with `centred` the targets' weighted mean beside; l = reg (n + unobserved N)^nu for
    n observed pairs of the N on the other side. Unobserved pairs count in products alone: not with biases or a mean.
    (Hu, Koren and Volinsky, ICDM 2008; frequency-scaled regularisation: Zhou et al., AAIM 2008; Rendle et al., RecSys 2022.)
    """

    rank: int
    reg: float
    nu: float
    unobserved: float
    biased: bool
    centred: bool
    bias_reg: float
    init_stddev: float
    solver: Solver
    steps: int
    max_iter: int
    tolerance: float
    seed: int

    def __post_init__(self) -> None:
        if self.unobserved and (self.biased or self.centred):
            raise ValueError(
                f"unobserved is {self.unobserved}, and scores have biases or a mean: their unobserved pairs are not summed; set unobserved to 0"
            )

    @property
    def width(self) -> int:
        """D: the factors, and one for the bias."""
        return self.rank + self.biased

    @property
    def ridge(self) -> np.ndarray:
        """[D] what a row's regularisation is multiplied by in each place."""
        ridge = np.ones(self.width, np.float32)
        if self.biased:
            ridge[-1] = self.bias_reg
        return ridge


def item_bytes_of(n_items: int, n_tasks: int, recipe: Recipe) -> int:
    """Memory for arrays over items in each task: all items' factors, directions and partial products, and the own ones' steps."""
    return int(4 * n_items * recipe.width * (3 + (3 + (recipe.solver == "nonnegative")) / n_tasks))


def _tiles(n_rows: int) -> Iterator[slice]:
    return (slice(first, min(first + _ROWS_AT_ONCE, n_rows)) for first in range(0, n_rows, _ROWS_AT_ONCE))


def _gram(factors: np.ndarray) -> np.ndarray:
    """[D x D] in double precision, as the products of the rows are, so that the loss is exact."""
    gram = np.zeros((factors.shape[1],) * 2)
    for rows in _tiles(len(factors)):
        tile = factors[rows].astype(np.float64)
        gram += tile.T @ tile
    return gram


def _penalty(factors: np.ndarray, scales: np.ndarray, ridge: np.ndarray) -> float:
    """The sum over rows of scales times ridge . x^2."""
    return sum(float(scales[rows] @ (factors[rows].astype(np.float64) ** 2 @ ridge)) for rows in _tiles(len(factors)))


def row_scales(counts: np.ndarray, n_others: int, recipe: Recipe) -> np.ndarray:
    """[n] each row's regularisation: reg (n + unobserved N)^nu. What is too large for a number shows in the loss."""
    with np.errstate(over="ignore"):
        return (recipe.reg * (counts + recipe.unobserved * n_others) ** recipe.nu).astype(np.float32)


def side_of(factors: np.ndarray, recipe: Recipe) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What the other side sees of `factors`: features [n x D], shifts [n], and unobserved times the features' Gram matrix.

    A bias is a shift, and in the features its place is a constant 1. Without unobserved pairs the Gram matrix is empty.
    """
    features, shifts = factors, np.zeros(len(factors), np.float32)
    if recipe.biased:
        features, shifts = factors.copy(), factors[:, -1].copy()
        features[:, -1] = 1
    gram = np.float32(recipe.unobserved) * (features.T @ features) if recipe.unobserved else np.zeros((0, 0), np.float32)
    return features, shifts, gram


@dataclass
class State:
    """Factors after some iterations: [n_users x D] of the task's users, [m x D] of all items, equal at all tasks."""

    users: np.ndarray
    items: np.ndarray
    losses: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


def initial_state(n_users: int, n_items: int, recipe: Recipe, known: tuple[np.ndarray, np.ndarray] | None = None) -> State:
    """Users at 0; items normal with standard deviation init_stddev / sqrt(rank), the same however many tasks there are.

    `known`: item indexes and their factors from an earlier fit, kept; other items are initialised. Where factors must not be
    negative, drawn ones are taken without their sign, and known ones below 0 are 0.
    """
    random = np.random.default_rng(recipe.seed)
    items = np.zeros((n_items, recipe.width), np.float32)
    drawn = random.standard_normal((n_items, recipe.rank), np.float32)
    drawn *= np.float32(recipe.init_stddev / np.sqrt(recipe.rank))
    nonnegative = recipe.solver == "nonnegative"
    items[:, : recipe.rank] = np.abs(drawn, out=drawn) if nonnegative else drawn
    if known is not None:
        idx, factors = known
        within = idx < n_items
        items[idx[within]] = np.maximum(factors[within], 0) if nonnegative else factors[within]
    return State(np.zeros((n_users, recipe.width), np.float32), items)


class BlockedAls:
    """One task's part of a fit; every task of `peers` calls the same methods in the same order."""

    def __init__(self, block: Block, n_items: int, recipe: Recipe, peers: Peers, n_threads: int = 1) -> None:
        self.block, self.recipe, self.peers, self._n_threads = block, recipe, peers, n_threads
        self._bounds = blocks_of(n_items, peers.n)
        self._own = slice(self._bounds[peers.rank], self._bounds[peers.rank + 1])
        counts = np.diff(block.by_item.offsets)
        item_counts = np.zeros_like(counts)
        item_counts[self._own] = peers.sum_blocks(counts, self._bounds)
        peers.share_blocks(item_counts, self._bounds)
        n_present = np.count_nonzero(item_counts)
        n_users = int(peers.sum_all(np.array([len(block.user_idx)]))[0])
        self._user_scales = row_scales(np.diff(block.by_user.offsets), int(n_present), recipe)
        self._item_scales = row_scales(item_counts, n_users, recipe)
        self._constant = float(peers.sum_all(np.array([block.constant]))[0])
        self._ridge = recipe.ridge
        # Items that nobody has are 0 from the start, and stay so: they are no part of the fit.
        self.present = item_counts > 0

    def step_users(self, state: State) -> None:
        """Improve the task's users against the items as they are."""
        features, shifts, gram = side_of(state.items, self.recipe)
        arguments = (self.block.by_user, features, shifts, gram, self._ridge, self._user_scales, state.users)
        solve_rows(self.recipe.solver, *arguments, steps=self.recipe.steps, n_threads=self._n_threads)

    def step_items(self, state: State) -> None:
        """Improve all items against all tasks' users."""
        features, shifts, gram = side_of(state.users, self.recipe)
        gram = self.peers.sum_all(gram)
        if self.recipe.solver == "cholesky":
            self._solve_items(state, features, shifts, gram)
        else:
            self._descend_items(state, features, shifts, gram)
        self.peers.share_blocks(state.items, self._bounds)

    def _product(self, features: np.ndarray, shifts: np.ndarray, p: np.ndarray, gram: np.ndarray, *, residual: bool) -> np.ndarray:
        """The own items' rows of A p, or of b - A p, of which p [m x D] holds all items' directions."""
        partial = np.empty_like(p)
        gather_rows(self.block.by_item, features, shifts, p, partial, residual=residual, n_threads=self._n_threads)
        own = self.peers.sum_blocks(partial, self._bounds)
        directions, scales = p[self._own], self._item_scales[self._own, None]
        for rows in _tiles(len(own)):
            dense = directions[rows] * self._ridge * scales[rows]
            if gram.size:
                dense += directions[rows] @ gram
            own[rows] += -dense if residual else dense
        return own

    def _descend_items(self, state: State, features: np.ndarray, shifts: np.ndarray, gram: np.ndarray) -> None:
        x, present = state.items[self._own], self.present[self._own]
        r = self._product(features, shifts, state.items, gram, residual=True)
        r[~present] = 0
        p = np.ones_like(state.items)
        own_p = p[self._own]
        nonnegative = self.recipe.solver == "nonnegative"
        if nonnegative:
            sums = self._product(features, shifts, p, gram, residual=False)
        else:
            own_p[:] = r
            rr = np.einsum("ij,ij->i", r, r)
            enough = rr * SOLVED
        for _ in range(self.recipe.steps):
            if nonnegative:
                aim_rows(x, r, sums, own_p)
            self.peers.share_blocks(p, self._bounds)
            q = self._product(features, shifts, p, gram, residual=False)
            if nonnegative:
                projected_rows(x, r, own_p, q)
            else:
                cg_rows(x, r, own_p, q, rr, enough)
            del q  # before the next is made

    def _solve_items(self, state: State, features: np.ndarray, shifts: np.ndarray, gram: np.ndarray) -> None:
        """Exact rows, some of every owner's items at a time, so that normal equations never fill the memory."""
        at_once = max(1, _ITEMS_AT_ONCE // self.peers.n)
        for first in range(0, int(np.diff(self._bounds).max(initial=0)), at_once):
            owners = zip(self._bounds[:-1], self._bounds[1:], strict=True)
            tiles = [np.arange(low + first, min(low + first + at_once, high)) for low, high in owners]
            bounds = np.concatenate(([0], np.cumsum([len(tile) for tile in tiles])))
            parts = normal_equations(self.block.by_item, features, shifts, np.concatenate(tiles), n_threads=self._n_threads)
            a, b = (self.peers.sum_blocks(part, bounds) for part in parts)
            start = self._own.start + first
            own = slice(start, start + len(b))
            solve_packed(a, b, gram, self._ridge, self._item_scales[own], state.items[own], n_threads=self._n_threads)

    def loss(self, state: State) -> float:
        """What `Recipe` minimises, over all users and items, exactly: unobserved pairs by the trace of the two Gram matrices."""
        features, shifts, _ = side_of(state.items, self.recipe)
        observed = errors(self.block.by_user, features, shifts, state.users, n_threads=self._n_threads)
        penalty = _penalty(state.users, self._user_scales, self._ridge)
        penalty += _penalty(state.items[self._own], self._item_scales[self._own], self._ridge)
        total = float(self.peers.sum_all(np.array([observed + penalty]))[0]) + self._constant
        if self.recipe.unobserved:
            user_gram = self.peers.sum_all(_gram(state.users))
            total += self.recipe.unobserved * float((user_gram * _gram(state.items)).sum())
        return total

    def run(self, state: State, after: Callable[[State], None] = lambda state: None, is_over: Callable[[], bool] = lambda: False) -> State:
        """Iterate until max_iter, until an iteration lowers the loss by less than `tolerance` of it, or until `is_over`.

        `after` is called after each iteration; `is_over` is asked before each, also before the first.

        Raises:
            TrainingError: the loss is not a finite number.
        """
        state.items[~self.present] = 0
        while len(state.losses) < self.recipe.max_iter and not self._is_flat(state.losses) and not is_over():
            started = time.perf_counter()
            with np.errstate(over="ignore", invalid="ignore"):  # a fit that diverges is told by its loss
                self.step_users(state)
                self.step_items(state)
                loss = self.loss(state)
            if not np.isfinite(loss):
                cure = "lower" if self.recipe.reg > 1 else "raise"  # too much of it overflows, too little lets factors grow
                raise TrainingError(
                    f"the loss of ALS is {loss} after iteration {len(state.losses) + 1}: its sums must be finite numbers; {cure} "
                    f"vectors_als.reg ({self.recipe.reg:g}), or give events smaller weights or values"
                )
            state.losses.append(loss)
            state.seconds.append(time.perf_counter() - started)
            after(state)
        return state

    def _is_flat(self, losses: list[float]) -> bool:
        least = self.recipe.tolerance * abs(losses[-2]) if len(losses) > 1 else 0.0
        return least > 0 and losses[-2] - losses[-1] < least
