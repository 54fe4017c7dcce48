"""Losses of a slate, and how a batch's become one number. No loss sees padding."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

LossName = Literal["softmax", "binary"]


def softmax_loss(logits: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
    """Listwise softmax cross-entropy of each slate: B x S, B x S, B x S -> B.

    -sum(y * log softmax(logits)) / sum(y) over the candidates (ListNet's top-one form with labels as targets:
    Cao et al. 2007). 0 for a slate without positives.
    """
    # Not -inf: a slate of padding alone would be nan, and 0 * nan is nan.
    log_shares = F.log_softmax(logits.masked_fill(~mask, torch.finfo(logits.dtype).min), dim=-1)
    labels = labels * mask
    return -(labels * log_shares.masked_fill(~mask, 0)).sum(-1) / labels.sum(-1).clamp(min=torch.finfo(logits.dtype).tiny)


def binary_loss(logits: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
    """Mean binary cross-entropy over the candidates of each slate: B x S, B x S, B x S -> B. 0 without candidates."""
    losses = F.binary_cross_entropy_with_logits(logits, labels, reduction="none")
    return losses.masked_fill(~mask, 0).sum(-1) / mask.sum(-1).clamp(min=1)


LOSSES: dict[LossName, Callable[[Tensor, Tensor, Tensor], Tensor]] = {"softmax": softmax_loss, "binary": binary_loss}


def weighted_sum(losses: Tensor, weight: Tensor) -> Tensor:
    """sum(weight * loss). A row of weight 0 adds nothing."""
    return (weight * losses.masked_fill(weight == 0, 0)).sum()


def slate_ndcg(logits: Tensor, labels: Tensor, mask: Tensor, n_positives: Tensor, k: int) -> Tensor:
    """NDCG@k of each slate: B. Ties go to the candidate that stands first.

    DCG = sum over the first k of label / log2(2 + position); the ideal list has min(n_positives, k) ones, found by a
    source or not. 0 where there are none.
    """
    ranked = torch.sort(logits.masked_fill(~mask, -torch.inf), dim=-1, descending=True, stable=True).indices[:, :k]
    discounts = 1 / torch.log2(torch.arange(k, dtype=torch.float64, device=logits.device) + 2)
    gains = (labels * mask).gather(1, ranked).double()
    ideal = torch.cat([discounts.new_zeros(1), discounts.cumsum(0)])[n_positives.clamp(0, k).long()]
    found = (gains * discounts[: gains.shape[1]]).sum(-1)
    return torch.where(ideal > 0, found / ideal.clamp(min=discounts[-1]), 0)
