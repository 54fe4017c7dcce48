"""The next-item models by name: from knobs, or a card, to a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Annotated, Any

from pydantic import Field, TypeAdapter

from recspark.errors import TrainingError
from recspark.ranking.next_item.dimensions import ItemContent, SequenceDimensions
from recspark.ranking.next_item.models.bert4rec import Bert4Rec, Bert4RecKnobs
from recspark.ranking.next_item.models.gru4rec import Gru4Rec, Gru4RecKnobs
from recspark.ranking.next_item.models.hstu import Hstu, HstuKnobs
from recspark.ranking.next_item.models.next_item import NextItemModel
from recspark.ranking.next_item.models.nextitnet import NextItNet, NextItNetKnobs
from recspark.ranking.next_item.models.sasrec import SasRec, SasRecKnobs

# A further model joins in both: its knobs, told apart by `name`, and what they build.
NextItemModelKnobs = Annotated[
    SasRecKnobs | HstuKnobs | Gru4RecKnobs | NextItNetKnobs | Bert4RecKnobs,
    Field(discriminator="name"),
]
MODELS: dict[str, Callable[[SequenceDimensions, ItemContent, Any], NextItemModel]] = {
    "sasrec": SasRec,
    "hstu": Hstu,
    "gru4rec": Gru4Rec,
    "nextitnet": NextItNet,
    "bert4rec": Bert4Rec,
}


def describe_next_item_model(dimensions: SequenceDimensions, knobs: NextItemModelKnobs) -> dict[str, Any]:
    """What `build_next_item_model` needs, as plain data for the card."""
    return {"name": knobs.name, "dimensions": asdict(dimensions), "knobs": knobs.model_dump(mode="json")}


def build_next_item_model(description: Mapping[str, Any], content: ItemContent) -> NextItemModel:
    """An untrained model of this description over this catalogue; torch's seed decides its weights.

    Raises:
        TrainingError: no model has this name, or the catalogue has fewer items than the model, or content of another kind.
    """
    if description["name"] not in MODELS:
        raise TrainingError(f"there is no next-item model {description['name']!r}; there are: {', '.join(MODELS)}")
    dimensions = SequenceDimensions(**description["dimensions"])
    if content.n_items < dimensions.n_items:
        raise TrainingError(
            f"the catalogue has {content.n_items} items, fewer than the {dimensions.n_items} that the model knows; "
            "give it the item features of the model's horizon or a later one"
        )
    for what, given, known in (
        ("numbers", content.numbers.shape[1], dimensions.n_item_numbers),
        ("vector values", content.vectors.shape[1], dimensions.n_item_vector),
    ):
        if known and given != known:
            raise TrainingError(
                f"items have {given} {what}, but the model was trained with {known}: give it item features of the same kind, or train it again"
            )
    knobs: NextItemModelKnobs = TypeAdapter(NextItemModelKnobs).validate_python(description["knobs"])
    return MODELS[description["name"]](dimensions, content, knobs)
