"""Scores slates with a trained ranker. Runs inside every training process."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from pydantic import PositiveInt
from torch import nn

from recspark.columns import FIT
from recspark.errors import TrainingError
from recspark.handover.plan import Plan
from recspark.handover.reader import read_rows
from recspark.handover.results import ResultWriter, slate_rows
from recspark.ranking.batch import ItemTable, SlateBatch, slate_plan, to_batch
from recspark.ranking.checkpoint import load_artefact
from recspark.ranking.models.build import build_model
from recspark.ranking.processes import this_process
from recspark.ranking.transfer import Feed
from recspark.tables.lineage import AsPlan, At, ItemFeatures, WorkFolder


def load_ranker(folder: str, digest: str | None = None) -> tuple[nn.Module, dict[str, Any]]:
    """The trained model, ready to score, and its card; `digest`: that of the weights which are meant.

    Raises:
        TrainingError: the artefact is not there, or is not what its card or `digest` says.
    """
    weights, card = load_artefact(folder, digest)
    model = build_model(card["model"])
    model.load_state_dict(weights)
    return model.eval(), card


def score_batch(model: nn.Module, batch: SlateBatch) -> torch.Tensor:
    """The logits of a batch's candidates: B x S."""
    with torch.no_grad():
        logits: torch.Tensor = model(batch)
    return logits


def score_slates(
    examples: Annotated[Plan, AsPlan("examples")],
    rankers: Annotated[dict[str, Any], At(FIT)] | None,
    item_features: ItemFeatures,
    *,
    folder: WorkFolder,
    batch_size: PositiveInt = 256,
) -> dict[str, Any] | None:
    """Score this process's share of the slates into Parquet files below `folder`; return the manifest of its files.

    `rankers` None: no ranker was trained, there are no scores.
    Slates are scored once each, over all processes; a slate's scores do not depend on the batch that it is in, nor on
    the number of processes, beyond rounding.

    Raises:
        HandoverError: the files do not hold what was planned.
        TrainingError: the ranker is not what `rankers` says, or gives scores that are not finite.
    """
    if rankers is None:
        return None
    plan, items = slate_plan(examples), ItemTable(item_features)
    model, _ = load_ranker(rankers["folder"], rankers["digest"])
    processes = this_process()
    model.to(processes.device)
    writer = ResultWriter(folder, examples, processes.process_rank, processes.world_size)
    share = plan.scoring_share(processes.process_rank, processes.world_size)
    for batch in Feed((to_batch(columns, items) for columns in read_rows(plan, share, batch_size)), processes.device):
        scores = score_batch(model, batch)
        finite = torch.isfinite(scores) | ~batch.mask
        if not finite.all():
            bad = batch.request_idx[~finite.all(-1)].tolist()
            raise TrainingError(f"scores of request_idx {bad[:10]} are not finite: look at these slates' features")
        arrays = (batch.request_idx, batch.candidates.idx, scores, batch.mask.sum(-1))
        writer.add(slate_rows(*(tensor.cpu().numpy() for tensor in arrays)), n_planned=len(scores))
    return writer.finish()
