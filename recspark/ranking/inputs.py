"""What every ranker does with a batch first, and the linear parts beside a network.

Shapes: B slates, S candidates, L events of history, F features (expanded), E embedding size.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from recspark.ranking.batch import SlateBatch
from recspark.ranking.dimensions import Dimensions, expand_features, expanded_names
from recspark.ranking.layers import EventEmbedding, ItemEmbedding, UserContent, make_output

# The slate's own order, best blended first: what an untrained ranker answers.
START = "log_blended_reciprocal_position"


class SlateFeatures(nn.Module):
    """The candidates' features, expanded and standardised: B x S x (F - R) -> B x S x F; see `expand_features`."""

    means: Tensor
    stds: Tensor

    def __init__(self, d: Dimensions) -> None:
        super().__init__()
        self.names = d.feature_names
        # They stand in the card, with the other dimensions.
        self.register_buffer("means", torch.tensor(d.feature_means), persistent=False)
        self.register_buffer("stds", torch.tensor(d.feature_stds), persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        return (expand_features(features, self.names) - self.means) / self.stds


class Blend(nn.Module):
    """A linear model of the features that begins as the slate's own order: B x S x F -> B x S.

    Untrained it is log(1 / (1 + place in the slate)) up to a constant: training starts from the blend of the sources, and
    only what helps moves away from it. It begins at 0 where no feature tells the place.
    """

    def __init__(self, d: Dimensions) -> None:
        super().__init__()
        self.linear = make_output(len(d.feature_means))
        names = expanded_names(d.feature_names)
        if START in names:
            column = names.index(START)
            with torch.no_grad():
                self.linear.weight[0, column] = d.feature_stds[column]

    def forward(self, features: Tensor) -> Tensor:
        logits: Tensor = self.linear(features).squeeze(-1)
        return logits


class FirstOrder(nn.Module):
    """One weight for each item, category and number, of candidates and users: a batch -> B x S, beginning at zero."""

    def __init__(self, d: Dimensions, item_dropout: float) -> None:
        super().__init__()
        self.items = ItemEmbedding(d.n_items, d.n_item_codes, d.n_item_numbers, 1, item_dropout)
        self.users = UserContent(d.n_user_codes, d.n_user_numbers, 1)
        for parameter in self.parameters():
            nn.init.zeros_(parameter)

    def forward(self, batch: SlateBatch) -> Tensor:
        logits: Tensor = self.items(batch.candidates).squeeze(-1) + self.users(batch.user_categories, batch.user_numbers)
        return logits


class SlateEncoder(nn.Module):
    """Candidates, history and user as embeddings: a batch -> B x S x E, B x L x E, B x E.

    Candidates and history share the items' embeddings; an event adds what happened and how long ago. Whatever the tables
    hold beside ids (categories, numbers, vectors) is in them.
    """

    def __init__(self, d: Dimensions, size: int, item_dropout: float) -> None:
        super().__init__()
        self.items = ItemEmbedding(d.n_items, d.n_item_codes, d.n_item_numbers, size, item_dropout)
        self.events = EventEmbedding(d.n_event_types, size)
        self.users = UserContent(d.n_user_codes, d.n_user_numbers, size)

    def forward(self, batch: SlateBatch) -> tuple[Tensor, Tensor, Tensor]:
        history = self.items(batch.history) + self.events(batch.history_types, batch.history_ages)
        return self.items(batch.candidates), history, self.users(batch.user_categories, batch.user_numbers)


def mean_event(history: Tensor, history_mask: Tensor) -> Tensor:
    """The mean of the events: B x L x E, B x L bool -> B x E. 0 without events."""
    return (history * history_mask[..., None]).sum(1) / history_mask.sum(1, keepdim=True).clamp(min=1)


def join_fields(*fields: Tensor) -> Tensor:
    """Side by side for each candidate: B x S x e, or B x e of the whole slate, each -> B x S x (sum of e)."""
    n_candidates = max(field.shape[1] for field in fields if field.ndim == 3)
    return torch.cat([field if field.ndim == 3 else field[:, None].expand(-1, n_candidates, -1) for field in fields], dim=-1)
