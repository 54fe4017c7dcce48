import pytest

from recspark.errors import ConfigError
from recspark.evaluation.champion import build_champion
from recspark.tables import CHAMPION, METRICS, RANKERS
from recspark.tables.contract import Table, conform

SOURCES = ["als", "item_knn", "popular"]
RETURNED = Table(CHAMPION.name, CHAMPION.doc, CHAMPION.columns[1:], ())


def champion(table, values, rankers=None, **knobs):
    noise = [
        {"model": "popular", "baseline": "", "metric": "ndcg", "k": 5, "slice": "all", "n": 1, "value": 0.9},
        {"model": "popular", "baseline": "", "metric": "recall", "k": 10, "slice": "all", "n": 1, "value": 0.9},
        {"model": "popular", "baseline": "", "metric": "ndcg", "k": 10, "slice": "cold", "n": 1, "value": 0.9},
        {"model": "popular", "baseline": "als", "metric": "ndcg", "k": 10, "slice": "all", "n": 1, "value": 0.9},
    ]
    own = [{"model": m, "baseline": "", "metric": "ndcg", "k": 10, "slice": "all", "n": 1, "value": v} for m, v in values.items()]
    frame = build_champion(table(METRICS, noise + own), rankers, **{"sources": SOURCES, **knobs})
    (row,) = conform(frame, RETURNED, "build_champion").collect()
    return row


@pytest.mark.parametrize(
    ("values", "model", "best", "reason"),
    [
        (
            {"ranker": 0.3, "als": 0.2, "popular": 0.1},
            "ranker",
            ("als", 0.2),
            "ndcg@10 on tune, 0.3000, is at least that of the best source, als, 0.2000",
        ),
        (
            {"ranker": 0.2, "als": 0.1, "popular": 0.2},
            "ranker",
            ("popular", 0.2),
            "0.2000, is at least that of the best source, popular, 0.2000",
        ),
        (
            {"ranker": 0.1, "als": 0.1, "item_knn": 0.25},
            "item_knn",
            ("item_knn", 0.25),
            "0.1000, is below that of item_knn, 0.2500: ndcg@10 decides for the source",
        ),
        (
            {"als": 0.1, "popular": 0.25},
            "popular",
            ("popular", 0.25),
            "no ranker was measured on tune: popular has the best ndcg@10 of the sources, 0.2500",
        ),
        ({"ranker": float("nan"), "als": 0.1, "item_knn": 0.1}, "als", ("als", 0.1), "no ranker was measured on tune: als"),
        ({"ranker": 0.1}, "ranker", ("popular", None), "0.1000, stands alone: no source was measured"),
        ({"als": None, "other": 0.5}, "popular", ("popular", None), "no model has a ndcg@10 on tune: popular is published"),
    ],
)
def test_decision(table, values, model, best, reason):
    row = champion(table, values)
    assert (row.model, row.metric, (row.best_source, row.best_source_value)) == (model, "ndcg@10", best)
    assert reason in row.reason


def test_without_labelled_slates_there_was_no_ranker_to_measure(table):
    untrained = "no ranker was trained (no labelled slates at fit, or none at tune to choose it by)"
    row = champion(table, {"als": 0.1, "popular": 0.25}, table(RANKERS, []))
    assert (row.model, row.ranker_value) == ("popular", None)
    assert row.reason == f"{untrained}: popular has the best ndcg@10 of the sources, 0.2500"
    row = champion(table, {}, table(RANKERS, []))
    assert (row.model, row.reason) == ("popular", f"{untrained}; no model has a ndcg@10 on tune: popular is published")
    trained = table(RANKERS, [{"folder": "x", "digest": "y", "card": "{}"}])
    assert champion(table, {"ranker": 0.3, "als": 0.2}, trained).model == "ranker"
    assert champion(table, {"als": 0.2}, trained).reason.startswith("no ranker was measured on tune: als")


def test_other_metric_and_no_popular(table):
    row = champion(table, {}, metric="recall", k=10, sources=["als", "popular"])
    assert (row.model, row.metric, row.best_source_value) == ("popular", "recall@10", 0.9)
    assert champion(table, {}, k=20, sources=["als", "item_knn"]).model == "item_knn"


def test_without_rows_popular(table):
    (row,) = build_champion(table(METRICS, []), None, sources=SOURCES).collect()
    assert (row.model, row.reason) == ("popular", "no model has a ndcg@10 on tune: popular is published")


def test_no_sources():
    with pytest.raises(ConfigError, match=r"champion\.sources is empty"):
        build_champion(None, None, sources=[])
