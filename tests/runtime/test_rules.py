"""Each rule between settings is seen to refuse, in one sentence, what fits by itself; and what is right passes."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from recspark.errors import ConfigError
from recspark.runtime.config import check, load_layers
from recspark.runtime.job import Job, find_jobs

SHOP = """
events:
  path: events.csv
  columns: {user_id: visitor, item_id: sku, event_type: action, value: quantity, event_at: at}
  types: {view: 1, cart: 3, buy: 5}
items:
  path: items.csv
  columns: {item_id: sku, categories: kind}
  attributes: [price, brand]
users:
  path: users.csv
  columns: {user_id: visitor}
  attributes: [country]
feature_stats_item: {numeric: {price: {scale: log}}, categorical: {categories: {}, brand: {}}}
feature_stats_user: {categorical: {country: {}}}
seen: {policy: window, window_days: 30, types: [buy]}
labels: {types: [cart, buy]}
"""


@pytest.fixture(scope="module")
def jobs() -> dict[str, Job]:
    return find_jobs()


def problems(jobs: dict[str, Job], *changes: str) -> list[str]:
    """The lines of the error that `changes` (`a.b=c`) to the shop lead to; none where it is accepted."""
    layers = load_layers(None, "local", [])
    shop: dict[str, Any] = yaml.safe_load(SHOP)
    for change in changes:
        place, value = change.split("=", 1)
        *sections, key = place.split(".")
        at = shop
        for section in sections:
            at = at.setdefault(section, {})
        at[key] = yaml.safe_load(value)
    merged = {name: {**(layers.get(name) or {}), **value} if isinstance(value, dict) else value for name, value in shop.items()}
    for entity in ("item", "user"):
        merged[f"{entity}_features"] = {**merged[f"feature_stats_{entity}"], **merged.get(f"{entity}_features", {})}
    try:
        check({**layers, **merged}, jobs)
    except ConfigError as error:
        return [line.strip() for line in str(error).splitlines()[1:]]
    return []


def test_the_shop_fits(jobs: dict[str, Job]):
    assert problems(jobs) == []


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        (
            ["sources=[als, itemknn]"],
            "sources: 'itemknn' is not among the candidate sources (als, ease, item_knn, item_next, next_item, popular, rp3beta, user_knn)",
        ),
        (["sources=[als, als, popular]"], "sources: 'als' stands there twice; name it once"),
        (["sources=[als]", "champion.sources=[popular]"], "champion.sources: 'popular' is not among sources (als)"),
        (
            ["similar_items.source=als"],
            "similar_items.source: 'als' is not among the sources of neighbours (ease, item_knn, item_next, rp3beta, user_knn)",
        ),
        (
            ["splits.kind=stored"],
            "splits.kind: stored needs what the source holds out; say it in events.parts, as in parts: {test: data/test.csv}",
        ),
        (
            ["events.parts={test: test.csv}"],
            "events.parts: test would be learnt from where splits.kind is last_n; set it to stored, or leave parts out",
        ),
        (
            ["splits={kind: folds}", "rankers=null"],
            "champion: a part `tune` is there to choose by, and these splits (kind: folds) have none; give it labels, or set champion to null",
        ),
        (
            ["splits={kind: last_n, n_fit: 0}"],
            "rankers: a part `fit` is there to learn from, and these splits (kind: last_n) have none; give it labels, or set rankers to null",
        ),
        (["labels.types=[purchase]"], "labels.types: 'purchase' is not among events.types (view, cart, buy)"),
        (["seen.types=[purchase]"], "seen.types: 'purchase' is not among events.types (view, cart, buy)"),
        (["histories.types=[view, like]"], "histories.types: 'like' is not among events.types (view, cart, buy)"),
        (
            ["labels.types=[]"],
            "labels.types: [] leaves nothing to predict; name some of events.types (view, cart, buy), or leave it out for all of them",
        ),
        (
            ["seen.types=[]"],
            "seen.types: [] hides nothing, for which seen.policy: allowed is the word; name some of events.types (view, cart, buy), or "
            "leave it out for all of them",
        ),
        (
            ["histories.types=[]"],
            "histories.types: [] leaves the ranker nobody's past; name some of events.types (view, cart, buy), or leave it out for all of them",
        ),
        (["events.types.view=-1"], "events.types.view: -1 is below 0; a weight is at least 0, and 0 leaves the type out"),
        (["popularity.weights={like: 1}"], "popularity.weights: 'like' is not among events.types (view, cart, buy)"),
        (
            ["events.types={view: 0, cart: 0, buy: 0}"],
            "events.types: no type has a weight above 0, so that nothing could be learnt; give one of them a weight",
        ),
        (
            ["events.order=none"],
            "splits.kind: last_n needs each user's last events, and nothing says what sorts them; map events.columns.event_at or "
            "events.columns.event_order, set events.order: file, or choose splits.kind: random",
        ),
        (
            ["predictions={method: user_knn}", "neighbours_user_knn=null", "events.columns.value=price"],
            "predictions.method: user_knn reads neighbours_user_knn, which is null; give it a section, or choose another method",
        ),
        (
            ["predictions={method: als}"],
            "predictions: ratings are predicted where vectors_als.model is explicit or pmf; set it so, or choose another predictions.method",
        ),
        (
            ["feature_stats_item.numeric={pirce: {}}"],
            "feature_stats_item.numeric: 'pirce' is not among items.attributes (price, brand)",
        ),
        (
            ["feature_stats_item.numeric={categories: {}}"],
            "feature_stats_item.numeric: 'categories' is not among items.attributes (price, brand)",
        ),
        (
            ["feature_stats_user.categorical={town: {}}"],
            "feature_stats_user.categorical: 'town' is not among users.attributes (country)",
        ),
        (
            ["item_features.numeric={brand: {}}"],
            "item_features.numeric: 'brand' is not among feature_stats_item.numeric (price)",
        ),
        (["metrics.ks=[5, 10, 5]"], "metrics.ks: 5 stands there twice; name it once"),
        (
            ["metrics.ks=[1, 5]"],
            "champion.k: 10 is not among metrics.ks (1, 5), so that nothing would be measured there; add it, or choose one",
        ),
        (
            ["champion.metric=ndgc"],
            "champion.metric: 'ndgc' is not among the metrics that choose (precision, recall, f1, hit_rate, map, mrr, ndcg)",
        ),
        (
            ["seen.window_days=null"],
            "seen.window_days: missing, where seen.policy is window; say for how many days an item stays hidden",
        ),
        (
            ["seen.policy=never_again"],
            "seen.window_days: 30 has no meaning where seen.policy is never_again; set seen.policy: window, or leave it out",
        ),
        (
            ["torch={local: false}", "vectors_als.engine=mllib", "spark={spark.dynamicAllocation.enabled: true}"],
            "spark.spark.dynamicAllocation.enabled: true excludes the barrier tasks that torch.local: false trains in; set it to false, "
            "or torch.local to true",
        ),
        (
            ["spark={spark.dynamicAllocation.enabled: true}"],
            "spark.spark.dynamicAllocation.enabled: true excludes the barrier tasks that vectors_als.engine: auto fits in; set it to false, "
            "or vectors_als.engine to mllib",
        ),
        (
            ["predictions={method: item_knn}"],
            "predictions.method: item_knn weighs ratings by how alike they are, and neighbours_item_knn.similarity is cosine, which compares "
            "what was used; set it to pearson, or choose another method",
        ),
        (
            ["neighbours_item_knn={similarity: jaccard, weighting: bm25}"],
            "neighbours_item_knn.weighting: bm25 has no meaning where neighbours_item_knn.similarity is jaccard; only cosine reads it: leave it "
            "out, or set neighbours_item_knn.similarity: cosine",
        ),
        (
            ["neighbours_user_knn={similarity: llr, half_life_days: 30}"],
            "neighbours_user_knn.half_life_days: 30 has no meaning where neighbours_user_knn.similarity is llr; only cosine reads it: leave it "
            "out, or set neighbours_user_knn.similarity: cosine",
        ),
        (
            ["vectors_als={model: pmf, nonnegative: true}"],
            "vectors_als.nonnegative: true excludes vectors_als.model: pmf, whose factors are Gaussian; set it to false, or choose another model",
        ),
        (
            ["vectors_als={model: pmf, engine: mllib}"],
            "vectors_als.model: pmf is not known to MLlib's ALS; choose implicit or explicit, or set vectors_als.engine: blocked",
        ),
        (
            ["vectors_als={model: explicit, engine: mllib, half_life_days: 30}"],
            "vectors_als.half_life_days: 30: MLlib's ALS cannot weigh ratings; leave it out, or set vectors_als.engine: blocked",
        ),
        (
            ["vectors_als={solver: cholesky, engine: mllib}"],
            "vectors_als.solver: cholesky is not read by MLlib's ALS, which has one of its own; leave it out, or set vectors_als.engine: blocked",
        ),
        (
            ["sources=[next_item]", "histories.max_length=40"],
            "histories.max_length: 40 is below the 50 that next_item_models.length: 50 wants; raise it, or lower that",
        ),
        (
            ["sources=[next_item]", "next_item_models.length=60", "histories.max_length=60"],
            "sequences.max_length: 51 is below the 61 that next_item_models.length: 60 wants; raise it, or lower that",
        ),
        (
            ["sources=[next_item]", "histories.types=[cart]"],
            "sequences.types: ['view', 'cart', 'buy'] are not histories.types: ['cart']; a model is asked in the codes that it was taught: "
            "give both the same",
        ),
        (
            ["rankers={loss: bpr, label_smoothing: 0.1}"],
            "rankers.label_smoothing: 0.1 has no meaning where rankers.loss is bpr; set it to 0, or choose one of softmax, binary, gbce",
        ),
        (
            ["sources=[next_item]", "next_item_models.loss={name: gbce, label_smoothing: 0.1}"],
            "next_item_models.loss.label_smoothing: 0.1 has no meaning where next_item_models.loss.name is gbce; set it to 0, or choose one "
            "of softmax",
        ),
        (["events.columns.user_id=???"], "events.columns.user_id: still ???; fill it in"),
        (["items.attributes=[price, brand, '???']"], "items.attributes.2: still ???; fill it in"),
    ],
)
def test_what_does_not_fit_together_is_said(jobs: dict[str, Job], changes: list[str], problem: str):
    assert problems(jobs, *changes) == [problem]


@pytest.mark.parametrize(
    ("change", "setting"),
    [
        ("splits={kind: time}", "splits.kind: time"),
        ("splits={kind: production}", "splits.kind: production"),
        ("vectors_als.half_life_days=30", "vectors_als.half_life_days: 30"),
        ("neighbours_item_knn.half_life_days=30", "neighbours_item_knn.half_life_days: 30"),
        ("popularity.half_life_days=30", "popularity.half_life_days: 30"),
        ("seen={policy: window, window_days: 30}", "seen.policy: window"),
    ],
)
def test_what_needs_times_is_refused_without_them(jobs: dict[str, Job], change: str, setting: str):
    without = ["events.columns.event_at=null", "splits={kind: random}", "seen={}"]
    assert problems(jobs, *without) == []
    assert problems(jobs, *without, change) == [
        f"{setting} needs times, and events.columns.event_at is not mapped; map it, or choose otherwise"
    ]


@pytest.mark.parametrize(
    ("change", "setting"),
    [
        ("vectors_als={model: explicit}", "vectors_als.model: explicit"),
        ("labels={min_value: 4}", "labels.min_value"),
        ("neighbours_item_knn={similarity: pearson}", "neighbours_item_knn.similarity: pearson"),
        ("neighbours_user_knn={similarity: pearson}", "neighbours_user_knn.similarity: pearson"),
    ],
)
def test_what_needs_values_is_refused_without_them(jobs: dict[str, Job], change: str, setting: str):
    assert problems(jobs, "events.columns.value=null") == []
    assert problems(jobs, "events.columns.value=null", change) == [
        f"{setting} needs values, and events.columns.value is not mapped; map it, or choose otherwise"
    ]


def test_the_features_of_a_source_that_is_not_there(jobs: dict[str, Job]):
    assert problems(jobs, "users=null") == ["feature_stats_user.categorical: 'country' is not among users.attributes (none)"]


def test_a_job_that_is_off_breaks_no_rule(jobs: dict[str, Job]):
    assert problems(jobs, "metrics={ks: [1, 5]}", "champion=null") == []


@pytest.mark.parametrize(
    "setting",
    [
        "requests.k=0",
        "flagged_users.max_events=-4",
        "metrics.ks=[0]",
        "metrics.n_bootstrap=-1",
        "champion.k=0",
        "histories.max_length=0",
        "examples.slate_size=0",
        "popularity.half_life_days=-3",
        "seen.window_days=0",
        "staged_recommendations.n_because=-1",
        "user_index.n_buckets=0",
        "item_index.n_buckets=0",
        "rankers.epochs=0",
        "scores.batch_size=0",
    ],
)
def test_a_count_below_its_least_is_refused(jobs: dict[str, Job], setting: str):
    place = setting.split("=", maxsplit=1)[0]
    found = problems(jobs, setting)
    assert [line for line in found if line.startswith(f"{place}") and ": must be " in line] == found[:1]


def test_null_lifts_the_cap_of_histories_of_items_and_of_users(jobs: dict[str, Job]):
    caps = [f"neighbours_{source}.max_items_per_user=null" for source in ("item_knn", "item_next", "rp3beta")]
    assert problems(jobs, *caps, "neighbours_user_knn.max_users_per_item=null", "sources=[item_knn, item_next, rp3beta, user_knn]") == []
