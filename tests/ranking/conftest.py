"""A tiny world of slates: what rankers are trained and measured on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from recspark.handover.arrays import Published
from recspark.handover.plan import Plan
from recspark.ranking.batch import ItemTable, SlateBatch, to_batch
from recspark.ranking.models.din import DinKnobs
from recspark.ranking.train import RankerOptions
from tests.slate_files import SOURCES, make_slates, plan_files, publish_items


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/ranking" in str(item.path):
            item.add_marker(pytest.mark.torch)


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


# Small, and without chance.
KNOBS = DinKnobs(embedding_size=8, hidden=(16,), attention_hidden=8, dropout=0.0, item_dropout=0.0)


@dataclass(frozen=True)
class World:
    """Files of slates and the items in them."""

    fit: Plan
    tune: Plan
    item_features: Published
    folder: Path

    def knobs(self, **changed: float) -> DinKnobs:
        return KNOBS.model_copy(update=changed)

    def arguments(self, **changed: object) -> dict[str, object]:
        """What `train_ranker` needs, small; the trainer's knobs are given like the others."""
        small: dict[str, object] = {
            "examples": self.fit,
            "tune_examples": self.tune,
            "item_features": self.item_features,
            "folder": str(self.folder / "work"),
            "sources": SOURCES,
            "model": KNOBS,
            "global_batch_size": 16,
            "epochs": 2,
            "learning_rate": 5e-3,
        }
        return with_training({**small, **changed})


def learnt(card: dict) -> list[dict[str, float]]:
    """The card's curve without what the machine decides."""
    return [{name: value for name, value in row.items() if name not in ("rows_per_second", "waiting_share")} for row in card["curve"]]


def with_training(arguments: dict[str, object]) -> dict[str, object]:
    """The trainer's knobs among `arguments`, gathered as `training`."""
    knobs = {name: value for name, value in arguments.items() if name in RankerOptions.model_fields}
    return {**{name: value for name, value in arguments.items() if name not in knobs}, "training": RankerOptions(**knobs)}


@pytest.fixture
def make_world(tmp_path: Path) -> Callable[..., World]:
    def make(n_fit: int = 50, n_tune: int = 30, **changed: np.ndarray) -> World:
        fit = {**make_slates(n_fit, 1), **changed}
        third = n_fit // 3
        parts = [{name: array[at] for name, array in fit.items()} for at in (slice(0, third), slice(third, None))]
        plans = plan_files(tmp_path / "fit", parts), plan_files(tmp_path / "tune", [make_slates(n_tune, 2)], horizon="tune")
        return World(*plans, publish_items(tmp_path), tmp_path)

    return make


@pytest.fixture
def items(tmp_path: Path) -> ItemTable:
    return ItemTable(publish_items(tmp_path))


@pytest.fixture
def batch(items: ItemTable) -> SlateBatch:
    """32 slates."""
    return to_batch(make_slates(32, 1), items)
