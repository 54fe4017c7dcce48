"""Trains a ranker. Runs inside every training process; see recspark.runtime.distribute for who starts them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

import torch
from torch import nn

from recspark.handover.files import PROGRESS, write_whole
from recspark.handover.plan import Plan
from recspark.handover.reader import read_rows, read_steps
from recspark.kernels.slates import feature_names
from recspark.ranking.batch import ItemTable, SlateBatch, slate_plan, to_batch
from recspark.ranking.checkpoint import load_card, save_artefact
from recspark.ranking.dimensions import fit_dimensions
from recspark.ranking.evaluate import evaluate_slates
from recspark.ranking.losses import LossName
from recspark.ranking.models.build import ModelName, build_model, describe_model
from recspark.ranking.processes import join_processes
from recspark.ranking.trainer import Trainer, TrainingOptions
from recspark.tables.lineage import AsPlan, ItemFeatures, WorkFolder

# Slates evaluated at once; no figure depends on it.
TUNE_BATCH = 256


def _source(plan: Plan) -> dict[str, Any]:
    return {"table": plan.table, "version": plan.version, "horizon": plan.horizon, "n_rows": plan.n_rows, "digest": plan.digest()}


def train_ranker(
    examples: Annotated[Plan, AsPlan("examples", "fit")],
    tune_examples: Annotated[Plan, AsPlan("examples", "tune")],
    item_features: ItemFeatures,
    *,
    folder: WorkFolder,
    sources: list[str],
    model: ModelName = "din",
    embedding_size: int = 16,
    hidden: list[int] = [64, 32],  # noqa: B006  never changed; pydantic copies it
    attention_hidden: int = 16,
    dropout: float = 0.2,
    item_dropout: float = 0.2,
    loss: LossName = "softmax",
    learning_rate: float = 2e-3,
    weight_decay: float = 0.05,
    max_gradient_norm: float = 1.0,
    global_batch_size: int = 64,
    window_rows: int = 32_768,
    epochs: int = 20,
    patience: int = 4,
    stop_on: Literal["ndcg", "loss"] = "ndcg",
    k: int = 10,
    checkpoint_every: int = 200,
    seed: int = 0,
) -> dict[str, Any]:
    """Train a ranker on the slates of `examples`, stopping early on those of `tune_examples`.

    Returns the ranker's card (`digest` is that of its weights) in every process. A finished training is not repeated; an
    unfinished one goes on from its checkpoint, with as many processes as there now are. `global_batch_size` is over
    all processes, so the result does not depend on their number, beyond rounding (and the draws of dropout).

    Raises:
        HandoverError: the files do not hold what was planned.
        TrainingError: the loss is not finite, SIGTERM arrived, or the checkpoint belongs to another training.
    """
    finished = load_card(folder)
    if finished is not None:
        return finished
    started = time.monotonic()
    plan, tune_plan, items = slate_plan(examples), slate_plan(tune_examples), ItemTable(item_features)
    options = TrainingOptions(
        loss, learning_rate, weight_decay, max_gradient_norm, epochs, patience, stop_on, global_batch_size, checkpoint_every, seed
    )
    order = {"seed": seed, "global_batch_size": global_batch_size, "window_rows": window_rows}
    knobs = {
        "embedding_size": embedding_size,
        "hidden": list(hidden),
        "attention_hidden": attention_hidden,
        "dropout": dropout,
        "item_dropout": item_dropout,
    }
    with join_processes() as processes:
        me = (processes.process_rank, processes.world_size)
        dimensions = fit_dimensions(examples, items, feature_names(sources), seed=seed)
        description = describe_model(model, dimensions, knobs)
        torch.manual_seed(seed)
        ranker = build_model(description)

        def batches(epoch: int, first_sample: int) -> Iterator[SlateBatch]:
            windows = plan.training_share(*me, epoch=epoch, first_sample=first_sample, **order)
            return (to_batch(columns, items) for columns in read_steps(plan, windows))

        def evaluate(judged: nn.Module) -> dict[str, float]:
            shares = read_rows(tune_plan, tune_plan.scoring_share(*me), TUNE_BATCH)
            return evaluate_slates(judged, (to_batch(columns, items) for columns in shares), processes, loss=loss, k=k)

        def report(state: Mapping[str, Any]) -> None:
            if processes.is_first:
                write_whole(f"{folder}/{PROGRESS}", json.dumps(state).encode())

        parameters = {**vars(options), **order, "k": k}
        # How often it is saved changes nothing about what is trained.
        trained = {name: value for name, value in parameters.items() if name != "checkpoint_every"}
        inputs = {"examples": _source(examples), "tune_examples": _source(tune_examples), "item_features": item_features.digest}
        trainer = Trainer(
            ranker,
            options,
            processes,
            n_steps=plan.n_steps(global_batch_size, window_rows),
            batches=batches,
            evaluate=evaluate,
            folder=folder,
            identity={"model": json.dumps(description), "parameters": json.dumps(trained), "inputs": json.dumps(inputs)},
            report=report,
        )
        progress = trainer.train()
        best = progress.curve[progress.best_epoch]
        card = {
            "model": description,
            "parameters": parameters,
            "sources": list(sources),
            "feature_names": list(dimensions.feature_names),
            "inputs": inputs,
            "curve": progress.curve,
            "best_epoch": progress.best_epoch,
            "metrics": {f"tune_ndcg_at_{k}": best["tune_ndcg"], "tune_loss": best["tune_loss"]},
            "untrained_metrics": {f"tune_ndcg_at_{k}": progress.curve[0]["tune_ndcg"], "tune_loss": progress.curve[0]["tune_loss"]},
            "n_parameters": sum(parameter.numel() for parameter in ranker.parameters()),
            "n_processes": processes.world_size,
            "seconds": round(time.monotonic() - started, 3),
        }
        if processes.is_first:
            save_artefact(folder, progress.best, card)
        processes.wait()
        finished = load_card(folder)
        assert finished is not None
        return finished
