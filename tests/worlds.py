"""Generated worlds with a known answer; the same generator, one argument larger, feeds the benchmarks."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

START = datetime(2024, 1, 1, tzinfo=UTC)
CHUNK = 1 << 22  # pairs that are drawn at once


@dataclass(frozen=True)
class World:
    """Events as columns: user and item numbers, days since the start, ratings."""

    users: np.ndarray
    items: np.ndarray
    days: np.ndarray
    values: np.ndarray
    n_users: int
    n_items: int


def checkerboard(
    n_users: int = 40, n_items: int = 40, n_events: int = 12, *, seed: int = 7, n_tastes: int = 2, noise: float = 0.05
) -> World:
    """Users of taste t choose items of taste t (number modulo `n_tastes`), each item once, but for a share of `noise`.

    What is withheld from a user is of the user's taste: a model that works recommends items of that taste.
    """
    random = np.random.default_rng(seed)
    users, items = [], []
    for user in range(n_users):
        own = np.flatnonzero(np.arange(n_items) % n_tastes == user % n_tastes)
        other = np.setdiff1d(np.arange(n_items), own)
        n_other = int(random.binomial(n_events, noise))
        chosen = np.concatenate([random.permutation(own)[: n_events - n_other], random.permutation(other)[:n_other]])
        items.append(random.permutation(chosen))
        users.append(np.full(len(chosen), user))
    user, item = np.concatenate(users), np.concatenate(items)
    days = random.uniform(0, 100, len(user))
    return World(user, item, days, random.integers(3, 6, len(user)).astype(float), n_users, n_items)


def _counts_of_users(activity: np.ndarray, n_pairs: int, n_items: int) -> np.ndarray:
    """How many items each user has: in proportion to `activity`, 1 to n_items, exactly n_pairs together."""
    if not len(activity) <= n_pairs <= len(activity) * n_items:
        raise ValueError(f"{n_pairs} distinct pairs do not fit {len(activity)} users x {n_items} items: each user has 1 to {n_items}")
    low, high = 0.0, n_pairs / activity.min()
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if np.clip(middle * activity, 1, n_items).sum() < n_pairs else (low, middle)
    shares = np.clip(high * activity, 1, n_items)
    counts = shares.astype(np.int64)
    # Who lost most by rounding gets what is left.
    counts[np.argsort(counts - shares, kind="stable")[: n_pairs - counts.sum()]] += 1
    return counts


def _draw_items(random: np.random.Generator, counts: np.ndarray, popularity: np.ndarray) -> np.ndarray:
    """Keys user * n_items + popularity rank, ascending: counts[u] distinct items a user, drawn one after the other by `popularity`.

    Drawing with replacement and forgetting repeats is the same law; for users who have much of the catalogue, whose draws are
    mostly repeats, it is had by a race: the first counts[u] of exponential arrivals with rates `popularity`.
    """
    n_items, cumulative = len(popularity), np.cumsum(popularity / popularity.sum())
    heavy = np.flatnonzero(counts > n_items // 4)
    ready = [np.argpartition(random.exponential(size=n_items) / popularity, counts[u] - 1)[: counts[u]] + u * n_items for u in heavy]
    wanted = counts.copy()
    wanted[heavy] = 0
    missing, unready = wanted, np.empty(0, np.int64)
    while missing.any():
        ranks = np.minimum(np.searchsorted(cumulative, random.random(missing.sum()), side="right"), n_items - 1)
        unready = np.unique(np.concatenate([unready, np.repeat(np.arange(len(counts)), missing) * n_items + ranks]))
        users = unready // n_items
        missing = wanted - np.bincount(users, minlength=len(counts))
        full = missing[users] == 0
        ready.append(unready[full])
        wanted = np.where(missing == 0, 0, wanted)
        missing, unready = np.where(wanted == 0, 0, missing), unready[~full]
    return np.sort(np.concatenate(ready)) if ready else unready


def zipf_chunks(
    n_users: int, n_items: int, n_pairs: int, *, seed: int = 7, exponent: float = 0.9, offset: float = 50.0, chunk: int = CHUNK
) -> Iterator[World]:
    """Distinct pairs, user by user, in worlds of about `chunk` pairs: memory does not grow with n_pairs.

    Users' activity is lognormal (sigma 1). Items follow the law of Zipf and Mandelbrot: the r-th is drawn in proportion to
    (r + offset) ** -exponent; which item is the r-th is drawn too. The same arguments give the same world.
    """
    random = np.random.default_rng(seed)
    counts = _counts_of_users(random.lognormal(0, 1, n_users), n_pairs, n_items)
    popularity = (np.arange(1, n_items + 1) + offset) ** -exponent
    item_of_rank = random.permutation(n_items).astype(np.int32)
    ends = np.cumsum(counts)
    borders = np.searchsorted(ends, np.arange(chunk, n_pairs, chunk)) + 1
    for number, users in enumerate(np.split(np.arange(n_users), np.unique(borders))):
        if not len(users):
            continue
        own = np.random.default_rng([seed, number])
        keys = _draw_items(own, counts[users], popularity)
        n = len(keys)
        days, values = own.uniform(0, 365, n).astype(np.float32), own.integers(1, 6, n).astype(np.float32)
        yield World((users[0] + keys // n_items).astype(np.int32), item_of_rank[keys % n_items], days, values, n_users, n_items)


def zipf(n_users: int, n_items: int, n_pairs: int, **law: float) -> World:
    """`zipf_chunks` in one piece: the shape of real logs."""
    chunks = list(zipf_chunks(n_users, n_items, n_pairs, **law))  # type: ignore[arg-type]
    columns = (np.concatenate([getattr(part, name) for part in chunks]) for name in ("users", "items", "days", "values"))
    return World(*columns, n_users, n_items)


def ml20m_size(scale: float = 1.0) -> dict[str, int]:
    """The size of MovieLens 20M, times `scale`: users and pairs grow, the mean user (119 items) and the catalogue stay."""
    return {"n_users": round(138_000 * scale), "n_items": 26_700, "n_pairs": round(16_400_000 * scale)}


def _with_events(world: World, users: np.ndarray, items: np.ndarray) -> World:
    """`world` and further events, on day 0 and of value 1."""
    n = len(users)
    columns = [*zip((world.users, world.items, world.days, world.values), (users, items, np.zeros(n), np.ones(n)), strict=True)]
    return World(*map(np.concatenate, columns), world.n_users, world.n_items)


def with_item_of_everyone(world: World, item: int = 0) -> World:
    """Every user has `item`."""
    others = np.setdiff1d(np.arange(world.n_users), world.users[world.items == item])
    return _with_events(world, others, np.full(len(others), item))


def with_user_of_everything(world: World, n_events: int) -> World:
    """One user more, who goes through the whole catalogue again and again until `n_events` are done."""
    wider = replace(world, n_users=world.n_users + 1)
    return _with_events(wider, np.full(n_events, world.n_users), np.arange(n_events) % world.n_items)


def with_empty_users(world: World) -> World:
    """Twice the users: those with an odd number have no events."""
    return replace(world, users=world.users.astype(np.int64) * 2, n_users=2 * world.n_users)


def with_sparse_numbers(world: World, *, user_step: int = 1_000_003, item_step: int = 997) -> World:
    """The same events under large numbers that lie far apart: users beyond 32 bits, items by the million."""
    users, items = world.users.astype(np.int64) * user_step, world.items.astype(np.int64) * item_step
    return replace(world, users=users, items=items, n_users=world.n_users * user_step, n_items=world.n_items * item_step)


def all_ties(n_groups: int = 3, n_users: int = 12, n_items: int = 15) -> World:
    """In each group every user has every item: all cosines in a group are 1, all items are equally popular."""
    user, item = (place.ravel() for place in np.meshgrid(np.arange(n_users), np.arange(n_items), indexing="ij"))
    groups = np.repeat(np.arange(n_groups), len(user))
    users, items = np.tile(user, n_groups) + groups * n_users, np.tile(item, n_groups) + groups * n_items
    return World(users, items, np.zeros(len(users)), np.ones(len(users)), n_groups * n_users, n_groups * n_items)


def hostile_worlds(n_events: int = 100_000) -> dict[str, World]:
    """Shapes that break what was only tried on friendly ones; `n_events` is how much the user of everything does."""
    small = zipf(60, 40, 600)
    return {
        "an item of everyone": with_item_of_everyone(small),
        "a user of everything": with_user_of_everything(small, n_events),
        "all ties": all_ties(),
        "numbers by the million": with_sparse_numbers(zipf(60, 5_000, 600)),
        "empty users": with_empty_users(small),
        "one event": World(*(np.zeros(1, kind) for kind in (np.int32, np.int32, float, float)), 1, 1),
    }


def write_events(world: World, path: Path, *, rows: slice | np.ndarray = slice(None)) -> Path:
    """events.csv with user, item, rating, time (seconds since 1970); user ids are `u7`, item ids `i7`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    order = np.argsort(world.days, kind="stable")[rows] if isinstance(rows, slice) else rows
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["user", "item", "rating", "time"])
        for row in order:
            moment = START + timedelta(days=float(world.days[row]))
            writer.writerow([f"u{world.users[row]}", f"i{world.items[row]}", world.values[row], int(moment.timestamp())])
    return path


def write_items(world: World, path: Path, *, n_tastes: int = 2) -> Path:
    """items.csv with item, title, genre (the taste) and year."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["item", "title", "genre", "year"])
        for item in range(world.n_items):
            writer.writerow([f"i{item}", f"Item {item}", f"taste {item % n_tastes}", 1990 + item % 30])
    return path
