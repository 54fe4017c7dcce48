"""Losses and metrics, by hand."""

import math

import pytest
import torch

from recspark.ranking.losses import binary_loss, slate_ndcg, softmax_loss, weighted_sum


def tensors(logits, labels, mask):
    return torch.tensor(logits), torch.tensor(labels), torch.tensor(mask)


def test_softmax_loss_by_hand():
    # softmax(0, ln 2) = (1/3, 2/3); the third place is padding, however large.
    loss = softmax_loss(*tensors([[0.0, math.log(2), 99.0]], [[0.0, 1.0, 1.0]], [[True, True, False]]))
    assert loss.tolist() == pytest.approx([math.log(3 / 2)])


def test_softmax_loss_of_two_positives_is_their_mean():
    # softmax = (1/4, 1/4, 1/2): (ln 4 + ln 2) / 2.
    loss = softmax_loss(*tensors([[0.0, 0.0, math.log(2)]], [[1.0, 0.0, 1.0]], [[True] * 3]))
    assert loss.tolist() == pytest.approx([1.5 * math.log(2)])


def test_binary_loss_by_hand():
    # sigmoid(0) = 1/2, sigmoid(ln 3) = 3/4: (ln 2 - ln(1/4)) / 2 = 1.5 ln 2.
    loss = binary_loss(*tensors([[0.0, math.log(3), -99.0]], [[1.0, 0.0, 1.0]], [[True, True, False]]))
    assert loss.tolist() == pytest.approx([1.5 * math.log(2)])


@pytest.mark.parametrize("loss", [softmax_loss, binary_loss])
def test_slates_of_padding_cost_nothing_and_give_no_gradient(loss):
    logits = torch.tensor([[1.0, -2.0], [3.0, 4.0]], requires_grad=True)
    losses = loss(logits, torch.tensor([[1.0, 0.0], [0.0, 0.0]]), torch.tensor([[True, True], [False, False]]))
    assert losses[1].item() == 0
    losses.sum().backward()
    assert torch.isfinite(logits.grad).all()
    assert logits.grad[1].tolist() == [0, 0]


def test_rows_of_weight_zero_add_nothing_even_if_not_finite():
    assert weighted_sum(torch.tensor([2.0, torch.nan, 3.0]), torch.tensor([1.0, 0.0, 0.5])).item() == 3.5


def test_ndcg_by_hand():
    # Ranked: labels 0, 1, 0 | 1 is never reached by k = 3. Ideal of two positives: 1 + 1/log2(3).
    logits, labels, mask = tensors([[4.0, 3.0, 2.0, 1.0]], [[0.0, 1.0, 0.0, 1.0]], [[True] * 4])
    expected = (1 / math.log2(3)) / (1 + 1 / math.log2(3))
    assert slate_ndcg(logits, labels, mask, torch.tensor([2]), 3).tolist() == pytest.approx([expected])


def test_ndcg_counts_positives_that_no_source_found():
    # One of three positives is in the slate, first; k = 2: 1 / (1 + 1/log2(3)).
    logits, labels, mask = tensors([[1.0, 0.0]], [[1.0, 0.0]], [[True, True]])
    assert slate_ndcg(logits, labels, mask, torch.tensor([3]), 2).tolist() == pytest.approx([1 / (1 + 1 / math.log2(3))])


def test_ndcg_breaks_ties_by_place_and_ignores_padding():
    logits, labels, mask = tensors([[5.0, 5.0, 9.0]], [[0.0, 1.0, 1.0]], [[True, True, False]])
    assert slate_ndcg(logits, labels, mask, torch.tensor([1]), 3).tolist() == pytest.approx([1 / math.log2(3)])
    assert slate_ndcg(logits, labels, mask, torch.tensor([0]), 10).tolist() == [0]
