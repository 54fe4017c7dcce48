import math

import pytest

from recspark.features.encode import build_item_features, build_user_features
from recspark.features.spec import CategoricalSpec, NumericSpec
from recspark.tables import CLEAN_ITEMS, CLEAN_USERS, FEATURE_STATS, ITEM_FEATURES, ITEM_INDEX, USER_FEATURES, USER_INDEX
from recspark.tables.contract import check_rows, conform
from recspark.tables.horizon import Horizon

YEAR = {"median": 5.0, "most_frequent": 7.0, "low": 0.0, "high": 8.0, "mean": 4.0, "std": 2.0, "min": 0.0, "max": 8.0}
TOKENS = {("genres", "drama"): 3, ("genres", "été"): 4, ("genres", "日本"): 5, ("brand", "drama"): 6}


def statistic_rows(entity="item"):
    own = {"entity": entity, "feature": "year", "token": "", "code": -1}
    rows = [{**own, "statistic": name, "value": value} for name, value in YEAR.items()]
    rows += [
        {"entity": entity, "feature": feature, "statistic": "token", "token": token, "value": 9.0, "code": code}
        for (feature, token), code in TOKENS.items()
    ]
    # The other entity's statistics must not be taken.
    return rows + [{**row, "entity": "user" if entity == "item" else "item", "value": 77.0, "code": row["code"] * 100} for row in rows]


def statistics(table, entity="item"):
    return table(FEATURE_STATS, statistic_rows(entity))


SERVE = Horizon("serve", 1, closed=False)


def encode(table, attributes, numeric=None, categorical=None, categories=None, stats=None, horizon=SERVE):
    """item_idx -> (numbers, categories); the item after those of `attributes` is in no source."""
    clean = table(
        CLEAN_ITEMS,
        [
            {"item_id": str(i), "attributes": values, "categories": (categories or {}).get(i, []), "available": i != 1}
            for i, values in enumerate(attributes)
        ],
    )
    index = table(ITEM_INDEX, [{"item_id": str(i), "item_idx": i} for i in range(len(attributes) + 1)])
    features = build_item_features(
        clean, index, statistics(table) if stats is None else stats, horizon=horizon, numeric=numeric or {}, categorical=categorical or {}
    )
    conform(features.selectExpr("'d' as horizon", "*"), ITEM_FEATURES, "build_item_features")
    return {row.item_idx: (row.numbers, row.categories, row.available) for row in features.collect()}


# For 6, 1000 and a missing number: 6 -> (6 - 4) / 2; 1000 -> 8 -> (8 - 4) / 2; missing -> 5 -> (5 - 4) / 2.
SCALED = [
    (NumericSpec(), [1.0, 2.0, 0.5]),
    (NumericSpec(clip_quantiles=None), [1.0, 498.0, 0.5]),
    (NumericSpec(missing="mean"), [1.0, 2.0, 0.0]),
    (NumericSpec(missing="most_frequent"), [1.0, 2.0, 1.5]),
    (NumericSpec(missing="zero"), [1.0, 2.0, 0.0]),
    (NumericSpec(scale="min_max"), [0.75, 1.0, 0.625]),
    (NumericSpec(scale="min_max", missing="zero"), [0.75, 1.0, 0.0]),
    (NumericSpec(scale="log"), [math.log(7), math.log(9), math.log(6)]),
    (NumericSpec(scale="log", missing="zero"), [math.log(7), math.log(9), 0.0]),
    (NumericSpec(scale="none", missing="mean"), [6.0, 8.0, 4.0]),
]
VALUES = ["6", "1000", "unknown", None]


def test_numbers_are_filled_clipped_and_scaled(table):
    names = [f"year{i}" for i in range(len(SCALED))]
    attributes = [{name: value for name in names if value} for value in VALUES]
    stats = table(FEATURE_STATS, [{**row, "feature": name} for row in statistic_rows() for name in names])
    encoded = encode(table, attributes, {name: spec for name, (spec, _) in zip(names, SCALED, strict=True)}, stats=stats)
    for i, of_missing in enumerate([0, 0, 1, 1, 1]):
        expected = [number for _, numbers in SCALED for number in (numbers[min(i, 2)], of_missing)]
        assert encoded[i][0] == pytest.approx(expected, abs=1e-6)
    assert [encoded[i][2] for i in range(5)] == [True, False, True, True, True]
    assert {tuple(row[1]) for row in encoded.values()} == {(0,)}


