"""What is measured, and what is decided by it."""

from recspark.tables.contract import Column, Table

_HORIZON = Column("horizon", "string", "The cut that the row is measured at.")

PREDICTIONS = Table(
    "predictions",
    "Predicted ratings beside the real ones, for models of explicit ratings. A pair without prediction gets a fallback, by name.",
    (
        _HORIZON,
        Column("request_idx", "bigint", "The request."),
        Column("item_idx", "int", "The item."),
        Column("value", "double", "The real rating."),
        Column("predicted", "double", "The prediction, clipped to the rating bounds."),
        Column("fallback", "string", "none, item_mean, user_mean or global_mean: what was used for want of a vector."),
    ),
    key=("horizon", "request_idx", "item_idx"),
    slices=("horizon",),
)
METRICS = Table(
    "metrics",
    "Every figure: a model's own (baseline empty) or its paired difference to a baseline, with a 95 % bootstrap interval over requests.",
    (
        _HORIZON,
        Column("model", "string", "ranker, or a candidate source."),
        Column("baseline", "string", "Empty, or the model whose value is subtracted, request by request."),
        Column(
            "metric",
            "string",
            "precision, recall, f1, hit_rate, map, mrr, ndcg, novelty, diversity, popularity_share, coverage (of the catalogue); "
            "the ranker's auc, accuracy, base_rate; mae, rmse, rating_coverage.",
        ),
        Column("k", "int", "The cut of the list; 0 where there is none."),
        Column("slice", "string", "all, cold or warm."),
        Column("n", "bigint", "Requests (or pairs) measured."),
        Column("value", "double", "The figure.", nullable=True),
        Column("low", "double", "Lower end of the interval; null where there is none.", nullable=True),
        Column("high", "double", "Upper end.", nullable=True),
    ),
    key=("horizon", "model", "baseline", "metric", "k", "slice"),
    slices=("horizon",),
)
CHAMPION = Table(
    "champion",
    "What is published: the ranker if its quality on `tune` is at least that of the best single source, else that source.",
    (
        _HORIZON,
        Column("model", "string", "ranker, or a candidate source."),
        Column("metric", "string", "What was compared, as in ndcg@10."),
        Column("ranker_value", "double", "The ranker's figure.", nullable=True),
        Column("best_source", "string", "The best single source."),
        Column("best_source_value", "double", "Its figure.", nullable=True),
        Column("reason", "string", "The decision, in words."),
    ),
    key=("horizon",),
    slices=("horizon",),
)
