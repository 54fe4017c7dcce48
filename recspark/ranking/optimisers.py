"""From options to optimisers: dense parameters by torch's own, rows of large embedding tables one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from recspark.ranking.options import TrainingOptions

EPS = 1e-8


class RowwiseAdagrad(torch.optim.Optimizer):
    """Adagrad with one number a row (N x E parameters, N sums), for sparse gradients: rows without a gradient are not read.

    sum_i += mean(g_i^2); row_i -= lr * g_i / (sqrt(sum_i) + eps): what recommenders' tables are trained with (FBGEMM's
    EXACT_ROWWISE_ADAGRAD; Mudigere et al., ISCA 2022). No weight decay: it would touch every row.
    """

    def __init__(self, parameters: Iterable[Tensor], lr: float) -> None:
        super().__init__(parameters, {"lr": lr})
        for parameter in self.parameters():
            self.state[parameter]["sum"] = parameter.new_zeros(len(parameter))

    def parameters(self) -> list[Tensor]:
        return [parameter for group in self.param_groups for parameter in group["params"]]

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One update of the rows in each parameter's coalesced gradient."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                rows, gradient = parameter.grad.indices()[0], parameter.grad.values()
                sums = self.state[parameter]["sum"]
                sums.index_add_(0, rows, gradient.square().mean(1))
                parameter.index_add_(0, rows, gradient / (sums[rows].sqrt() + EPS)[:, None], alpha=-group["lr"])


def use_sparse_embeddings(model: nn.Module) -> list[Tensor]:
    """Let every embedding table of the model give sparse gradients; returns the tables.

    A table that something else reads too (as an output layer does that shares it) keeps dense gradients.
    """
    tables = [module for module in model.modules() if isinstance(module, nn.Embedding) and module.weight.requires_grad]
    for module in tables:
        module.sparse = True
    return list({id(module.weight): module.weight for module in tables}.values())


def decay_groups(named: Iterable[tuple[str, nn.Parameter]], no_decay: Iterable[str], weight_decay: float) -> list[dict[str, Any]]:
    """Matrices are decayed; vectors (biases, norms, slopes) and what `no_decay` names (modules or parameters) are not."""
    groups: tuple[list[nn.Parameter], list[nn.Parameter]] = ([], [])
    for name, parameter in named:
        is_free = parameter.ndim < 2 or any(name == free or name.startswith(f"{free}.") for free in no_decay)
        groups[is_free].append(parameter)
    return [{"params": some, "weight_decay": decay} for some, decay in zip(groups, (weight_decay, 0.0), strict=True) if some]


class Optimisers:
    """All optimisers of a model: that of the dense parameters, and that of the embedding tables where they go row by row."""

    def __init__(self, model: nn.Module, options: TrainingOptions) -> None:
        self.sparse = use_sparse_embeddings(model) if options.embeddings == "rowwise" else []
        alone = {id(table) for table in self.sparse}
        named = [(name, one) for name, one in model.named_parameters() if one.requires_grad and id(one) not in alone]
        self.dense = [parameter for _, parameter in named]
        groups = decay_groups(named, getattr(model, "no_decay", ()), options.weight_decay)
        self._all: dict[str, tuple[torch.optim.Optimizer, float]] = {}
        if groups:
            self._all["dense"] = _dense_optimiser(groups, options), options.learning_rate
        if self.sparse:
            rate = options.embedding_learning_rate
            self._all["rows"] = RowwiseAdagrad(self.sparse, rate), rate

    def step(self, share: float) -> None:
        """One update, at `share` of the learning rates."""
        for optimiser, rate in self._all.values():
            for group in optimiser.param_groups:
                group["lr"] = rate * share
            optimiser.step()

    def state_dict(self) -> dict[str, Any]:
        return {name: optimiser.state_dict() for name, (optimiser, _) in self._all.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for name, (optimiser, _) in self._all.items():
            optimiser.load_state_dict(state[name])


def _dense_optimiser(groups: list[dict[str, Any]], options: TrainingOptions) -> torch.optim.Optimizer:
    """adam adds the decay to the gradient, as the papers of its time mean it; adamw lets parameters shrink beside it."""
    rate, betas = options.learning_rate, (options.momentum, options.second_momentum)
    if options.optimiser == "sgd":
        return torch.optim.SGD(groups, lr=rate, momentum=options.momentum)
    make = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[options.optimiser]
    return make(groups, lr=rate, betas=betas, eps=EPS, fused=True)