def test_what_is_not_available_today_was_once(table):
    found = {closed: encode(table, [{}, {}], horizon=Horizon("h", 1, closed=closed)) for closed in (True, False)}
    assert {closed: [row[2] for _, row in sorted(rows.items())] for closed, rows in found.items()} == {
        True: [True, True, True],
        False: [True, False, True],
    }


def test_a_feature_without_statistics_or_spread_is_zero(table):
    scales = ("standard", "min_max")
    attributes = [{f"{kind}_{scale}": value for kind in ("flat", "unknown") for scale in scales if value} for value in VALUES]
    specs = {name: NumericSpec(scale=name.split("_", 1)[1]) for name in attributes[0]}
    flat = [{**row, "value": 0.0 if row["statistic"] == "std" else 5.0} for row in statistic_rows() if row["entity"] == "item"]
    stats = table(FEATURE_STATS, [{**row, "feature": f"flat_{scale}"} for row in flat for scale in scales])
    encoded = encode(table, attributes, specs, stats=stats)
    assert [encoded[i][0] for i in range(5)] == [[0.0, missing] * 4 for missing in (0.0, 0.0, 1.0, 1.0, 1.0)]


def test_log_keeps_the_sign(table):
    assert encode(table, [{"year": "-3"}], {"year": NumericSpec(scale="log", clip_quantiles=None)})[0][0][0] == pytest.approx(-math.log(4))


GENRES = CategoricalSpec(separator="|", max_values=3)


def test_categories_fill_slots_in_the_order_of_the_source(table):
    attributes = [
        {"genres": "été|drama"},
        {"genres": "日本 | drama| été|drama"},
        {"genres": "drama|nobody knows|nor this", "brand": "drama"},
        {"genres": "|", "brand": "x"},
    ]
    encoded = encode(table, attributes, categorical={"genres": GENRES, "brand": CategoricalSpec(max_values=1)})
    assert [encoded[i][1] for i in range(5)] == [
        [4, 3, 0, 1],
        [5, 3, 4, 1],
        [3, 2, 2, 6],
        [1, 0, 0, 2],
        [1, 0, 0, 1],
    ]
    # One indicator a feature: no value at all, which out of vocabulary is not.
    assert [encoded[i][0] for i in range(5)] == [[0, 1], [0, 1], [0, 0], [1, 0], [1, 1]]


def test_the_most_frequent_token_stands_for_no_value_and_the_indicator_says_so(table):
    specs = {
        "genres": CategoricalSpec(separator="|", max_values=2, missing="most_frequent"),
        "brand": CategoricalSpec(max_values=1, missing="most_frequent", n_oov_buckets=2),
        "nowhere": CategoricalSpec(max_values=1, missing="most_frequent"),
    }
    encoded = encode(table, [{"genres": "été"}, {"genres": "nobody knows", "brand": "drama"}], categorical=specs)
    # The first code of a vocabulary is its most frequent; what has no vocabulary is unknown.
    assert [encoded[i][1] for i in range(3)] == [[4, 0, 6, 1], [2, 0, 6, 1], [3, 0, 6, 1]]
    assert [encoded[i][0] for i in range(3)] == [[0, 1, 1], [0, 0, 1], [1, 1, 1]]


def test_further_values_are_left_out(table):
    encoded = encode(table, [{"genres": "drama|été|日本"}], categorical={"genres": CategoricalSpec(separator="|", max_values=2)})
    assert encoded[0][1] == [3, 4]


def test_the_column_categories(table):
    stats = statistics(table).selectExpr(
        "entity", "replace(feature, 'genres', 'categories') feature", "statistic", "token", "value", "code"
    )
    encoded = encode(table, [{}, {}], categorical={"categories": CategoricalSpec(max_values=2)}, categories={0: ["日本"]}, stats=stats)
    assert [encoded[i][1] for i in range(3)] == [[5, 0], [1, 0], [1, 0]]


