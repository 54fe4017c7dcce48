"""Losses against dense references, and by hand."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError

import recspark.ranking.next_item.losses as module
from recspark.handover.reader import REAL
from recspark.ranking.next_item.batch import to_batch, with_next_targets
from recspark.ranking.next_item.losses import (
    NextItemLossKnobs,
    binary_loss,
    bpr_loss,
    gbce_beta,
    in_batch_loss,
    log_normaliser,
    next_item_loss,
    sampled_softmax_loss,
)
from recspark.ranking.next_item.models.sasrec import SasRecKnobs
from recspark.ranking.next_item.negatives import NegativeSampler, popularity_shares
from tests.ranking.next_item.sequences import N_ITEMS, build, make_sequences

KNOBS = SasRecKnobs(embedding_size=8, dropout=0.0, embedding_std=0.5, feedforward=8)


@pytest.fixture(params=["kept", "computed twice"])
def memory(request, monkeypatch):
    monkeypatch.setattr(module, "CHUNK_LOGITS", {"cpu": 3 * 7})  # 3 positions at once
    if request.param == "computed twice":
        monkeypatch.setattr(module, "KEPT_LOGITS", 0)


@pytest.mark.parametrize("with_biases", [False, True])
def test_the_chunked_normaliser_is_the_dense_one(memory, with_biases):
    torch.manual_seed(0)
    states, items, biases = (torch.randn(size, dtype=torch.float64, requires_grad=True) for size in ((8, 4), (7, 4), (7,)))
    inputs = (states, items, biases) if with_biases else (states, items)
    scores = states @ items.T + (biases if with_biases else 0)
    torch.testing.assert_close(log_normaliser(*inputs), torch.logsumexp(scores, 1))
    assert torch.autograd.gradcheck(log_normaliser, inputs, nondet_tol=1e-12)


def test_large_scores_do_not_overflow(memory):
    scores = log_normaliser(torch.tensor([[1000.0], [-1000.0]]), torch.tensor([[1.0], [0.5]]))
    assert scores.tolist() == [1000.0, -500.0]


def test_autocast_takes_its_type_and_gradients_come_back_in_their_own(memory):
    torch.manual_seed(0)
    states, items = torch.randn(8, 4, requires_grad=True), torch.randn(7, 4, requires_grad=True)
    exact = torch.autograd.grad(log_normaliser(states, items).sum(), (states, items))
    with torch.autocast("cpu", torch.bfloat16):
        rounded = log_normaliser(states, items)
    assert rounded.dtype == torch.float32
    torch.testing.assert_close(rounded, log_normaliser(states, items), rtol=0.02, atol=0.02)
    for got, expected in zip(torch.autograd.grad(rounded.sum(), (states, items)), exact, strict=True):
        assert got.dtype == torch.float32
        torch.testing.assert_close(got, expected, rtol=0.05, atol=0.05)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.3])
@pytest.mark.parametrize("item_bias", [False, True])
def test_softmax_is_torchs_cross_entropy(label_smoothing, item_bias):
    model, batch = build(KNOBS.model_copy(update={"item_bias": item_bias})), to_batch(with_next_targets(make_sequences(6)))
    if item_bias:
        torch.nn.init.normal_(model.item_bias)
    scores = model(batch) @ model.item_vectors().T + model.item_biases()
    dense = F.cross_entropy(scores.flatten(0, 1), batch.targets.flatten(), ignore_index=-1, label_smoothing=label_smoothing)
    losses, weights = next_item_loss(model, batch, NextItemLossKnobs(label_smoothing=label_smoothing))
    assert ((losses * weights).sum() / weights.sum()).item() == pytest.approx(dense.item(), rel=1e-5)


def test_rows_cost_the_mean_over_their_positions_and_weigh_their_number():
    columns = with_next_targets(make_sequences(3))
    columns["weight"][1] = 0.5
    columns["targets"][2] = -1  # nothing to learn
    losses, weights = next_item_loss(build(KNOBS), to_batch(columns), NextItemLossKnobs())
    n = columns["length"]
    assert weights.tolist() == [n[0], 0.5 * n[1], 0]
    assert losses[2].item() == 0
    padding = {**columns, REAL: torch.zeros(3, dtype=torch.bool).numpy()}
    losses, weights = next_item_loss(build(KNOBS), to_batch(padding), NextItemLossKnobs())
    assert (losses.tolist(), weights.tolist()) == ([0.0] * 3, [0.0] * 3)
    losses.sum().backward()


@pytest.mark.parametrize("shares", [[0.25] * 4, [0.1, 0.2, 0.3, 0.4]])
def test_sampled_softmax_estimates_the_full_one_without_bias(shares):
    # The row holds item 3, its target: negatives are items 0 to 2. All draws of two, each as likely as it is.
    q = torch.tensor(shares[:3]) / sum(shares[:3])
    scores, positive = torch.tensor([0.3, -1.0, 2.0]), torch.tensor([0.7])
    full = positive.exp() + scores.exp().sum()
    expected = 0.0
    for pair in itertools.product(range(3), repeat=2):
        drawn = torch.tensor(pair)
        loss = sampled_softmax_loss(positive, scores[drawn][None], (2 * q[drawn]).log()[None])
        expected += q[drawn].prod() * (loss + positive).exp()
    assert expected.item() == pytest.approx(full.item(), rel=1e-5)


def test_sampled_softmax_with_every_item_as_negative_is_the_full_one():
    columns = with_next_targets(make_sequences(4))
    model = build(KNOBS)
    free = [sorted({*range(N_ITEMS)} - {*row.tolist()}) for row in make_sequences(4)["items"]]
    one = {key: array[:1] for key, array in columns.items()}
    one["negatives"] = torch.tensor([free[0]]).numpy()
    one["negative_log_odds"] = torch.zeros(1, len(free[0])).numpy()  # each stands for itself
    batch = to_batch(one)
    (loss, *_), _ = next_item_loss(model, batch, NextItemLossKnobs(name="sampled_softmax"))
    scores = model(batch)[0] @ model.item_vectors().T
    n = int(one["length"][0])
    expected = 0.0
    for position, target in enumerate(batch.targets[0, :n].tolist()):
        expected += torch.logsumexp(scores[position, [*free[0], target]], 0) - scores[position, target]
    assert loss.item() == pytest.approx(expected.item() / n, rel=1e-5)


def test_in_batch_softmax_by_hand():
    # Two positions; the other target, of popularity 1/2, is there half of the time: it counts twice. Then: it is held.
    scores, own, popularity = torch.zeros(2, 2), torch.tensor([0, 1]), torch.tensor([0.5, 0.5]).log()
    counted = torch.tensor([[True, True], [False, True]])
    assert in_batch_loss(scores, counted, own, popularity).tolist() == pytest.approx([math.log(1 + 2), 0.0], abs=1e-6)


def test_in_batch_negatives_are_the_others_targets_that_the_row_does_not_hold():
    columns = with_next_targets(make_sequences(2))
    columns["items"][:], columns["targets"][:] = -1, -1
    columns["items"][:, :2], columns["targets"][:, :2] = [[0, 1], [1, 4]], [[1, 2], [4, 5]]
    model, batch = build(KNOBS), to_batch(columns)
    # So popular that each is always there.
    losses, _ = next_item_loss(model, batch, NextItemLossKnobs(name="in_batch"), torch.zeros(N_ITEMS))
    scores = model(batch) @ model.item_vectors().T
    expected = [
        [torch.logsumexp(scores[0, at, [target, 4, 5]], 0) - scores[0, at, target] for at, target in ((0, 1), (1, 2))],
        [torch.logsumexp(scores[1, at, [target, 2]], 0) - scores[1, at, target] for at, target in ((0, 4), (1, 5))],
    ]
    assert losses.tolist() == pytest.approx([(a + b).item() / 2 for a, b in expected], rel=1e-3)


def test_bpr_and_binary_by_hand():
    # sigmoid(ln 3) = 3/4. Negatives at 0 and at ln 3: differences ln 3 and 0.
    positive, negative = torch.tensor([math.log(3)]), torch.tensor([[0.0, math.log(3)]])
    assert bpr_loss(positive, negative).tolist() == pytest.approx([(math.log(4 / 3) + math.log(2)) / 2])
    assert binary_loss(positive, negative).tolist() == pytest.approx([(math.log(4 / 3) + math.log(2) + math.log(4)) / 3])
    assert binary_loss(positive, negative, 0.5).tolist() == pytest.approx([(math.log(4 / 3) / 2 + math.log(2) + math.log(4)) / 3])


@pytest.mark.parametrize(("calibration", "beta"), [(0.0, 1.0), (1.0, 0.25), (0.5, 0.625)])
def test_gbce_beta_lies_between_one_and_the_sampling_rate(calibration, beta):
    # 2 negatives of 8 others: rate 1/4.
    assert gbce_beta(2, 9, calibration) == pytest.approx(beta)


@pytest.mark.parametrize("name", ["sampled_softmax", "bpr", "binary", "gbce"])
def test_sampled_losses_fall_when_the_target_rises(name):
    columns = NegativeSampler(popularity_shares(torch.zeros(N_ITEMS).numpy(), 0.0), 3, seed=0).add(with_next_targets(make_sequences(8)), 0)
    model, batch = build(KNOBS), to_batch(columns)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    seen = []
    for _ in range(20):
        losses, weights = next_item_loss(model, batch, NextItemLossKnobs(name=name, n_negatives=3))
        loss = (losses * weights).sum() / weights.sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seen.append(loss.item())
    assert seen[-1] < 0.7 * seen[0]


def test_gbce_differs_from_binary_by_its_power_alone():
    columns = NegativeSampler(popularity_shares(torch.zeros(N_ITEMS).numpy(), 0.0), 3, seed=0).add(with_next_targets(make_sequences(8)), 0)
    model, batch = build(KNOBS), to_batch(columns)
    plain, _ = next_item_loss(model, batch, NextItemLossKnobs(name="binary"))
    powered, _ = next_item_loss(model, batch, NextItemLossKnobs(name="gbce", calibration=0.0))
    calibrated, _ = next_item_loss(model, batch, NextItemLossKnobs(name="gbce", calibration=0.75))
    torch.testing.assert_close(powered, plain)
    assert (calibrated < plain).all()


@pytest.mark.parametrize(
    "knob", [{"n_negatives": 0}, {"alpha": -1}, {"calibration": 1.1}, {"label_smoothing": 1.0}, {"name": "hinge"}, {"lr": 1}]
)
def test_wrong_loss_knobs_are_refused_by_name(knob):
    with pytest.raises(ValidationError, match=next(iter(knob))):
        NextItemLossKnobs(**knob)
