"""Learning rates, by hand."""

import math

import pytest

from recspark.ranking.options import TrainingOptions
from recspark.ranking.schedules import learning_rate_share, n_plateaus


def shares(n: int, figures: list[float] | None = None, per_epoch: int = 2, **knobs) -> list[float]:
    options = TrainingOptions(**knobs)
    return [learning_rate_share(options, update, n, update // per_epoch, figures or []) for update in range(n)]


def test_warm_up_is_linear_by_number_or_share():
    assert shares(6, schedule="constant", warm_up=4) == [0.25, 0.5, 0.75, 1, 1, 1]
    assert shares(8, schedule="constant", warm_up=0.5) == shares(8, schedule="constant", warm_up=4)
    assert shares(3, schedule="constant", warm_up=0) == [1, 1, 1]


def test_half_a_cosine_from_the_warm_up_to_the_end():
    # After one update of warm-up, (1 + cos(pi * done)) / 2 at done = 0, 1/4, 1/2, 3/4, scaled to end at 0.2.
    expected = [1.0] + [0.2 + 0.8 * (1 + math.cos(math.pi * done)) / 2 for done in (0, 0.25, 0.5, 0.75)]
    assert shares(5, schedule="cosine", warm_up=1, final_share=0.2) == pytest.approx(expected)


def test_steps_after_every_few_epochs():
    assert shares(10, schedule="step", warm_up=0, decay=0.5, decay_epochs=2) == [1, 1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25]


def test_plateaus_are_counted_from_the_figures():
    assert n_plateaus([], 2) == 0
    assert n_plateaus([1, 2, 3], 1) == 0
    # 3 is the best; two without a better one, and two again; 4 is better.
    assert [n_plateaus([1, 3, 2, 3, 1, 1, 4, 0][:n], 2) for n in range(1, 9)] == [0, 0, 0, 1, 1, 2, 2, 2]
    assert shares(2, [1, 3, 2, 3], schedule="plateau", warm_up=0, decay=0.1, decay_epochs=2) == pytest.approx([0.1, 0.1])
