"""Two processes do what one does, in training and in scoring."""

import json
import multiprocessing
import socket
from pathlib import Path

import numpy as np
import pytest
import torch
from pyarrow import parquet
from safetensors.torch import load_file

from recspark.errors import TrainingError
from recspark.handover.results import written_files
from recspark.ranking.batch import ItemTable, to_batch
from recspark.ranking.checkpoint import WEIGHTS
from recspark.ranking.score import load_ranker, score_batch, score_slates
from recspark.ranking.train import train_ranker
from tests.ranking.conftest import learnt
from tests.slate_files import make_slates


def _in_process(rank: int, world_size: int, port: int, out: str, calls: list) -> None:
    import os

    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world_size)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    results = [function(**arguments) for function, arguments in calls]
    Path(f"{out}-{rank}.json").write_text(json.dumps(results))


def in_processes(world_size: int, folder: Path, calls: list) -> list[list]:
    """Run `calls`, functions of a module and their arguments, in each of `world_size` processes; what each returned, by call."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("spawn")
    processes = [
        context.Process(target=_in_process, args=(rank, world_size, port, str(folder / "out"), calls)) for rank in range(world_size)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(240)
        assert process.exitcode == 0
    return list(zip(*(json.loads((folder / f"out-{rank}.json").read_text()) for rank in range(world_size)), strict=True))


def read_scores(files: list[str]) -> dict[int, dict[int, float]]:
    rows = [row for file in files for row in parquet.ParquetFile(file).read().to_pylist()]
    assert len(rows) == len({row["request_idx"] for row in rows})
    return {row["request_idx"]: dict(zip(row["items"], row["scores"], strict=True)) for row in rows}


def row_of(folder: str, card: dict) -> dict:
    return {"folder": folder, "digest": card["digest"], "card": json.dumps(card)}


@pytest.mark.slow
def test_two_processes_equal_one(make_world):
    # The processes' sums of weights differ, and in some steps one has nothing to learn from.
    weight = (np.arange(50) % 8 == 0).astype(np.float32)
    world = make_world(weight=weight)
    one, two = str(world.folder / "one"), str(world.folder / "two")
    card = train_ranker(**world.arguments(folder=one))
    row = row_of(one, card)
    scoring = {"examples": world.tune, "rankers": row, "item_features": world.item_features, "batch_size": 7}
    alone = score_slates(**scoring, folder=f"{one}/scores")
    again = f"{world.folder}/again"  # a second training of one launch, as at another horizon
    cards, manifests, others = in_processes(
        2,
        world.folder,
        [
            (train_ranker, world.arguments(folder=two)),
            (score_slates, {**scoring, "folder": f"{two}/scores"}),
            (train_ranker, world.arguments(folder=again)),
        ],
    )
    assert learnt(others[0]) == learnt(cards[0])
    # Sums in another order: float32 rounding, grown over 8 steps of Adam.
    assert cards[0] == cards[1]
    for got, expected in zip(learnt(cards[0]), learnt(card), strict=True):
        assert got == pytest.approx(expected, abs=2e-4)
    for name, tensor in load_file(f"{two}/{WEIGHTS}").items():
        torch.testing.assert_close(tensor, load_file(f"{one}/{WEIGHTS}")[name], rtol=1e-2, atol=1e-3)
    together = read_scores(written_files(manifests, f"{two}/scores", world.tune))
    expected_scores = read_scores(written_files([alone], f"{one}/scores", world.tune))
    assert together.keys() == expected_scores.keys()
    for request, scores in together.items():
        assert scores == pytest.approx(expected_scores[request], abs=1e-5)


def test_scores_are_the_models_without_padding(make_world):
    world = make_world()
    work = str(world.folder / "work")
    card = train_ranker(**world.arguments())
    manifest = score_slates(world.tune, row_of(work, card), world.item_features, folder=f"{work}/scores", batch_size=4)
    scores = read_scores(written_files([manifest], f"{work}/scores", world.tune))
    slates = make_slates(30, 2)
    model, _ = load_ranker(work)
    logits = score_batch(model, to_batch(slates, ItemTable(world.item_features)))
    for i, request in enumerate(slates["request_idx"]):
        assert scores[int(request)] == pytest.approx(dict(zip(slates["items"][i].tolist(), logits[i].tolist(), strict=True)), abs=1e-5)


def test_the_wrong_ranker_is_refused(make_world):
    world = make_world()
    card = train_ranker(**world.arguments())
    row = {**row_of(str(world.folder / "work"), card), "digest": "other"}
    with pytest.raises(TrainingError, match="not other; run the job that trains it again"):
        score_slates(world.tune, row, world.item_features, folder=str(world.folder / "scores"))
