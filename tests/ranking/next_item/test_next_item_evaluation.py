"""Full rankings against ten lines of numpy."""

import math

import numpy as np
import pytest
import torch

from recspark.kernels.factors import item_factors, top_items_by_factors
from recspark.kernels.masks import mask_of
from recspark.ranking.next_item.batch import to_batch, with_last_target
from recspark.ranking.next_item.evaluate import evaluate_next_items, ranks_of_targets
from recspark.ranking.next_item.models.bert4rec import Bert4RecKnobs
from recspark.ranking.next_item.models.sasrec import SasRecKnobs
from recspark.ranking.processes import this_process
from tests.ranking.next_item.sequences import N_ITEMS, build, make_sequences


def rank_by_sorting(scores: np.ndarray, target: int, seen: list[int]) -> int:
    """By (score descending, item ascending), without what was seen."""
    items = [item for item in range(len(scores)) if item == target or item not in seen]
    order = sorted(items, key=lambda item: (-scores[item], item))
    return order.index(target)


@pytest.mark.parametrize("tile", [1, 50, 10_000])
def test_ranks_are_those_of_sorting(tile):
    # Small whole numbers: many ties, and no rounding.
    rng = np.random.default_rng(0)
    users, items, biases = rng.integers(-2, 3, (40, 3)), rng.integers(-2, 3, (17, 3)), rng.integers(0, 2, 17)
    targets, seen = rng.integers(0, 17, 40), rng.integers(-1, 17, (40, 6))
    tensors = (torch.from_numpy(array.astype(np.float32)) for array in (users, items, biases))
    ranks = ranks_of_targets(*tensors, torch.from_numpy(targets), torch.from_numpy(seen), tile_scores=tile)
    scores = users @ items.T + biases
    # A target that was seen counts as not seen: nothing stands before it because of that.
    expected = [rank_by_sorting(scores[row], targets[row], seen[row].tolist()) for row in range(40)]
    assert ranks.tolist() == expected


def test_constant_scores_rank_by_item_and_not_a_number_ranks_last():
    targets = torch.tensor([0, 3, 4])
    seen = torch.tensor([[-1, -1], [1, 3], [0, 1]])
    args = torch.zeros(5, 2), torch.zeros(5), targets, seen
    assert ranks_of_targets(torch.ones(3, 2), *args).tolist() == [0, 2, 2]
    assert ranks_of_targets(torch.full((3, 2), torch.nan), *args).tolist() == [5, 5, 5]
    beyond = ranks_of_targets(torch.ones(2, 2), torch.zeros(5, 2), torch.zeros(5), torch.tensor([-1, 9]), seen[:2])
    assert beyond.tolist() == [5, 5]


@pytest.mark.parametrize("knobs", [SasRecKnobs(embedding_size=8, feedforward=8), Bert4RecKnobs(embedding_size=8, feedforward=8)])
def test_models_are_judged_by_hit_rate_ndcg_and_loss(knobs):
    columns = with_last_target(make_sequences(40))
    columns["weight"][3] = 0  # not judged
    columns["targets"][4] = -1  # has none
    columns["targets"][5, columns["length"][5] - 1] = N_ITEMS + 7  # not in the catalogue: a miss
    model = build(knobs).eval()
    with torch.no_grad():
        batch = to_batch(columns)
        scores = (model.vectors(batch) @ model.item_vectors().T + model.item_biases()).numpy()
    hits, gains, losses = [], [], []
    for row in range(40):
        if row in (3, 4):
            continue
        target = int(columns["targets"][row].max())
        if target >= N_ITEMS:
            hits.append(False)
            gains.append(0.0)
            continue
        rank = rank_by_sorting(scores[row], target, columns["items"][row].tolist())
        hits.append(rank < 3)
        gains.append(1 / math.log2(rank + 2) if rank < 3 else 0)
        losses.append(np.log(np.exp(scores[row]).sum()) - scores[row][target])
    parts = [to_batch({name: array[at] for name, array in columns.items()}) for at in (slice(0, 7), slice(7, 40))]
    figures = evaluate_next_items(model, parts, this_process(), k=3)
    assert figures == pytest.approx({"hit_rate": np.mean(hits), "ndcg": np.mean(gains), "loss": np.mean(losses)}, rel=1e-5)


def test_no_rows_have_figures_of_zero():
    assert evaluate_next_items(build(SasRecKnobs(n_heads=1)), [], this_process(), k=3) == {"hit_rate": 0.0, "ndcg": 0.0, "loss": 0.0}


def test_the_rivers_top_k_lists_what_evaluation_ranks():
    # The kernel that serves every source of vectors, with what a row has seen masked.
    columns = with_last_target(make_sequences(30))
    model = build(SasRecKnobs(embedding_size=8, feedforward=8, item_bias=True, embedding_std=0.5)).eval()
    torch.nn.init.normal_(model.item_bias)
    batch = to_batch(columns)
    with torch.no_grad():
        users, items, biases = (one.detach() for one in (model.vectors(batch), model.item_vectors(), model.item_biases()))
    targets = batch.targets.amax(1)
    ranks = ranks_of_targets(users, items, biases, targets, batch.seen)
    seen = [np.unique(row[row >= 0]) for row in columns["items"]]
    mask = mask_of(np.ones(N_ITEMS, bool), (np.r_[0, np.cumsum([len(row) for row in seen])], np.concatenate(seen)))
    factors = item_factors(np.arange(N_ITEMS), items.numpy(), biases.numpy())
    listed, _ = top_items_by_factors(users.numpy(), np.zeros(30, np.float32), factors, mask, N_ITEMS)
    assert [row.tolist().index(target) for row, target in zip(listed, targets.tolist(), strict=True)] == ranks.tolist()
