"""Trains any ranker: steps, processes, clipping, the schedule, checkpoints, early stopping. Which model it is, it does not know."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from recspark.errors import TrainingError
from recspark.ranking.batch import SlateBatch
from recspark.ranking.checkpoint import load_checkpoint, save_checkpoint
from recspark.ranking.losses import SlateLoss, weighted_sum
from recspark.ranking.models.ranker import Ranker
from recspark.ranking.processes import Processes

Report = Callable[[Mapping[str, Any]], None]
# Seconds between two reports within an epoch.
REPORT_EVERY = 2.0


@dataclass(frozen=True)
class TrainingOptions:
    """How to train; what on and which model are the caller's."""

    learning_rate: float
    weight_decay: float
    max_gradient_norm: float
    epochs: int
    patience: int
    stop_on: Literal["ndcg", "loss"]
    global_batch_size: int
    checkpoint_every: int
    seed: int


@dataclass
class Progress:
    """Where training stands, and what it has found. `sample` counts those of the current epoch, over all processes."""

    epoch: int = 0
    sample: int = 0
    loss_sum: float = 0.0
    weight_sum: float = 0.0
    curve: list[dict[str, float]] = field(default_factory=list)
    best: dict[str, Tensor] = field(default_factory=dict)
    best_epoch: int = 0
    seconds: float = 0.0  # of all attempts


class Stop:
    """Set by SIGTERM: finish the step, save, go."""

    def __init__(self) -> None:
        self.requested = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.requested = True


