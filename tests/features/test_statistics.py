import pytest
from pydantic import ValidationError

from recspark.features.spec import CategoricalSpec, NumericSpec
from recspark.features.statistics import build_item_statistics, build_user_statistics
from recspark.tables import CLEAN_ITEMS, CLEAN_USERS, FEATURE_STATS, INTERACTIONS, ITEM_INDEX, USER_INDEX
from recspark.tables.contract import check_rows, conform

PRICES = {"a": "1", "b": " 2 ", "c": "3.0", "d": "4", "e": "100", "f": "dear", "g": "NaN", "h": "-Infinity", "i": None, "later": "1e6"}
CATEGORIES = {
    "a": ["drama", "été"],
    "b": ["drama", "été", "drama", " "],
    "c": ["drama", "日本"],
    "d": ["日本", "rare"],
    "e": ["comedy "],
    "f": ["comedy"],
    "later": ["unheard"] * 3 + ["rare"],
}
# The same prices in three attributes; `weight` is nobody's.
SPECS = {
    "price": NumericSpec(clip_quantiles=(0.0, 0.75)),
    "unclipped": NumericSpec(clip_quantiles=None),
    "between": NumericSpec(clip_quantiles=(0.125, 0.875)),
    "weight": NumericSpec(),
}
PRICE = {"price": SPECS["price"]}


def items(table, prices=PRICES, attribute="price"):
    rows = [
        {
            "item_id": name,
            "categories": CATEGORIES.get(name, []),
            "attributes": {} if price is None else {attribute: price, **{name: price for name in SPECS if name != "weight"}},
            "available": True,
        }
        for name, price in prices.items()
    ]
    return table(CLEAN_ITEMS, rows)


def index(table):
    return table(ITEM_INDEX, [{"item_id": name, "item_idx": i} for i, name in enumerate(PRICES)])


def learnt(table):
    """Two events of every item but `later`."""
    rows = [{"user_idx": user, "item_idx": i} for user in (0, 1) for i, name in enumerate(PRICES) if name != "later"]
    return table(INTERACTIONS, rows)


def figures(rows, feature):
    return {row.statistic: row.value for row in rows if row.feature == feature and row.code == -1}


def vocabulary(stats):
    rows = [(row.code, row.feature, row.token, row.value) for row in stats.collect() if row.statistic == "token"]
    return sorted(rows)


def test_numbers_of_learnt_items_are_clipped_before_their_moments(table):
    stats = build_item_statistics(items(table), index(table), learnt(table), numeric=SPECS, categorical={})
    rows = conform(stats.selectExpr("'d' as horizon", "'item' as entity", "*"), FEATURE_STATS, "build_item_statistics").collect()
    # Of 1, 2, 3, 4, 100: 100 becomes the 0.75 quantile, 4.
    assert figures(rows, "price") == {
        "median": 3.0,
        "low": 1.0,
        "high": 4.0,
        "mean": pytest.approx(14 / 5),
        "std": pytest.approx((6.8 / 5) ** 0.5),
        "min": 1.0,
        "max": 4.0,
    }
    # Unclipped, the outlier counts.
    std = ((21**2 + 20**2 + 19**2 + 18**2 + 78**2) / 5) ** 0.5
    expected = {"median": 3.0, "mean": pytest.approx(22.0), "std": pytest.approx(std), "min": 1.0, "max": 100.0}
    assert figures(rows, "unclipped") == expected
    # Quantiles lie between neighbours: half-way from 1 to 2 and from 4 to 100.
    between = figures(rows, "between")
    assert (between["low"], between["high"]) == (1.5, 52.0)
    assert {row.feature for row in rows} == {"price", "unclipped", "between"}


def test_the_most_frequent_number_is_the_lowest_of_equals_and_fitted_where_asked_for(table):
    prices = {"a": "7", "b": "3", "c": "7.0", "d": "3", "e": "100", "later": "100", "f": "dear"}
    specs = {"price": NumericSpec(missing="most_frequent", clip_quantiles=None), "unclipped": NumericSpec(clip_quantiles=None)}
    for n in (1, 2, 7):
        stats = build_item_statistics(items(table, prices).repartition(n), index(table), learnt(table), numeric=specs, categorical={})
        rows = stats.collect()
        # 3 and 7 stand twice, 100 once among what was learnt from.
        assert figures(rows, "price")["most_frequent"] == 3.0
        assert "most_frequent" not in figures(rows, "unclipped")


