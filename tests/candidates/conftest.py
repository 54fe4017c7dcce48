"""Rows of the tables that candidates are made from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from recspark.handover.arrays import Published, publish
from recspark.tables import INTERACTIONS, SEEN, Table

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

DAY_0 = datetime(2025, 1, 1)
Event = tuple[Any, ...]


@pytest.fixture
def events(table: Callable[[Table, Sequence[dict[str, Any]]], DataFrame]) -> Callable[..., DataFrame]:
    """Interactions of (user_idx, item_idx[, event_type[, value[, day]]]), in order; without a day they have no time."""

    def make(rows: Sequence[Event]) -> DataFrame:
        full = []
        for place, event in enumerate(rows):
            rest: Event = ("use", None, None)
            user, item, kind, value, day = (*event, *rest[len(event) - 2 :])
            at = None if day is None else DAY_0 + timedelta(days=day)
            row = {"user_idx": user, "item_idx": item, "event_type": kind, "value": value, "event_at": at}
            full.append({**row, "event_order": place, "event_key": place})
        return table(INTERACTIONS, full)

    return make


@pytest.fixture
def seen(table: Callable[[Table, Sequence[dict[str, Any]]], DataFrame]) -> Callable[..., DataFrame]:
    """The table `seen` of request -> items, and of allow lists."""

    def make(rows: dict[int, list[int]], allowed: dict[int, list[int]] = {}) -> DataFrame:  # noqa: B006
        requests = sorted({*rows, *allowed})
        return table(SEEN, [{"request_idx": r, "items": sorted(rows.get(r, [])), "allowed": allowed.get(r)} for r in requests])

    return make


@pytest.fixture
def features(tmp_path: Path) -> Callable[..., Published]:
    """Item features of n items, of which some may not be recommended, and at most `most` of a category in a list."""

    def make(
        n_items: int,
        unavailable: set[int] = frozenset(),  # type: ignore[assignment]
        categories: list[list[int]] | None = None,
        most: int = 1,
    ) -> Published:
        available = np.array([item not in unavailable for item in range(n_items)])
        codes = np.full((n_items, 1), -1) if categories is None else np.array(categories)
        columns = {"quota_categories": codes, "quota": np.full(n_items, 0 if categories is None else most)}
        return publish({"item_idx": np.arange(n_items, dtype=np.int32), "available": available, **columns}, str(tmp_path))

    return make


@pytest.fixture
def arrays(tmp_path: Path) -> Callable[..., Published]:
    return lambda **columns: publish({name: np.asarray(column) for name, column in columns.items()}, str(tmp_path))
