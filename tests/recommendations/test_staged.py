import numpy as np
import pytest
from pyspark.errors import PythonException
from pyspark.sql import functions as F

from jobs.staged_recommendations import JOB
from recspark.errors import ConfigError
from recspark.handover.arrays import publish
from recspark.recommendations.staged import NOTHING, TOO_FEW, build_staged
from recspark.tables import (
    CANDIDATES,
    CHAMPION,
    HISTORIES,
    ITEM_INDEX,
    RANKED,
    REQUESTS,
    SEEN,
    SOURCE_CANDIDATES,
    STAGED,
    USER_INDEX,
    USER_LISTS,
)
from recspark.tables.contract import Table, check_rows, conform

RETURNED = Table(STAGED.name, STAGED.doc, STAGED.columns[1:], ("request_idx",))
N_ITEMS = 8
NO_NEIGHBOURS = {"idx": np.zeros(0, np.int64), "neighbour_idx": np.zeros(0, np.int64), "score": np.zeros(0, np.float32)}


@pytest.fixture(scope="module")
def arrays(tmp_path_factory):
    """Items 0 to 7, 6 not available. By popularity: 5, then 1 and 2 alike, then 6; nobody knows 0, 3, 4 and 7."""
    folder = str(tmp_path_factory.mktemp("arrays"))
    parts = {
        "item_popularity": {"item_idx": np.array([1, 2, 5, 6], np.int32), "score": np.array([2.0, 2.0, 9.0, 1.0])},
        "item_features": {
            "item_idx": np.arange(8, dtype=np.int32),
            "available": np.arange(8) != 6,
            "quota_categories": np.full((8, 1), -1),
            "quota": np.zeros(8, np.int32),
        },
        # 3 is like 0 (0.9) and 1 (0.4).
        "knn_neighbours": {"idx": np.array([0, 1]), "neighbour_idx": np.array([3, 3]), "score": np.array([0.9, 0.4], np.float32)},
        # By the walks, 3 is like 2.
        "walk_neighbours": {"idx": np.array([2]), "neighbour_idx": np.array([3]), "score": np.array([0.1], np.float32)},
        "next_neighbours": NO_NEIGHBOURS,
        "ease_neighbours": NO_NEIGHBOURS,
        # 4 points as 2 does.
        "als_vectors": {"idx": np.array([2, 4]), "vector": np.array([[1, 0], [2, 0]], np.float32)},
        # 3 points as 1 does.
        "next_item_vectors": {"idx": np.array([1, 3]), "vector": np.array([[0, 1], [0, 2]], np.float32)},
    }
    return {name: publish(part, folder) for name, part in parts.items()}


SOURCES = ["als", "popular"]


def fused(request_idx, one):
    """The row of `candidates`: items of both sources by (sum of 1 / (60 + place), item), their positions and scores."""
    lists = [one.get(source, []) for source in SOURCES]
    places = {item: [lst.index(item) if item in lst else -1 for lst in lists] for item in sorted({item for lst in lists for item in lst})}
    items = sorted(places, key=lambda item: -sum(1 / (61 + place) for place in sorted(places[item]) if place >= 0))
    positions = [place for item in items for place in places[item]]
    return {
        "request_idx": request_idx,
        "items": items,
        "positions": positions,
        "scores": [5.0 - place if place >= 0 else 0.0 for place in positions],
    }


