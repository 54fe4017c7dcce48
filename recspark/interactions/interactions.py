"""Clean events -> interactions: their ids replaced by our indexes."""

from __future__ import annotations

from pyspark.sql import DataFrame

from recspark.tables.lineage import NewRows

COLUMNS = ("user_idx", "item_idx", "event_type", "value", "event_at", "event_order", "part", "event_key")


def index_events(clean_events: NewRows, user_index: DataFrame, item_index: DataFrame) -> DataFrame:
    """`interactions` of this delivery: every clean event, by index. Both indexes hold every id of the delivery."""
    with_users = clean_events.join(user_index.select("user_id", "user_idx"), "user_id")
    return with_users.join(item_index.select("item_id", "item_idx"), "item_id").select(*COLUMNS)
