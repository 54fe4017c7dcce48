"""What every slate ranker must hold to. A model's suite inherits it and says which model it is:

class TestNeuralMatrixFactorisation(RankerContract):
    knobs = NeuMfKnobs(embedding_size=8, hidden=(16,), **WITHOUT_CHANCE)
    golden: ClassVar = {"softmax": 2.1, ...}
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from recspark.handover.arrays import publish
from recspark.kernels.slates import feature_names
from recspark.ranking.batch import ItemTable, SlateBatch, to_batch
from recspark.ranking.checkpoint import save_artefact
from recspark.ranking.dimensions import Dimensions
from recspark.ranking.losses import LossName, make_loss
from recspark.ranking.models.build import ModelKnobs, build_model, describe_model
from recspark.ranking.models.ranker import Ranker
from recspark.ranking.optimisers import use_sparse_embeddings
from recspark.ranking.score import load_ranker
from recspark.ranking.train import train_ranker
from recspark.ranking.transfer import map_tensors
from recspark.runtime.job import Job
from recspark.runtime.misfits import misfits
from recspark.tables import RANKERS
from tests.slate_files import N_HISTORY, N_ITEMS, N_SLOTS, N_USERS, SOURCES, make_slates

NAMES = tuple(feature_names(SOURCES))
N_EXPANDED = len(NAMES) + 3
N_SLATES = 32
WITHOUT_CHANCE: Mapping[str, float] = {"dropout": 0.0, "item_dropout": 0.0}


def dimensions(**changed: Any) -> Dimensions:
    """Those of `make_slates(32, ...)`."""
    sizes = {"n_items": N_ITEMS, "n_item_codes": 4, "n_item_numbers": 1, "n_user_codes": 2, "n_user_numbers": 1}
    sizes |= {"n_event_types": 2, "n_users": N_USERS, "history_length": N_HISTORY}
    constants = {"feature_names": NAMES, "feature_means": (0.0,) * N_EXPANDED, "feature_stds": (1.0,) * N_EXPANDED}
    return Dimensions(**{**sizes, **constants, **changed})


def spoken(model: Ranker) -> Ranker:
    """The model with every parameter at 0.3 sin(1), 0.3 sin(2), ...: no part of it is silent, and no generator had a say."""
    place = 0
    with torch.no_grad():
        for parameter in model.parameters():
            values = torch.arange(place + 1, place + 1 + parameter.numel(), dtype=torch.float64)
            parameter.copy_((0.3 * values.sin()).reshape(parameter.shape))
            place += parameter.numel()
    return model.eval()


def rows_of(batch: SlateBatch, rows: Tensor) -> SlateBatch:
    """The batch's rows `rows`, in that order."""
    return map_tensors(batch, lambda tensor: tensor[rows])


