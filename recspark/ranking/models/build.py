"""The rankers by name: from knobs, or a card, to a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any, Union, get_type_hints

from pydantic import Discriminator, Tag, TypeAdapter

from recspark.errors import TrainingError
from recspark.ranking.dimensions import Dimensions
from recspark.ranking.models.ranker import Knobs, Ranker

# Each is a file of this package with one ranker in it; the first is built where nothing else is said.
NAMES = (
    "din",
    "logistic",
    "mlp",
    "gmf",
    "ncf_mlp",
    "neumf",
    "wide_deep",
    "deepfm",
    "dcn_v2",
    "bst",
)


def _ranker_in(name: str) -> type[Ranker]:
    module = import_module(f"recspark.ranking.models.{name}")
    (ranker,) = (one for one in vars(module).values() if isinstance(one, type) and issubclass(one, Ranker) and one is not Ranker)
    return ranker


def _name_of(knobs: Any) -> Any:
    return knobs.get("name", NAMES[0]) if isinstance(knobs, Mapping) else getattr(knobs, "name", None)


MODELS: dict[str, type[Ranker]] = {name: _ranker_in(name) for name in NAMES}
KNOBS: dict[str, type[Knobs]] = {name: get_type_hints(model.__init__)["knobs"] for name, model in MODELS.items()}

if TYPE_CHECKING:
    ModelKnobs = Knobs
else:
    _tagged = tuple(Annotated[knobs, Tag(name)] for name, knobs in KNOBS.items())
    ModelKnobs = Annotated[Union[_tagged], Discriminator(_name_of)]  # noqa: UP007  made of a tuple


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
    return MODELS[description["name"]](Dimensions(**sizes), knobs)  # type: ignore[call-arg]
