"""What every next-item model must hold to; a new model joins by its knobs in KNOBS."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter, ValidationError

import recspark.ranking.next_item.models.build as build_module
from recspark.errors import TrainingError
from recspark.ranking.checkpoint import load_artefact, save_artefact
from recspark.ranking.next_item.batch import to_batch, with_next_targets
from recspark.ranking.next_item.dimensions import item_content
from recspark.ranking.next_item.layers import Dropout, time_buckets
from recspark.ranking.next_item.losses import NextItemLossKnobs, next_item_loss
from recspark.ranking.next_item.models.bert4rec import Bert4RecKnobs, with_question
from recspark.ranking.next_item.models.build import MODELS, NextItemModelKnobs, build_next_item_model, describe_next_item_model
from recspark.ranking.next_item.models.gru4rec import Gru4RecKnobs
from recspark.ranking.next_item.models.hstu import HstuKnobs
from recspark.ranking.next_item.models.nextitnet import NextItNetKnobs
from recspark.ranking.next_item.models.sasrec import SasRecKnobs
from tests.ranking.next_item.sequences import FULL, LENGTH, N_ITEMS, PLAIN, build, make_content, make_sequences

SMALL = {"embedding_size": 16, "dropout": 0.0, "embedding_std": 0.1}
# Each model's knobs, small and without chance; a new model joins here.
KNOBS = {
    "sasrec": SasRecKnobs(**SMALL, n_heads=2, feedforward=16),
    "hstu": HstuKnobs(**SMALL, n_heads=2),
    "gru4rec": Gru4RecKnobs(**SMALL, hidden=16),
    "nextitnet": NextItNetKnobs(**SMALL, dilations=(1, 2)),
    "bert4rec": Bert4RecKnobs(**SMALL, n_heads=2, feedforward=16),
}


@pytest.fixture(params=sorted(MODELS))
def name(request) -> str:
    return request.param


@pytest.fixture(params=["plain", "full"])
def dimensions(request):
    return {"plain": PLAIN, "full": FULL}[request.param]


def spoken(model):
    """The model with random weights, so that every part of it is heard."""
    torch.manual_seed(1)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return model.eval()


def test_shapes(name, dimensions):
    model, batch = build(KNOBS[name], dimensions), to_batch(make_sequences(5))
    assert model(batch).shape == (5, LENGTH, 16)
    assert model.vectors(batch).shape == (5, 16)
    assert model.item_vectors().shape == (N_ITEMS, 16)
    assert model.item_biases().shape == (N_ITEMS,)


def test_padding_and_the_other_rows_change_nothing(name, dimensions):
    model, columns = spoken(build(KNOBS[name], dimensions)), make_sequences(6)
    columns["length"][:] = np.minimum(columns["length"], 5)
    columns["items"] = np.where(np.arange(LENGTH) < columns["length"][:, None], columns["items"], -1)
    batch = to_batch(columns)
    with torch.no_grad():
        states, vectors = model(batch), model.vectors(batch)
        other = {name: array.copy() for name, array in columns.items()}
        padding = columns["items"] < 0
        other["event_types"][padding], other["times"][padding] = 2, 777
        torch.testing.assert_close(model.vectors(to_batch(other)), vectors, rtol=0, atol=0)
        narrow = {**columns, **{key: columns[key][:, :5] for key in ("items", "event_types", "times")}}
        real = batch.mask[:, :5]
        torch.testing.assert_close(model(to_batch(narrow))[real], states[:, :5][real])
        torch.testing.assert_close(model.vectors(to_batch(narrow)), vectors)
        order = np.array([3, 1, 5, 0, 4, 2])
        torch.testing.assert_close(model.vectors(to_batch({key: array[order] for key, array in columns.items()})), vectors[order])
        torch.testing.assert_close(model.vectors(to_batch({key: array[:1] for key, array in columns.items()})), vectors[:1])


def test_a_row_without_events_has_a_vector_of_zeros(name):
    columns = make_sequences(3)
    columns["items"][1], columns["length"][1] = -1, 0
    model = spoken(build(KNOBS[name]))
    vectors = model.vectors(to_batch(columns))
    assert vectors[1].tolist() == [0.0] * 16
    assert torch.isfinite(vectors).all()
    assert (vectors[[0, 2]] != 0).any(1).all()


def test_causal_models_do_not_see_the_future(name, dimensions):
    model, columns = spoken(build(KNOBS[name], dimensions)), make_sequences(4)
    columns = {**columns, **{key: array.copy() for key, array in columns.items()}}
    columns["items"] = np.tile(np.arange(LENGTH, dtype=np.int32), (4, 1))
    columns["length"][:] = LENGTH
    later = {key: array.copy() for key, array in columns.items()}
    later["items"][:, 5], later["event_types"][:, 5], later["times"][:, 5:] = 11, 2, 999
    with torch.no_grad():
        states, changed = model(to_batch(columns)), model(to_batch(later))
    assert not torch.allclose(states[:, 5], changed[:, 5])
    if model.is_causal:
        torch.testing.assert_close(changed[:, :5], states[:, :5], rtol=0, atol=0)
    else:
        assert not torch.allclose(states[:, :5], changed[:, :5]), "a bidirectional model sees both sides"


@pytest.mark.parametrize("column", ["event_types", "times", "user_numbers", "user_categories"])
def test_every_column_that_the_tables_have_counts(name, column):
    columns = make_sequences(4)
    other = {**columns, column: columns[column] + np.ones((), columns[column].dtype) * np.arange(1, columns[column].shape[1] + 1)}
    full, plain = spoken(build(KNOBS[name], FULL)), spoken(build(KNOBS[name]))
    with torch.no_grad():
        assert not torch.allclose(full.vectors(to_batch(columns)), full.vectors(to_batch(other)))
        assert torch.equal(plain.vectors(to_batch(columns)), plain.vectors(to_batch(other)))


def test_overfits_32_rows(name):
    model = build(KNOBS[name])
    batch = to_batch(model.with_targets(make_sequences(32), seed=0, epoch=0))
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-2)
    for _ in range(150):
        losses, weights = next_item_loss(model, batch, NextItemLossKnobs())
        loss = (losses * weights).sum() / weights.sum()
        if loss.item() < 0.05:
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.05 < math.log(N_ITEMS)
    said = (model(batch) @ model.item_vectors().T + model.item_biases()).argmax(2)
    assert torch.equal(said[batch.targets >= 0], batch.targets[batch.targets >= 0])


def test_save_and_load_are_equal(name, dimensions, tmp_path):
    batch, model = to_batch(make_sequences(4)), spoken(build(KNOBS[name], dimensions))
    save_artefact(str(tmp_path), model.state_dict(), {"model": describe_next_item_model(dimensions, KNOBS[name])})
    weights, card = load_artefact(str(tmp_path))
    again = build_next_item_model(card["model"], item_content(N_ITEMS) if dimensions is PLAIN else make_content())
    again.load_state_dict(weights)
    assert torch.equal(again.eval().vectors(batch), model.vectors(batch))
    assert torch.equal(again.item_vectors(), model.item_vectors())


# Where no item is like any state, all scores are 0: 12 items share alike, 2 of 2 are as likely, and a sigmoid says 1/2.
@pytest.mark.parametrize(
    ("loss", "expected"), [("softmax", math.log(N_ITEMS)), ("bpr", math.log(2)), ("binary", math.log(2)), ("in_batch", None)]
)
def test_golden_losses(name, loss, expected):
    model = build(KNOBS[name])
    with torch.no_grad():
        model.catalogue.own.weight.zero_()
    columns = with_next_targets(make_sequences(8))
    columns["negatives"] = np.zeros((8, 3), np.int64)
    # Popular items of share 1/2 are among n - 1 others almost surely: they stand for themselves.
    popularity = torch.full((N_ITEMS,), math.log(0.5))
    batch = to_batch(columns)
    losses, weights = next_item_loss(model, batch, NextItemLossKnobs(name=loss), popularity)
    if expected is None:
        targets = batch.targets
        free = [{*targets[targets >= 0].tolist()} - {*row.tolist()} - {*own.tolist()} for row, own in zip(batch.seen, targets, strict=True)]
        own_row = [row for row in range(8) for _ in range(int((targets[row] >= 0).sum()))]
        own = [sum(1 for _ in free[row] - {int(t)}) for row, t in zip(own_row, targets[targets >= 0], strict=True)]
        expected = np.mean([math.log(1 + n) for n in own])
    assert ((losses * weights).sum() / weights.sum()).item() == pytest.approx(expected, abs=1e-5)


def test_later_items_have_their_content_alone(name):
    model = spoken(build(KNOBS[name], FULL, n_items=N_ITEMS + 3))
    content, vectors = make_content(N_ITEMS + 3), model.item_vectors()
    catalogue = model.catalogue
    expected = catalogue.of_category(content.categories) + catalogue.of_number(content.numbers) + catalogue.of_vector(content.vectors)
    torch.testing.assert_close(vectors[N_ITEMS:], expected[N_ITEMS:])
    torch.testing.assert_close(vectors[:N_ITEMS], expected[:N_ITEMS] + catalogue.own.weight)
    known = model.item_biases()[:N_ITEMS]
    assert model.item_biases()[N_ITEMS:].tolist() == [known.min().item()] * 3
    columns = make_sequences(2)
    columns["items"][:, 0] = N_ITEMS + 2
    columns["items"][:, 1] = N_ITEMS + 90  # so new that nothing is known of it
    columns["event_types"][:, 0] = 99  # a type that training never saw
    assert torch.isfinite(model.vectors(to_batch(columns))).all()
    assert torch.isfinite(spoken(build(KNOBS[name], n_items=N_ITEMS + 3)).vectors(to_batch(columns))).all()


def test_every_model_file_has_its_suite():
    folder = Path(build_module.__file__).parent
    files = {path.stem for path in folder.glob("*.py")} - {"__init__", "build", "next_item"}
    assert files == set(MODELS) == set(KNOBS) == {knobs.name for knobs in KNOBS.values()}


@pytest.mark.parametrize(
    "knob", [{"dropout": 1.0}, {"embedding_size": 0}, {"embedding_std": 0}, {"dropuot": 0.1}, {"item_bias": "perhaps"}, {"name": "other"}]
)
def test_wrong_knobs_are_refused_by_name(name, knob):
    with pytest.raises(ValidationError, match=next(iter(knob))):
        type(KNOBS[name])(**knob)


def test_knobs_are_told_apart_by_name_and_the_names_are_told():
    adapter = TypeAdapter(NextItemModelKnobs)
    assert adapter.validate_python({"name": "hstu", "n_layers": 3}) == HstuKnobs(n_layers=3)
    with pytest.raises(ValidationError, match="'sasrec', 'hstu', 'gru4rec', 'nextitnet', 'bert4rec'"):
        adapter.validate_python({"name": "sassrec"})
    with pytest.raises(TrainingError, match="no next-item model 'sassrec'; there are: sasrec, hstu"):
        build_next_item_model({"name": "sassrec"}, item_content(1))


def test_catalogues_that_do_not_fit_are_refused():
    with pytest.raises(TrainingError, match="has 11 items, fewer than the 12"):
        build(KNOBS["sasrec"], n_items=N_ITEMS - 1)
    description = describe_next_item_model(FULL, KNOBS["sasrec"])
    content = make_content()
    with pytest.raises(TrainingError, match="items have 1 numbers, but the model was trained with 2"):
        build_next_item_model(description, replace(content, numbers=content.numbers[:, :1]))
    with pytest.raises(TrainingError, match="items have 0 vector values, but the model was trained with 3"):
        build_next_item_model(description, replace(content, vectors=content.vectors[:, :0]))


def test_the_question_is_a_masked_item_after_the_last_event():
    columns = make_sequences(3)
    columns["items"] = np.array([[1, 2, 3, -1], [1, 2, 3, 4], [-1, -1, -1, -1]], np.int32)
    columns["event_types"] = np.where(columns["items"] >= 0, columns["items"], 0)
    columns["times"] = columns["event_types"].astype(np.float32)
    asked = with_question(to_batch(columns), 4)
    assert asked.items.tolist() == [[1, 2, 3, -2], [2, 3, 4, -2], [-2, -1, -1, -1]]
    assert asked.event_types.tolist() == [[1, 2, 3, 0], [2, 3, 4, 0], [0, 0, 0, 0]]
    assert asked.times[:2].tolist() == [[1, 2, 3, 3], [2, 3, 4, 4]]
    assert with_question(to_batch(columns), 9).items.tolist()[1] == [1, 2, 3, 4, -2]


def test_time_buckets_are_half_octaves_of_seconds():
    # 1 second is 2^0, 4 seconds 2^2; a day is 2^16.4.
    assert time_buckets(torch.tensor([-1.0, 0.0, 1 / 86400, 4.01 / 86400, 1.0, 1e9])).tolist() == [0, 0, 0, 4, 32, 63]


def test_dropout_keeps_the_mean_and_its_share():
    torch.manual_seed(0)
    dropped = Dropout(0.25)(torch.ones(1000, 1001))
    assert (dropped == 0).float().mean().item() == pytest.approx(0.25, abs=2e-3)
    assert dropped.unique().tolist() == pytest.approx([0, 4 / 3])
    assert Dropout(0.25).eval()(torch.ones(3)).tolist() == [1.0] * 3
