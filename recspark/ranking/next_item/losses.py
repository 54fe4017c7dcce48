"""Losses of next-item models. Shapes: P positions that have a target, E embedding size, n items, K negatives.

Each position's loss is made on its own; `next_item_loss` says what a row of the batch costs and weighs.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field, PositiveInt
from torch import Tensor
from torch.autograd.function import once_differentiable

from recspark.ranking.next_item.batch import SequenceBatch
from recspark.ranking.next_item.models.next_item import NextItemModel

NextItemLossName = Literal["softmax", "sampled_softmax", "in_batch", "bpr", "binary", "gbce"]
SAMPLED: frozenset[NextItemLossName] = frozenset({"sampled_softmax", "bpr", "binary", "gbce"})
# Logits kept from the forward pass for the backward one, at most (entries, 256 MB): beyond, they are computed twice.
KEPT_LOGITS = 2**26
# Logits computed at once (entries): few enough to stay in a CPU's cache.
CHUNK_LOGITS = {"cpu": 2**20, "cuda": 2**27}


class NextItemLossKnobs(BaseModel):
    """What can be set about the loss; in the configuration, `loss` of the next-item model."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True)

    name: NextItemLossName = "softmax"
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0  # softmax only
    n_negatives: PositiveInt = 256  # a row, which its positions share; of the sampled losses
    alpha: Annotated[float, Field(ge=0)] = 0.0  # negatives are drawn by popularity to this power; 0: uniformly
    calibration: Annotated[float, Field(ge=0, le=1)] = 0.75  # gbce only: t of its paper


