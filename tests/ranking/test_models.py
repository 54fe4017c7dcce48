"""What every ranker must hold to; a new model joins by its knobs in KNOBS."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from recspark.errors import HandoverError, TrainingError
from recspark.handover.arrays import publish
from recspark.kernels.slates import feature_names
from recspark.ranking.batch import ItemTable, to_batch
from recspark.ranking.checkpoint import load_artefact, save_artefact
from recspark.ranking.dimensions import Dimensions, expand_features, fit_dimensions, has_labelled_slates
from recspark.ranking.layers import CategoryEmbedding, InterestAttention, ItemEmbedding
from recspark.ranking.losses import softmax_loss
from recspark.ranking.models.build import MODELS, build_model, describe_model
from recspark.ranking.models.din import DinKnobs
from recspark.ranking.optimisers import decay_groups
from tests.slate_files import N_ITEMS, N_SLOTS, SOURCES, make_slates, plan_files, publish_items

NAMES = tuple(feature_names(SOURCES))
N_EXPANDED = len(NAMES) + 3
# Each model's knobs, small and without chance; a new model joins here.
KNOBS = {"din": DinKnobs(embedding_size=8, hidden=(16,), attention_hidden=8, dropout=0.0, item_dropout=0.0)}


def dimensions(**changed) -> Dimensions:
    sizes = {"n_items": N_ITEMS, "n_item_codes": 4, "n_item_numbers": 1}
    sizes |= {"n_user_codes": 2, "n_user_numbers": 1, "n_event_types": 2}
    return Dimensions(
        **{"feature_names": NAMES, "feature_means": (0.0,) * N_EXPANDED, "feature_stds": (1.0,) * N_EXPANDED, **sizes, **changed}
    )


def build(name: str, seed: int = 0):
    torch.manual_seed(seed)
    return build_model(describe_model(dimensions(), KNOBS[name]))


def spoken(model):
    """The model with its last layer at random, so that every part of it is heard."""
    torch.manual_seed(1)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


@pytest.fixture(params=sorted(MODELS))
def name(request) -> str:
    return request.param


def test_shapes(name, batch):
    assert build(name)(batch).shape == (32, N_SLOTS)


def test_an_untrained_model_answers_the_slates_order(name, batch):
    logits = build(name).eval()(batch)
    expected = -torch.log(torch.arange(N_SLOTS) + 1.0).expand(32, -1)
    torch.testing.assert_close(logits - logits[:, :1], expected)


def test_padding_changes_nothing(name, items):
    slates = make_slates(4, 1)
    short = {**slates, "n_items": np.full(4, 6, np.int32), "history_length": np.full(4, 3, np.int32)}
    model = spoken(build(name))
    with torch.no_grad():
        logits = model(to_batch(short, items))[:, :6]
        other = {column: array.copy() for column, array in short.items()}
        other["items"][:, 6:], other["history_items"][:, 3:], other["history_ages"][:, 3:] = 5, 7, 999
        other["features"].reshape(4, N_SLOTS, -1)[:, 6:] = 77
        torch.testing.assert_close(model(to_batch(other, items))[:, :6], logits, rtol=0, atol=0)
        alone = {column: array[:1] for column, array in short.items()}
        torch.testing.assert_close(model(to_batch(alone, items))[:, :6], logits[:1])
        assert not torch.allclose(logits, model(to_batch(slates, items))[:, :6]), "the history counts"


def test_overfits_32_slates(name, batch):
    model = build(name)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-2)
    for _ in range(150):
        optimizer.zero_grad()
        loss = softmax_loss(model(batch), batch.labels, batch.mask).mean()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1 < math.log(N_SLOTS)


def test_save_and_load_are_equal(name, batch, tmp_path):
    model = spoken(build(name))
    save_artefact(str(tmp_path), model.state_dict(), {"model": describe_model(dimensions(), KNOBS[name])})
    weights, card = load_artefact(str(tmp_path))
    again = build_model(card["model"])
    again.load_state_dict(weights)
    assert torch.equal(again.eval()(batch), model(batch))


def test_items_and_categories_that_training_never_saw(name, tmp_path, batch):
    later = ItemTable(publish(_later_arrays(), str(tmp_path / "later")))
    slates = make_slates(2, 1)
    slates["items"][:, 0] = N_ITEMS + 3  # a new item of a new category
    slates["items"][:, 1] = N_ITEMS + 100  # so new that it has no features
    slates["user_categories"][:] = 50
    slates["history_types"][:] = 9
    assert torch.isfinite(spoken(build(name))(to_batch(slates, later))).all()


def _later_arrays() -> dict[str, np.ndarray]:
    n = N_ITEMS + 5
    return {"item_idx": np.arange(n, dtype=np.int32), "numbers": np.ones((n, 1), np.float32), "categories": np.full((n, 1), 99, np.int32)}


def test_every_model_of_the_suite_is_registered_and_back():
    assert set(KNOBS) == set(MODELS)


def test_vectors_and_what_the_model_exempts_are_not_decayed(name):
    model = build(name)
    decayed, free = decay_groups(model.named_parameters(), model.no_decay, 0.1)
    names = {parameter: one for one, parameter in model.named_parameters()}
    assert (decayed["weight_decay"], free["weight_decay"]) == (0.1, 0.0)
    assert {one for one in names.values() if one.split(".")[0] in model.no_decay} <= {names[parameter] for parameter in free["params"]}
    assert all(parameter.ndim > 1 for parameter in decayed["params"])
    assert len(decayed["params"]) + len(free["params"]) == len(names)


def test_the_deep_interest_networks_linear_part_is_not_decayed():
    model = build("din")
    decayed, _ = decay_groups(model.named_parameters(), model.no_decay, 0.1)
    assert model.wide.weight.shape not in [parameter.shape for parameter in decayed["params"]]


@pytest.mark.parametrize(
    "knob", [{"dropout": 1.5}, {"dropout": -0.1}, {"item_dropout": 1.0}, {"embedding_size": 0}, {"hidden": [0]}, {"hiden": [4]}]
)
def test_knobs_out_of_range_are_refused(knob):
    with pytest.raises(ValidationError, match=next(iter(knob))):
        DinKnobs(**knob)


def test_labelled_slates_are_found_behind_any_number_of_others(tmp_path):
    empty, last = make_slates(30, 1), make_slates(5, 2)
    empty["weight"][:] = 0
    last["weight"][:4] = 0
    assert not has_labelled_slates(plan_files(tmp_path / "none", [empty]))
    assert has_labelled_slates(plan_files(tmp_path / "one", [empty, last]))


def test_unknown_models_are_refused():
    with pytest.raises(TrainingError, match="no ranker 'dinn'; there are: din"):
        build_model({"name": "dinn", "dimensions": {}, "knobs": {}})


def test_features_are_expanded_by_logarithms_of_positions():
    features = torch.tensor([[[1.0, 0.5, 7.0], [0.0, 0.0, 8.0]]])
    expanded = expand_features(features, ["als_found", "als_reciprocal_position", "age"])
    # Not found counts as at twice the slate's length, 4.
    torch.testing.assert_close(expanded, torch.tensor([[[1.0, 0.5, 7.0, math.log(0.5)], [0.0, 0.0, 8.0, math.log(0.25)]]]))


def test_attention_is_the_local_activation_unit():
    # The split layer equals one linear layer of (h, q, h * q, h - q).
    torch.manual_seed(0)
    unit, size = InterestAttention(3, 4), 3
    history, candidates = torch.randn(2, 5, size), torch.randn(2, 6, size)
    mask = torch.arange(5) < torch.tensor([[5], [2]])
    joint = torch.randn(4, 4 * size)
    of_h, of_q, of_pair, of_difference = joint.split(size, dim=1)
    with torch.no_grad():
        unit.of_event.weight.copy_(of_h + of_difference)
        unit.of_candidate.weight.copy_(of_q - of_difference)
        unit.of_pair.weight.copy_(of_pair)
        h, q = torch.broadcast_tensors(history[:, None], candidates[:, :, None])
        weights = unit.weigh(unit.activation(torch.cat([h, q, h * q, h - q], -1) @ joint.T + unit.of_candidate.bias)).squeeze(-1)
        expected = ((weights * mask[:, None])[..., None] * h).sum(2) / 5
        torch.testing.assert_close(unit(history, mask, candidates), expected)


def test_item_embedding_is_own_plus_categories_plus_numbers(items):
    embedding = ItemEmbedding(N_ITEMS, 4, 1, 2, dropout=1.0).eval()
    got = embedding(items.gather(np.array([[3, -1]])))
    expected = embedding.own.weight[4] + embedding.categories.table.weight[3]
    torch.testing.assert_close(got, torch.stack([expected, torch.zeros(2)])[None])
    # Dropped out, the item's own embedding is silent.
    torch.testing.assert_close(embedding.train()(items.gather(np.array([3]))), embedding.categories.table.weight[3][None])


def test_categories_are_summed_without_padding():
    embedding = CategoryEmbedding(5, 2)
    torch.testing.assert_close(embedding(torch.tensor([2, 4, 0])), embedding.table.weight[2] + embedding.table.weight[4])
    torch.testing.assert_close(embedding(torch.tensor([77])), embedding.table.weight[2])


def test_padding_rows_have_no_weight_and_no_candidates(items):
    columns = {**make_slates(3, 1), "is_real": np.array([True, False, True])}
    batch = to_batch(columns, items)
    assert batch.weight.tolist() == [1, 0, 1]
    assert batch.mask.any(1).tolist() == [True, False, True]


def test_item_tables_must_be_whole(tmp_path):
    arrays = {"item_idx": np.array([0, 2]), "numbers": np.zeros((2, 1), np.float32), "categories": np.zeros((2, 1), np.int32)}
    with pytest.raises(HandoverError, match="must hold every item of the index once"):
        ItemTable(publish(arrays, str(tmp_path)))


def test_constants_are_fitted_on_real_candidates(tmp_path):
    slates = make_slates(20, 1)
    slates["n_items"][:] = 2  # the rest would pull the means down
    slates["user_categories"][3] = 6
    fitted = fit_dimensions(plan_files(tmp_path, [slates]), ItemTable(publish_items(tmp_path)), NAMES, seed=0)
    column = NAMES.index("als_reciprocal_position")
    assert fitted.feature_means[column] == pytest.approx(0.75)
    assert fitted.feature_stds[column] == pytest.approx(0.25)
    assert fitted.feature_stds[NAMES.index("als_found")] == 1.0, "a feature that does not vary"
    assert (fitted.n_user_codes, fitted.n_event_types, fitted.n_item_codes, fitted.n_items) == (7, 2, 4, N_ITEMS)
    slates["n_items"][:] = 0
    empty = fit_dimensions(plan_files(tmp_path, [slates]), ItemTable(publish_items(tmp_path)), NAMES, seed=0)
    assert (set(empty.feature_means), set(empty.feature_stds)) == ({0.0}, {1.0}), "a sample without candidates"
    with pytest.raises(TrainingError, match="but the 8 features"):
        fit_dimensions(plan_files(tmp_path, [slates]), ItemTable(publish_items(tmp_path)), NAMES[:8], seed=0)


def test_the_golden_loss(batch):
    # Untrained, place i of 8 has share 1/i of 1 + 1/2 + ... + 1/8 = 2.717857: loss = ln(2.717857 i), averaged.
    places = batch.labels.argmax(1) + 1.0
    expected = (math.log(2.717857142857143) + places.log()).mean().item()
    loss = softmax_loss(build("din")(replace(batch)), batch.labels, batch.mask).mean().item()
    assert loss == pytest.approx(expected, abs=1e-6)
