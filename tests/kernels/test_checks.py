import numpy as np

from recspark.kernels.checks import check_lists
from recspark.kernels.masks import NO_QUOTA, mask_of, quota_of


def ragged(lists, before=()):
    """The lists behind others of the same column, as in a slice of a batch."""
    offsets = np.cumsum([len(before), *map(len, lists)])
    return offsets, np.array([*before, *(x for one in lists for x in one)], dtype=np.int32)


def checked(lists, seen, available, k, allow=None, quota=NO_QUOTA, before=()):
    has_allow = np.array([one is not None for one in allow or [None] * len(lists)], np.bool_)
    allow_lists = ragged([one or [] for one in allow or [None] * len(lists)], before)
    mask = mask_of(np.array(available, np.bool_), ragged(seen, before), allow_lists, has_allow, quota)
    found = check_lists(ragged(lists, before), mask, np.full(len(lists), k))
    return {name: counts.tolist() for name, counts in found._asdict().items()}


def test_flaws_by_hand():
    # Items 0 to 4, 3 not available.
    lists = [[0, 1, 1, 1], [3, 9, -1], [], [2]]
    seen = [[1, 4], [], [0, 1, 2, 3, 4], [3, 7]]
    allow = [None, [3, 4, 9], [], [2, 3, 4, 7]]
    for before in ((), (0, 3)):
        assert checked(lists, seen, [1, 1, 1, 0, 1], 5, allow, before=before) == {
            "n_items": [4, 3, 0, 1],
            "n_repeated": [2, 0, 0, 0],
            "n_seen": [1, 0, 0, 0],
            "n_not_allowed": [0, 1, 0, 0],
            "n_unavailable": [0, 3, 0, 0],
            "n_over_quota": [0, 0, 0, 0],
            # 4 available items less those seen and listed: 2. Of what is allowed 4; nothing; 4.
            "n_left": [1, 1, 0, 1],
        }
    # Lists that are long enough have nothing to add.
    assert checked(lists, seen, [1, 1, 1, 0, 1], 3, allow)["n_left"] == [0, 0, 0, 1]


def test_quotas_by_hand():
    # Item 0 of no category, 1 of 0, 2 of 0 and 1, 3 of 1, 4 of 0, 5 beyond the list of categories; one of each.
    quota = quota_of(np.array([1, 2, 2, 3, 4]), np.array([0, 0, 1, 1, 0], np.int32), 1)
    found = checked([[1, 2, 3], [2], [1, 1], [0, 5]], [[], [0], [], [1, 4]], [1] * 6, 6, quota=quota)
    # 1 and 2 are of one category, 2 and 3 of the other; an item that stands twice is one.
    assert found["n_over_quota"] == [2, 0, 0, 0]
    # 0 and 5; 5; 0, 3 and 5; 2 and 3.
    assert found["n_left"] == [2, 1, 3, 2]


def test_no_requests_and_no_items():
    assert {tuple(counts) for counts in checked([], [], [], 1).values()} == {()}
    assert list(checked([[1]], [[]], [], 1).values()) == [[1], [0], [0], [0], [1], [0], [0]]
