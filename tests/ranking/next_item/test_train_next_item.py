"""Training through files, plans and models: what it learns, how it goes on, what it refuses."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from pyarrow import parquet
from pydantic import ValidationError
from safetensors.torch import load_file

from recspark.errors import TrainingError
from recspark.handover.arrays import Published, publish
from recspark.handover.files import PROGRESS
from recspark.handover.plan import Plan
from recspark.handover.results import written_files
from recspark.ranking import trainer
from recspark.ranking.batch import ItemTable
from recspark.ranking.checkpoint import CARD, WEIGHTS
from recspark.ranking.next_item.augment import AugmentationKnobs
from recspark.ranking.next_item.batch import hold_out, is_held_out, sequence_plan
from recspark.ranking.next_item.dimensions import SequenceDimensions, content_of, count_items, fit_sequence_dimensions
from recspark.ranking.next_item.losses import NextItemLossKnobs
from recspark.ranking.next_item.models.bert4rec import Bert4RecKnobs
from recspark.ranking.next_item.models.sasrec import SasRecKnobs
from recspark.ranking.next_item.negatives import NegativeSampler, popularity_shares
from recspark.ranking.next_item.score import load_next_item_model, user_vectors, write_vectors
from recspark.ranking.next_item.train import NextItemOptions, batch_maker, train_next_item_model
from recspark.ranking.processes import this_process
from tests.ranking.next_item.sequences import LENGTH, N_ITEMS, as_table, build, make_sequences
from tests.ranking.test_several_processes import in_processes
from tests.slate_files import plan_files

KNOBS = SasRecKnobs(embedding_size=16, dropout=0.0, embedding_std=0.1, feedforward=16)
OPTIONS = NextItemOptions(learning_rate=1e-2, global_batch_size=16, epochs=2)
N_FIT = 200


def plan_of(folder: Path, horizon: str, *parts: dict[str, np.ndarray]) -> Plan:
    return plan_files(folder, [as_table(part) for part in parts], table="sequences", horizon=horizon)


@pytest.fixture
def item_features(tmp_path) -> Published:
    idx = np.arange(N_ITEMS, dtype=np.int32)
    arrays = {"item_idx": idx, "numbers": np.zeros((N_ITEMS, 1), np.float32), "categories": (2 + idx[:, None] % 2).astype(np.int32)}
    return publish(arrays, str(tmp_path / "arrays"))


@pytest.fixture
def arguments(tmp_path, item_features):
    rows = make_sequences(N_FIT)
    parts = [{name: array[at] for name, array in rows.items()} for at in (slice(0, 30), slice(30, N_FIT))]

    def make(**changed: object) -> dict[str, object]:
        small: dict[str, object] = {
            "sequences": plan_of(tmp_path / "fit", "fit", *parts),
            "item_features": item_features,
            "folder": str(tmp_path / "work"),
            "model": KNOBS,
            "training": OPTIONS,
            "validation_share": 0.3,
            "k": 1,
        }
        return {**small, **changed}

    return make


BERT = Bert4RecKnobs(embedding_size=16, dropout=0.0, embedding_std=0.1, feedforward=32, masked_last=0.5)


@pytest.mark.parametrize(("model", "epochs"), [(KNOBS, 12), (BERT, 40)])
def test_it_learns_what_comes_next(arguments, model, epochs, item_features):
    options = NextItemOptions(learning_rate=1e-2, global_batch_size=16, epochs=epochs, patience=epochs, warm_up=0.1, stop_on="loss")
    card = train_next_item_model(**arguments(model=model, training=options))
    # What comes next is known for certain; untrained, one of the 5 or more unseen items is as good as another.
    assert card["untrained_metrics"]["tune_hit_rate_at_1"] < 0.6 < 0.9 <= card["metrics"]["tune_hit_rate_at_1"]
    assert card["metrics"]["tune_loss"] < 1.0 < 2.0 < card["untrained_metrics"]["tune_loss"]
    folder = str(arguments()["folder"])
    network, loaded = load_next_item_model(folder, content_of(ItemTable(item_features)))
    assert loaded == card
    rows = make_sequences(40, seed=2)
    halves = ({name: array[at] for name, array in rows.items()} for at in (slice(0, 15), slice(15, 40)))
    vectors = np.concatenate(list(user_vectors(network, map(as_table, halves))))
    scores = vectors @ network.item_vectors().detach().numpy().T + network.item_biases().detach().numpy()
    row_of, place = np.nonzero(rows["items"] >= 0)
    scores[row_of, rows["items"][row_of, place]] = -np.inf
    last = rows["items"][np.arange(40), rows["length"] - 1]
    assert (scores.argmax(1) == (last + 1) % N_ITEMS).mean() >= 0.9


def test_the_card_tells_what_was_trained(arguments, tmp_path):
    card = train_next_item_model(**arguments())
    assert card == json.loads((tmp_path / "work" / CARD).read_text())
    assert card["inputs"]["sequences"]["n_rows"] == N_FIT
    assert [row["epoch"] for row in card["curve"]] == [0, 1, 2]
    assert card["model"]["dimensions"] == {
        "n_items": N_ITEMS,
        "length": LENGTH - 1,
        "n_event_types": 3,
        "has_times": True,
        "n_item_codes": 4,
        "n_item_numbers": 0,
        "n_item_vector": 0,
        "n_user_codes": 5,
        "n_user_numbers": 1,
    }
    assert card["n_parameters"] == sum(tensor.numel() for tensor in load_file(tmp_path / "work" / WEIGHTS).values())
    assert train_next_item_model(**arguments()) == card, "a finished training is not repeated"
    assert json.loads((tmp_path / "work" / PROGRESS).read_text())["n_steps"] == 13


@pytest.mark.parametrize("loss", ["softmax", "sampled_softmax", "in_batch", "bpr", "binary", "gbce"])
def test_every_loss_learns_and_resumes_bit_for_bit(arguments, tmp_path, monkeypatch, loss):
    knobs = {
        "model": KNOBS.model_copy(update={"dropout": 0.2, "item_bias": True}),
        "loss": NextItemLossKnobs(name=loss, n_negatives=3, alpha=0.5),
        "augmentation": AugmentationKnobs(rows=0.5),
        "length": 6,
        "training": OPTIONS.model_copy(update={"checkpoint_every": 4}),
    }
    card = train_next_item_model(**arguments(**knobs, folder=str(tmp_path / "whole")))
    assert card["curve"][2]["tune_loss"] < card["curve"][0]["tune_loss"]
    saved, real = [], trainer.save_checkpoint

    def save_then_stop(*args):
        name = real(*args)
        saved.append(name)
        if len(saved) == 1:
            raise InterruptedError
        return name

    monkeypatch.setattr(trainer, "save_checkpoint", save_then_stop)
    with pytest.raises(InterruptedError):
        train_next_item_model(**arguments(**knobs, folder=str(tmp_path / "twice")))
    again = train_next_item_model(**arguments(**knobs, folder=str(tmp_path / "twice")))
    assert again["digest"] == card["digest"]


@pytest.mark.slow
def test_two_processes_equal_one(arguments, tmp_path):
    sampled = NextItemLossKnobs(name="sampled_softmax", n_negatives=3, alpha=0.5)
    one, two = (arguments(loss=sampled, augmentation=AugmentationKnobs(rows=0.5), folder=str(tmp_path / name)) for name in ("one", "two"))
    card = train_next_item_model(**one)
    ((first, second),) = in_processes(2, tmp_path, [(train_next_item_model, two)])
    assert first == second
    # Sums in another order: float32 rounding, grown over 12 steps of Adam.
    for got, expected in zip(first["curve"], card["curve"], strict=True):
        assert [got[name] for name in ("train_loss", "tune_loss")] == pytest.approx(
            [expected[name] for name in ("train_loss", "tune_loss")], abs=1e-3
        )


def test_without_sequences_there_is_no_model(arguments, tmp_path):
    short = make_sequences(5)
    short["length"][:] = 2  # one of the two events is held out: nothing is left to learn from
    for rows, share, why in (
        (short, 1.0, "no sequence of two events is left to learn from"),
        (make_sequences(5), 1e-9, "no user is held out to judge by, raise validation_share"),
    ):
        assert train_next_item_model(**arguments(sequences=plan_of(tmp_path / str(share), "fit", rows), validation_share=share)) is None
        assert json.loads((tmp_path / "work" / PROGRESS).read_text()) == {"note": f"fit: {why}: no next-item model is trained"}


def test_the_last_event_of_who_is_held_out_is_not_learnt_from():
    rows = make_sequences(200)
    rows["window"][:50] = 1
    held = is_held_out(rows, 0.3, seed=4)
    assert not held[:50].any(), "older windows end where a newer one begins"
    assert 0.2 < held[50:].mean() < 0.4
    assert np.array_equal(held, is_held_out({name: array[::-1] for name, array in rows.items()}, 0.3, seed=4)[::-1])
    kept = hold_out(rows, 0.3, seed=4)
    assert np.array_equal(kept["length"], rows["length"] - held)
    last = rows["items"][np.arange(200), rows["length"] - 1]
    assert np.array_equal(kept["items"][held, kept["length"][held]], np.full(held.sum(), -1))
    assert np.array_equal(kept["items"][~held, kept["length"][~held] - 1], last[~held])
    # Their older windows do not tell of it either, as what must be no negative.
    judges = kept["seen_items"][:, 0] == -1
    assert np.array_equal(judges[50:], held[50:])
    assert 0 < judges[:50].sum() < 30
    assert np.array_equal(kept["seen_items"][:, 1:], rows["seen_items"][:, 1:])


def test_dimensions_are_those_of_the_tables(arguments, tmp_path, item_features):
    rows = make_sequences(10)
    rows["event_types"][:] = np.minimum(rows["event_types"], 1)
    rows["times"][:] = 0
    rows["user_numbers"][:], rows["user_categories"][:] = 0, 0
    plan = sequence_plan(plan_of(tmp_path / "bare", "fit", rows), seen=False)
    fitted = fit_sequence_dimensions(plan, ItemTable(item_features), length=5, seed=0)
    # One event type tells nothing; the model reads less than the rows hold.
    assert (fitted.n_event_types, fitted.has_times, fitted.n_user_codes, fitted.n_user_numbers, fitted.length) == (0, False, 0, 0, 5)
    items = rows["items"]
    assert (
        count_items(plan, N_ITEMS, this_process(), share=0.0, seed=0).tolist() == np.bincount(items[items >= 0], minlength=N_ITEMS).tolist()
    )


def test_rows_that_hold_every_item_have_no_negatives(arguments, tmp_path):
    rows = make_sequences(20, length=N_ITEMS)
    rows["items"] = np.tile(np.arange(N_ITEMS, dtype=np.int32), (20, 1))
    rows["length"][:] = N_ITEMS
    with pytest.raises(TrainingError, match="holds all 12 items"):
        train_next_item_model(**arguments(sequences=plan_of(tmp_path / "all", "fit", rows), loss=NextItemLossKnobs(name="bpr")))


def test_wrong_knobs_are_refused_by_name():
    with pytest.raises(ValidationError, match="lerning_rate"):
        NextItemOptions(lerning_rate=1)
    with pytest.raises(ValidationError, match="'ndcg', 'hit_rate' or 'loss'"):
        NextItemOptions(stop_on="auc")
    assert torch.get_num_threads() == 1


def test_what_the_window_does_not_show_is_no_negative_either():
    rows = make_sequences(30, length=N_ITEMS - 1)
    network = build(KNOBS.model_copy(), SequenceDimensions(n_items=N_ITEMS, length=3))
    sampler = NegativeSampler(popularity_shares(np.zeros(N_ITEMS), 0.0), 8, seed=0)
    make = batch_maker(network, AugmentationKnobs(rows=1.0), sampler, validation_share=1e-9, seed=0)
    batch = make({**rows, "ages": rows["times"], "is_real": np.ones(30, bool)}, 0)
    assert batch.items.shape[1] == 3
    for row, negatives in zip(batch.rows.tolist(), batch.negatives.tolist(), strict=True):
        assert not set(negatives) & set(rows["items"][row - 100, : rows["length"][row - 100]])


def test_later_items_without_content_have_no_vector(item_features, tmp_path, arguments):
    plain = publish(
        {
            "item_idx": np.arange(N_ITEMS, dtype=np.int32),
            "numbers": np.zeros((N_ITEMS, 1), np.float32),
            "categories": np.zeros((N_ITEMS, 1), np.int32),
        },
        str(tmp_path / "plain"),
    )
    more = publish(
        {
            "item_idx": np.arange(N_ITEMS + 2, dtype=np.int32),
            "numbers": np.zeros((N_ITEMS + 2, 1), np.float32),
            "categories": np.zeros((N_ITEMS + 2, 1), np.int32),
        },
        str(tmp_path / "more"),
    )
    card = train_next_item_model(**arguments(item_features=plain))
    assert (card["model"]["dimensions"]["n_item_codes"], card["model"]["dimensions"]["n_item_numbers"]) == (0, 0)
    rows = as_table(make_sequences(6, seed=3))
    rows["request_idx"] = rows.pop("sequence_idx")
    rows["length"][0] = 0
    plan = plan_files(tmp_path / "contexts", [rows], table="contexts", horizon="test")
    row = {"folder": str(tmp_path / "work"), "digest": card["digest"]}
    manifest = write_vectors(plan, row, more, folder=str(tmp_path / "vectors"), batch_size=4)
    found = [
        one for file in written_files([manifest], str(tmp_path / "vectors"), plan) for one in parquet.ParquetFile(file).read().to_pylist()
    ]
    assert [one["idx"] for one in found if one["kind"] == "item"] == list(range(N_ITEMS))
    assert [one["idx"] for one in found if one["kind"] == "request"] == rows["request_idx"][1:].tolist()
    with pytest.raises(TrainingError, match="not other; run the job that trains it again"):
        write_vectors(plan, {**row, "digest": "other"}, more, folder=str(tmp_path / "vectors"))


def test_heads_share_the_embedding():
    with pytest.raises(ValidationError, match="n_heads 3 do not divide embedding_size 16"):
        SasRecKnobs(embedding_size=16, n_heads=3)