class Trainer:
    """Trains `model` on `n_steps` steps an epoch.

    `batches(epoch, first_sample)` yields this process's batch of each step, `evaluate(model)` the tune metrics ("ndcg",
    "loss"), the same on every process. Randomness of a step (dropout) follows from seed, epoch, sample and process, so a
    resumed run goes on exactly as an uninterrupted one.
    """

    def __init__(
        self,
        model: Ranker,
        options: TrainingOptions,
        processes: Processes,
        *,
        n_steps: int,
        batches: Callable[[int, int], Iterator[SlateBatch]],
        loss: SlateLoss,
        evaluate: Callable[[nn.Module], dict[str, float]],
        folder: str,
        identity: Mapping[str, Any],
        report: Report,
    ) -> None:
        self.model, self.options, self.processes = model.to(processes.device), options, processes
        self.n_steps, self.batches, self.loss, self.evaluate = n_steps, batches, loss, evaluate
        self.folder, self.identity, self._tell = folder, dict(identity), report
        self.note: dict[str, str] = {}
        self.shared = processes.share(self.model)
        self.optimizer = torch.optim.AdamW(_decayed(model, options.weight_decay), lr=options.learning_rate)
        self.progress = Progress()
        self.stop = Stop()
        self._counted = time.monotonic()

    def _report(self, state: Mapping[str, Any]) -> None:
        self._tell({**self.note, **state})

    # ---- one step

    def _learning_rate(self, step: int) -> float:
        """Linear warm-up over the first twentieth, then half a cosine down to a twentieth."""
        total = max(1, self.options.epochs * self.n_steps)
        warm_up = max(1, total // 20)
        if step < warm_up:
            return self.options.learning_rate * (step + 1) / warm_up
        done = (step - warm_up) / max(1, total - warm_up)
        return self.options.learning_rate * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * min(1.0, done))))

    def _step(self, batch: SlateBatch) -> None:
        """One update by sum(weight * loss) / sum(weight) over all processes."""
        p, world_size = self.progress, self.processes.world_size
        key = np.random.SeedSequence([self.options.seed, p.epoch, p.sample, self.processes.process_rank])
        torch.manual_seed(int(key.generate_state(1)[0]))
        for group in self.optimizer.param_groups:
            group["lr"] = self._learning_rate(p.epoch * self.n_steps + p.sample // self.options.global_batch_size)
        batch = batch.to(self.processes.device)
        losses = self.loss(self.shared(batch), batch.labels, batch.mask)
        local = weighted_sum(losses, batch.weight)
        loss_sum, weight_sum = self.processes.sum(torch.stack([local.detach().double(), batch.weight.sum().double()])).tolist()
        if not math.isfinite(loss_sum):
            raise TrainingError(self._not_finite(losses, batch))
        if weight_sum > 0:
            self.optimizer.zero_grad(set_to_none=True)
            # The processes' gradients are averaged: times their number, they are summed.
            (local * (world_size / weight_sum)).backward()
            nn.utils.clip_grad_norm_(self.model.parameters(), self.options.max_gradient_norm)
            self.optimizer.step()
        p.loss_sum += loss_sum
        p.weight_sum += weight_sum
        p.sample += self.options.global_batch_size

    def _not_finite(self, losses: Tensor, batch: SlateBatch) -> str:
        p = self.progress
        bad = batch.request_idx[~torch.isfinite(losses) & (batch.weight != 0)].tolist()
        rows = f"request_idx {bad[:10]}{' and more' if len(bad) > 10 else ''}" if bad else "rows of another process"
        return (
            f"the loss is not finite at epoch {p.epoch + 1}, step {p.sample // self.options.global_batch_size + 1} of {self.n_steps}, {rows}: "
            "look at these slates' features, or lower learning_rate"
        )

    # ---- epochs

    def _train_epoch(self) -> None:
        p = self.progress
        started = reported = time.monotonic()
        first = p.sample
        batches = self.batches(p.epoch, p.sample)
        try:
            for batch in batches:
                self._step(batch)
                n_done = p.epoch * self.n_steps + p.sample // self.options.global_batch_size
                if self.stop.requested:
                    self._save()
                    raise TrainingError(f"stopped by SIGTERM at epoch {p.epoch + 1}, sample {p.sample}; run again to resume from there")
                if n_done % self.options.checkpoint_every == 0:
                    self._save()
                now = time.monotonic()
                if now - reported > REPORT_EVERY:
                    reported = now
                    self._report(self._state((p.sample - first) / (now - started)))
        finally:
            if hasattr(batches, "close"):
                batches.close()
        self._end_epoch((p.sample - first) / max(time.monotonic() - started, 1e-9))

    def _state(self, rows_per_second: float) -> dict[str, Any]:
        p, o = self.progress, self.options
        rest = (o.epochs - p.epoch) * self.n_steps * o.global_batch_size - p.sample
        return {
            "epoch": p.epoch + 1,
            "epochs": o.epochs,
            "step": p.sample // o.global_batch_size,
            "n_steps": self.n_steps,
            "loss": p.loss_sum / p.weight_sum if p.weight_sum else 0.0,
            "rows_per_second": round(rows_per_second, 1),
            "remaining_seconds": round(rest / max(rows_per_second, 1e-9)),
        }

    def _end_epoch(self, rows_per_second: float) -> None:
        p = self.progress
        state = self._state(rows_per_second)
        metrics = self._judge(p.epoch + 1, state["loss"])
        self._report({**state, **{f"tune_{name}": metrics[name] for name in ("ndcg", "loss")}, "best_epoch": p.best_epoch})
        p.epoch, p.sample, p.loss_sum, p.weight_sum = p.epoch + 1, 0, 0.0, 0.0
        self._save()

    def _judge(self, epoch: int, train_loss: float) -> dict[str, float]:
        """Evaluate, note it in the curve, and keep the weights if they are the best so far."""
        p = self.progress
        metrics = self.evaluate(self.model)
        p.curve.append({"epoch": epoch, "train_loss": train_loss, "tune_ndcg": metrics["ndcg"], "tune_loss": metrics["loss"]})
        sign = 1 if self.options.stop_on == "ndcg" else -1
        figures = [sign * row[f"tune_{self.options.stop_on}"] for row in p.curve]
        if not figures[:-1] or figures[-1] > max(figures[:-1]):
            p.best_epoch = epoch
            p.best = {name: tensor.detach().cpu().clone() for name, tensor in self.model.state_dict().items()}
        return metrics

    # ---- resuming

    def _count_seconds(self) -> None:
        now = time.monotonic()
        self.progress.seconds += now - self._counted
        self._counted = now

    def _save(self) -> None:
        self._count_seconds()
        if self.processes.is_first:
            state = {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict(), "progress": vars(self.progress)}
            save_checkpoint(self.folder, {**state, "identity": self.identity})

    def _resume(self) -> bool:
        state, differ = load_checkpoint(self.folder, self.identity)
        if differ:
            self.note = {"note": f"the checkpoint found is of another training (other {', '.join(differ)}): this one begins anew"}
        if state is None:
            return False
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.progress = Progress(**state["progress"])
        return True

    def train(self) -> Progress:
        """Train to the end or until `patience` epochs brought nothing; the model then holds the best epoch's weights.

        Epoch 0 of the curve is the untrained model: the best is never worse than it on the tune slates.

        Raises:
            TrainingError: the loss is not finite, or SIGTERM arrived.
        """
        previous = _on_sigterm(self.stop)
        try:
            if not self._resume():
                self._judge(0, 0.0)
            p = self.progress
            while p.epoch < self.options.epochs and p.epoch - p.best_epoch < self.options.patience:
                self.shared.train()
                self._train_epoch()
        finally:
            _on_sigterm(previous)
        self.model.load_state_dict(p.best)
        self._count_seconds()
        return p


def _decayed(model: Ranker, weight_decay: float) -> list[dict[str, Any]]:
    """Matrices are decayed; vectors (biases, slopes) and what the model exempts are not."""
    named = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    free = {name for name, parameter in named if parameter.ndim < 2 or name.split(".")[0] in model.no_decay}
    return [
        {"params": [parameter for name, parameter in named if name not in free], "weight_decay": weight_decay},
        {"params": [parameter for name, parameter in named if name in free], "weight_decay": 0.0},
    ]


def _on_sigterm(handler: Any) -> Any:
    """Install `handler`, return the one before; signals can be caught in a process's main thread only."""
    try:
        return signal.signal(signal.SIGTERM, handler)
    except ValueError:
        return None
