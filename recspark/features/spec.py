"""How one attribute becomes numbers or codes."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from recspark.columns import FIRST_CATEGORY


class NumericSpec(BaseModel):
    """A number: `(clip(fill(x)) - centre) / spread`, followed by a was-missing indicator.

    What does not parse as a finite number is missing.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    # median, mean and most_frequent (the lowest of equals) fill in the raw number; zero sets the encoded one to 0, whatever the scale.
    missing: Literal["median", "mean", "most_frequent", "zero"] = "median"
    # Quantiles that outliers are moved to; null keeps them.
    clip_quantiles: tuple[float, float] | None = (0.01, 0.99)
    # standard: (x - mean) / std; min_max: (x - min) / (max - min); log: sign(x) * log(1 + |x|); none: x.
    scale: Literal["standard", "min_max", "log", "none"] = "standard"

    @field_validator("clip_quantiles")
    @classmethod
    def _ordered(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
        if value is not None and not 0 <= value[0] < value[1] <= 1:
            raise ValueError(f"clip_quantiles {value} are not two shares with 0 <= low < high <= 1, such as [0.01, 0.99]")
        return value


class CategoricalSpec(BaseModel):
    """One or several categories of an entity, as codes in `max_values` slots, and a was-missing indicator among its numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    # What stands for no value at all: the code of unknown, or the most frequent token.
    missing: Literal["unknown", "most_frequent"] = "unknown"
    # Tokens of fewer entities than this are out of vocabulary.
    min_count: int = Field(default=2, ge=1)
    # The most frequent tokens that get a code of their own.
    max_vocabulary: int = Field(default=10_000, ge=1)
    # Slots of an entity; further values, in the source's order, are left out.
    max_values: int = Field(default=5, ge=1)
    # What stands between the values in one string; null when the attribute is one value.
    separator: str | None = Field(default=None, min_length=1)
    # 1: everything out of vocabulary shares one code (not that of unknown); more: hashed to so many codes of the feature's own.
    n_oov_buckets: int = Field(default=1, ge=1)


def first_bucket_codes(categorical: dict[str, CategoricalSpec]) -> dict[str, int]:
    """The first code of each feature's own buckets; features without any share one code and are left out.

    Buckets come before all vocabularies, so their codes follow from the configuration alone.
    """
    codes, following = {}, FIRST_CATEGORY
    for name, spec in categorical.items():
        if spec.n_oov_buckets > 1:
            codes[name] = following
            following += spec.n_oov_buckets
    return codes


def first_vocabulary_code(categorical: dict[str, CategoricalSpec]) -> int:
    """The code of the first token of the first vocabulary."""
    return FIRST_CATEGORY + sum(spec.n_oov_buckets for spec in categorical.values() if spec.n_oov_buckets > 1)
