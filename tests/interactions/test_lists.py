import pytest

from recspark.interactions.lists import count_lists, land_lists
from recspark.interactions.mapping import ListsMapping
from recspark.tables import ITEM_INDEX, USER_INDEX, USER_LISTS
from recspark.tables.contract import check_rows, conform

# user, item, kind, the line where it does not parse
ROWS = [
    ("u", "i", "block", None),
    ("u", "i", "block", None),
    ("u", "i", "allow", None),
    ("u", "new", "allow", None),
    ("nobody", "i", "block", None),
    ("u", "i", "Block", None),
    ("u", "i", None, None),
    (None, "i", "block", None),
    ("u", "  ", "block", None),
    ("u", "caf\ufffd", "block", None),
    ("u", "j", "block", "u,j,block,extra"),
]


def test_rows_of_both_kinds_with_indexes_and_an_account_of_the_rest(spark, table):
    source = spark.createDataFrame(ROWS, "who string, `what.id` string, how string, _damaged string")
    indexes = (
        table(USER_INDEX, [{"user_id": "u", "user_idx": 4}]),
        table(ITEM_INDEX, [{"item_id": "i", "item_idx": 2}, {"item_id": "j", "item_idx": 3}]),
    )
    mapping = ListsMapping(path="l.csv", columns={"user_id": "who", "item_id": "what.id", "kind": "how"})
    found = conform(land_lists(source, *indexes, mapping=mapping), USER_LISTS, "land_lists").cache()
    check_rows(found, USER_LISTS)
    assert sorted(map(tuple, found.collect()), key=str) == [
        ("nobody", "i", "block", None, 2),
        ("u", "i", "allow", 4, 2),
        ("u", "i", "block", 4, 2),
        ("u", "new", "allow", 4, None),
    ]
    account = count_lists(source, found, mapping=mapping).first().asDict()
    assert account == {"rows_in": 11, "kept": 4, "refused": 6, "repeated": 1, "unknown": 2}
    # Of one kind, whatever the file says.
    allow = ListsMapping(path="l.csv", columns={"user_id": "who", "item_id": "what.id"}, kind="allow")
    assert {(row.user_id, row.item_id, row.kind) for row in land_lists(source, *indexes, mapping=allow).collect()} == {
        ("u", "i", "allow"),
        ("u", "new", "allow"),
        ("nobody", "i", "allow"),
    }


@pytest.mark.parametrize(("columns", "kind"), [({}, None), ({"kind": "how"}, "block")])
def test_the_kind_is_said_once(columns, kind):
    with pytest.raises(ValueError, match="either map columns.kind"):
        ListsMapping(path="l.csv", columns={"user_id": "who", "item_id": "what", **columns}, kind=kind)
