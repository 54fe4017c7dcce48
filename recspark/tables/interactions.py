"""From the lake to indexed interactions: everything that is cumulative and knows no horizon, then splits and requests."""

from recspark.tables.contract import Column, Table

_DELIVERY = Column("delivery", "int", "Number of the delivery that brought the row, counted from 1.", check="delivery >= 1")
_HORIZON = Column("horizon", "string", "The cut that the row is computed at.")
_EVENT_TYPE = Column("event_type", "string", "One of the event types named in the configuration.")
_EVENT_AT = Column("event_at", "timestamp", "When it happened, UTC; null when the source has no times.", nullable=True)
_EVENT_ORDER = Column(
    "event_order",
    "bigint",
    "Sort key of a user's events: microseconds of event_at, or the source's declared order; 0 when it declares none.",
)
_VALUE = Column(
    "value", "double", "Rating, count or seconds; null when the source has none.", nullable=True, check="value is null or not isnan(value)"
)
_PART = Column(
    "part",
    "string",
    "What the source holds the event out for (splits.kind: stored): fit, tune or test, whose label it is, or context; null: learnt from.",
    nullable=True,
)
_EVENT_KEY = Column("event_key", "bigint", "Hash of all fields of the event; with the user it names one event.")

DELIVERIES = Table(
    "deliveries",
    "The files of each delivery: what has been read and is not read again.",
    (
        _DELIVERY,
        Column("source", "string", "Which source the file belongs to: events."),
        Column("path", "string", "The file."),
        Column("n_bytes", "bigint", "Its size when it was read.", nullable=True),
        Column("modified_at", "timestamp", "Its modification time when it was read.", nullable=True),
    ),
    key=("source", "path", "delivery"),
    slices=("delivery",),
)
LANDED_EVENTS = Table(
    "landed_events",
    "The newest delivery as read: one row a row of the source, with what is wrong with it.",
    (
        _DELIVERY,
        Column("user_id", "string", "Their user id.", nullable=True),
        Column("item_id", "string", "Their item id.", nullable=True),
        Column("event_type", "string", "Their event type, or the configured constant.", nullable=True),
        Column("value", "double", "Rating, count or seconds.", nullable=True),
        _EVENT_AT,
        Column("event_order", "bigint", "Sort key of a user's events.", nullable=True),
        _PART,
        Column("source_file", "string", "The file the row came from.", nullable=True),
        Column("row", "string", "The source's row as JSON, where something is wrong with it.", nullable=True),
        Column("problem", "string", "Why the row goes to quarantine; null when nothing is wrong.", nullable=True),
    ),
    key=(),
)
QUARANTINE = Table(
    "quarantine",
    "Rows that were refused, with the reason.",
    (
        _DELIVERY,
        Column("reason", "string", "The rule that the row breaks."),
        Column("row", "string", "The source's row as JSON."),
        Column("source_file", "string", "The file the row came from.", nullable=True),
        Column("run_id", "string", "The run that refused it.", volatile=True),
    ),
    key=(),
    slices=("delivery",),
)
CLEAN_EVENTS = Table(
    "clean_events",
    "Events that obey every rule, exact duplicates collapsed.",
    (
        _DELIVERY,
        Column("user_id", "string", "Their user id."),
        Column("item_id", "string", "Their item id."),
        _EVENT_TYPE,
        _VALUE,
        _EVENT_AT,
        _EVENT_ORDER,
        _PART,
        _EVENT_KEY,
    ),
    key=("user_id", "event_key"),
    slices=("delivery",),
)
INTAKE = Table(
    "intake",
    "The account of each delivery: rows_in = kept + quarantined + duplicates.",
    (
        _DELIVERY,
        Column("rows_in", "bigint", "Rows read."),
        Column("kept", "bigint", "Rows in clean_events."),
        Column("quarantined", "bigint", "Rows in quarantine."),
        Column(
            "duplicates",
            "bigint",
            "Exact repetitions within the delivery or of earlier ones.",
            check="rows_in = kept + quarantined + duplicates",
        ),
    ),
    key=("delivery",),
    slices=("delivery",),
)
CLEAN_ITEMS = Table(
    "clean_items",
    "The items source, conformed. Declared static: no attribute carries a time.",
    (
        Column("item_id", "string", "Their item id."),
        Column("title", "string", "What a person calls it.", nullable=True),
        Column("categories", "array<string>", "Its categories, in the source's order; empty when it has none."),
        Column("attributes", "map<string,string>", "Further columns named in the configuration; missing values are left out."),
        Column("available", "boolean", "May be recommended."),
    ),
    key=("item_id",),
)
CLEAN_USERS = Table(
    "clean_users",
    "The users source, conformed. Declared static.",
    (
        Column("user_id", "string", "Their user id."),
        Column("attributes", "map<string,string>", "Columns named in the configuration; missing values are left out."),
    ),
    key=("user_id",),
)
USER_LISTS = Table(
    "user_lists",
    "The lists source: items that a user blocks, or that alone may be offered. Declared static. Ids that nothing else names have no index.",
    (
        Column("user_id", "string", "Their user id."),
        Column("item_id", "string", "Their item id."),
        Column("kind", "string", "block or allow.", check="kind in ('block', 'allow')"),
        Column("user_idx", "bigint", "Ours; null where no event and no users source names the user.", nullable=True),
        Column("item_idx", "int", "Ours; null where no event and no items source names the item.", nullable=True),
    ),
    key=("user_id", "item_id", "kind"),
)
USER_INDEX = Table(
    "user_index",
    "user_id -> user_idx, dense and append-only: an id keeps its index for ever.",
    (_DELIVERY, Column("user_id", "string", "Their user id."), Column("user_idx", "bigint", "Ours, from 0.", check="user_idx >= 0")),
    key=("user_id",),
    slices=("delivery",),
    permanent=True,
)
ITEM_INDEX = Table(
    "item_index",
    "item_id -> item_idx, dense and append-only.",
    (_DELIVERY, Column("item_id", "string", "Their item id."), Column("item_idx", "int", "Ours, from 0.", check="item_idx >= 0")),
    key=("item_id",),
    slices=("delivery",),
    permanent=True,
)
INTERACTIONS = Table(
    "interactions",
    "Clean events with our indexes. Weights are computed where they are read, at the cut.",
    (
        _DELIVERY,
        Column("user_idx", "bigint", "The user."),
        Column("item_idx", "int", "The item."),
        _EVENT_TYPE,
        _VALUE,
        _EVENT_AT,
        _EVENT_ORDER,
        _PART,
        _EVENT_KEY,
    ),
    key=("user_idx", "event_key"),
    slices=("delivery",),
)
SPLITS = Table(
    "splits",
    "Roles of single events at horizons that are not a cut in time; an event without a row is learnt from.",
    (
        _HORIZON,
        Column("user_idx", "bigint", "The user."),
        _EVENT_KEY,
        Column("role", "string", "label or hidden.", check="role in ('label', 'hidden')"),
    ),
    key=("horizon", "user_idx", "event_key"),
    slices=("horizon",),
)
FLAGGED_USERS = Table(
    "flagged_users",
    "Users that models do not learn from, and that are served all the same: too active to be people, or held out by the split.",
    (
        _HORIZON,
        Column("user_idx", "bigint", "The user."),
        Column("n_events", "bigint", "Events at the cut."),
        Column("reason", "string", "The rule, in words."),
    ),
    key=("horizon", "user_idx"),
    slices=("horizon",),
)
REQUESTS = Table(
    "requests",
    "One row to be served: by default one a user, users without events included.",
    (
        _HORIZON,
        Column("request_idx", "bigint", "The request; the user's index where there is one request a user."),
        Column("user_idx", "bigint", "The user."),
        Column(
            "as_of", "timestamp", "The moment of the request: the cut, or else the user's latest event; null without times.", nullable=True
        ),
        Column("k", "int", "How many items to recommend.", check="k >= 1"),
    ),
    key=("horizon", "request_idx"),
    slices=("horizon",),
)
SEEN = Table(
    "seen",
    "Items a request must not be offered: what it has seen, by the policy, at the cut, and its lists. Requests with neither have no row.",
    (
        _HORIZON,
        Column("request_idx", "bigint", "The request."),
        Column("items", "array<int>", "Seen and blocked item indexes, ascending, distinct."),
        Column("allowed", "array<int>", "The only items it may be offered, ascending, distinct; null: any.", nullable=True),
    ),
    key=("horizon", "request_idx"),
    slices=("horizon",),
)
LABELS = Table(
    "labels",
    "What each request's user went on to do: the events that a horizon must predict, one entry an item.",
    (
        _HORIZON,
        Column("request_idx", "bigint", "The request."),
        Column("items", "array<int>", "Item indexes, ascending, distinct; masked items are left out and counted in n_seen."),
        Column("values", "array<float>", "The largest value for the item among its label events; NaN when the source has none."),
        Column("positive", "array<boolean>", "The item has a label event of `types` with value >= `min_value`."),
        Column("n_seen", "int", "Label items left out because the request must not be offered them (table seen)."),
    ),
    key=("horizon", "request_idx"),
    slices=("horizon",),
)
