import numpy as np

from recspark.kernels.checks import check_lists


def ragged(lists, before=()):
    """The lists behind others of the same column, as in a slice of a batch."""
    offsets = np.cumsum([len(before), *map(len, lists)])
    return offsets, np.array([*before, *(x for one in lists for x in one)], dtype=np.int32)


def test_flaws_by_hand():
    # Items 0 to 4, 3 not available.
    lists = [[0, 1, 1, 1], [3, 9, -1], [], [2]]
    seen = [[1, 4], [], [0, 1, 2, 3, 4], [3, 7]]
    for before in ((), (0, 3)):
        found = check_lists(ragged(lists, before), ragged(seen, before), np.array([True, True, True, False, True]))
        assert {name: counts.tolist() for name, counts in found._asdict().items()} == {
            "n_items": [4, 3, 0, 1],
            "n_repeated": [2, 0, 0, 0],
            "n_seen": [1, 0, 0, 0],
            "n_unavailable": [0, 3, 0, 0],
            # 4 available items less those seen; what is not available, or no item, takes nothing away.
            "n_eligible": [2, 4, 0, 4],
        }


def test_no_requests_and_no_items():
    found = check_lists(ragged([]), ragged([]), np.zeros(0, np.bool_))
    assert [counts.size for counts in found] == [0] * 5
    assert [counts.tolist() for counts in check_lists(ragged([[1]]), ragged([[]]), np.zeros(0, np.bool_))] == [[1], [0], [0], [1], [0]]
