"""One update of a model: gradients of some batches, summed over the processes, clipped, and taken."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn

from recspark.errors import TrainingError
from recspark.ranking.losses import weighted_sum
from recspark.ranking.optimisers import Optimisers
from recspark.ranking.options import TrainingOptions
from recspark.ranking.processes import Processes


class Batch(Protocol):
    """A frozen dataclass of tensors. `rows`: B int64, what identifies its rows in an error."""

    @property
    def rows(self) -> Tensor: ...


B = TypeVar("B", bound=Batch)
# (model, batch) -> losses B, weights B.
Loss = Callable[[nn.Module, B], tuple[Tensor, Tensor]]
# Rows that an error names.
N_NAMED = 10


@dataclass(frozen=True)
class Taken:
    """An update over all processes: sums of weight * loss and of weights, and whether any process was told to stop."""

    loss_sum: float
    weight_sum: float
    stop: bool

    @property
    def loss(self) -> float:
        return self.loss_sum / self.weight_sum if self.weight_sum else 0.0


class Updates:
    """Minimises sum(weight * loss) / sum(weight), over the batches of an update and over all processes.

    The dense gradients live in one buffer: it is summed over the processes, measured and scaled in one go each.
    """

    def __init__(self, model: nn.Module, options: TrainingOptions, processes: Processes, loss: Loss[Any]) -> None:
        self.model, self.options, self.processes, self._loss = model, options, processes, loss
        self.optimisers = Optimisers(model, options)
        dense = self.optimisers.dense
        self._flat = torch.zeros(sum(parameter.numel() for parameter in dense), device=processes.device)
        for parameter, gradient in zip(dense, self._flat.split([parameter.numel() for parameter in dense]), strict=True):
            parameter.grad = gradient.view_as(parameter)
        self._sums = torch.zeros(2, dtype=torch.float64, device=processes.device)
        self._seen: list[tuple[Tensor, Tensor, Tensor]] = []

    def add(self, batch: Batch) -> None:
        """The gradients of a batch, on top of those of the update's earlier batches."""
        with torch.autocast(self.processes.device.type, torch.bfloat16, enabled=self.options.precision == "bfloat16"):
            losses, weights = self._loss(self.model, batch)
        losses = losses.float()
        local = weighted_sum(losses, weights)
        if local.requires_grad:
            local.backward()
        self._sums += torch.stack([local.detach().double(), weights.sum().double()])
        self._seen.append((batch.rows, losses.detach(), weights))

    def _sparse_gradients(self) -> list[Tensor]:
        """Of the embedding tables, summed over the processes; each table's is that sum from here on."""
        for table in self.optimisers.sparse:
            gradient = table.grad
            if gradient is None:
                none = torch.zeros(1, 0, dtype=torch.int64, device=table.device)
                gradient = torch.sparse_coo_tensor(none, table.new_zeros(0, table.shape[1]), table.shape, check_invariants=False)
            if not gradient.is_sparse:
                raise TrainingError(
                    f"embeddings: rowwise does not suit this model: its table of {table.shape[0]} x {table.shape[1]} is read as a whole, "
                    "not only row by row; set embeddings to dense"
                )
            table.grad = self.processes.sum_rows(gradient)
        return [table.grad.values() for table in self.optimisers.sparse if table.grad is not None]

    def take(self, share: float, stop: bool, limit: float) -> Taken:
        """The update, at `share` of the learning rates; none where nothing weighs anything.

        Raises:
            FloatingPointError: the loss or a gradient is not finite, or the loss is above `limit`; no parameter is changed.
        """
        told = torch.cat([self._sums, self._sums.new_tensor([stop])])
        loss_sum, weight_sum, any_stop = self.processes.sum(told).tolist()
        taken = Taken(loss_sum, weight_sum, any_stop > 0)
        if not math.isfinite(loss_sum) or taken.loss > limit:
            raise FloatingPointError(f"the loss is {taken.loss:.4g}, {self._worst()}")
        if weight_sum > 0:
            gradients = [self.processes.sum(self._flat), *self._sparse_gradients()]
            norm = math.sqrt(sum(float(gradient.norm()) ** 2 for gradient in gradients)) / weight_sum
            if not math.isfinite(norm):
                raise FloatingPointError(f"a gradient is not finite, and the loss {taken.loss:.4g}, {self._worst()}")
            scale = min(1.0, self.options.max_gradient_norm / (norm + 1e-6)) / weight_sum
            for gradient in gradients:
                gradient.mul_(scale)
            self.optimisers.step(share)
        self._begin()
        return taken

    def _begin(self) -> None:
        self._flat.zero_()
        self._sums.zero_()
        self._seen.clear()
        for table in self.optimisers.sparse:
            table.grad = None

    def _worst(self) -> str:
        """The rows that are not finite, of any process; else those of the largest losses."""
        rows, losses, weights = (torch.cat(parts).cpu() for parts in zip(*self._seen, strict=True))
        weighted = torch.where(weights == 0, 0, weights * losses)
        bad = ~torch.isfinite(weighted)
        largest = weighted.argsort(descending=True)[:N_NAMED]
        told = self.processes.gather(
            (rows[bad][: N_NAMED + 1].tolist(), list(zip(weighted[largest].tolist(), rows[largest].tolist(), strict=True)))
        )
        named = [row for bad_rows, _ in told for row in bad_rows]
        if not named:
            worst = sorted((pair for _, pairs in told for pair in pairs), key=lambda pair: -pair[0])
            return f"the largest of rows {[row for _, row in worst][:N_NAMED]}"
        return f"not finite in rows {named[:N_NAMED]}{' and others' if len(named) > N_NAMED else ''}"
