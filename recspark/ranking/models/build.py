"""The rankers by name: from knobs, or a card, to a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from pydantic import TypeAdapter

from recspark.errors import TrainingError
from recspark.ranking.dimensions import Dimensions
from recspark.ranking.models.din import DeepInterestNetwork, DinKnobs
from recspark.ranking.models.ranker import Ranker

# A further model joins in both: its knobs (DinKnobs | OtherKnobs, told apart by `name`), and what they build.
ModelKnobs = DinKnobs
MODELS: dict[str, Callable[[Dimensions, Any], Ranker]] = {"din": DeepInterestNetwork}


def describe_model(dimensions: Dimensions, knobs: ModelKnobs) -> dict[str, Any]:
    """What `build_model` needs, as plain data for the card."""
    return {"name": knobs.name, "dimensions": asdict(dimensions), "knobs": knobs.model_dump(mode="json")}


def build_model(description: Mapping[str, Any]) -> Ranker:
    """An untrained model of this description; torch's seed decides its weights.

    Raises:
        TrainingError: no model has this name.
    """
    if description["name"] not in MODELS:
        raise TrainingError(f"there is no ranker {description['name']!r}; there are: {', '.join(MODELS)}")
    sizes: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list | tuple) else value for key, value in description["dimensions"].items()
    }
    knobs: ModelKnobs = TypeAdapter(ModelKnobs).validate_python(description["knobs"])
    return MODELS[description["name"]](Dimensions(**sizes), knobs)
