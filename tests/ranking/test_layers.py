"""The parts of the models, against their formulas written out."""

from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from recspark.ranking.batch import Items
from recspark.ranking.inputs import Blend, join_fields, mean_event
from recspark.ranking.layers import CategoryEmbedding, EventEmbedding, ItemEmbedding, UserEmbedding
from recspark.ranking.models.bst import BehaviorSequenceTransformer, BstKnobs, TransformerBlock
from recspark.ranking.models.dcn_v2 import CrossNetwork
from recspark.ranking.models.deepfm import FactorizationMachine
from recspark.ranking.models.din import InterestAttention
from recspark.ranking.models.neumf import NeuMfKnobs, NeuralMatrixFactorisation
from tests.ranking.contract import dimensions, spoken
from tests.slate_files import N_ITEMS


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


def test_unknown_users_share_an_embedding_that_training_learns():
    embedding = UserEmbedding(3, 2, dropout=1.0).eval()
    torch.testing.assert_close(embedding(torch.tensor([0, 2, 3, 99])), embedding.own.weight[[1, 3, 0, 0]])
    # Dropped out, a known user stands in for an unknown one.
    embedding.train()(torch.tensor([1])).sum().backward()
    assert embedding.own.weight.grad.tolist() == [[1, 1], [0, 0], [0, 0], [0, 0]]


def test_events_are_their_type_plus_their_age():
    embedding = EventEmbedding(2, 3)
    # Ages fall behind 1 hour, 1, 3, 7 ... days; types that training never saw are silent.
    got = embedding(torch.tensor([[1, 5]]), torch.tensor([[2.0, 0.0]]))
    torch.testing.assert_close(got[0], torch.stack([embedding.types.weight[1] + embedding.ages.weight[2], embedding.ages.weight[0]]))


def test_the_mean_event_leaves_padding_out():
    history = torch.tensor([[[1.0, 2.0], [3.0, 6.0], [9.0, 9.0]], [[9.0, 9.0]] * 3])
    mask = torch.tensor([[True, True, False], [False] * 3])
    assert mean_event(history, mask).tolist() == [[2, 4], [0, 0]]


def test_fields_of_a_slate_stand_beside_each_candidate():
    candidates, user = torch.tensor([[[1.0], [2.0]]]), torch.tensor([[7.0, 8.0]])
    assert join_fields(user, candidates).tolist() == [[[7, 8, 1], [7, 8, 2]]]


def test_without_places_the_blend_begins_at_zero():
    names = ("age", "price")
    blend = Blend(dimensions(feature_names=names, feature_means=(0.0, 0.0), feature_stds=(1.0, 1.0)))
    assert blend(torch.ones(1, 3, 2)).tolist() == [[0, 0, 0]]


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


def test_the_factorization_machine_sums_the_products_of_all_pairs():
    torch.manual_seed(0)
    machine = FactorizationMachine(n_features=4, size=3)
    torch.nn.init.normal_(machine.features)
    candidates, slate, features = torch.randn(2, 5, 3), torch.randn(2, 2, 3), torch.randn(2, 5, 4)
    for b in range(2):
        for s in range(5):
            fields = [candidates[b, s], *slate[b], *(x * v for x, v in zip(features[b, s], machine.features, strict=True))]
            pairs = sum(fields[i] @ fields[j] for i in range(len(fields)) for j in range(i))
            torch.testing.assert_close(machine(candidates, slate, features)[b, s], pairs)


def test_two_cross_layers_by_hand():
    # W = 2, b = 1, x0 = 3: x1 = 3 (6 + 1) + 3 = 24, x2 = 3 (48 + 1) + 24 = 171. As a product of 1 and 2 of rank 1: the same.
    full, low = CrossNetwork(1, 2, None), CrossNetwork(1, 2, 1)
    with torch.no_grad():
        for parameter in [*full.parameters(), *low.parameters()]:
            parameter.fill_(1.0 if parameter.ndim == 1 else 2.0)
        for first, _ in low.layers:
            first.weight.fill_(1.0)
    assert full(torch.tensor([3.0])).item() == low(torch.tensor([3.0])).item() == 171


def test_neumf_is_one_linear_layer_over_both_halves(batch):
    model = spoken(NeuralMatrixFactorisation(dimensions(), NeuMfKnobs(embedding_size=4, hidden=(3,))))
    with torch.no_grad():
        (user, items), (other_user, other_items) = model.factors.pair(batch), model.deep.pair(batch)
        network, output = model.deep.deep[:-1], model.deep.deep[-1]
        hidden = network(torch.cat([other_user[:, None].expand_as(other_items), other_items], -1))
        joint = torch.cat([model.factors.output.weight, output.weight], -1)
        expected = torch.cat([user[:, None] * items, hidden], -1) @ joint.T + output.bias
        torch.testing.assert_close(model.score(batch, model.features(batch.features)), expected.squeeze(-1))


def test_a_transformer_block_is_torchs():
    torch.manual_seed(0)
    block = TransformerBlock(8, n_heads=2, dropout=0.0)
    peer = nn.TransformerEncoderLayer(8, 2, dim_feedforward=32, dropout=0.0, activation=F.leaky_relu, batch_first=True)
    ours = [block.project, block.attended, block.feed_forward[0], block.feed_forward[3], block.first_norm, block.second_norm]
    theirs = [peer.self_attn, peer.self_attn.out_proj, peer.linear1, peer.linear2, peer.norm1, peer.norm2]
    with torch.no_grad():
        for own, other in zip(ours, theirs, strict=True):
            (other.in_proj_weight if own is block.project else other.weight).copy_(own.weight)
            (other.in_proj_bias if own is block.project else other.bias).copy_(own.bias)
    sequence, may_see = torch.randn(3, 5, 8), torch.rand(5, 5) < 0.5
    may_see |= torch.eye(5, dtype=torch.bool)
    torch.testing.assert_close(block(sequence, may_see.expand(3, -1, -1)), peer(sequence, src_mask=~may_see))


def test_the_transformer_minds_the_order_of_the_history(batch):
    knobs = BstKnobs(embedding_size=8, hidden=(4,), n_layers=2, n_heads=2)
    model = spoken(BehaviorSequenceTransformer(dimensions(), knobs))
    past = batch.history
    turned = Items(past.idx.flip(1), past.numbers.flip(1), past.categories.flip(1))
    with torch.no_grad():
        assert not torch.allclose(model(batch), model(replace(batch, history=turned)))
