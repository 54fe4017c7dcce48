"""Trains a next-item model. Runs inside every training process; see recspark.runtime.distribute for who starts them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from recspark.handover.files import PROGRESS, write_whole
from recspark.handover.plan import Plan
from recspark.handover.reader import read_rows, read_steps
from recspark.ranking.batch import ItemTable, keep_weighing
from recspark.ranking.checkpoint import finished_card, keep_artefact
from recspark.ranking.faults import build_within_memory
from recspark.ranking.next_item.augment import AugmentationKnobs, augment_sequences, slide_windows
from recspark.ranking.next_item.batch import (
    SequenceBatch,
    from_table,
    hold_out,
    is_held_out,
    latest_events,
    sequence_plan,
    to_batch,
    trimmed,
    with_last_target,
)
from recspark.ranking.next_item.dimensions import content_of, count_items, fit_sequence_dimensions, lacks_sequences
from recspark.ranking.next_item.evaluate import evaluate_next_items
from recspark.ranking.next_item.losses import SAMPLED, NextItemLossKnobs, next_item_loss
from recspark.ranking.next_item.models.build import NextItemModelKnobs, build_next_item_model, describe_next_item_model
from recspark.ranking.next_item.models.next_item import NextItemModel
from recspark.ranking.next_item.models.sasrec import SasRecKnobs
from recspark.ranking.next_item.negatives import NegativeSampler, popularity_shares
from recspark.ranking.options import TrainingOptions
from recspark.ranking.processes import join_processes, this_process
from recspark.ranking.trainer import Trainer
from recspark.ranking.transfer import Feed
from recspark.tables.lineage import AsPlan, ItemFeatures, Spread, WorkFolder

Columns = Mapping[str, np.ndarray]
# Sequences evaluated at once; no figure depends on it.
TUNE_BATCH = 128


class NextItemOptions(TrainingOptions):
    """The trainer's knobs, as next-item models are judged."""

    stop_on: Literal["ndcg", "hit_rate", "loss"] = "ndcg"


def batch_maker(
    model: NextItemModel, augmentation: AugmentationKnobs, sampler: NegativeSampler | None, *, validation_share: float, seed: int
) -> Callable[[Columns, int], SequenceBatch]:
    """(columns, epoch) -> the batch that the model learns from: a window of each row, augmented, with targets and negatives."""
    width = model.length + model.is_causal  # a causal model reads all of it but the last event

    def make(columns: Columns, epoch: int) -> SequenceBatch:
        columns = hold_out(keep_weighing(from_table(columns)), validation_share, seed)
        columns = slide_windows(columns, width, seed=seed, epoch=epoch)
        columns = augment_sequences(columns, augmentation, seed=seed, epoch=epoch)
        columns = model.with_targets(columns, seed=seed, epoch=epoch)
        return to_batch(trimmed(columns if sampler is None else sampler.add(columns, epoch)))

    return make