def frames(table, requests, champion="ranker"):
    """requests: {request_idx: {k, history, seen, ranker, SOURCE}}; what is left out has no row."""
    lists = {"ranker": [], "als": [], "popular": []}
    for r, one in requests.items():
        for name, rows in lists.items():
            if name in one:
                scores = [5.0 - place for place in range(len(one[name]))]
                rows.append({"request_idx": r, "source": name, "items": one[name], "scores": scores})
    histories = [
        {"request_idx": r, "items": [*one["history"], -1], "length": len(one["history"])} for r, one in requests.items() if "history" in one
    ]
    return {
        "requests": table(REQUESTS, [{"request_idx": r, "user_idx": 100 + r, "k": one.get("k", 3)} for r, one in requests.items()]),
        "source_candidates": table(SOURCE_CANDIDATES, lists["als"] + lists["popular"]),
        "candidates": table(CANDIDATES, [fused(r, one) for r, one in requests.items()]),
        "champion": table(CHAMPION, [{"model": champion}]),
        "seen": table(
            SEEN, [{"request_idx": r, "items": sorted(one.get("seen", [])), "allowed": one.get("allowed")} for r, one in requests.items()]
        ),
        "histories": table(HISTORIES, histories),
        "item_index": table(ITEM_INDEX, [{"item_id": f"item-{i}", "item_idx": i} for i in range(N_ITEMS)]),
        "user_index": table(USER_INDEX, [{"user_id": f"user-{100 + r}", "user_idx": 100 + r} for r in requests]),
        "ranked": table(RANKED, lists["ranker"]),
        "user_lists": None,
    }


def staged(table, arrays, requests, champion="ranker", **knobs):
    inputs = frames(table, requests, champion) | knobs.pop("inputs", {})
    frame = conform(build_staged(**inputs, **arrays, **{"sources": SOURCES, **knobs}), RETURNED, "build_staged").cache()
    check_rows(frame, RETURNED)
    return {row.request_idx: row for row in frame.collect()}


def items(row):
    return [tuple(one) for one in row["items"]]


@pytest.fixture(scope="module")
def filled():
    return {}


@pytest.fixture
def ladder(table, arrays, filled):
    """The lists of the requests by hand, computed once."""
    requests = {
        # Warm: the ranker's 3; 4 from als; then popularity.
        1: {"k": 4, "history": [0, 1, 2], "seen": [0, 1, 2], "ranker": [2, 3], "als": [4, 3], "popular": [3]},
        # Cold, though lists hold it.
        2: {"k": 3, "history": [], "ranker": [3, 0], "als": [4], "popular": [5, 1]},
        # Everything seen.
        3: {"k": 2, "history": [0], "seen": list(range(8)), "ranker": [1]},
        # Two left.
        4: {"k": 4, "history": [5], "seen": [5, 0, 3, 1, 2], "als": [4]},
        # No list has enough: popularity, then the rest by index, without 6.
        5: {"k": 7},
        # Only the ranker knows 7.
        6: {"k": 1, "history": [0], "ranker": [7]},
        # 2, 3 and 5 may be had; 5 is seen.
        7: {"k": 3, "history": [5], "seen": [5], "ranker": [7, 3], "als": [4, 3], "allowed": [2, 3, 5]},
    }
    if not filled:
        filled |= staged(table, arrays, requests)
    return filled


def test_rungs_sources_scores_and_reasons(ladder):
    assert items(ladder[1]) == [
        # 3 stands second in als, first in popular, which has no reasons.
        ("item-3", 1, 4.0, "popular", [], "ranker"),
        # 4 is like nothing; its vector points as that of 2.
        ("item-4", 2, 5.0, "als", ["item-2"], "source"),
        ("item-5", 3, 9.0, "popular", [], "popularity"),
        ("item-7", 4, 0.0, "popular", [], "popularity"),
    ]
    assert (ladder[1].user_id, ladder[1].k, ladder[1].item_idxs, ladder[1].shortfall) == ("user-101", 4, [3, 4, 5, 7], "")


def test_a_cold_user_gets_the_popularity_rung_whatever_the_lists_say(ladder):
    assert items(ladder[2]) == [
        ("item-5", 1, 9.0, "popular", [], "popularity"),
        ("item-1", 2, 2.0, "popular", [], "popularity"),
        ("item-2", 3, 2.0, "popular", [], "popularity"),
    ]


def test_all_seen_gets_nothing_and_says_so(ladder):
    assert (items(ladder[3]), ladder[3].item_idxs, ladder[3].shortfall) == ([], [], NOTHING)


def test_fewer_eligible_than_k_gets_those_and_says_so(ladder):
    # 4 is the source's, and like nothing of the history; 7 is the rest.
    assert items(ladder[4]) == [("item-4", 1, 5.0, "als", [], "source"), ("item-7", 2, 0.0, "popular", [], "popularity")]
    assert (ladder[4].shortfall, ladder[4].k, len(ladder[4].item_idxs)) == (TOO_FEW, 4, 2)


