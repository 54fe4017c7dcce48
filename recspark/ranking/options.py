"""How to train: the knobs that every trained model has. What on, and which model, are the caller's."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

# At least 0, and below 1.
Share = Annotated[float, Field(ge=0, lt=1)]
Factor = Annotated[float, Field(gt=0, le=1)]


class TrainingOptions(BaseModel):
    """Knobs of the trainer; conf/ranker/default.yaml says what each is for.

    `global_batch_size` is over all processes, an update takes `accumulation` such batches. `warm_up` below 1 is a share
    of all updates, from 1 on a number of them. What changes no weight is left out of dumps: with it, a training goes on.
    """

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True)

    optimiser: Literal["adamw", "adam", "sgd"] = "adamw"
    learning_rate: PositiveFloat = 2e-3
    momentum: Share = 0.9
    second_momentum: Share = 0.999
    weight_decay: NonNegativeFloat = 0.05
    embeddings: Literal["dense", "rowwise"] = "dense"
    embedding_learning_rate: PositiveFloat = 0.05
    schedule: Literal["cosine", "constant", "step", "plateau"] = "cosine"
    warm_up: NonNegativeFloat = 0.05
    final_share: Factor = 0.05
    decay: Factor = 0.3
    decay_epochs: PositiveInt = 2
    max_gradient_norm: PositiveFloat = 1.0
    global_batch_size: PositiveInt = 64
    accumulation: PositiveInt = 1
    epochs: PositiveInt = 20
    patience: PositiveInt = 4
    stop_on: str = "loss"
    max_loss_ratio: PositiveFloat = 100.0
    precision: Literal["float32", "bfloat16"] = "float32"
    compile: bool = False
    checkpoint_every: PositiveInt = Field(200, exclude=True)
    checkpoints_kept: PositiveInt = Field(2, exclude=True)
    seed: NonNegativeInt = 0

    @property
    def lower_is_better(self) -> bool:
        """Whether `stop_on` is a loss."""
        return self.stop_on == "loss"

    def identity(self) -> dict[str, object]:
        """What decides the trained weights: how often it is saved does not."""
        return self.model_dump(mode="json")


class AttentionHeads(BaseModel):
    """The knob of models whose attention has several heads: each has its share of the embedding."""

    embedding_size: PositiveInt
    n_heads: PositiveInt = 1

    @model_validator(mode="after")
    def _heads_share_the_embedding(self) -> Self:
        if self.embedding_size % self.n_heads:
            raise ValueError(
                f"n_heads {self.n_heads} do not divide embedding_size {self.embedding_size}: each head has its share of it; change one of them"
            )
        return self
