"""Trains any model: updates, processes, the schedule, checkpoints, early stopping. Which model it is, it does not know."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from recspark.errors import TrainingError
from recspark.ranking.checkpoint import load_checkpoint, save_checkpoint
from recspark.ranking.faults import N_FIRST, Stop, loss_limit, out_of_memory_in_words, stopped_by_sigterm
from recspark.ranking.options import TrainingOptions
from recspark.ranking.processes import Processes
from recspark.ranking.schedules import learning_rate_share
from recspark.ranking.steps import Batch, Loss, Updates
from recspark.ranking.transfer import Feed

Report = Callable[[Mapping[str, Any]], None]
# Seconds between two reports within an epoch.
REPORT_EVERY = 2.0


@dataclass
class Progress:
    """Where training stands, and what it has found. `sample` counts those of the current epoch, over all processes."""

    epoch: int = 0
    sample: int = 0
    loss_sum: float = 0.0
    weight_sum: float = 0.0
    first_losses: list[float] = field(default_factory=list)
    curve: list[dict[str, float]] = field(default_factory=list)
    best: dict[str, Tensor] = field(default_factory=dict)
    best_epoch: int = 0
    seconds: float = 0.0  # of all attempts


@dataclass
class _Pace:
    """Of an epoch, as far as this attempt has gone: rows over all processes, seconds, and those waited for batches."""

    first_sample: int
    began: float
    feed: Feed[Any]

    def rows_per_second(self, sample: int) -> float:
        return (sample - self.first_sample) / max(time.monotonic() - self.began, 1e-9)

    def waiting_share(self) -> float:
        return self.feed.waited / max(time.monotonic() - self.began, 1e-9)


class Trainer:
    """Trains `model` on `n_steps` batches an epoch.

    `batches(epoch, first_sample)` yields this process's batch of each step, from a thread of its own; `loss(model, batch)`
    is (losses B, weights B), and a row of weight 0 counts for nothing; `evaluate(model)` gives figures by name, the same
    on every process, of which `options.stop_on` is one. Randomness of a step (dropout) follows from seed, epoch, sample
    and process, so a resumed run goes on exactly as an uninterrupted one. `folder` takes the checkpoints, `identity` tells
    this training from others, `report` hears of progress.
    """

    def __init__(
        self,
        model: nn.Module,
        options: TrainingOptions,
        processes: Processes,
        *,
        n_steps: int,
        batches: Callable[[int, int], Iterator[Batch]],
        loss: Loss[Any],
        evaluate: Callable[[nn.Module], dict[str, float]],
        folder: str,
        identity: Mapping[str, Any],
        report: Report,
    ) -> None:
        self.model, self.options, self.processes = model.to(processes.device), options, processes
        self.n_steps, self.batches, self.evaluate = n_steps, batches, evaluate
        self.folder, self.identity, self._tell = folder, dict(identity), report
        self.note: dict[str, str] = {}
        processes.agree(model.state_dict().values())
        self.updates = Updates(self.model, options, processes, loss)
        if options.compile:
            self.model.compile()
        self.progress = Progress()
        self.stop = Stop()
        self.last_checkpoint = ""
        self._counted = time.monotonic()

    def _report(self, state: Mapping[str, Any]) -> None:
        self._tell({**self.note, **state})

    def _figures(self) -> list[float]:
        """What decides, evaluation by evaluation; higher is better."""
        sign = -1 if self.options.lower_is_better else 1
        return [sign * row[f"tune_{self.options.stop_on}"] for row in self.progress.curve]

    # ---- one update

    def _seed(self) -> None:
        p = self.progress
        key = np.random.SeedSequence([self.options.seed, p.epoch, p.sample, self.processes.process_rank])
        torch.manual_seed(int(key.generate_state(1)[0]))

    def _learning_rate_share(self) -> float:
        p, size = self.progress, self.options.accumulation
        per_epoch = -(-self.n_steps // size)
        # Of the update that the batch before this sample has completed.
        done = p.epoch * per_epoch + -(-self._step // size) - 1
        return learning_rate_share(self.options, done, self.options.epochs * per_epoch, p.epoch, self._figures())

    @property
    def _step(self) -> int:
        """Batches of this epoch that are done."""
        return self.progress.sample // self.options.global_batch_size

    def _add(self, batch: Batch) -> bool:
        """Take in a batch; True where that completed an update."""
        p = self.progress
        self._seed()
        self.updates.add(batch)
        p.sample += self.options.global_batch_size
        if self._step % self.options.accumulation and self._step < self.n_steps:
            return False
        limit = loss_limit(p.first_losses, self.options.max_loss_ratio)
        try:
            taken = self.updates.take(self._learning_rate_share(), self.stop.requested, limit)
        except FloatingPointError as error:
            raise TrainingError(self._run_away(error)) from error
        p.loss_sum += taken.loss_sum
        p.weight_sum += taken.weight_sum
        if taken.weight_sum and len(p.first_losses) < N_FIRST:
            p.first_losses.append(taken.loss)
        self.stop.requested = taken.stop
        return True

    def _run_away(self, error: FloatingPointError) -> str:
        saved = (
            f"the last good checkpoint is {self.folder}/{self.last_checkpoint}" if self.last_checkpoint else "there is no checkpoint yet"
        )
        return (
            f"training ran away at epoch {self.progress.epoch + 1}, step {self._step} of {self.n_steps}: {error}; {saved}. "
            "Look at these rows' features, or lower learning_rate or max_gradient_norm"
        )

    # ---- epochs

    def _train_epoch(self) -> None:
        p, every = self.progress, self.options.checkpoint_every
        self.model.train()
        feed = Feed(self.batches(p.epoch, p.sample), self.processes.device)
        pace = _Pace(p.sample, time.monotonic(), feed)
        reported, saved = pace.began, self._step
        for batch in feed:
            if not self._add(batch):
                continue
            if self.stop.requested:
                self._save()
                raise TrainingError(f"stopped by SIGTERM at epoch {p.epoch + 1}, sample {p.sample}; run again to resume from there")
            if self._step // every > saved // every:
                self._save()
                saved = self._step
            now = time.monotonic()
            if now - reported > REPORT_EVERY:
                reported = now
                self._report(self._state(pace))
        self._end_epoch(pace)

    def _state(self, pace: _Pace) -> dict[str, Any]:
        p, o = self.progress, self.options
        rest = (o.epochs - p.epoch) * self.n_steps * o.global_batch_size - p.sample
        speed = pace.rows_per_second(p.sample)
        return {
            "epoch": p.epoch + 1,
            "epochs": o.epochs,
            "step": self._step,
            "n_steps": self.n_steps,
            "loss": p.loss_sum / p.weight_sum if p.weight_sum else 0.0,
            "rows_per_second": round(speed, 1),
            "waiting_share": round(pace.waiting_share(), 4),
            "remaining_seconds": round(rest / max(speed, 1e-9)),
        }

    def _end_epoch(self, pace: _Pace) -> None:
        p = self.progress
        state = self._state(pace)
        waiting = self.processes.gather(state["waiting_share"])
        state["waiting_share"] = round(sum(waiting) / len(waiting), 4)
        told = {name: state[name] for name in ("rows_per_second", "waiting_share")}
        self._judge(p.epoch + 1, {"train_loss": state["loss"], **told})
        self._report({**state, **p.curve[-1], "stop_on": self.options.stop_on, "best_epoch": p.best_epoch})
        p.epoch, p.sample, p.loss_sum, p.weight_sum = p.epoch + 1, 0, 0.0, 0.0
        self._save()

    def _judge(self, epoch: int, trained: Mapping[str, float]) -> None:
        """Evaluate, note it in the curve, and keep the weights if they are the best so far."""
        p = self.progress
        self.model.eval()
        figures = self.evaluate(self.model)
        p.curve.append({"epoch": epoch, **trained, **{f"tune_{name}": value for name, value in figures.items()}})
        *before, last = self._figures()
        if epoch and not math.isfinite(last):  # of rows learnt from, the first step says more
            raise TrainingError(
                f"{self.options.stop_on} of the rows that training is judged by is {last} after epoch {epoch}: look at their features, "
                "or lower learning_rate"
            )
        if not before or last > max(before):
            p.best_epoch = epoch
            p.best = {name: tensor.detach().cpu().clone() for name, tensor in self.model.state_dict().items()}

    # ---- resuming

    def _count_seconds(self) -> None:
        now = time.monotonic()
        self.progress.seconds += now - self._counted
        self._counted = now

    def _save(self) -> None:
        self._count_seconds()
        if self.processes.is_first:
            p = self.progress
            state = {"model": self.model.state_dict(), "optimisers": self.updates.optimisers.state_dict(), "progress": vars(p)}
            number = p.epoch * self.n_steps + self._step
            self.last_checkpoint = save_checkpoint(self.folder, number, {**state, "identity": self.identity}, self.options.checkpoints_kept)

    def _resume(self) -> bool:
        found = load_checkpoint(self.folder, self.identity)
        if found.differ:
            self.note = {"note": f"the checkpoint found is of another training (other {', '.join(found.differ)}): this one begins anew"}
        names = self.processes.gather(found.name if found.state else "")
        if len({*names}) > 1:
            raise TrainingError(
                f"the training processes found different checkpoints in {self.folder} ({', '.join(name or 'none' for name in names)}): "
                "it must be a folder that all of them read alike; run again"
            )
        if found.state is None:
            return False
        self.model.load_state_dict(found.state["model"])
        self.updates.optimisers.load_state_dict(found.state["optimisers"])
        self.progress, self.last_checkpoint = Progress(**found.state["progress"]), found.name
        return True

    def train(self) -> Progress:
        """Train to the end or until `patience` epochs brought nothing; the model then holds the best epoch's weights.

        Epoch 0 of the curve is the untrained model: the best is never worse than it by `stop_on`.

        Raises:
            TrainingError: the loss is not finite or has run away, memory is out, or SIGTERM arrived.
        """
        with out_of_memory_in_words(), stopped_by_sigterm() as self.stop:
            if not self._resume():
                self._judge(0, {"train_loss": 0.0})
            p = self.progress
            while p.epoch < self.options.epochs and p.epoch - p.best_epoch < self.options.patience:
                self._train_epoch()
        self.model.load_state_dict(p.best)
        self._count_seconds()
        return p