def test_out_of_vocabulary_goes_to_the_buckets_of_its_feature(table):
    specs = {"genres": CategoricalSpec(max_values=1), "brand": CategoricalSpec(max_values=1, n_oov_buckets=3)}
    stats = (
        statistics(table)
        .where("statistic = 'token'")
        .selectExpr("entity", "feature", "statistic", "token", "value", "if(code < 0, code, code + 3) code")
    )
    attributes = [{"genres": str(i), "brand": str(i)} for i in range(20)] + [{"genres": "drama", "brand": "drama"}]
    encoded = encode(table, attributes, categorical=specs, stats=stats)
    buckets = [encoded[i][1] for i in range(20)]
    assert {pair[0] for pair in buckets} == {2}
    assert {pair[1] for pair in buckets} == {3, 4, 5}
    assert encoded[20][1] == [6, 9]
    assert encoded[21][1] == [1, 1]  # missing is unknown, not hashed


@pytest.mark.parametrize("clean_has", [True, False])
def test_no_features_and_no_source(table, clean_has):
    index = table(ITEM_INDEX, [{"item_id": "a", "item_idx": 0}])
    clean = table(CLEAN_ITEMS, [{"item_id": "a", "attributes": {}, "categories": [], "available": True}]) if clean_has else None
    features = build_item_features(clean, index, statistics(table), horizon=SERVE, numeric={}, categorical={})
    assert [tuple(row) for row in features.collect()] == [(0, [0.0], [0], True, [-1], 0)]
    specs = {"numeric": {"year": NumericSpec()}, "categorical": {"genres": GENRES, "categories": CategoricalSpec(max_values=1)}}
    features = build_item_features(None, index, statistics(table), horizon=SERVE, **specs)
    assert [tuple(row) for row in features.collect()] == [(0, [0.5, 1.0, 1.0, 1.0], [1, 0, 0, 1], True, [-1], 0)]
    check_rows(conform(features.selectExpr("'d' as horizon", "*"), ITEM_FEATURES, "build_item_features"), ITEM_FEATURES)


def test_categories_of_quotas_are_numbered_by_name_and_lists_have_one_length(table):
    index = table(ITEM_INDEX, [{"item_id": name, "item_idx": i} for i, name in enumerate("abcd")])
    categories = {"a": ["tea", "cup"], "b": [], "c": ["tea"]}  # d is in no source
    clean = table(
        CLEAN_ITEMS, [{"item_id": name, "categories": some, "attributes": {}, "available": True} for name, some in categories.items()]
    )
    knobs = {"horizon": SERVE, "numeric": {}, "categorical": {}, "max_per_category": 2}
    rows = {
        row.item_idx: (row.quota_categories, row.quota) for row in build_item_features(clean, index, statistics(table), **knobs).collect()
    }
    assert rows == {0: ([0, 1], 2), 1: ([-1, -1], 2), 2: ([1, -1], 2), 3: ([-1, -1], 2)}
    rows = build_item_features(None, index, statistics(table), **knobs).collect()
    assert {tuple(row.quota_categories) for row in rows} == {(-1,)}


def test_users_and_partitions(table):
    clean = table(CLEAN_USERS, [{"user_id": "u", "attributes": {"year": "6", "genres": "drama"}}, {"user_id": "v", "attributes": {}}])
    users = table(USER_INDEX, [{"user_id": name, "user_idx": i} for i, name in enumerate("uvw")])
    specs = {"numeric": {"year": NumericSpec()}, "categorical": {"genres": GENRES}}
    for n in (1, 2, 7):
        features = build_user_features(clean.repartition(n), users.repartition(n), statistics(table, "user"), **specs)
        conform(features.selectExpr("'d' as horizon", "*"), USER_FEATURES, "build_user_features")
        rows = {row.user_idx: (row.numbers, row.categories) for row in features.collect()}
        assert rows == {0: ([1.0, 0.0, 0.0], [3, 0, 0]), 1: ([0.5, 1.0, 1.0], [1, 0, 0]), 2: ([0.5, 1.0, 1.0], [1, 0, 0])}
