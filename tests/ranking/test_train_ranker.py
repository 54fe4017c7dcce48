"""Training through files, plans and models: what it learns, and what it refuses."""

import json
import re
import shutil

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file

from recspark.errors import HandoverError, TrainingError
from recspark.handover.files import PROGRESS
from recspark.handover.reader import read_rows
from recspark.ranking.batch import ItemTable, keep_weighing, slate_plan, to_batch
from recspark.ranking.checkpoint import CARD, WEIGHTS, load_artefact
from recspark.ranking.evaluate import evaluate_slates
from recspark.ranking.losses import softmax_loss
from recspark.ranking.processes import Processes
from recspark.ranking.score import load_ranker, score_slates
from recspark.ranking.train import train_ranker
from recspark.runtime.job import Job
from recspark.tables import RANKERS, SCORES
from tests.ranking.conftest import learnt
from tests.slate_files import SOURCES, make_slates, plan_files


def weights(folder: str) -> dict[str, torch.Tensor]:
    return load_file(f"{folder}/{WEIGHTS}")


def test_it_learns_what_no_source_sees(make_world):
    world = make_world(n_fit=600, n_tune=200)
    card = train_ranker(
        **world.arguments(
            epochs=8, patience=8, global_batch_size=32, learning_rate=1e-2, model=world.knobs(dropout=0.1, item_dropout=0.2), k=4
        )
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
    assert all(0 <= row["waiting_share"] <= 1 and row["rows_per_second"] > 0 for row in card["curve"][1:])
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


@pytest.mark.parametrize("part", ["fit", "tune"])
def test_without_labelled_slates_there_is_no_ranker(make_world, part):
    world = make_world()
    n, parameter = (50, "examples") if part == "fit" else (30, "tune_examples")
    slates = make_slates(n, 1) | {"weight": np.zeros(n, np.float32)}
    if part == "fit":
        slates |= {"n_items": np.zeros(n, np.int32)}  # not even candidates: nothing was learnt yet
    plan = plan_files(world.folder / "others", [slates], horizon=f"last_5/{part}")
    assert train_ranker(**world.arguments(**{parameter: plan})) is None
    state = json.loads((world.folder / "work" / PROGRESS).read_text())
    assert state == {"note": f"no labelled slates at {part} (last_5/{part}): no ranker is trained"}
    assert not (world.folder / "work" / CARD).exists()
    assert score_slates(world.tune, None, world.item_features, folder=str(world.folder / "scores")) is None


@pytest.mark.parametrize(
    "knob",
    [
        {"checkpoint_every": 0},
        {"patience": 0},
        {"global_batch_size": 0},
        {"window_rows": 0},
        {"epochs": 0},
        {"k": 0},
        {"learning_rate": 0},
        {"max_gradient_norm": -1},
        {"weight_decay": -0.1},
        {"seed": -1},
        {"stop_on": "auc"},
        {"model": {"dropout": 1.5}},
        {"model": {"name": "dinn"}},
        {"accumulation": 0},
        {"optimiser": "lion"},
        {"schedule": "steps"},
        {"warm_up": -1},
        {"decay": 0},
        {"precision": "half"},
        {"embeddings": "sparse"},
        {"checkpoints_kept": 0},
    ],
)
def test_knobs_out_of_range_are_refused_before_anything_starts(knob):
    section = Job(train_ranker, writes=RANKERS, runner="torch").section
    assert section(sources=SOURCES, model={"hidden": [8]}).model.hidden == (8,)
    with pytest.raises(ValidationError, match=next(iter(knob))):
        section(sources=SOURCES, **knob)


def test_a_batch_size_for_scores_is_positive():
    with pytest.raises(ValidationError, match="batch_size"):
        Job(score_slates, writes=SCORES, runner="torch").section(batch_size=0)


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
    again = evaluate_slates(model, batches, Processes(0, 1, torch.device("cpu")), loss=softmax_loss, k=10)
    assert again["loss"] == pytest.approx(min(losses), abs=1e-6)


def test_features_that_are_not_finite_are_named_before_anything_is_trained(make_world):
    features = make_slates(50, 1)["features"]
    features[7] = np.nan
    world = make_world(features=features)
    with pytest.raises(TrainingError, match=r"features of request_idx \[1007\] are not finite: look at these slates' features"):
        train_ranker(**world.arguments())


def test_a_training_that_runs_away_names_step_rows_and_the_last_good_checkpoint(make_world):
    world = make_world()
    with pytest.raises(
        TrainingError, match=r"ran away at epoch \d, step \d of 4: the loss is .*, the largest of rows \[1\d\d\d, .*\]; "
    ) as caught:
        train_ranker(**world.arguments(learning_rate=1e4, weight_decay=0.0, max_loss_ratio=3.0, checkpoint_every=1, epochs=20, patience=20))
    kept = re.search(r"the last good checkpoint is (\S+\.pt)\. Look at these rows' features, or lower learning_rate", str(caught.value))
    assert kept is not None
    state = torch.load(kept.group(1), weights_only=True)
    assert all(torch.isfinite(tensor).all() for tensor in state["model"].values())


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
    padded["request_idx"][50:] += 500
    plan = plan_files(tmp_path / "padded", [padded])
    # All in one batch: the order of rows does not matter.
    again = train_ranker(**world.arguments(examples=plan, global_batch_size=70, weight_decay=0.0, folder=str(tmp_path / "other")))
    for row, other in zip(learnt(card), learnt(again), strict=True):
        assert other == pytest.approx(row, abs=2e-4)


def test_only_rows_that_weigh_are_learnt_from_and_always_one():
    columns = {"weight": np.array([0, 1, 0.5, 1], np.float32), "is_real": np.array([True, True, True, False]), "x": np.arange(4)}
    assert {name: array.tolist() for name, array in keep_weighing(columns).items()} == {
        "weight": [1, 0.5],
        "is_real": [True, True],
        "x": [1, 2],
    }
    nothing = keep_weighing({**columns, "weight": np.zeros(4, np.float32)})
    assert (nothing["x"].tolist(), nothing["weight"].tolist()) == ([0], [0])


def test_a_damaged_artefact_is_refused(make_world):
    world = make_world()
    with pytest.raises(TrainingError, match="there is no trained model in"):
        load_artefact(str(world.folder / "work"))
    train_ranker(**world.arguments())
    (world.folder / "work" / WEIGHTS).write_bytes(b"other")
    with pytest.raises(TrainingError, match="are not those of its card"):
        load_artefact(str(world.folder / "work"))
