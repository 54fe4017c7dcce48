"""Training through files, plans and checkpoints: what it learns, and that it can be stopped anywhere."""

import json
import multiprocessing
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from recspark.errors import HandoverError, TrainingError
from recspark.handover.reader import read_rows
from recspark.ranking.batch import ItemTable, slate_plan, to_batch
from recspark.ranking.checkpoint import CARD, CHECKPOINT, WEIGHTS, load_artefact
from recspark.ranking.evaluate import evaluate_slates
from recspark.ranking.processes import Processes
from recspark.ranking.score import load_ranker
from recspark.ranking.train import train_ranker
from tests.slate_files import make_slates, plan_files


def weights(folder: str) -> dict[str, torch.Tensor]:
    return load_file(f"{folder}/{WEIGHTS}")


def assert_equal_bits(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    assert a.keys() == b.keys()
    assert [name for name in a if not torch.equal(a[name], b[name])] == []


def test_it_learns_what_no_source_sees(make_world):
    world = make_world(n_fit=600, n_tune=200)
    card = train_ranker(
        **world.arguments(epochs=8, patience=8, global_batch_size=32, learning_rate=1e-2, dropout=0.1, item_dropout=0.2, k=4)
    )
    # The sources' order is random: 4 of 8 places count, each 1/8. (1 + 1/log2(3) + 1/2 + 1/log2(5)) / 8 = 0.32.
    assert card["untrained_metrics"]["tune_ndcg_at_4"] == pytest.approx(0.32, abs=0.06)
    # The four of the liked parity first, in random order: twice that.
    assert card["metrics"]["tune_ndcg_at_4"] > 0.58


def test_the_card_tells_what_was_trained(make_world):
    world = make_world()
    card = train_ranker(**world.arguments())
    assert card == json.loads((world.folder / "work" / CARD).read_text())
    assert card["inputs"]["examples"] == {"table": "examples", "version": 3, "horizon": "fit", "n_rows": 50, "digest": world.fit.digest()}
    assert [row["epoch"] for row in card["curve"]] == [0, 1, 2]
    assert card["n_parameters"] == sum(
        t.numel() for name, t in weights(str(world.folder / "work")).items() if name not in ("means", "stds")
    )
    assert card["feature_names"][0] == "als_found"
    state = json.loads((world.folder / "work" / "progress.json").read_text())
    assert (state["epoch"], state["step"], state["n_steps"], state["remaining_seconds"]) == (2, 4, 4, 0)


def test_a_finished_training_is_not_repeated(make_world):
    world = make_world()
    card = train_ranker(**world.arguments())
    assert train_ranker(**world.arguments()) == card


class StopError(Exception):
    pass


@pytest.mark.parametrize("n_saves", [1, 2, 4])
def test_a_resumed_training_equals_an_uninterrupted_one_bit_for_bit(make_world, monkeypatch, n_saves):
    world = make_world()
    knobs = {"dropout": 0.3, "item_dropout": 0.3, "checkpoint_every": 3}
    card = train_ranker(**world.arguments(**knobs, folder=str(world.folder / "whole")))

    from recspark.ranking import trainer

    saved, real = [], trainer.save_checkpoint

    def save_then_stop(*arguments):
        real(*arguments)
        saved.append(1)
        if len(saved) == n_saves:
            raise StopError

    monkeypatch.setattr(trainer, "save_checkpoint", save_then_stop)
    arguments = world.arguments(**knobs, folder=str(world.folder / "twice"))
    with pytest.raises(StopError):
        train_ranker(**arguments)
    again = train_ranker(**arguments)
    assert_equal_bits(weights(str(world.folder / "twice")), weights(str(world.folder / "whole")))
    assert again["curve"] == card["curve"]


def _train_and_die(arguments: dict, n_saves: int) -> None:
    """A training process that the machine loses right after its n-th checkpoint, in the middle of an epoch."""
    from recspark.ranking import trainer

    real, saved = trainer.save_checkpoint, []

    def save_then_die(*given):
        real(*given)
        saved.append(1)
        if len(saved) == n_saves:
            os.kill(os.getpid(), signal.SIGKILL)

    trainer.save_checkpoint = save_then_die
    torch.set_num_threads(1)
    train_ranker(**arguments)


def _train_and_terminate(arguments: dict) -> None:
    """A training process that is told to stop in its second step."""
    from recspark.ranking import trainer

    real, steps = trainer.Trainer._step, []

    def step(self, batch):
        real(self, batch)
        steps.append(1)
        if len(steps) == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    trainer.Trainer._step = step
    torch.set_num_threads(1)
    train_ranker(**arguments)


def _run(target, *arguments) -> int | None:
    process = multiprocessing.get_context("spawn").Process(target=target, args=arguments)
    process.start()
    process.join(120)
    return process.exitcode


@pytest.mark.slow
def test_a_training_killed_mid_epoch_goes_on_where_it_was(make_world):
    world = make_world()
    train_ranker(**world.arguments(folder=str(world.folder / "whole")))
    arguments = world.arguments(checkpoint_every=3)
    assert _run(_train_and_die, arguments, 1) == -signal.SIGKILL
    work = Path(arguments["folder"])
    state = torch.load(work / CHECKPOINT, weights_only=True)
    assert (state["progress"]["epoch"], state["progress"]["sample"]) == (0, 48)
    assert not (work / CARD).exists(), "no half artefact"
    train_ranker(**world.arguments())
    assert_equal_bits(weights(str(work)), weights(str(world.folder / "whole")))


@pytest.mark.slow
def test_sigterm_saves_before_it_ends(make_world):
    world = make_world()
    train_ranker(**world.arguments(folder=str(world.folder / "whole")))
    arguments = world.arguments()
    assert _run(_train_and_terminate, arguments) == 1
    state = torch.load(Path(arguments["folder"]) / CHECKPOINT, weights_only=True)
    assert (state["progress"]["epoch"], state["progress"]["sample"]) == (0, 32)
    train_ranker(**arguments)
    assert_equal_bits(weights(arguments["folder"]), weights(str(world.folder / "whole")))


def test_early_stopping_keeps_the_best_epoch(make_world):
    # Every label of the fit slates is turned round: soon the tune slates get worse.
    labels = 1 - make_slates(50, 1)["labels"]
    world = make_world(labels=labels.astype(np.float32))
    card = train_ranker(**world.arguments(epochs=30, patience=2, learning_rate=2e-2, stop_on="loss"))
    losses = [row["tune_loss"] for row in card["curve"]]
    assert losses[card["best_epoch"]] == min(losses) == card["metrics"]["tune_loss"]
    assert len(losses) == card["best_epoch"] + 1 + 2 < 31
    model, _ = load_ranker(str(world.folder / "work"))
    tune = slate_plan(world.tune)
    batches = [to_batch(columns, ItemTable(world.item_features)) for columns in read_rows(tune, tune.scoring_share(0, 1), 256)]
    again = evaluate_slates(model, batches, Processes(0, 1, torch.device("cpu")), loss="softmax", k=10)
    assert again["loss"] == pytest.approx(min(losses), abs=1e-6)


def test_a_checkpoint_of_another_training_is_refused(make_world):
    world = make_world()
    train_ranker(**world.arguments())
    (world.folder / "work" / CARD).unlink()
    with pytest.raises(TrainingError, match="belongs to another training.*parameters"):
        train_ranker(**world.arguments(epochs=3))


def test_a_loss_that_is_not_finite_names_step_and_rows(make_world):
    features = make_slates(50, 1)["features"]
    features[7] = np.nan
    world = make_world(features=features)
    with pytest.raises(TrainingError, match=r"not finite at epoch 1, step \d of 4, request_idx \[1"):
        train_ranker(**world.arguments())


def test_wrong_sources_and_missing_rows_are_refused(make_world):
    world = make_world()
    with pytest.raises(TrainingError, match="slates have 96 feature values for 8 candidates, but the 9 features"):
        train_ranker(**world.arguments(sources=["als"]))
    file = world.fit.files[0].url.removeprefix("file://")
    shutil.copy(world.tune.files[0].url.removeprefix("file://"), file)
    with pytest.raises(HandoverError, match="16 rows planned, 30 read"):
        train_ranker(**world.arguments())


def test_slates_without_weight_change_nothing(make_world, tmp_path):
    world = make_world()
    card = train_ranker(**world.arguments(global_batch_size=50, weight_decay=0.0))
    padded = {name: np.concatenate([array, array[:20]]) for name, array in make_slates(50, 1).items()}
    padded["weight"][50:] = 0
    plan = plan_files(tmp_path / "padded", [padded])
    # All in one batch: the order of rows does not matter.
    again = train_ranker(**world.arguments(examples=plan, global_batch_size=70, weight_decay=0.0, folder=str(tmp_path / "other")))
    for row, other in zip(card["curve"], again["curve"], strict=True):
        assert other == pytest.approx(row, abs=2e-4)


def test_a_damaged_artefact_is_refused(make_world):
    world = make_world()
    with pytest.raises(TrainingError, match="there is no ranker in"):
        load_artefact(str(world.folder / "work"))
    train_ranker(**world.arguments())
    (world.folder / "work" / WEIGHTS).write_bytes(b"other")
    with pytest.raises(TrainingError, match="are not those of its card"):
        load_artefact(str(world.folder / "work"))