def test_an_allow_list_holds_for_what_is_published(ladder):
    assert (ladder[7].item_idxs, ladder[7].shortfall) == ([3, 2], TOO_FEW)


def test_the_last_rung_ends_with_items_nobody_knows(ladder):
    assert (ladder[5].item_idxs, ladder[5].shortfall) == ([5, 1, 2, 0, 3, 4, 7], "")


REQUESTS_OF_SOURCES = {1: {"k": 3, "history": [2], "ranker": [0], "als": [3, 4], "popular": [4, 1]}}


def test_a_source_is_champion(table, arrays):
    row = staged(table, arrays, REQUESTS_OF_SOURCES, champion="als")[1]
    assert [(one.item_id, one.source, one.rung) for one in row["items"]] == [
        ("item-3", "als", "source"),
        ("item-4", "als", "source"),
        ("item-1", "popular", "source"),
    ]


def test_without_the_rankers_lists_the_sources_fused(table, arrays):
    # 4 stands in both lists; 3 before 1.
    row = staged(table, arrays, REQUESTS_OF_SOURCES, inputs={"ranked": None})[1]
    assert [(one.item_id, one.source, one.score) for one in row["items"]] == [
        ("item-4", "popular", 5.0),
        ("item-3", "als", 5.0),
        ("item-1", "popular", 4.0),
    ]


def test_an_item_of_the_ranker_alone_is_the_rankers(ladder):
    assert items(ladder[6]) == [("item-7", 1, 5.0, "ranker", [], "ranker")]


def test_no_neighbours_no_vectors_no_popularity(table, arrays, tmp_path):
    empty = {
        "item_popularity": {"item_idx": np.zeros(0, np.int32), "score": np.zeros(0)},
        "knn_neighbours": NO_NEIGHBOURS,
        "walk_neighbours": NO_NEIGHBOURS,
        "als_vectors": {"idx": np.zeros(0, np.int64), "vector": np.zeros(0, np.float32)},
    }
    nothing = {name: publish(part, str(tmp_path)) for name, part in empty.items()}
    row = staged(table, arrays | nothing, {1: {"k": 2, "history": [1, 2], "als": [3]}}, n_because=1)[1]
    assert [(one.item_id, one.because) for one in row["items"]] == [("item-3", []), ("item-0", [])]


def by_source(table, arrays, source, lists=None, history=(2, 1, 0), **knobs):
    """The reasons of 3, which `source` proposes."""
    request = {1: {"k": 1, "history": list(history), "als": [3]}}
    proposed = frames(table, request)["source_candidates"].withColumn("source", F.lit(source))
    inputs = {"source_candidates": proposed, **({"user_lists": table(USER_LISTS, lists)} if lists else {})}
    row = staged(table, arrays, request, champion=source, sources=[source, "popular"], inputs=inputs, **knobs)[1]
    assert [(one.item_id, one.source) for one in row["items"]] == [("item-3", source)]
    return row["items"][0].because


def test_reasons_are_those_of_the_source_that_made_the_row(table, arrays, tmp_path):
    # 3 is like 0 and 1 by item_knn, like 2 by the walks, like nothing by ALS, like 1 by what comes next; of people's neighbours speaks what they use.
    expected = {
        "item_knn": ["item-0", "item-1"],
        "rp3beta": ["item-2"],
        "user_knn": ["item-0", "item-1"],
        "als": [],
        "next_item": ["item-1"],
    }
    assert {source: by_source(table, arrays, source) for source in expected} == expected
    # Whose lists are added up is the source's own setting: 1 stands in that of 3.
    turned = publish({"idx": np.array([3]), "neighbour_idx": np.array([1]), "score": np.array([0.9], np.float32)}, str(tmp_path))
    for lists_of, reasons in (("candidates", ["item-1"]), ("history", [])):
        assert by_source(table, arrays | {"walk_neighbours": turned}, "rp3beta", lists_of={"rp3beta": lists_of}) == reasons


