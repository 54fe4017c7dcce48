from recspark.features.contexts import build_contexts
from recspark.tables import CONTEXTS, HISTORIES, REQUESTS, USER_FEATURES
from recspark.tables.contract import check_rows, conform


def test_a_history_beside_what_is_known_of_its_user(table):
    """Two requests of user 7, one of user 8 without events."""
    requests = table(REQUESTS, [{"request_idx": 10 + i, "user_idx": user} for i, user in enumerate([7, 7, 8])])
    histories = table(
        HISTORIES,
        [
            {"request_idx": 10, "items": [3, -1], "event_types": [1, 0], "ages": [4.0, 0.0], "length": 1},
            {"request_idx": 11, "items": [3, 5], "event_types": [1, 2], "ages": [9.0, 2.5], "length": 2},
            {"request_idx": 12, "items": [-1, -1], "event_types": [0, 0], "ages": [0.0, 0.0], "length": 0},
        ],
    )
    features = table(USER_FEATURES, [{"user_idx": user, "numbers": [user / 2], "categories": [user, 1]} for user in (7, 8, 9)])
    contexts = build_contexts(requests, histories, features)
    check_rows(conform(contexts.selectExpr("'d' as horizon", "0 as shard", "*"), CONTEXTS, "build_contexts"), CONTEXTS)
    assert {row.request_idx: tuple(row)[1:] for row in contexts.collect()} == {
        10: ([3, -1], [1, 0], [4.0, 0.0], 1, [3.5], [7, 1]),
        11: ([3, 5], [1, 2], [9.0, 2.5], 2, [3.5], [7, 1]),
        12: ([-1, -1], [0, 0], [0.0, 0.0], 0, [4.0], [8, 1]),
    }
