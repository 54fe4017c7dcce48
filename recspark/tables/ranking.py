"""What rankers write: themselves, and their scores."""

from dataclasses import replace

from recspark.tables.contract import Column, Table

_HORIZON = Column("horizon", "string", "The cut that the row is computed at.")

RANKERS = Table(
    "rankers",
    "A row a trained ranker: where its artefact lies and what it is.",
    (
        _HORIZON,
        Column("folder", "string", "The artefact, below the warehouse.", volatile=True),
        Column("digest", "string", "SHA-256 of the weights.", volatile=True),
        Column(
            "card",
            "string",
            "JSON: model, parameters, feature names, input versions, curves, metrics, parameter count, seconds.",
            volatile=True,
        ),
    ),
    key=("horizon",),
    slices=("horizon",),
)
NEXT_ITEM_MODELS = replace(RANKERS, name="next_item_models", doc="A row a trained next-item model: where its artefact lies and what it is.")
SCORES = Table(
    "scores",
    "The ranker's score of every candidate of every slate.",
    (
        _HORIZON,
        Column("request_idx", "bigint", "The request."),
        Column("items", "array<int>", "The slate's candidates, in the slate's order, without padding."),
        Column("scores", "array<float>", "Logits, same order."),
    ),
    key=("horizon", "request_idx"),
    slices=("horizon",),
)
RANKED = Table(
    "ranked",
    "The ranker's list of a request, best first by (score descending, item_idx).",
    (
        _HORIZON,
        Column("request_idx", "bigint", "The request."),
        Column("items", "array<int>", "Item indexes, best first."),
        Column("scores", "array<float>", "Same order."),
    ),
    key=("horizon", "request_idx"),
    slices=("horizon",),
)
