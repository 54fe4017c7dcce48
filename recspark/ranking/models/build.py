"""The rankers by name: from a card to a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Literal

from torch import nn

from recspark.errors import TrainingError
from recspark.ranking.models.din import DeepInterestNetwork, Dimensions

ModelName = Literal["din"]
MODELS: dict[str, type[DeepInterestNetwork]] = {"din": DeepInterestNetwork}


def describe_model(name: ModelName, dimensions: Dimensions, knobs: Mapping[str, Any]) -> dict[str, Any]:
    """What `build_model` needs, as plain data for the card."""
    return {"name": name, "dimensions": asdict(dimensions), "knobs": dict(knobs)}


def build_model(description: Mapping[str, Any]) -> nn.Module:
    """An untrained model of this description; torch's seed decides its weights.

    Raises:
        TrainingError: no model has this name.
    """
    if description["name"] not in MODELS:
        raise TrainingError(f"there is no ranker {description['name']!r}; there are: {', '.join(MODELS)}")
    data = description["dimensions"]
    plain: dict[str, Any] = {key: tuple(value) if isinstance(value, list | tuple) else value for key, value in data.items()}
    dimensions = Dimensions(**plain)
    return MODELS[description["name"]](dimensions, **description["knobs"])