def test_vocabulary_by_frequency_then_token_above_the_floor(table):
    spec = {"categories": CategoricalSpec(min_count=2)}
    stats = build_item_statistics(items(table), index(table), learnt(table), numeric={}, categorical=spec)
    # rare is one learnt item's; a repetition within an item counts once; blanks are cut off.
    assert vocabulary(stats) == [
        (3, "categories", "drama", 3.0),
        (4, "categories", "comedy", 2.0),
        (5, "categories", "été", 2.0),
        (6, "categories", "日本", 2.0),
    ]


def test_a_vocabulary_is_cut_and_codes_go_on_in_the_next_feature(table):
    rows = {"a": "x|y", "b": "x", "c": "y|z", "later": "w|w"}
    specs = {"tags": CategoricalSpec(min_count=1, separator="|"), "categories": CategoricalSpec(min_count=2, max_vocabulary=2)}
    stats = build_item_statistics(items(table, rows, "tags"), index(table), learnt(table), numeric={}, categorical=specs)
    assert vocabulary(stats) == [
        (3, "tags", "x", 2.0),
        (4, "tags", "y", 2.0),
        (5, "tags", "z", 1.0),
        (6, "categories", "drama", 3.0),
        (7, "categories", "été", 2.0),
    ]


def test_buckets_come_before_all_vocabularies(table):
    specs = {"brand": CategoricalSpec(n_oov_buckets=2), "categories": CategoricalSpec(min_count=3)}
    stats = build_item_statistics(items(table), index(table), learnt(table), numeric={}, categorical=specs)
    rows = sorted((row.code, row.feature, row.statistic, row.token) for row in stats.collect())
    assert rows == [(3, "brand", "bucket", "0"), (4, "brand", "bucket", "1"), (5, "categories", "token", "drama")]


def test_partitions_change_nothing(table):
    def fit(n):
        frames = (items(table).repartition(n), index(table).repartition(n), learnt(table).repartition(n))
        stats = build_item_statistics(*frames, numeric=PRICE, categorical={"categories": CategoricalSpec(min_count=1)})
        return stats.selectExpr(f"{n} as n", "feature", "statistic", "token", "round(value, 9) as value", "code")

    found = {n: set() for n in (1, 2, 7)}
    for n, *row in fit(1).union(fit(2)).union(fit(7)).collect():
        found[n].add(tuple(row))
    assert found[1] == found[2] == found[7]
    assert len(found[1]) == 7 + 5  # figures and tokens


def test_without_a_source_or_features_there_is_nothing_to_fit(table):
    specs = {"numeric": PRICE, "categorical": {"categories": CategoricalSpec()}}
    assert build_item_statistics(None, index(table), learnt(table), **specs).collect() == []
    assert build_item_statistics(items(table), index(table), learnt(table), numeric={}, categorical={}).collect() == []
    nothing_learnt = learnt(table).where("false")
    assert build_item_statistics(items(table), index(table), nothing_learnt, **specs).collect() == []


def test_users_with_an_attribute_named_categories(table):
    clean = table(
        CLEAN_USERS, [{"user_id": name, "attributes": {"categories": "p", "age": age}} for name, age in (("u", "20"), ("v", "40"))]
    )
    users = table(USER_INDEX, [{"user_id": name, "user_idx": i} for i, name in enumerate("uvw")])
    events = table(INTERACTIONS, [{"user_idx": user, "item_idx": 0} for user in (0, 1, 1, 2)])
    specs = {"numeric": {"age": NumericSpec()}, "categorical": {"categories": CategoricalSpec()}}
    stats = build_user_statistics(clean, users, events, **specs)
    check_rows(conform(stats.selectExpr("'d' as horizon", "'user' as entity", "*"), FEATURE_STATS, "build_user_statistics"), FEATURE_STATS)
    rows = stats.collect()
    assert [(row.code, row.token, row.value) for row in rows if row.statistic == "token"] == [(3, "p", 2.0)]
    assert figures(rows, "age")["median"] == 30.0
    assert build_user_statistics(None, users, events, **specs).collect() == []


@pytest.mark.parametrize("quantiles", [(0.9, 0.1), (0.5, 0.5), (-0.1, 0.9), (0.1, 1.1)])
def test_clipping_quantiles_must_be_in_order(quantiles):
    with pytest.raises(ValidationError, match="0 <= low < high <= 1"):
        NumericSpec(clip_quantiles=quantiles)


@pytest.mark.parametrize(
    "wrong", [{"min_count": 0}, {"max_vocabulary": 0}, {"max_values": 0}, {"n_oov_buckets": 0}, {"separator": ""}, {"slots": 3}]
)
def test_refuses_categories_without_room(wrong):
    with pytest.raises(ValidationError):
        CategoricalSpec(**wrong)
