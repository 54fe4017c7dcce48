"""Losses and metrics, by hand."""

import math
from typing import get_args

import pytest
import torch

from recspark.errors import TrainingError
from recspark.ranking.losses import LossName, binary_loss, bpr_loss, gbce_loss, make_loss, mse_loss, slate_ndcg, softmax_loss, weighted_sum


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


@pytest.mark.parametrize("name", get_args(LossName))
def test_slates_of_padding_cost_nothing_and_give_no_gradient(name):
    loss = make_loss(name, n_items=5, label_smoothing=0.1 if name in ("softmax", "binary", "gbce") else 0.0)
    labels, mask = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 0.0]]), torch.tensor([[True, True, False], [False, False, False]])
    logits = torch.tensor([[1.0, -2.0, 7.0], [3.0, 4.0, 5.0]], requires_grad=True)
    losses = loss(logits, labels, mask)
    assert losses[0].item() > 0
    assert losses[1].item() == 0
    losses.sum().backward()
    assert torch.isfinite(logits.grad).all()
    assert (logits.grad * ~mask).tolist() == [[0, 0, 0], [0, 0, 0]]
    # Nor does it matter what stands in the padding, or how much of it there is.
    other = loss(torch.tensor([[1.0, -2.0, -50.0, 9.0]]), torch.tensor([[1.0, 0.0, 0.0, 1.0]]), torch.tensor([[True, True, False, False]]))
    torch.testing.assert_close(other, losses[:1].detach())


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


def test_bpr_by_hand():
    # One pair: the positive at ln 3 against 0, sigmoid = 3/4; the third place is padding.
    loss = bpr_loss(*tensors([[math.log(3), 0.0, 99.0]], [[1.0, 0.0, 0.0]], [[True, True, False]]))
    assert loss.tolist() == pytest.approx([math.log(4 / 3)])
    # Labels 2, 1, 0: three pairs, of differences 0, ln 3 and ln 3.
    graded = bpr_loss(*tensors([[math.log(3), math.log(3), 0.0]], [[2.0, 1.0, 0.0]], [[True] * 3]))
    assert graded.tolist() == pytest.approx([(math.log(2) + 2 * math.log(4 / 3)) / 3])


def test_gbce_by_hand():
    # Two negatives of a catalogue of 5: a = 2/4, t = 1: b = 1 - (1 - 1/2) = 1/2. (ln 2 / 2 + 2 ln 2) / 3.
    given = tensors([[0.0, 0.0, 0.0, 99.0]], [[1.0, 0.0, 0.0, 0.0]], [[True, True, True, False]])
    assert gbce_loss(*given, n_items=5, calibration=1.0).tolist() == pytest.approx([2.5 * math.log(2) / 3])
    # t = 0, or a slate of the whole catalogue, is binary cross-entropy.
    assert gbce_loss(*given, n_items=5, calibration=0.0).tolist() == pytest.approx(binary_loss(*given).tolist())
    assert gbce_loss(*given, n_items=3, calibration=1.0).tolist() == pytest.approx(binary_loss(*given).tolist())


def test_mse_by_hand():
    # (4 - 3.5)^2 and (1 - 2)^2; the third place is padding.
    loss = mse_loss(*tensors([[3.5, 2.0, 99.0]], [[4.0, 1.0, 0.0]], [[True, True, False]]))
    assert loss.tolist() == [0.625]


def test_smoothed_labels_by_hand():
    # softmax = (1/3, 2/3): 0.8 ln(3/2) + 0.2 (ln 3 + ln(3/2)) / 2.
    given = tensors([[0.0, math.log(2), 99.0]], [[0.0, 1.0, 1.0]], [[True, True, False]])
    expected = 0.8 * math.log(3 / 2) + 0.1 * (math.log(3) + math.log(3 / 2))
    assert make_loss("softmax", n_items=5, label_smoothing=0.2)(*given).tolist() == pytest.approx([expected])
    # A positive at ln 3 with the target 0.9: -0.9 ln(3/4) - 0.1 ln(1/4).
    given = tensors([[math.log(3)]], [[1.0]], [[True]])
    expected = 0.9 * math.log(4 / 3) + 0.1 * math.log(4)
    for name in ("binary", "gbce"):
        smoothed = make_loss(name, n_items=5, label_smoothing=0.2, calibration=0.0)
        assert smoothed(*given).tolist() == pytest.approx([expected])


def test_a_slate_without_positives_has_no_smoothed_softmax_loss():
    given = tensors([[0.0, 1.0]], [[0.0, 0.0]], [[True, True]])
    assert make_loss("softmax", n_items=5, label_smoothing=0.2)(*given).tolist() == [0]


@pytest.mark.parametrize("name", ["bpr", "mse"])
def test_losses_without_targets_to_smooth_refuse_it(name):
    with pytest.raises(
        TrainingError, match=f"label_smoothing is 0.1, but the loss {name} has no targets to smooth: set it to 0, or choose"
    ):
        make_loss(name, n_items=5, label_smoothing=0.1)


def test_unknown_losses_are_refused():
    with pytest.raises(TrainingError, match="no loss 'hinge'; there are: softmax, binary, gbce, bpr, mse"):
        make_loss("hinge", n_items=5)
