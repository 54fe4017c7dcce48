"""How well a next-item model ranks the whole catalogue, over all processes. Shapes: B rows, H seen items, n items."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from recspark.columns import PAD_ITEM
from recspark.ranking.next_item.batch import SequenceBatch
from recspark.ranking.next_item.losses import log_normaliser
from recspark.ranking.next_item.models.next_item import NextItemModel
from recspark.ranking.processes import Processes

# Scores in memory at once (entries, 64 MB): a tile of rows x items.
TILE_SCORES = 2**24


def ranks_of_targets(users: Tensor, items: Tensor, biases: Tensor, targets: Tensor, seen: Tensor, tile_scores: int = TILE_SCORES) -> Tensor:
    """B int64: how many unseen items stand before each row's target, by (score descending, item ascending).

    users: B x E, items: n x E, biases: n, targets: B, seen: B x H (-1 padding). The target itself counts as unseen; a target
    whose score is not a number, or that is not among the items, stands behind all. Tiles of items keep memory at
    `tile_scores` entries.
    """
    n_items, n_rows = len(items), len(users)
    size = max(1, tile_scores // max(1, n_rows))
    rows = torch.arange(n_rows, device=users.device)
    known = (targets >= 0) & (targets < n_items)

    def tiles() -> Iterator[tuple[int, Tensor]]:
        for start in range(0, n_items, size):
            yield start, torch.addmm(biases[start : start + size], users, items[start : start + size].T)

    # From the same product as the others: another one could round otherwise and break ties.
    own = torch.full((n_rows,), torch.nan, device=users.device)
    for start, scores in tiles():
        here = known & (targets >= start) & (targets < start + scores.shape[1])
        own[here] = scores[rows[here], targets[here] - start]
    before = torch.zeros(n_rows, dtype=torch.int64, device=users.device)
    for start, scores in tiles():
        idx = torch.arange(start, start + scores.shape[1], device=users.device)[None]
        stands_before = (scores > own[:, None]) | ((scores == own[:, None]) & (idx < targets[:, None]))
        here = (seen >= start) & (seen < start + scores.shape[1])
        row_of = here.nonzero()[:, 0]
        stands_before[row_of, seen[here] - start] = False
        before += stands_before.sum(1)
    return torch.where(own.isnan(), n_items, before)


def evaluate_next_items(model: NextItemModel, batches: Iterable[SequenceBatch], processes: Processes, *, k: int) -> dict[str, float]:
    """Hit rate and NDCG at k of each row's last target among all items but those seen, and its softmax cross-entropy among all.

    A row is judged where it weighs anything and its last event has a target; a target beyond the catalogue is a miss, of which the loss
    says nothing. NDCG of one target is 1 / log2(rank + 2), rank
    from 0, below k. Every process brings its own share of the rows; all get the same figures.
    """
    model.eval()
    sums = torch.zeros(5, dtype=torch.float64, device=processes.device)
    with torch.no_grad():
        items, biases = model.item_vectors().float(), model.item_biases().float()
        for batch in (batch.to(processes.device) for batch in batches):
            users, rows = model.vectors(batch).float(), torch.arange(len(batch.rows), device=processes.device)
            targets = batch.targets[rows, batch.last]
            judged = (targets != PAD_ITEM) & (batch.weight > 0)
            ranks = ranks_of_targets(users, items, biases, targets, batch.seen)
            hits = (judged & (ranks < k)).double()
            known = judged & (targets < len(items))
            said = targets.masked_fill(~known, 0)
            losses = log_normaliser(users, items, biases) - (users * items[said]).sum(1) - biases[said]
            gains = hits / torch.log2(ranks.double() + 2)
            parts = (judged.double(), hits, gains, known.double(), losses.double().masked_fill(~known, 0))
            sums += torch.stack([part.sum() for part in parts])
    n_judged, hit_sum, ndcg_sum, n_known, loss_sum = processes.sum(sums).tolist()
    n = max(n_judged, 1.0)
    return {"hit_rate": hit_sum / n, "ndcg": ndcg_sum / n, "loss": loss_sum / max(n_known, 1.0)}
