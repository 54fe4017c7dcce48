"""How often rows and items are used, as histograms: all that a forecast knows of the data."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np


def _log_factorial(number: np.ndarray | float) -> np.ndarray:
    return np.array([math.lgamma(1 + one) for one in np.atleast_1d(number)])


@dataclass(frozen=True)
class Degrees:
    """One side's rows (users, or items) by their degree, the number of distinct others. Entries are buckets of like degrees."""

    n_rows: np.ndarray  # int64
    n_pairs: np.ndarray  # int64: the sum of the degrees
    squares: np.ndarray  # float64: the sum of their squares
    largest: np.ndarray  # int64: the largest degree
    most_events: np.ndarray  # int64: the largest number of events of a row, repeats and all, whatever degrees are capped at

    @property
    def rows(self) -> float:
        return float(self.n_rows.sum())

    @property
    def pairs(self) -> float:
        return float(self.n_pairs.sum())

    @property
    def square(self) -> float:
        """The sum of all squared degrees: twice the pairs of others that meet in a row, and the degrees."""
        return float(self.squares.sum())

    @property
    def most(self) -> float:
        return float(self.largest.max(initial=0))

    @property
    def busiest(self) -> float:
        """The most events of one row."""
        return float(self.most_events.max(initial=0))

    @property
    def means(self) -> np.ndarray:
        return self.n_pairs / np.maximum(self.n_rows, 1)

    def capped(self, cap: float | None) -> Degrees:
        """The same rows with at most `cap` others each (None: any); within the bucket that it cuts through, all rows are the mean one."""
        if cap is None:
            return self
        kept = np.minimum(self.means, cap)
        whole = self.largest <= cap
        return Degrees(
            self.n_rows,
            np.where(whole, self.n_pairs, self.n_rows * kept),
            np.where(whole, self.squares, self.n_rows * kept**2),
            np.minimum(self.largest, cap),
            self.most_events,
        )

    def copied(self, n_blocks: int, n_others: float) -> float:
        """Entries sent when each row goes whole to every block that holds one of its others: n_others in all, n_blocks of them.

        A block has m = n_others / n_blocks of them; the chance that it misses a row of degree d is the hypergeometric
        (n_others - m choose d) / (n_others choose d).
        """
        n = max(1.0, n_others)
        n_blocks = min(n_blocks, int(n))
        m = n / n_blocks
        d = np.minimum(self.means, n - m)  # beyond, no block is missed; nor, but by rounding, at it
        log_missed = _log_factorial(n - m) - _log_factorial(n - m - d) - _log_factorial(n) + _log_factorial(n - d)
        missed = np.where(self.means > n - m, 0.0, np.exp(log_missed))
        return float((self.n_pairs * n_blocks * (1 - missed)).sum())

    def behind_sample(self, share_of_rows: float, share_of_pairs: float) -> Degrees:
        """All degrees, where these are of a sample: of the rows a share was met at all, and of their pairs a share.

        A degree n thinned to s ~ Binomial(n, p) has E[s^2] = p^2 n^2 + p (1 - p) n.
        """
        p = min(1.0, share_of_pairs / share_of_rows)
        squares = np.maximum(self.squares - (1 - p) * self.n_pairs, self.n_pairs) / (p * p)
        return Degrees(
            np.rint(self.n_rows / share_of_rows),
            self.n_pairs / share_of_pairs,
            squares / share_of_rows,
            np.rint(self.largest / p),
            np.rint(self.most_events / p),
        )


@dataclass(frozen=True)
class Activity:
    """The learnt events of a horizon, counted; and who is served there."""

    users: Degrees
    items: Degrees
    n_events: float
    n_places: int  # 1 + the largest item index
    n_requests: float
    origin: str = "counted"  # or what it was estimated from

    def met(self, histories: Degrees, support: int = 1) -> np.ndarray:
        """Of each bucket of items: with how many distinct others an item of it stands in `support` histories, in the mean.

        An item of d users is met by d times the others of a history that holds it, each of which is drawn by popularity: how often
        by one of them follows Poisson's law. Where tastes differ, fewer others are met, more often.
        """
        pairs = max(self.items.pairs, 1.0)
        meetings = self.items.means * max(histories.square - histories.pairs, 0.0) / pairs
        rates = np.outer(meetings, self.items.means / pairs)
        rarely = np.exp(-rates) * sum(rates**k / math.factorial(k) for k in range(1, support))
        return np.asarray((-np.expm1(-rates) - rarely) @ self.items.n_rows)


def activity_of(rows: Iterable[Mapping[str, Any]], n_requests: float | None = None) -> Activity:
    """From the rows of the table `activity`; by default each user with events has one request."""
    rows = list(rows)

    def degrees(kind: str) -> Degrees:
        own = [row for row in rows if row["kind"] == kind]
        columns = {"n_rows": np.int64, "n_pairs": np.int64, "squares": np.float64, "largest": np.int64, "most_events": np.int64}
        return Degrees(*(np.array([row[name] for row in own], dtype) for name, dtype in columns.items()))

    users, items = degrees("user"), degrees("item")
    n_events = float(sum(row["n_events"] for row in rows if row["kind"] == "user"))
    n_places = 1 + max((row["largest_idx"] for row in rows if row["kind"] == "item"), default=-1)
    return Activity(users, items, n_events, n_places, users.rows if n_requests is None else n_requests)


def behind_sample(sample: Activity, *, share: float, n_users: float, n_items: float, origin: str) -> Activity:
    """What is behind a sample of a share of the events, where there are n_users users and n_items items in all.

    Too much where most pairs repeat: it is taken that a sample of the events is one of the pairs.
    """

    def whole(degrees: Degrees, n_rows: float) -> Degrees:
        # Files may hold some users whole, or some events of all users: how many users they touch tells.
        return degrees.behind_sample(min(1.0, max(share, degrees.rows / max(n_rows, 1))), share)

    users, items = whole(sample.users, n_users), whole(sample.items, n_items)
    found = replace(sample, users=users, items=items, n_events=sample.n_events / share, origin=origin)
    return replace(found, n_places=max(sample.n_places, int(n_items)), n_requests=n_users)
