"""What is known of requests, items and users at a horizon, from learnt events and static attributes only."""

from recspark.tables.contract import SHARD, Column, Table

_HORIZON = Column("horizon", "string", "The cut that the row is computed at.")
_OF_THE_USER = (
    Column("user_numbers", "array<float>", "As user_features.numbers."),
    Column("user_categories", "array<int>", "As user_features.categories."),
)
_LATEST_EVENTS = (
    _HORIZON,
    Column("request_idx", "bigint", "The request."),
    Column("items", "array<int>", "Item indexes, oldest first, then -1."),
    Column("event_types", "array<int>", "1 + position of the event type in the configuration; 0 is padding."),
    Column("ages", "array<float>", "Days from the event to the request's as_of, >= 0; 0 without times and in padding."),
    Column("length", "int", "How many of the entries are events.", check="length >= 0"),
)

HISTORIES = Table(
    "histories",
    "Each request's latest events, oldest first, in lists of one fixed length. Requests without events have length 0.",
    _LATEST_EVENTS,
    key=("horizon", "request_idx"),
    slices=("horizon",),
)
CONTEXTS = Table(
    "contexts",
    "Each request's history, and what is known of its user: what next-item models are asked with.",
    (*_LATEST_EVENTS, *_OF_THE_USER, SHARD),
    key=("horizon", "request_idx"),
    slices=("horizon",),
)
SEQUENCES = Table(
    "sequences",
    "Each user's learnt events, oldest first, in lists of one fixed length, and what is known of the user: what next-item models learn from.",
    (
        _HORIZON,
        Column("sequence_idx", "bigint", "Tells rows apart: user_idx * max_windows + window."),
        Column("user_idx", "bigint", "The user."),
        Column("window", "int", "0 the latest events, 1 those before; neighbouring windows share one event.", check="window >= 0"),
        Column("items", "array<int>", "Item indexes, oldest first, then -1."),
        Column("event_types", "array<int>", "As in histories."),
        Column("ages", "array<float>", "Days from the event to the user's latest learnt one; 0 without times and in padding."),
        Column("length", "int", "How many of the entries are events.", check="length > 1"),
        Column("seen_items", "array<int>", "The item of the user's latest event, then those of all events before, ascending, then -1."),
        *_OF_THE_USER,
        SHARD,
    ),
    key=("horizon", "sequence_idx"),
    slices=("horizon",),
)
ACTIVITY = Table(
    "activity",
    "Users and items by degree, the number of distinct others that they have learnt events with: some hundred rows, from which "
    "the cost of a job is forecast.",
    (
        _HORIZON,
        Column("kind", "string", "user or item.", check="kind in ('user', 'item')"),
        Column("bucket", "int", "floor(8 log2 degree).", check="bucket >= 0"),
        Column("n_rows", "bigint", "Users, or items, of the bucket."),
        Column("n_pairs", "bigint", "The sum of their degrees."),
        Column("squares", "double", "The sum of their squared degrees.", check="not isnan(squares)"),
        Column("largest", "bigint", "The largest degree."),
        Column("n_events", "bigint", "Their learnt events."),
        Column("most_events", "bigint", "The largest number of learnt events of one of them."),
        Column("largest_idx", "bigint", "The largest index among them."),
    ),
    key=("horizon", "kind", "bucket"),
    slices=("horizon",),
)
POPULARITY = Table(
    "popularity",
    "How much each item that was learnt from is used. Items without learnt events have no row.",
    (
        _HORIZON,
        Column("item_idx", "int", "The item."),
        Column("n_events", "bigint", "Learnt events."),
        Column("n_users", "bigint", "Distinct users among them."),
        Column("score", "double", "Sum of event weights, decayed by age.", check="not isnan(score)"),
        Column("age", "float", "Days from the item's latest event to the latest learnt event; 0 without times."),
    ),
    key=("horizon", "item_idx"),
    slices=("horizon",),
)
FEATURE_STATS = Table(
    "feature_stats",
    "Everything fitted on attributes: medians, quantiles, moments, vocabularies. Fitted on what was learnt from at the cut.",
    (
        _HORIZON,
        Column("entity", "string", "item or user.", check="entity in ('item', 'user')"),
        Column("feature", "string", "The attribute."),
        Column(
            "statistic",
            "string",
            "median, most_frequent, low, high, mean, std, min, max; token for a vocabulary entry, bucket for hashed others.",
        ),
        Column("token", "string", "The vocabulary entry, or the number of the bucket; empty for numbers."),
        Column("value", "double", "The number; for a token how often it was seen."),
        Column("code", "int", "The token's code, unique among all features of the entity; -1 for numbers."),
    ),
    key=("horizon", "entity", "feature", "statistic", "token"),
    slices=("horizon", "entity"),
)
ITEM_FEATURES = Table(
    "item_features",
    "One row an item of the index: normalised numbers and category codes in lists of one fixed length.",
    (
        _HORIZON,
        Column("item_idx", "int", "The item."),
        Column(
            "numbers",
            "array<float>",
            "Normalised numbers, each followed by its was-missing indicator, then one indicator for each categorical feature; "
            "one entry, 0, when nothing is configured.",
        ),
        Column(
            "categories",
            "array<int>",
            "Category codes: 0 padding, 1 unknown, 2 out of vocabulary, then buckets and vocabularies; one entry, 0, when there are none.",
        ),
        Column("available", "boolean", "May be recommended; at a horizon whose labels have closed every item may."),
        Column("quota_categories", "array<int>", "Numbers of the categories that it counts in, then -1; one entry, -1, without quotas."),
        Column("quota", "int", "At most so many items of a category in a list; 0: any number.", check="quota >= 0"),
    ),
    key=("horizon", "item_idx"),
    slices=("horizon",),
)
USER_FEATURES = Table(
    "user_features",
    "One row a user of the index, encoded as item_features is.",
    (
        _HORIZON,
        Column("user_idx", "bigint", "The user."),
        Column("numbers", "array<float>", "As in item_features."),
        Column("categories", "array<int>", "As in item_features."),
    ),
    key=("horizon", "user_idx"),
    slices=("horizon",),
)
