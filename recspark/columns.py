"""Names and codes that more than one room writes or reads. Imports nothing."""

from typing import Final

# Event roles at a horizon.
LEARN: Final = "learn"
CONTEXT: Final = "context"
LABEL: Final = "label"
HIDDEN: Final = "hidden"

# Parts that a run gives to horizons.
FIT: Final = "fit"
TUNE: Final = "tune"
TEST: Final = "test"
SERVE: Final = "serve"
# What was held out of a part's sight is held out of the sight of all parts before it.
LATEST_FIRST: Final = (TEST, TUNE, FIT)

# Kinds of rows in `vectors` and `neighbours`.
USER: Final = "user"
ITEM: Final = "item"
REQUEST: Final = "request"

# Padding of item arrays in fixed-length lists; item indexes start at 0.
NO_CATEGORY: Final = -1
PAD_ITEM: Final = -1
# Category codes: one numbering for all categorical features of an entity.
PAD_CATEGORY: Final = 0
UNKNOWN_CATEGORY: Final = 1  # the entity has no value
OUT_OF_VOCABULARY: Final = 2  # it has one that no vocabulary holds
FIRST_CATEGORY: Final = 3
# "This source did not propose this item" in `candidates.positions`.
NOT_FOUND: Final = -1

MICROSECONDS_A_DAY: Final = 86_400_000_000

# Rungs of the fallback ladder, best first.
RUNG_RANKER: Final = "ranker"
RUNG_SOURCE: Final = "source"
RUNG_POPULARITY: Final = "popularity"
RUNGS: Final = (RUNG_RANKER, RUNG_SOURCE, RUNG_POPULARITY)

# The model name under which the deep ranker's lists are measured beside the sources'.
RANKER: Final = "ranker"
