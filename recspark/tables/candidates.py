"""What models know (vectors, neighbours), what each source proposes, and the slates that rankers read."""

from recspark.tables.contract import SHARD, Column, Table

_HORIZON = Column("horizon", "string", "The cut that the row is computed at.")
_SOURCE = Column("source", "string", "The model that wrote the row: als, next_item, item_knn, item_next, rp3beta, ease, user_knn, popular.")
_REQUEST = Column("request_idx", "bigint", "The request.")

VECTORS = Table(
    "vectors",
    "Factors of users and items, or of requests where a model reads their histories. Two fits have unrelated axes: only dot products within one horizon and source mean anything.",
    (
        _HORIZON,
        _SOURCE,
        Column("kind", "string", "user, item or request.", check="kind in ('user', 'item', 'request')"),
        Column("idx", "bigint", "user_idx, item_idx or request_idx."),
        Column("vector", "array<float>", "The factors; all of one length."),
        Column("bias", "float", "Added to the dot product; 0 where the model has none.", check="not isnan(bias)"),
    ),
    key=("horizon", "source", "kind", "idx"),
    slices=("horizon", "source"),
)
NEIGHBOURS = Table(
    "neighbours",
    "The most similar items (or users) of each, best first.",
    (
        _HORIZON,
        _SOURCE,
        Column("kind", "string", "user or item.", check="kind in ('user', 'item')"),
        Column("idx", "bigint", "Whose neighbours these are."),
        Column("neighbour_idx", "bigint", "The neighbour."),
        Column("score", "float", "How much the neighbour speaks for itself, by the source's measure.", check="not isnan(score)"),
        Column("support", "int", "Users (or items) that both share."),
        Column("position", "int", "Place in the list, from 0; by (score descending, neighbour_idx)."),
    ),
    key=("horizon", "source", "kind", "idx", "position"),
    slices=("horizon", "source"),
)
SOURCE_CANDIDATES = Table(
    "source_candidates",
    "What one source proposes to a request: distinct, unseen, available items, best first by (score descending, item_idx).",
    (
        _HORIZON,
        _SOURCE,
        _REQUEST,
        Column("items", "array<int>", "Item indexes, best first."),
        Column("scores", "array<float>", "The source's scores, same order."),
    ),
    key=("horizon", "source", "request_idx"),
    slices=("horizon", "source"),
)
CANDIDATES = Table(
    "candidates",
    "The union of all sources' proposals, each source's position and score kept. Lists are [n items x n sources], flat.",
    (
        _HORIZON,
        _REQUEST,
        Column("items", "array<int>", "Distinct item indexes, best blended first (reciprocal rank fusion, then item_idx)."),
        Column("positions", "array<int>", "Item i, source s at [i * n_sources + s]: position in the source's list from 0, -1 not found."),
        Column("scores", "array<float>", "Likewise, the source's score; 0 where not found."),
    ),
    key=("horizon", "request_idx"),
    slices=("horizon",),
)
EXAMPLES = Table(
    "examples",
    "One slate a request: what a ranker reads. Every list has one fixed length; feature names are recspark.kernels.slates.feature_names.",
    (
        _HORIZON,
        _REQUEST,
        Column("user_idx", "bigint", "The user."),
        Column("history_items", "array<int>", "L: as histories.items."),
        Column("history_types", "array<int>", "L: as histories.event_types."),
        Column("history_ages", "array<float>", "L: as histories.ages."),
        Column("history_length", "int", "How many of the L are events."),
        Column("user_numbers", "array<float>", "As user_features.numbers."),
        Column("user_categories", "array<int>", "As user_features.categories."),
        Column("items", "array<int>", "S: candidate item indexes, best blended first, then -1."),
        Column("n_items", "int", "How many of the S are candidates."),
        Column("features", "array<float>", "S x F, flat: the candidates' features."),
        Column("labels", "array<float>", "S: 1 where the candidate is a positive label, else 0."),
        Column("n_positives", "int", "Positive labels of the request, found by a source or not; -1 where labels are not known."),
        Column("weight", "float", "Weight in the loss: 0 where the slate holds no positive label.", check="weight >= 0"),
        SHARD,
    ),
    key=("horizon", "request_idx"),
    slices=("horizon",),
)
