"""A tiny world with a known answer, and ways to run the whole river on it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from recspark.runtime.ledger import Ledger
from recspark.runtime.store import Store
from tests.worlds import checkerboard, write_events, write_items

SMALL: dict[str, Any] = {
    "torch": {"n_processes": 2},
    "vectors_als": {"rank": 4, "max_iter": 5, "reg": 0.02},
    "neighbours_item_knn": {"n_neighbours": 8, "min_support": 1, "n_blocks": 2},
    "source_candidates_als": {"n_candidates": 8},
    "source_candidates_item_knn": {"n_candidates": 8},
    "source_candidates_popular": {"n_candidates": 8},
    "examples": {"slate_size": 16},
    "histories": {"max_length": 8},
    "requests": {"k": 4},
    "metrics": {"ks": [4], "n_bootstrap": 20},
    "champion": {"k": 4},
    "rankers": {
        "epochs": 2,
        "model": {"embedding_size": 4, "hidden": [8], "attention_hidden": 4},
        "k": 4,
        "global_batch_size": 8,
        "checkpoint_every": 1,
    },
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


def write_world(folder: Path) -> Path:
    """The tiny world's files and its configuration."""
    world = checkerboard()
    write_events(world, folder / "events" / "part-1.csv")
    write_items(world, folder / "items.csv")
    return write_config(folder)


RunRiver = Callable[..., dict[str, Any]]


@pytest.fixture(scope="session")
def run_river(spark) -> RunRiver:
    """Run the river in the suite's session; returns the summary."""
    from recspark.runtime import nightly

    def run(config_file: Path, table: str | None = None, as_of: str | None = None, assignments: list[str] | None = None) -> dict[str, Any]:
        return nightly.run_river(
            table=table,
            config_file=config_file,
            env="local",
            as_of=as_of,
            assignments=assignments or [],
            dry_run=False,
            report=None,
            console=Console(quiet=True),
        )

    return run


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, run_river: RunRiver) -> tuple[Path, dict[str, Any]]:
    """The tiny world with its river run once, undisturbed: its folder (not to be written to) and the summary."""
    folder = tmp_path_factory.mktemp("finished")
    return folder, run_river(write_world(folder))


@pytest.fixture
def copied(finished: tuple[Path, dict[str, Any]], tmp_path: Path) -> Path:
    """A folder of one's own with the finished warehouse in it, and a configuration that points there."""
    shutil.copytree(finished[0], tmp_path / "world")
    config = yaml.safe_load((tmp_path / "world" / "config.yaml").read_text())
    config["warehouse"] = str(tmp_path / "world" / "warehouse")
    # The sources stay where they were: a copy would be a new delivery.
    (tmp_path / "world" / "config.yaml").write_text(yaml.safe_dump(config))
    return tmp_path / "world"


def forget(spark: Any, warehouse: Path, jobs: Collection[str], slices: Collection[str] = ()) -> None:
    """Make the ledger forget that these jobs were done, and all that was done at these slices: what remains to do after a run that was
    stopped before them.

    The rows stay under another name, and name no version: commit numbers are never given twice, and what the jobs wrote
    is no state of the warehouse any more.
    """
    listed = {column: ", ".join(f"'{name}'" for name in sorted(names)) for column, names in (("job", jobs), ("slice", slices)) if names}
    chosen = " OR ".join(f"{column} IN ({names})" for column, names in listed.items())
    forgotten = "job = concat('forgotten_', job), outputs = CAST(map() AS MAP<STRING, BIGINT>)"
    spark.sql(f"UPDATE delta.`{warehouse / 'runs'}` SET {forgotten} WHERE {chosen}")


def committed(spark: Any, warehouse: Path) -> Ledger:
    return Ledger(Store(spark, str(warehouse)), run_id="looks")