class RankerContract:
    """The suite. `golden`: the mean loss of the `spoken` model over the 32 slates, by the loss's name."""

    knobs: ClassVar[ModelKnobs]
    golden: ClassVar[Mapping[LossName, float]]
    sees_history: ClassVar[bool] = True
    sees_user_ids: ClassVar[bool] = False
    # How far an untrained logit is from the slate's order.
    starts_within: ClassVar[float] = 1e-5
    # What 150 steps bring the loss of 32 slates of 8 down to, from 2.3.
    overfits_to: ClassVar[float] = 0.05

    def build(self, **changed: int) -> Ranker:
        torch.manual_seed(0)
        return build_model(describe_model(dimensions(**changed), self.knobs))

    def logits(self, slates: Mapping[str, np.ndarray], items: ItemTable) -> Tensor:
        with torch.no_grad():
            return spoken(self.build())(to_batch(slates, items))

    def test_shapes(self, batch: SlateBatch) -> None:
        assert self.build()(batch).shape == (N_SLATES, N_SLOTS)
        assert self.build()(rows_of(batch, torch.arange(0))).shape == (0, N_SLOTS)

    def test_an_untrained_model_answers_the_slates_order(self, batch: SlateBatch) -> None:
        logits = self.build().eval()(batch)
        expected = -torch.log(torch.arange(N_SLOTS) + 1.0).expand(N_SLATES, -1)
        torch.testing.assert_close(logits - logits[:, :1], expected, rtol=0, atol=self.starts_within)

    def test_padding_changes_nothing(self, items: ItemTable) -> None:
        slates = make_slates(4, 1)
        short = {**slates, "n_items": np.full(4, 6, np.int32), "history_length": np.full(4, 3, np.int32)}
        other = {column: array.copy() for column, array in short.items()}
        other["items"][:, 6:], other["history_items"][:, 3:] = 5, 7
        other["history_types"][:, 3:], other["history_ages"][:, 3:] = 9, 999
        other["features"].reshape(4, N_SLOTS, -1)[:, 6:] = 77
        logits = self.logits(short, items)[:, :6]
        torch.testing.assert_close(self.logits(other, items)[:, :6], logits, rtol=0, atol=0)
        # Nor do histories that no event is in, and slates without candidates, beside others or alone.
        empty = {**short, "n_items": np.array([6, 0, 6, 6], np.int32), "history_length": np.array([3, 3, 0, 3], np.int32)}
        beside = self.logits(empty, items)[:, :6]
        assert torch.isfinite(beside[[0, 2, 3]]).all()
        torch.testing.assert_close(beside[[0, 3]], logits[[0, 3]])

    def test_batch_order_changes_nothing(self, batch: SlateBatch) -> None:
        model, order = spoken(self.build()), torch.arange(N_SLATES - 1, -1, -1)
        with torch.no_grad():
            logits = model(batch)
            torch.testing.assert_close(model(rows_of(batch, order)), logits[order])
            torch.testing.assert_close(model(rows_of(batch, order[:1])), logits[order[:1]])

    def test_a_permuted_slate_has_its_logits_permuted(self, items: ItemTable) -> None:
        slates, order = make_slates(4, 1), np.array([3, 1, 0, 2, 7, 6, 5, 4])
        features = slates["features"].reshape(4, N_SLOTS, -1)[:, order].reshape(4, -1)
        permuted = {**slates, "items": slates["items"][:, order], "features": features}
        torch.testing.assert_close(self.logits(permuted, items), self.logits(slates, items)[:, order])

    def test_a_candidate_does_not_depend_on_the_others(self, items: ItemTable) -> None:
        slates = make_slates(4, 1)
        others = {**slates, "items": slates["items"].copy(), "features": slates["features"].copy()}
        others["items"][:, 1:] = slates["items"][:, :1] + 1
        others["features"].reshape(4, N_SLOTS, -1)[:, 1:] = 0.5
        torch.testing.assert_close(self.logits(others, items)[:, 0], self.logits(slates, items)[:, 0])

    def test_it_sees_what_it_says_it_sees(self, items: ItemTable) -> None:
        slates = make_slates(4, 1)
        logits = self.logits(slates, items)
        others = {**slates, "user_idx": slates["user_idx"] + 5}
        assert torch.allclose(logits, self.logits(others, items)) != self.sees_user_ids
        pasts = [{**slates, column: slates[column][::-1].copy() + 1} for column in ("history_items", "history_ages")]
        pasts.append({**slates, "history_types": np.zeros_like(slates["history_types"])})
        for past in pasts:
            assert torch.allclose(logits, self.logits(past, items)) != self.sees_history

    def test_every_further_column_reaches_it(self, tmp_path: Path) -> None:
        """Numbers, a vector and several categories of items, numbers and categories of users, every feature."""
        rng = np.random.default_rng(0)
        arrays = {"item_idx": np.arange(N_ITEMS, dtype=np.int32), "numbers": rng.normal(size=(N_ITEMS, 2)).astype(np.float32)}
        arrays |= {"vectors": rng.normal(size=(N_ITEMS, 3)), "categories": rng.integers(0, 9, (N_ITEMS, 2)).astype(np.int32)}
        slates = {**make_slates(4, 1), "user_numbers": rng.normal(size=(4, 3)).astype(np.float32)}
        slates["user_categories"] = rng.integers(0, 5, (4, 2)).astype(np.int32)
        slates["features"] = rng.random(slates["features"].shape, np.float32)
        items = ItemTable(publish(arrays, str(tmp_path)))
        batch = to_batch(slates, items)
        model = spoken(self.build(n_item_numbers=items.n_numbers, n_item_codes=items.n_codes(), n_user_numbers=3, n_user_codes=5))
        inputs = (batch.candidates.numbers, batch.user_numbers, batch.features)
        for tensor in inputs:
            tensor.requires_grad_()
        logits = model(batch)
        for tensor in torch.autograd.grad(logits[:, 0].square().sum(), inputs):
            assert (tensor.reshape(-1, tensor.shape[-1]).abs().sum(0) > 0).all()
        known = replace(batch.candidates, categories=batch.candidates.categories.flip(1) % 8 + 1)
        assert not torch.allclose(logits, model(replace(batch, candidates=known)))
        assert not torch.allclose(logits, model(replace(batch, user_categories=batch.user_categories % 4 + 1)))

    def test_what_training_never_saw_is_scored(self, tmp_path: Path) -> None:
        n = N_ITEMS + 5
        arrays = {"item_idx": np.arange(n, dtype=np.int32), "numbers": np.ones((n, 1), np.float32)}
        later = ItemTable(publish({**arrays, "categories": np.full((n, 1), 99, np.int32)}, str(tmp_path / "later")))
        slates = make_slates(2, 1)
        slates["items"][:, 0] = N_ITEMS + 3  # a new item of a new category
        slates["items"][:, 1] = N_ITEMS + 100  # so new that it has no features
        slates["user_categories"][:], slates["history_types"][:], slates["user_idx"][:] = 50, 9, [1000, 2000]
        longer = ("history_items", "history_types", "history_ages")
        slates |= {column: np.concatenate([slates[column]] * 2, axis=1) for column in longer}
        slates["history_length"][:] *= 2
        assert torch.isfinite(self.logits(slates, later)).all()

    def test_overfits_32_slates(self, batch: SlateBatch) -> None:
        model, loss_of = self.build(), make_loss("softmax", n_items=N_ITEMS)
        optimizer = torch.optim.AdamW(model.parameters(), lr=2e-2)
        for _ in range(150):
            optimizer.zero_grad()
            loss = loss_of(model(batch), batch.labels, batch.mask).mean()
            loss.backward()
            optimizer.step()
        assert loss.item() < self.overfits_to < math.log(N_SLOTS)

    def test_save_and_load_are_equal(self, batch: SlateBatch, tmp_path: Path) -> None:
        model = spoken(self.build())
        save_artefact(str(tmp_path), model.state_dict(), {"model": describe_model(dimensions(), self.knobs)})
        again, card = load_ranker(str(tmp_path))
        assert card["model"]["knobs"]["name"] == self.knobs.name
        assert torch.equal(again(batch), model(batch))

    def test_golden_losses(self, batch: SlateBatch) -> None:
        with torch.no_grad():
            logits = spoken(self.build())(batch)
        found = {name: make_loss(name, n_items=N_ITEMS)(logits, batch.labels, batch.mask).mean().item() for name in self.golden}
        assert found == pytest.approx(dict(self.golden), abs=1e-4)
        assert len(found) >= 3

    def test_a_wrong_key_is_said_with_the_allowed_ones(self) -> None:
        section = Job(train_ranker, writes=RANKERS, runner="torch").section
        with pytest.raises(ValidationError) as raised:
            section(sources=SOURCES, model={"name": self.knobs.name, "hiddn": 4})
        allowed = ", ".join(type(self.knobs).model_fields)
        (said,) = misfits("rankers", section, raised.value)
        assert said.startswith("rankers.model.hiddn: unknown key")
        assert said.endswith(f"; allowed here: {allowed}")

    def test_what_is_not_decayed_is_there(self) -> None:
        model = self.build()
        assert model.no_decay <= {name for name, _ in model.named_children()}

    def test_its_tables_are_read_row_by_row(self, batch: SlateBatch) -> None:
        """So that `embeddings: rowwise` can train it."""
        model = spoken(self.build())
        tables = use_sparse_embeddings(model)
        model(batch).square().sum().backward()
        assert tables
        assert all(table.grad is not None and table.grad.is_sparse for table in tables)
