"""A world whose answer only the ranker can know: it must win on `tune`, clearly, and be what is published."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from pyspark.sql import functions as F

from recspark.runtime.store import Store
from tests.flow.conftest import committed, write_config
from tests.worlds import World, write_events

N_USERS, N_GENRES, N_OF_GENRE, N_EVENTS = 120, 8, 60, 8
N_ITEMS = N_GENRES * N_OF_GENRE


def write_planted(folder: Path) -> None:
    """User u loves genre u modulo 8, and takes 8 of its 60 items by chance.

    Each item has about two users, and hardly any pair of items has three in common: neither popularity nor neighbours can
    tell what is next. The item's genre can, and only the ranker reads genres.
    """
    random = np.random.default_rng(11)
    users = np.repeat(np.arange(N_USERS), N_EVENTS)
    items = np.concatenate([user % N_GENRES + N_GENRES * random.permutation(N_OF_GENRE)[:N_EVENTS] for user in range(N_USERS)])
    days = random.uniform(0, 100, len(users))
    write_events(World(users, items, days, np.ones(len(users)), N_USERS, N_ITEMS), folder / "events" / "part-1.csv")
    with (folder / "items.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["item", "title", "genre", "year"])
        writer.writerows([f"i{item}", f"Item {item}", f"genre {item % N_GENRES}", 2000] for item in range(N_ITEMS))


@pytest.mark.slow
def test_the_ranker_wins_where_only_features_tell(spark, tmp_path, run_river):
    write_planted(tmp_path)
    config = write_config(
        tmp_path,
        splits={"kind": "last_n", "n_fit": 1, "n_tune": 1, "n_test": 1},
        sources=["item_knn", "popular"],
        torch={"n_processes": 1},
        neighbours_item_knn={"n_neighbours": 8, "min_support": 3, "n_blocks": 2},
        source_candidates_item_knn={"n_candidates": N_ITEMS},
        source_candidates_popular={"n_candidates": N_ITEMS},
        candidates={"n_candidates": N_ITEMS},
        examples={"slate_size": N_ITEMS},
        requests={"k": 10},
        metrics={"ks": [10], "n_bootstrap": 50},
        champion={"k": 10},
        rankers={
            "epochs": 12,
            "model": {"embedding_size": 8, "hidden": [16], "attention_hidden": 8},
            "k": 10,
            "global_batch_size": 16,
            "learning_rate": 0.01,
        },
    )
    run_river(config, table="recommendations")
    ledger, store = committed(spark, tmp_path / "warehouse"), Store(spark, str(tmp_path / "warehouse"))
    read = lambda name: store.read(name, ledger.versions[name])  # noqa: E731
    champion = read("champion").where("horizon = 'serve'").collect()[0]
    assert champion.model == "ranker", champion.reason
    ndcg = read("metrics").where("horizon = 'last_1/tune' AND metric = 'ndcg' AND k = 10 AND slice = 'all'").collect()
    own = {row.model: row.value for row in ndcg if not row.baseline}
    assert own["ranker"] > 2 * max(own["item_knn"], own["popular"])
    # Each paired difference's 95 % interval is above zero.
    paired = {row.baseline: row.low for row in ndcg if row.model == "ranker" and row.baseline}
    assert set(paired) == {"item_knn", "popular"}
    assert min(paired.values()) > 0
    shown = read("recommendations").select("user_id", F.explode("items").alias("one")).collect()
    assert {row.one.rung for row in shown} == {"ranker"}
    own_genre = [int(row.user_id[1:]) % N_GENRES == int(row.one.item_id[1:]) % N_GENRES for row in shown]
    assert np.mean(own_genre) > 0.8  # one in eight by chance
