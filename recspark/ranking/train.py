"""Trains a ranker. Runs inside every training process; see recspark.runtime.distribute for who starts them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, PositiveInt
from torch import Tensor, autocast, nn

from recspark.columns import FIT, TUNE
from recspark.handover.files import PROGRESS, write_whole
from recspark.handover.plan import Plan
from recspark.handover.reader import read_rows, read_steps
from recspark.kernels.slates import feature_names
from recspark.ranking.batch import ItemTable, SlateBatch, keep_weighing, slate_plan, to_batch
from recspark.ranking.checkpoint import finished_card, keep_artefact
from recspark.ranking.dimensions import fit_dimensions, has_labelled_slates
from recspark.ranking.evaluate import evaluate_slates
from recspark.ranking.faults import build_within_memory
from recspark.ranking.losses import LossName, make_loss
from recspark.ranking.models.build import ModelKnobs, build_model, describe_model
from recspark.ranking.models.din import DinKnobs
from recspark.ranking.negatives import PastSlates, add_past, fit_catalogue
from recspark.ranking.options import Share, TrainingOptions
from recspark.ranking.processes import join_processes, this_process
from recspark.ranking.trainer import Trainer
from recspark.ranking.transfer import Feed
from recspark.tables.lineage import AsPlan, ItemFeatures, Spread, WorkFolder

# Slates evaluated at once; no figure depends on it.
TUNE_BATCH = 256


class RankerOptions(TrainingOptions):
    """The trainer's knobs, as slates are judged."""

    stop_on: Literal["ndcg", "loss"] = "ndcg"


def train_ranker(
    examples: Annotated[Plan, AsPlan("examples", "fit")],
    tune_examples: Annotated[Plan, AsPlan("examples", "tune")],
    item_features: ItemFeatures,
    *,
    folder: WorkFolder,
    sources: list[str],
    model: ModelKnobs = DinKnobs(),  # noqa: B008  frozen
    loss: LossName = "softmax",
    label_smoothing: Share = 0.0,
    calibration: Annotated[float, Field(ge=0, le=1)] = 0.75,
    past: PastSlates | None = None,
    training: Annotated[RankerOptions, Spread()] = RankerOptions(),  # noqa: B008  frozen
    window_rows: PositiveInt = 32_768,
    k: PositiveInt = 10,
) -> dict[str, Any] | None:
    """Train a ranker on the slates of `examples`, stopping early on those of `tune_examples`.

    Returns the ranker's card (`digest` is that of its weights) in every process; None where either horizon has no slate with
    a label that a source found: there is nothing to learn, or nothing to choose the epoch by. A finished training is not
    repeated; an unfinished one goes on from its checkpoint, with as many processes as there now are. `global_batch_size`
    is over all processes, so the result does not depend on their number, beyond rounding (and the draws of dropout).

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

    for part, slates in ((FIT, examples), (TUNE, tune_examples)):
        if not has_labelled_slates(slates):
            report({"note": f"no labelled slates at {part} ({slates.horizon}): no ranker is trained"})
            return None
    plan, tune_plan, items = slate_plan(examples), slate_plan(tune_examples), ItemTable(item_features)
    loss_of = make_loss(loss, n_items=items.n_items, label_smoothing=label_smoothing, calibration=calibration)
    order = {"seed": training.seed, "global_batch_size": training.global_batch_size, "window_rows": window_rows}
    processes = join_processes()
    me = (processes.process_rank, processes.world_size)
    dimensions = fit_dimensions(examples, items, feature_names(sources), seed=training.seed)
    description = describe_model(dimensions, model)
    catalogue = fit_catalogue(examples, items.n_items, alpha=past.alpha, seed=training.seed) if past else None
    ranker = build_within_memory(lambda: build_model(description), training, processes.device)

    def batches(epoch: int, first_sample: int) -> Iterator[SlateBatch]:
        windows = plan.training_share(*me, epoch=epoch, first_sample=first_sample, **order)
        for columns in read_steps(plan, windows):
            if past and catalogue:
                columns = add_past(columns, past, catalogue, dimensions, seed=training.seed, epoch=epoch)
            yield to_batch(keep_weighing(columns), items)

    def slate_losses(trained: nn.Module, batch: SlateBatch) -> tuple[Tensor, Tensor]:
        logits = trained(batch).float()
        with autocast(logits.device.type, enabled=False):  # bfloat16 has three digits: too few for a loss
            return loss_of(logits, batch.labels, batch.mask), batch.weight

    def evaluate(judged: nn.Module) -> dict[str, float]:
        shares = read_rows(tune_plan, tune_plan.scoring_share(*me), TUNE_BATCH)
        feed = Feed((to_batch(columns, items) for columns in shares), processes.device)
        return evaluate_slates(judged, feed, processes, loss=loss_of, k=k)

    own: dict[str, Any] = {"loss": loss, "label_smoothing": label_smoothing, "calibration": calibration, "window_rows": window_rows}
    own |= {"past": past.model_dump(mode="json") if past else None, "k": k}
    # What decides the data; versions and places do not.
    data = {"examples": examples.digest(), "tune_examples": tune_examples.digest(), "item_features": item_features.digest}
    trainer = Trainer(
        ranker,
        training,
        processes,
        n_steps=plan.n_steps(training.global_batch_size, window_rows),
        batches=batches,
        loss=slate_losses,
        evaluate=evaluate,
        folder=folder,
        identity={"model": json.dumps(description), "parameters": json.dumps({**training.identity(), **own}), "data": json.dumps(data)},
        report=report,
    )
    progress = trainer.train()
    best = progress.curve[progress.best_epoch]
    card = {
        "model": description,
        "parameters": {**training.model_dump(mode="json"), **own},
        "sources": list(sources),
        "feature_names": list(dimensions.feature_names),
        "inputs": {"examples": examples.summary(), "tune_examples": tune_examples.summary(), "item_features": item_features.digest},
        "curve": progress.curve,
        "best_epoch": progress.best_epoch,
        "metrics": {f"tune_ndcg_at_{k}": best["tune_ndcg"], "tune_loss": best["tune_loss"]},
        "untrained_metrics": {f"tune_ndcg_at_{k}": progress.curve[0]["tune_ndcg"], "tune_loss": progress.curve[0]["tune_loss"]},
        "n_parameters": sum(parameter.numel() for parameter in ranker.parameters()),
        "n_processes": processes.world_size,
        "seconds": round(progress.seconds, 3),
    }
    return keep_artefact(folder, progress.best, card, processes)
