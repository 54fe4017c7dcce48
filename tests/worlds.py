"""Generated worlds with a known answer; the same generator, one argument larger, feeds the benchmarks."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

START = datetime(2024, 1, 1, tzinfo=UTC)


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


def zipf(n_users: int, n_items: int, n_events: int, *, seed: int = 7) -> World:
    """Items by Zipf's law, users lognormal: the shape of real logs, at any size. Pairs may repeat."""
    random = np.random.default_rng(seed)
    activity = random.lognormal(0, 1, n_users)
    popularity = 1.0 / np.arange(1, n_items + 1) ** 0.8
    user = random.choice(n_users, n_events, p=activity / activity.sum())
    item = random.permutation(n_items)[random.choice(n_items, n_events, p=popularity / popularity.sum())]
    return World(user, item, random.uniform(0, 365, n_events), random.integers(1, 6, n_events).astype(float), n_users, n_items)


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
