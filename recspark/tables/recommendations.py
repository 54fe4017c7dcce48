"""What is published, and what stands between it and the public."""

from recspark.tables.contract import Column, Table

_HORIZON = Column("horizon", "string", "The cut that the row is computed at.")
_ITEMS = "array<struct<item_id:string,rank:int,score:float,source:string,because:array<string>,rung:string>>"

STAGED = Table(
    "staged_recommendations",
    "The recommendations before the gates.",
    (
        _HORIZON,
        Column("request_idx", "bigint", "The request."),
        Column("user_id", "string", "Their user id."),
        Column("k", "int", "How many were asked for."),
        Column("item_idxs", "array<int>", "The items, best first: what the gates check."),
        Column("items", _ITEMS, "What will be published: rank counts from 1; because holds item_ids of the user's history."),
        Column("shortfall", "string", "Why there are fewer than k, one of a few fixed reasons; empty where there are k."),
    ),
    key=("horizon", "request_idx"),
    slices=("horizon",),
)
GATES = Table(
    "gates",
    "The figures that decide whether the staged recommendations go live.",
    (
        _HORIZON,
        Column("gate", "string", "coverage, empty, duplicates, seen_leaks, unavailable, churn, quality."),
        Column("value", "double", "The figure.", nullable=True),
        Column("limit", "double", "What it is held against."),
        Column("passed", "boolean", "It holds."),
        Column("message", "string", "The figure in words."),
    ),
    key=("horizon", "gate"),
    slices=("horizon",),
)
RECOMMENDATIONS = Table(
    "recommendations",
    "The live recommendations: a row a user.",
    (
        Column("user_id", "string", "Their user id."),
        Column("items", _ITEMS, "Best first; rank counts from 1."),
        Column("horizon", "string", "The cut they were computed at."),
        Column("run_id", "string", "The run that last changed the row.", volatile=True),
    ),
    key=("user_id",),
    merge=True,
)
SIMILAR_ITEMS = Table(
    "similar_items",
    "Items like an item, for item pages.",
    (
        Column("item_id", "string", "Their item id."),
        Column("items", "array<struct<item_id:string,rank:int,score:float,support:int>>", "Most similar first; rank counts from 1."),
        Column("run_id", "string", "The run that last changed the row.", volatile=True),
    ),
    key=("item_id",),
    merge=True,
)
