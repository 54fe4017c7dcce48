"""A tiny world with a known answer, and a way to run the whole river on it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from tests.worlds import checkerboard, write_events, write_items

# Small enough for seconds, large enough that every table has rows.
SMALL: dict[str, Any] = {
    "vectors_als": {"rank": 4, "max_iter": 5, "reg": 0.1},
    "neighbours_item_cosine": {"n_neighbours": 8, "min_support": 1},
    "source_candidates_als": {"n_candidates": 8},
    "source_candidates_item_cosine": {"n_candidates": 8},
    "source_candidates_popular": {"n_candidates": 8},
    "examples": {"slate_size": 16},
    "histories": {"max_length": 8},
    "requests": {"k": 4},
    "metrics": {"ks": [4], "n_bootstrap": 20},
    "champion": {"k": 4},
    "rankers": {"epochs": 2, "embedding_size": 4, "hidden": [8], "attention_hidden": 4, "k": 4},
}


def write_config(folder: Path, **sections: Any) -> Path:
    """A user's YAML over the tiny world's files; `sections` replace whole sections."""
    config: dict[str, Any] = {
        "warehouse": str(folder / "warehouse"),
        "events": {
            "path": str(folder / "events"),
            "format": "csv",
            "columns": {"user_id": "user", "item_id": "item", "value": "rating", "event_at": "time"},
            "types": {"rating": 1.0},
            "time": {"format": "seconds"},
        },
        "items": {
            "path": str(folder / "items.csv"),
            "columns": {"item_id": "item", "title": "title", "categories": "genre"},
            "attributes": ["year"],
        },
        "splits": {"kind": "last_n", "n_fit": 2, "n_tune": 2, "n_test": 2},
        "feature_stats_item": {"numeric": {"year": {"scale": "standard"}}, "categorical": {"categories": {"max_values": 2}}},
        **SMALL,
        **sections,
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    return path


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A folder with the tiny world's events and items."""
    world = checkerboard()
    write_events(world, tmp_path / "events" / "part-1.csv")
    write_items(world, tmp_path / "items.csv")
    return tmp_path


@pytest.fixture
def run_river(spark) -> Callable[..., dict[str, Any]]:
    """Run the river in the suite's session; returns the summary."""
    from recspark.runtime import nightly

    def run(
        config_file: Path, table: str | None = None, as_of: str | None = None, assignments: list[str] | None = None, **options: Any
    ) -> dict[str, Any]:
        return nightly.run_river(
            table=table,
            config_file=config_file,
            env="local",
            as_of=as_of,
            assignments=assignments or [],
            dry_run=options.get("dry_run", False),
            report=None,
            console=Console(quiet=True),
        )

    return run