class _LogNormaliser(torch.autograd.Function):
    """log sum over items of exp(states . items + biases), in chunks of positions: P x E, n x E, n -> P.

    The logits of one chunk are all that is in memory beside those that are kept (see KEPT_LOGITS).
    """

    @staticmethod
    def forward(ctx: Any, states: Tensor, items: Tensor, biases: Tensor | None) -> Tensor:
        kind = states.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else states.dtype
        ctx.size = max(1, CHUNK_LOGITS.get(kind, 2**24) // len(items))
        ctx.dtypes = states.dtype, items.dtype
        states, items = states.to(dtype), items.to(dtype)
        keeps = len(states) * len(items) <= KEPT_LOGITS and any(ctx.needs_input_grad)
        ctx.kept = []
        sums, summed = [], torch.promote_types(dtype, torch.float32)
        with torch.autocast(kind, enabled=False):
            for chunk in states.split(ctx.size):
                logits = _logits(chunk, items, biases)
                largest = logits.amax(1, keepdim=True)
                shares = logits.sub_(largest).exp_()
                total = shares.sum(1, keepdim=True, dtype=summed)
                sums.append((total.log() + largest).squeeze(1))
                ctx.kept.append((shares, total) if keeps else None)
        log_sums = torch.cat(sums) if sums else states.new_zeros(0, dtype=summed)
        ctx.save_for_backward(states, items, biases, log_sums)
        return log_sums

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        (gradient,) = gradients
        states, items, biases, log_sums = ctx.saved_tensors
        of_states = torch.empty_like(states, dtype=ctx.dtypes[0])
        of_items = torch.zeros_like(items, dtype=log_sums.dtype)
        of_biases = None if biases is None else torch.zeros_like(biases)
        with torch.autocast(states.device.type, enabled=False):
            for i, start in enumerate(range(0, len(states), ctx.size)):
                part = slice(start, start + ctx.size)
                # Written over, so once only.
                kept, ctx.kept[i] = ctx.kept[i], None
                if kept is not None:
                    shares, total = kept
                    shares = shares.mul_((gradient[part, None] / total).to(shares.dtype))
                else:
                    logits = _logits(states[part], items, biases)
                    shares = logits.sub_(log_sums[part, None]).exp_().mul_(gradient[part, None])
                of_states[part] = shares @ items
                if of_items.dtype == shares.dtype:
                    of_items.addmm_(shares.T, states[part])
                else:
                    of_items += shares.T @ states[part]
                if of_biases is not None:
                    of_biases += shares.sum(0)
        return of_states, of_items.to(ctx.dtypes[1]), of_biases


def _logits(states: Tensor, items: Tensor, biases: Tensor | None) -> Tensor:
    return states @ items.T if biases is None else torch.addmm(biases.to(states.dtype), states, items.T)


def log_normaliser(states: Tensor, items: Tensor, biases: Tensor | None = None) -> Tensor:
    """P: log sum over items of exp(score), as precise as the autocast type; see `_LogNormaliser`."""
    summed: Tensor = _LogNormaliser.apply(states, items, biases)  # type: ignore[no-untyped-call]
    return summed


def softmax_loss(positive: Tensor, normaliser: Tensor, mean_score: Tensor, label_smoothing: float) -> Tensor:
    """P: -log share of the target among all items, where `label_smoothing` of the target is spread evenly over them."""
    return normaliser - (1 - label_smoothing) * positive - label_smoothing * mean_score


def sampled_softmax_loss(positive: Tensor, negative: Tensor, log_odds: Tensor) -> Tensor:
    """P: softmax cross-entropy against K negatives: P, P x K, P x K -> P (Bengio & Senécal 2008; logQ correction).

    Each negative stands for 1 / odds items, odds being how often it is drawn on average: the sum estimates that over all
    items that could be drawn, without bias.
    """
    return torch.logsumexp(torch.cat([positive[:, None], negative - log_odds], dim=1), dim=1) - positive


def in_batch_loss(scores: Tensor, counted: Tensor, own: Tensor, log_popularity: Tensor) -> Tensor:
    """P: softmax cross-entropy among the M different targets of the batch (P x M scores), `own` (P) being each one's place.

    counted: P x M bool, which others may stand against it. An item of popularity q is among the other P - 1 targets with probability
    1 - (1 - q)^(P - 1) and stands for as many items as the inverse says: logQ correction (Yi et al., RecSys 2019) for a set.
    """
    n_others = max(1, len(scores) - 1)
    present = torch.log(-torch.expm1(n_others * torch.log1p(-log_popularity.exp().clamp(max=1 - 1e-6))))
    is_own = torch.arange(scores.shape[1], device=scores.device)[None] == own[:, None]
    corrected = torch.where(is_own, scores, (scores - present).masked_fill(~counted, -torch.inf))
    return torch.logsumexp(corrected, dim=1) - scores.gather(1, own[:, None]).squeeze(1)


def bpr_loss(positive: Tensor, negative: Tensor) -> Tensor:
    """P: mean over K negatives of -log sigmoid(positive - negative) (Rendle et al., UAI 2009)."""
    return F.softplus(negative - positive[:, None]).mean(1)


def binary_loss(positive: Tensor, negative: Tensor, beta: float = 1.0) -> Tensor:
    """P: mean binary cross-entropy of the target and K negatives, the target's share to the power beta."""
    return (beta * F.softplus(-positive) + F.softplus(negative).sum(1)) / (negative.shape[1] + 1)


def gbce_beta(n_negatives: int, n_items: int, calibration: float) -> float:
    """Beta of the generalised binary cross-entropy (Petrov & Macdonald, RecSys 2023, equation 16).

    With few negatives a model grows overconfident. At calibration 0 beta is 1 (plain), at 1 it is the sampling rate and
    scores become those of the full softmax.
    """
    rate = min(1.0, n_negatives / max(1, n_items - 1))
    return rate * (calibration * (1 - 1 / rate) + 1 / rate)


def next_item_loss(
    model: NextItemModel, batch: SequenceBatch, knobs: NextItemLossKnobs, log_popularity: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """What each row of the batch costs, and what it weighs: B, B.

    A row's loss is the mean over its positions that have a target, its weight the row's own times their number: the whole is
    the weighted mean over positions. `log_popularity` (n) is needed by `in_batch` alone, whose negatives are the targets of
    this process's rows: it is the one loss that depends on how many processes share a batch.
    """
    states: Tensor = model(batch)
    learns = (batch.targets >= 0) & (batch.targets < model.catalogue.n_items)
    row_of = learns.nonzero()[:, 0]
    losses = _position_losses(model, states, batch, learns, row_of, knobs, log_popularity)
    n_positions = learns.sum(1)
    summed = losses.new_zeros(len(n_positions)).index_add(0, row_of, losses)
    return summed / n_positions.clamp(min=1), batch.weight * n_positions


def _position_losses(
    model: NextItemModel,
    states: Tensor,
    batch: SequenceBatch,
    learns: Tensor,
    row_of: Tensor,
    knobs: NextItemLossKnobs,
    log_popularity: Tensor | None,
) -> Tensor:
    targets, speaking = batch.targets[learns], states[learns]
    biases = None if model.item_bias is None else model.item_biases()
    if knobs.name == "in_batch":
        assert log_popularity is not None
        candidates, own = targets.unique(return_inverse=True)
        scores = (speaking @ model.catalogue(candidates).T).float() + (0 if biases is None else biases[candidates])
        held = _holds(torch.cat([batch.seen, batch.targets], dim=1), candidates)
        return in_batch_loss(scores, ~held[row_of], own, log_popularity[candidates])
    positive = (speaking.float() * model.catalogue(targets)).sum(1) + (0 if biases is None else biases[targets])
    if knobs.name == "softmax":
        items = model.item_vectors()
        mean = positive
        if knobs.label_smoothing:
            mean = speaking.float() @ items.mean(0) + (0 if biases is None else biases.mean())
        return softmax_loss(positive, log_normaliser(speaking, items, biases), mean, knobs.label_smoothing)
    negative = (states @ model.catalogue(batch.negatives).transpose(1, 2)).float()
    negative = (negative if biases is None else negative + biases[batch.negatives][:, None])[learns]
    if knobs.name == "sampled_softmax":
        return sampled_softmax_loss(positive, negative, batch.negative_log_odds[row_of])
    if knobs.name == "bpr":
        return bpr_loss(positive, negative)
    calibration = knobs.calibration if knobs.name == "gbce" else 0.0
    return binary_loss(positive, negative, gbce_beta(negative.shape[1], model.catalogue.n_items, calibration))


def _holds(items: Tensor, candidates: Tensor) -> Tensor:
    """B x M bool: whether each row's `items` (B x H) hold each of the candidates (M, ascending)."""
    held = torch.zeros(len(items), len(candidates), dtype=torch.bool, device=items.device)
    if len(candidates):
        place = torch.searchsorted(candidates, items).clamp(max=len(candidates) - 1)
        rows, columns = (candidates[place] == items).nonzero(as_tuple=True)
        held[rows, place[rows, columns]] = True
    return held
