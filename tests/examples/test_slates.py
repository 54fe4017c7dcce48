import math

import numpy as np
import pytest
from pyspark.errors import PythonException

from recspark.errors import ConfigError
from recspark.examples import slates
from recspark.examples.slates import build_examples
from recspark.handover.arrays import publish
from recspark.kernels.slates import describe_catalogue, feature_names, slate_features
from recspark.tables import CANDIDATES, EXAMPLES, HISTORIES, LABELS, REQUESTS, USER_FEATURES
from recspark.tables.contract import check_rows, conform

SOURCES = ["als", "popular"]
N_FEATURES = len(feature_names(SOURCES))
# Six items; 0, 2, 3 and 5 were learnt from.
POPULARITY = {
    "item_idx": np.array([0, 2, 3, 5], np.int32),
    "score": np.array([7.0, 0.0, 3.0, 1.0]),
    "age": np.array([0.0, 4.0, 1.0, 30.0], np.float32),
}
CATEGORIES = np.array([[3, 4], [3, 0], [4, 0], [5, 1], [1, 2], [5, 3]], np.int32)
L = 3


@pytest.fixture
def published(tmp_path):
    popularity = publish(POPULARITY, str(tmp_path / "popularity"))
    return {"item_popularity": popularity, "item_features": publish({"categories": CATEGORIES}, str(tmp_path / "items"))}


def request(table, n):
    return table(REQUESTS, [{"request_idx": 10 + i, "user_idx": i, "k": 2} for i in range(n)])


def user_features(table, n):
    return table(USER_FEATURES, [{"user_idx": i, "numbers": [float(i), 1.0], "categories": [i + 2]} for i in range(n)])


def histories(table, lists):
    rows = [
        {
            "request_idx": 10 + i,
            "items": items + [-1] * (L - len(items)),
            "event_types": [1] * len(items) + [0] * (L - len(items)),
            "ages": [0.5] * len(items) + [0.0] * (L - len(items)),
            "length": len(items),
        }
        for i, items in enumerate(lists)
    ]
    return table(HISTORIES, rows)


def candidates(table, proposed):
    """`proposed`: request -> [(item, positions, scores)]."""
    rows = [
        {
            "request_idx": idx,
            "items": [item for item, _, _ in slate],
            "positions": [p for _, positions, _ in slate for p in positions],
            "scores": [float(s) for _, _, scores in slate for s in scores],
        }
        for idx, slate in proposed.items()
    ]
    return table(CANDIDATES, rows)


SLATES = {
    10: [(3, (0, 1), (2.0, 3.0)), (5, (1, -1), (1.0, 0.0)), (1, (-1, 0), (0.0, 7.0))],
    11: [(0, (0, 0), (1.0, 7.0)), (2, (1, -1), (0.5, 0.0))],
    13: [],
}
HISTORIES_ = [[2, 0, 5], [], [4], [1]]
LABELS_ = [
    {"request_idx": 10, "items": [1, 2, 5], "positive": [True, True, False]},
    {"request_idx": 11, "items": [3], "positive": [True]},
    {"request_idx": 12, "items": [3], "positive": [True]},
]


def frames(table):
    return (
        request(table, 4),
        candidates(table, SLATES),
        histories(table, HISTORIES_),
        user_features(table, 4),
        table(LABELS, [{**row, "values": [1.0] * len(row["items"]), "n_seen": 0} for row in LABELS_]),
    )


def rows(examples):
    return {row.request_idx: row.asDict() for row in examples.collect()}


def test_slates_by_hand(table, published):
    examples = build_examples(*frames(table), **published, slate_size=2, sources=SOURCES)
    check_rows(conform(examples.selectExpr("'d' as horizon", "0 as shard", "*"), EXAMPLES, "build_examples"), EXAMPLES)
    made = rows(examples)
    first = made[10]
    # The third candidate is cut off, and with it the positive 1; 2 is positive but was never found; 5 is not positive.
    assert (first["items"], first["n_items"], first["labels"], first["n_positives"], first["weight"]) == ([3, 5], 2, [0.0, 0.0], 2, 0.0)
    assert (first["history_items"], first["history_types"], first["history_ages"], first["history_length"]) == (
        [2, 0, 5],
        [1] * 3,
        [0.5] * 3,
        3,
    )
    assert (first["user_idx"], first["user_numbers"], first["user_categories"]) == (0, [0.0, 1.0], [2])
    logs = np.log1p([7, 0, 0, 3, 0, 1])
    by_name = dict(zip(feature_names(SOURCES), np.reshape(first["features"], (2, N_FEATURES)).T, strict=True))
    expected = {
        "als_found": [1, 1],
        "als_reciprocal_position": [1, 1 / 2],
        "als_score": [1, -1],
        "popular_found": [1, 0],
        "popular_reciprocal_position": [1 / 2, 0],
        "popular_score": [0, 0],
        "popularity": [(math.log(4) - logs.mean()) / logs.std(), (math.log(2) - logs.mean()) / logs.std()],
        "recency": [math.log(2), math.log(31)],
        # Item 3 {4} shares with 5, the latest; item 5 {4, 2} with 0 {2, 3} and itself.
        "category_match": [1 / 3, 2 / 3],
        "category_match_recent": [1 / (11 / 6), (1 + 1 / 2) / (11 / 6)],
        "n_sources": [2, 1],
        "blended_reciprocal_position": [1, 1 / 2],
    }
    assert by_name.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(by_name[name], values, atol=1e-6, err_msg=name)


