"""How good a ranker is on slates with known labels, over all processes."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from recspark.ranking.batch import SlateBatch
from recspark.ranking.losses import LOSSES, LossName, slate_ndcg, weighted_sum
from recspark.ranking.processes import Processes


def evaluate_slates(model: nn.Module, batches: Iterable[SlateBatch], processes: Processes, *, loss: LossName, k: int) -> dict[str, float]:
    """NDCG@k over the requests with a positive label (found by a source or not), and the loss as in training.

    Every process brings its own share of the slates, on its device; all get the same figures.
    """
    model.eval()
    sums = torch.zeros(4, dtype=torch.float64, device=processes.device)
    with torch.no_grad():
        for batch in batches:
            logits = model(batch)
            judged = batch.n_positives > 0
            ndcg = slate_ndcg(logits, batch.labels, batch.mask, batch.n_positives, k)[judged]
            sums[0] += ndcg.sum()
            sums[1] += judged.sum()
            sums[2] += weighted_sum(LOSSES[loss](logits, batch.labels, batch.mask), batch.weight).double()
            sums[3] += batch.weight.sum().double()
    ndcg_sum, n_judged, loss_sum, weight_sum = processes.sum(sums).tolist()
    return {"ndcg": ndcg_sum / max(n_judged, 1), "loss": loss_sum / max(weight_sum, 1e-30), "n": n_judged}
