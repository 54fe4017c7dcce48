"""What a task of the blocked engine makes of its events, and where the stage cannot run."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from recspark.candidates.als_stage import Fit, _load, _refuse_dynamic_allocation
from recspark.candidates.als_validation import is_held
from recspark.errors import ConfigError
from recspark.handover.peers import Peers
from tests.candidates.test_als_blocks import RECIPE
from tests.peers import as_peers


def test_the_mean_is_that_of_what_is_learnt_from() -> None:
    # 200 ratings, 1 where they are learnt from and 5 where they are held out.
    users, items = np.repeat(np.arange(20), 10), np.tile(np.arange(10), 20).astype(np.int32)
    held = is_held(users, items, 0.3, 3)
    fit = Fit(replace(RECIPE, centred=True, unobserved=0.0), True, 0.0, "nowhere", None, 1, validation_share=0.3)

    def work(peers: Peers) -> tuple[float, float, int]:
        mine = users % peers.n == peers.rank
        columns = {"user_idx": users, "item_idx": items, "weight": np.ones(200), "target": np.where(held, 5.0, 1.0)}
        found = _load({name: column[mine] for name, column in columns.items()}, 10, peers, fit)
        assert found.validation is not None
        # Held-out ones are lessened by it too.
        assert set(found.validation._held.targets) == {4.0}
        return found.mean, found.block.constant, len(found.block.by_user.others)

    for n in (1, 2):
        loaded = as_peers(n, work)
        assert [(mean, constant) for mean, constant, _ in loaded] == [(1.0, 0.0)] * n
        assert sum(n_pairs for *_, n_pairs in loaded) == np.count_nonzero(~held)


def test_dynamic_allocation_is_refused_before_spark_does() -> None:
    for enabled, master in (("false", "spark://host:7077"), ("", "spark://host:7077"), ("true", "local[2]")):
        _refuse_dynamic_allocation(enabled, master)
    with pytest.raises(ConfigError, match="dynamicAllocation.enabled is true, and .* or vectors_als.engine: mllib"):
        _refuse_dynamic_allocation("true", "spark://host:7077")