def test_labels_weights_and_requests_without_candidates(table, published):
    made = rows(build_examples(*frames(table), **published, slate_size=3, sources=SOURCES))
    assert {idx: (s["items"], s["n_items"], s["labels"], s["n_positives"], s["weight"]) for idx, s in made.items()} == {
        10: ([3, 5, 1], 3, [0.0, 0.0, 1.0], 2, 1.0),
        11: ([0, 2, -1], 2, [0.0, 0.0, 0.0], 1, 0.0),
        12: ([-1] * 3, 0, [0.0] * 3, 1, 0.0),
        13: ([-1] * 3, 0, [0.0] * 3, 0, 0.0),
    }
    assert set(made[12]["features"]) == set(made[13]["features"]) == {0.0}
    assert made[11]["features"][2 * N_FEATURES :] == [0.0] * N_FEATURES


def test_only_three_columns_look_at_labels(table, published):
    *inputs, labels = frames(table)
    known, unknown = (rows(build_examples(*inputs, of, **published, slate_size=3, sources=SOURCES)) for of in (labels, None))
    for idx, slate in unknown.items():
        assert (slate["labels"], slate["n_positives"], slate["weight"]) == ([0.0] * 3, -1, 0.0)
        for column in slate.keys() - {"labels", "n_positives", "weight"}:
            assert slate[column] == known[idx][column], column


def random_requests(n, seed):
    random = np.random.default_rng(seed)
    chosen_slates, lists = {}, []
    for i in range(n):
        chosen = random.permutation(6)[: random.integers(0, 7)]
        chosen_slates[10 + i] = [
            (int(item), tuple(int(p) for p in random.integers(-1, 4, 2)), tuple(float(np.float32(s)) for s in random.normal(size=2)))
            for item in chosen
        ]
        lists.append([int(item) for item in random.integers(0, 6, random.integers(0, L + 1))])
    return chosen_slates, lists


@pytest.mark.parametrize("n_partitions", [1, 2, 7])
def test_many_random_slates_equal_the_kernel_one_by_one(table, published, n_partitions):
    n, size = 40, 4
    proposed, lists = random_requests(n, seed=3)
    inputs = [request(table, n), candidates(table, proposed), histories(table, lists), user_features(table, n)]
    shuffled = [frame.orderBy(frame.columns[0], ascending=False).repartition(n_partitions) for frame in inputs]
    got = rows(build_examples(*shuffled, None, **published, slate_size=size, sources=SOURCES))
    catalogue = describe_catalogue(**POPULARITY, categories=CATEGORIES)
    for i in range(n):
        slate = proposed[10 + i][:size]
        expected = np.zeros((size, N_FEATURES), np.float32)
        expected[: len(slate)] = slate_features(
            np.array([0, len(slate)]),
            np.array([item for item, _, _ in slate], np.int32),
            np.array([positions for _, positions, _ in slate], np.int32).reshape(-1, 2),
            np.array([scores for _, _, scores in slate], np.float32).reshape(-1, 2),
            np.array([0, len(lists[i])]),
            np.array(lists[i], np.int32),
            catalogue,
        )
        assert got[10 + i]["features"] == expected.reshape(-1).tolist()
        assert got[10 + i]["items"] == [item for item, _, _ in slate] + [-1] * (size - len(slate))


def test_more_slates_than_are_put_together_at_a_time(table, published, monkeypatch):
    monkeypatch.setattr(slates, "_ROWS_AT_ONCE", 3)
    *inputs, labels = frames(table)
    expected = rows(build_examples(*inputs, labels, **published, slate_size=3, sources=SOURCES))
    gathered = slates._gather_inputs(inputs[0], slates._cut_candidates(inputs[1], 3, 2), inputs[2], inputs[3], labels).toArrow()
    maker = slates._slate_maker(3, SOURCES, published["item_popularity"], published["item_features"])
    batches = list(maker(gathered.combine_chunks().to_batches()))
    assert [batch.num_rows for batch in batches] == [3, 1]
    assert {row["request_idx"]: row for batch in batches for row in batch.to_pylist()} == expected


def test_refuses_candidates_of_other_sources(table, published):
    with pytest.raises(PythonException, match=r"give examples\.sources the sources of candidates"):
        build_examples(*frames(table), **published, sources=["als"]).collect()


@pytest.mark.parametrize(("missing", "name"), [(2, "histories"), (3, "user_features")])
def test_refuses_a_request_without_history_or_user_features(table, published, missing, name):
    inputs = list(frames(table))
    inputs[missing] = inputs[missing].where("false")
    with pytest.raises(PythonException, match=f"has no row in {name}"):
        build_examples(*inputs, **published, sources=SOURCES).collect()


def test_refuses_a_slate_of_nothing(table, published):
    with pytest.raises(ConfigError, match=r"examples\.slate_size is 0"):
        build_examples(*frames(table), **published, slate_size=0, sources=SOURCES)
