"""A few users as a person can judge them: what they did last, what they are offered, and because of what."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from pyspark.sql import functions as F

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from recspark.runtime.summary import Read

N_HISTORY = 8
N_SHOWN = 10


def _pick(histories: DataFrame, max_users: int) -> dict[int, dict[str, Any]]:
    """Requests with histories of middling length, and one without history where there is one; the same ones every time."""
    histories = histories.select("request_idx", "items", "length")
    known = histories.where("length > 0")
    median = known.agg(F.percentile_approx("length", 0.5)).collect()[0][0]
    cold = histories.where("length = 0").orderBy("request_idx").limit(1).collect()[: max_users - 1]
    warm = (
        []
        if median is None
        else known.orderBy(F.abs(F.col("length") - median), F.xxhash64("request_idx")).limit(max_users - len(cold)).collect()
    )
    return {
        int(row.request_idx): {"length": row["length"], "items": row["items"][: row["length"]][::-1][:N_HISTORY]} for row in [*warm, *cold]
    }


def _lookup(frame: DataFrame | None, key: str, value: str, keys: Iterable[Any]) -> dict[Any, Any]:
    """`key` -> `value` of the few rows with these keys."""
    if frame is None:
        return {}
    return {row[key]: row[value] for row in frame.where(F.col(key).isin(sorted(set(keys)))).select(key, value).collect()}


def show_users(read: Read, part: str, max_users: int) -> list[dict[str, Any]]:
    """`max_users` requests of `part`: their latest events, newest first, and their recommendations, with titles where there are any."""
    histories, requests = read("histories", part), read("requests", part)
    live = read("recommendations")
    offered = live if live is not None else read("staged_recommendations", part)
    if histories is None or requests is None or offered is None or max_users < 1:
        return []
    picked = _pick(histories, max_users)
    user_of_request = _lookup(requests, "request_idx", "user_idx", picked)
    user_ids = _lookup(read("user_index"), "user_idx", "user_id", user_of_request.values())
    offers = _lookup(offered, "user_id", "items", user_ids.values())
    item_ids = _lookup(read("item_index"), "item_idx", "item_id", (idx for one in picked.values() for idx in one["items"]))
    named = {*item_ids.values(), *(item.item_id for items in offers.values() for item in items), *_because(offers)}
    titles = _lookup(read("clean_items"), "item_id", "title", named)

    def name(item_id: str) -> str:
        return titles.get(item_id) or item_id

    users = []
    for request, one in picked.items():
        user_id = user_ids.get(user_of_request.get(request))
        items = sorted(offers.get(user_id, []), key=lambda item: item.rank)[:N_SHOWN]
        users.append(
            {
                "user_id": user_id,
                "n_history": one["length"],
                # Once an item, however often they came back to it.
                "history": list(dict.fromkeys(name(item_ids[idx]) for idx in one["items"] if idx in item_ids)),
                "recommendations": [
                    {
                        "rank": item.rank,
                        "item_id": item.item_id,
                        "title": name(item.item_id),
                        "score": item.score,
                        "source": item.source,
                        "rung": item.rung,
                        "because": [name(item_id) for item_id in item.because or []],
                    }
                    for item in items
                ],
            }
        )
    return users


def _because(offers: dict[Any, Any]) -> Iterable[str]:
    return (item_id for items in offers.values() for item in items for item_id in item.because or [])
