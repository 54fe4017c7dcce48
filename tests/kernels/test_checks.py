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
    allow, has_allow = [[], [3, 4, 9], [], [2, 3, 4, 7]], np.array([False, True, True, True])
    for before in ((), (0, 3)):
        found = check_lists(
            ragged(lists, before), ragged(seen, before), np.array([True, True, True, False, True]), ragged(allow, before), has_allow
        )
        assert {name: counts.tolist() for name, counts in found._asdict().items()} == {
            "n_items": [4, 3, 0, 1],
            "n_repeated": [2, 0, 0, 0],
            "n_seen": [1, 0, 0, 0],
            "n_not_allowed": [0, 1, 0, 0],
            "n_unavailable": [0, 3, 0, 0],
            # 4 available items less those seen; what is not available, or no item, takes nothing away. Of the allow list 4; none; 2 and 4.
            "n_eligible": [2, 1, 0, 2],
        }


def test_no_requests_and_no_items():
    none, one = np.zeros(0, np.bool_), np.zeros(1, np.bool_)
    assert [counts.size for counts in check_lists(ragged([]), ragged([]), none, ragged([]), none)] == [0] * 6
    found = check_lists(ragged([[1]]), ragged([[]]), none, ragged([[]]), one)
    assert [counts.tolist() for counts in found] == [[1], [0], [0], [0], [1], [0]]