def train_next_item_model(
    sequences: Annotated[Plan, AsPlan("sequences")],
    item_features: ItemFeatures,
    *,
    folder: WorkFolder,
    model: Annotated[NextItemModelKnobs, Field(discriminator="name")] = SasRecKnobs(),  # noqa: B008  frozen
    loss: NextItemLossKnobs = NextItemLossKnobs(),  # noqa: B008  frozen
    augmentation: AugmentationKnobs = AugmentationKnobs(),  # noqa: B008  frozen
    training: Annotated[NextItemOptions, Spread()] = NextItemOptions(),  # noqa: B008  frozen
    length: PositiveInt = 50,
    validation_share: Annotated[float, Field(gt=0, le=1)] = 0.05,
    window_rows: PositiveInt = 32_768,
    k: PositiveInt = 10,
) -> dict[str, Any] | None:
    """Train a next-item model on the rows of `sequences`, stopping early on the last events of a `validation_share` of the users.

    A row of `sequences` is a part of a user's history, oldest event first, padded with -1. The last event of a user who is held out
    is not learnt from: the others of the row have to say it. With a share of 1 that is everybody's: leave-one-out. The model reads
    at most `length` events; longer rows are seen through another window each epoch. Returns the card (`digest` is that of the
    weights) in every process; None where there is nothing to learn from or to judge by. Finished trainings are not repeated,
    unfinished ones go on from their checkpoint.

    Raises:
        HandoverError: the files do not hold what was planned.
        TrainingError: the model or a batch does not fit in memory, the loss ran away, or SIGTERM arrived.
    """
    finished = finished_card(folder)
    if finished is not None:
        return finished

    def report(state: Mapping[str, Any]) -> None:
        if this_process().is_first:
            write_whole(f"{folder}/{PROGRESS}", json.dumps(state).encode())

    seed = training.seed
    if lacking := lacks_sequences(sequences, validation_share, seed):
        report({"note": f"{sequences.horizon}: {lacking}: no next-item model is trained"})
        return None
    items = ItemTable(item_features)
    # What is no negative and is not offered is all that the user has, whatever of it a window shows.
    plan, judged_plan = sequence_plan(sequences, seen=loss.name != "softmax"), sequence_plan(sequences, seen=True)
    order = {"seed": seed, "global_batch_size": training.global_batch_size, "window_rows": window_rows}
    processes = join_processes()
    me = (processes.process_rank, processes.world_size)
    dimensions = fit_sequence_dimensions(plan, items, length=length, seed=seed)
    description = describe_next_item_model(dimensions, model)
    content = content_of(items)
    network = build_within_memory(lambda: build_next_item_model(description, content), training, processes.device)
    needs_counts = loss.name == "in_batch" or (loss.name in SAMPLED and loss.alpha > 0)
    counts = (
        count_items(plan, items.n_items, processes, share=validation_share, seed=seed)
        if needs_counts
        else np.zeros(items.n_items, np.int64)
    )
    sampler = NegativeSampler(popularity_shares(counts, loss.alpha), loss.n_negatives, seed) if loss.name in SAMPLED else None
    log_popularity = torch.from_numpy(np.log(popularity_shares(counts, 1.0))).float().to(processes.device)
    make = batch_maker(network, augmentation, sampler, validation_share=validation_share, seed=seed)

    def batches(epoch: int, first_sample: int) -> Iterator[SequenceBatch]:
        windows = plan.training_share(*me, epoch=epoch, first_sample=first_sample, **order)
        return (make(columns, epoch) for columns in read_steps(plan, windows))

    def held_out() -> Iterator[Columns]:
        # Few of the rows read are judged; each batch of them costs a pass over the catalogue.
        for columns in read_rows(judged_plan, judged_plan.scoring_share(*me), min(8192, round(TUNE_BATCH / validation_share))):
            held = is_held_out(columns, validation_share, seed)
            if held.any():
                yield {name: array[held] for name, array in from_table(columns).items()}

    def losses(trained: nn.Module, batch: SequenceBatch) -> tuple[Tensor, Tensor]:
        assert isinstance(trained, NextItemModel)
        return next_item_loss(trained, batch, loss, log_popularity)

    def evaluate(judged: nn.Module) -> dict[str, float]:
        assert isinstance(judged, NextItemModel)
        told = (to_batch(trimmed(with_last_target(latest_events(columns, judged.length + 1)))) for columns in held_out())
        return evaluate_next_items(judged, Feed(told, processes.device), processes, k=k)

    own: dict[str, Any] = {"loss": loss.model_dump(mode="json"), "augmentation": augmentation.model_dump(mode="json")}
    own |= {"length": length, "validation_share": validation_share, "window_rows": window_rows, "k": k}
    # What decides the data; versions and places do not.
    data = {"sequences": sequences.digest(), "item_features": item_features.digest}
    progress = Trainer(
        network,
        training,
        processes,
        n_steps=plan.n_steps(training.global_batch_size, window_rows),
        batches=batches,
        loss=losses,
        evaluate=evaluate,
        folder=folder,
        identity={"model": json.dumps(description), "parameters": json.dumps({**training.identity(), **own}), "data": json.dumps(data)},
        report=report,
    ).train()

    def figures(epoch: int) -> dict[str, float]:
        row = progress.curve[epoch]
        return {f"tune_{name}_at_{k}": row[f"tune_{name}"] for name in ("ndcg", "hit_rate")} | {"tune_loss": row["tune_loss"]}

    card = {
        "model": description,
        "parameters": {**training.model_dump(mode="json"), **own},
        "inputs": {"sequences": sequences.summary(), "item_features": item_features.digest},
        "curve": progress.curve,
        "best_epoch": progress.best_epoch,
        "metrics": figures(progress.best_epoch),
        "untrained_metrics": figures(0),
        "n_parameters": sum(parameter.numel() for parameter in network.parameters()),
        "n_processes": processes.world_size,
        "seconds": round(progress.seconds, 3),
    }
    return keep_artefact(folder, progress.best, card, processes)
