"""Losses of a slate, and how a batch's become one number. No loss sees padding.

Each takes logits, labels and mask, all B x S, and returns B: a row's loss does not depend on other rows, nor on how many
there are. What weighs is the caller's: see `weighted_sum`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from recspark.errors import TrainingError

LossName = Literal["softmax", "binary", "gbce", "bpr", "mse"]
SlateLoss = Callable[[Tensor, Tensor, Tensor], Tensor]


def _mean_candidate(losses: Tensor, mask: Tensor) -> Tensor:
    """The mean over the candidates of each slate: B x S, B x S -> B. 0 without candidates."""
    return losses.masked_fill(~mask, 0).sum(-1) / mask.sum(-1).clamp(min=1)


def softmax_loss(logits: Tensor, labels: Tensor, mask: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
    """Listwise softmax cross-entropy of each slate: B x S, B x S, B x S -> B.

    -sum(y * log softmax(logits)) / sum(y) over the candidates (ListNet's top-one form with labels as targets:
    Cao et al. 2007). 0 for a slate without positives. `label_smoothing` spreads that share of the target over all candidates.
    """
    # Not -inf: a slate of padding alone would be nan, and 0 * nan is nan.
    log_shares = F.log_softmax(logits.masked_fill(~mask, torch.finfo(logits.dtype).min), dim=-1).masked_fill(~mask, 0)
    labels = labels * mask
    total = labels.sum(-1)
    found = -(labels * log_shares).sum(-1) / total.clamp(min=torch.finfo(logits.dtype).tiny)
    if not label_smoothing:
        return found
    return (1 - label_smoothing) * found + label_smoothing * _mean_candidate(-log_shares, mask) * (total > 0)


def binary_loss(logits: Tensor, labels: Tensor, mask: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
    """Mean binary cross-entropy over the candidates of each slate: B x S, B x S, B x S -> B. 0 without candidates.

    With `label_smoothing` e the targets are e / 2 and 1 - e / 2.
    """
    targets = labels * (1 - label_smoothing) + label_smoothing / 2
    return _mean_candidate(F.binary_cross_entropy_with_logits(logits, targets, reduction="none"), mask)


def gbce_loss(logits: Tensor, labels: Tensor, mask: Tensor, *, n_items: int, calibration: float, label_smoothing: float = 0.0) -> Tensor:
    """Generalised binary cross-entropy (Petrov and Macdonald, RecSys 2023): B x S, B x S, B x S -> B. 0 without candidates.

    A slate's negatives are a share a of the catalogue, the likeliest one, and binary cross-entropy takes them for all:
    its probabilities are too high. Here the positives' loss is multiplied by b = 1 - t (1 - a): `calibration` t = 0 is
    binary cross-entropy, 1 corrects in full.
    """
    positives = labels * mask
    share = ((mask.sum(-1) - positives.sum(-1)) / max(n_items - 1, 1)).clamp(max=1)[:, None]
    targets = labels * (1 - label_smoothing) + label_smoothing / 2
    losses = -targets * (1 - calibration * (1 - share)) * F.logsigmoid(logits) - (1 - targets) * F.logsigmoid(-logits)
    return _mean_candidate(losses, mask)


def bpr_loss(logits: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
    """Bayesian personalised ranking (Rendle et al. 2009) over the slate: B x S, B x S, B x S -> B. 0 without a pair.

    The mean of -log sigmoid(s - s') over all pairs of candidates of which the first has the higher label.
    """
    pairs = (labels[:, :, None] > labels[:, None, :]) & mask[:, :, None] & mask[:, None, :]
    losses = -F.logsigmoid(logits[:, :, None] - logits[:, None, :])
    return losses.masked_fill(~pairs, 0).sum((1, 2)) / pairs.sum((1, 2)).clamp(min=1)


def mse_loss(logits: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
    """Mean squared error of labels that are values, such as ratings: B x S, B x S, B x S -> B. 0 without candidates."""
    return _mean_candidate((logits - labels).square(), mask)


def make_loss(name: LossName, *, n_items: int, label_smoothing: float = 0.0, calibration: float = 0.75) -> SlateLoss:
    """The loss of this name: B x S logits, labels and mask -> B.

    Args:
        n_items: of the catalogue; gbce asks how small a part of it a slate is.
        label_smoothing: of softmax, binary and gbce.
        calibration: of gbce.

    Raises:
        TrainingError: no loss has this name, or it has no targets to smooth.
    """
    smoothed: dict[str, SlateLoss] = {
        "softmax": partial(softmax_loss, label_smoothing=label_smoothing),
        "binary": partial(binary_loss, label_smoothing=label_smoothing),
        "gbce": partial(gbce_loss, n_items=n_items, calibration=calibration, label_smoothing=label_smoothing),
    }
    plain: dict[str, SlateLoss] = {"bpr": bpr_loss, "mse": mse_loss}
    if name not in smoothed | plain:
        raise TrainingError(f"there is no loss {name!r}; there are: {', '.join(get_args(LossName))}")
    if label_smoothing and name in plain:
        raise TrainingError(
            f"label_smoothing is {label_smoothing}, but the loss {name} has no targets to smooth: set it to 0, or choose {', '.join(smoothed)}"
        )
    return (smoothed | plain)[name]


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