def test_a_source_whose_model_is_switched_off_has_no_reasons(table, arrays):
    assert by_source(table, arrays | {"knn_neighbours": None}, "item_knn") == []
    assert by_source(table, arrays | {"als_vectors": None}, "als") == []


def test_what_the_user_blocks_is_no_reason(table, arrays):
    lists = [
        {"user_id": "user-101", "item_id": "item-0", "kind": "block", "user_idx": 101, "item_idx": 0},
        {"user_id": "user-101", "item_id": "item-1", "kind": "allow", "user_idx": 101, "item_idx": 1},
        {"user_id": "user-7", "item_id": "item-1", "kind": "block", "user_idx": 7, "item_idx": 1},
        {"user_id": "user-101", "item_id": "item-99", "kind": "block", "user_idx": 101, "item_idx": None},
    ]
    assert by_source(table, arrays, "item_knn", lists) == ["item-1"]
    # Who blocks all of their history is no newcomer.
    assert by_source(table, arrays, "item_knn", lists, history=[0]) == []


def test_neighbours_and_vectors_are_optional_and_of_one_source_each():
    inputs = {one.parameter: one for one in JOB.inputs}
    of = {"knn_neighbours": "item_knn", "next_neighbours": "item_next", "walk_neighbours": "rp3beta", "ease_neighbours": "ease"}
    for parameter, source in {**of, "als_vectors": "als", "next_item_vectors": "next_item"}.items():
        assert inputs[parameter].optional
        assert inputs[parameter].source == source


def test_partitions_and_row_order_change_nothing(table, arrays):
    rng = np.random.default_rng(5)
    requests = {
        r: {
            "k": int(rng.integers(1, 9)),
            "history": rng.permutation(N_ITEMS)[: rng.integers(0, 5)].tolist(),
            "seen": np.sort(rng.permutation(N_ITEMS)[: rng.integers(0, 5)]).tolist(),
            **{name: rng.permutation(N_ITEMS)[: rng.integers(0, 4)].tolist() for name in ("ranker", "als", "popular")},
        }
        for r in range(40)
    }

    def built(n):
        order = rng.permutation(len(requests)).tolist()
        shuffled = {name: frame and frame.repartition(n) for name, frame in frames(table, {r: requests[r] for r in order}).items()}
        return build_staged(**shuffled, **arrays, sources=SOURCES).orderBy("request_idx").collect()

    one = built(1)
    for row in one:
        asked = requests[row.request_idx]
        eligible = set(range(N_ITEMS)) - {6} - set(asked["seen"])
        assert len(set(row.item_idxs)) == len(row.item_idxs) == min(asked["k"], len(eligible))
        assert set(row.item_idxs) <= eligible
        assert [(i.item_id, i.rank) for i in row["items"]] == [(f"item-{item}", place + 1) for place, item in enumerate(row.item_idxs)]
        assert row.shortfall == ("" if len(row.item_idxs) == asked["k"] else TOO_FEW if row.item_idxs else NOTHING)
        assert not any(i.because for i in row["items"] if i.source in ("popular", "ranker"))
        assert asked["history"] or {i.rung for i in row["items"]} <= {"popularity"}
    for n in (2, 7):
        assert built(n) == one


def test_a_champion_that_is_no_source_is_named(table, arrays):
    with pytest.raises(PythonException, match=r"the champion is 'graph', which is none of staged_recommendations\.sources"):
        staged(table, arrays, REQUESTS_OF_SOURCES, champion="graph")


def test_candidates_of_other_sources_are_named(table, arrays):
    with pytest.raises(PythonException, match="is not one for each of the sources"):
        staged(table, arrays, REQUESTS_OF_SOURCES, sources=["als", "popular", "graph"])


@pytest.mark.parametrize("knobs", [{"sources": []}, {"sources": ["als", "als"]}, {"sources": ["ranker"]}])
def test_knobs_out_of_range(knobs):
    with pytest.raises(ConfigError, match=f"staged_recommendations.{next(iter(knobs))} is "):
        build_staged(*[None] * 18, **knobs)
