"""Which horizon this run gives to which part, and what a past horizon keeps."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from datetime import datetime

from recspark.interactions.horizons import SplitSpec, plan_horizons
from recspark.runtime.deliveries import Intake
from recspark.runtime.inputs import Inputs
from recspark.runtime.ledger import Ledger
from recspark.tables.horizon import Horizon
