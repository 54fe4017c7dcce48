"""Every table of the warehouse, in flow order."""

from recspark.tables.candidates import CANDIDATES, EXAMPLES, NEIGHBOURS, SOURCE_CANDIDATES, VECTORS
from recspark.tables.contract import STAMPED, Column, Table
from recspark.tables.evaluation import CHAMPION, METRICS, PREDICTIONS
from recspark.tables.features import ACTIVITY, CONTEXTS, FEATURE_STATS, HISTORIES, ITEM_FEATURES, POPULARITY, SEQUENCES, USER_FEATURES
from recspark.tables.interactions import (
    CLEAN_EVENTS,
    CLEAN_ITEMS,
    CLEAN_USERS,
    DELIVERIES,
    FLAGGED_USERS,
    INTAKE,
    INTERACTIONS,
    ITEM_INDEX,
    LABELS,
    LANDED_EVENTS,
    QUARANTINE,
    REQUESTS,
    SEEN,
    SPLITS,
    USER_INDEX,
    USER_LISTS,
)
from recspark.tables.ranking import NEXT_ITEM_MODELS, RANKED, RANKERS, SCORES
from recspark.tables.recommendations import GATES, RECOMMENDATIONS, SIMILAR_ITEMS, STAGED
from recspark.tables.runs import RUNS

TABLES: tuple[Table, ...] = (
    DELIVERIES,
    LANDED_EVENTS,
    QUARANTINE,
    CLEAN_EVENTS,
    INTAKE,
    CLEAN_ITEMS,
    CLEAN_USERS,
    USER_INDEX,
    ITEM_INDEX,
    USER_LISTS,
    INTERACTIONS,
    SPLITS,
    FLAGGED_USERS,
    REQUESTS,
    SEEN,
    ACTIVITY,
    HISTORIES,
    POPULARITY,
    FEATURE_STATS,
    ITEM_FEATURES,
    USER_FEATURES,
    CONTEXTS,
    SEQUENCES,
    NEXT_ITEM_MODELS,
    VECTORS,
    NEIGHBOURS,
    SOURCE_CANDIDATES,
    CANDIDATES,
    LABELS,
    EXAMPLES,
    RANKERS,
    SCORES,
    RANKED,
    PREDICTIONS,
    METRICS,
    CHAMPION,
    STAGED,
    GATES,
    RECOMMENDATIONS,
    SIMILAR_ITEMS,
    RUNS,
)

__all__ = ["STAMPED", "TABLES", "Column", "Table", *(table for table in dir() if table.isupper() and table not in ("STAMPED", "TABLES"))]
