"""Settings that refer to each other: each rule names the setting, its value, what it does not fit, and what to do. Before Spark."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel

from recspark.candidates.als import engine_misfits
from recspark.candidates.compared import measure_misfits
from recspark.columns import FIT, TEST, TUNE
from recspark.interactions.mapping import ItemsMapping, UsersMapping
from recspark.runtime.job import Job

if TYPE_CHECKING:
    from recspark.runtime.config import Settings

# Figures of which more is better, whatever is published.
ACCURACY: Final = ("precision", "recall", "f1", "hit_rate", "map", "mrr", "ndcg")
FILL_IN: Final = "???"
CATEGORIES: Final = "categories"

# What an empty list of event types would mean.
_NO_TYPES: Final = {
    "labels": "leaves nothing to predict",
    "seen": "hides nothing, for which seen.policy: allowed is the word",
    "histories": "leaves the ranker nobody's past",
    "sequences": "leaves nothing to tell events apart by",
}

# Losses with targets to smooth.
_SMOOTHED: Final = {"rankers": ("softmax", "binary", "gbce"), "next_item_models": ("softmax",)}

Sections = Mapping[str, BaseModel]


def unfilled(raw: Any, where: str = "") -> Iterator[str]:
    """A problem for each `???` that `recspark init` left for a person to fill in."""
    if isinstance(raw, Mapping):
        for key, value in raw.items():
            yield from unfilled(value, f"{where}.{key}" if where else str(key))
    elif isinstance(raw, list):
        for place, value in enumerate(raw):
            yield from unfilled(value, f"{where}.{place}")
    elif raw == FILL_IN:
        yield f"{where}: still {FILL_IN}; fill it in"


def cross_problems(settings: Settings, sections: Sections, jobs: Mapping[str, Job]) -> list[str]:
    """What does not fit together between sections that are each well-formed; `sections` are those of the jobs that are on."""
    rules = (
        _sources(settings, sections, jobs),
        _types(settings, sections),
        _parts(settings, sections),
        _order_and_times(settings, sections),
    )
    more = (
        _values(settings, sections),
        _models(sections),
        _attributes(settings, sections),
        _measures(sections),
        _seen(sections),
        _processes(settings, sections),
        _next_item(settings, sections),
    )
    return [problem for rule in (*rules, *more) for problem in rule]


def _knob(sections: Sections, job: str, knob: str) -> Any:
    """The parameter of a job; None where the job is off."""
    return getattr(sections.get(job), knob, None)


def _strange(where: str, given: Iterable[str] | None, known: Iterable[str], among: str) -> Iterator[str]:
    known = list(known)
    for name in given or ():
        if name not in known:
            yield f"{where}: {name!r} is not among {among} ({', '.join(known) or 'none'})"


def _twice(where: str, given: Iterable[Any] | None) -> Iterator[str]:
    values = list(given or ())
    for value in dict.fromkeys(value for value in values if values.count(value) > 1):
        yield f"{where}: {value!r} stands there twice; name it once"


def _sources(settings: Settings, sections: Sections, jobs: Mapping[str, Job]) -> Iterator[str]:
    known = {
        table: sorted(job.slice["source"] for job in jobs.values() if job.writes.name == table and "source" in job.slice)
        for table in ("source_candidates", "neighbours")
    }
    yield from _strange("sources", settings.sources, known["source_candidates"], "the candidate sources")
    yield from _twice("sources", settings.sources)
    for name in sections:
        # `rankers` and others are told `sources`; a section's own list may be shorter, and not another.
        yield from _strange(f"{name}.sources", _knob(sections, name, "sources"), settings.sources, "sources")
    similar = _knob(sections, "similar_items", "source")
    yield from _strange("similar_items.source", [similar] if similar else [], known["neighbours"], "the sources of neighbours")


def _types(settings: Settings, sections: Sections) -> Iterator[str]:
    types = settings.events.types
    for job in ("labels", "seen", "histories", "sequences"):
        chosen = _knob(sections, job, "types")
        yield from _strange(f"{job}.types", chosen, types, "events.types")
        if chosen == []:
            yield f"{job}.types: [] {_NO_TYPES[job]}; name some of events.types ({', '.join(types)}), or leave it out for all of them"
    told = {f"{job}.weights": _knob(sections, job, "weights") for job in sections}
    own = {where: weights for where, weights in told.items() if weights is not None and weights != types}
    for where, weights in {"events.types": types, **own}.items():
        yield from _strange(where, weights, types, "events.types")
        below = [(name, weight) for name, weight in weights.items() if weight < 0]
        yield from (f"{where}.{name}: {weight:g} is below 0; a weight is at least 0, and 0 leaves the type out" for name, weight in below)
        if not below and not any(weights.values()):
            yield f"{where}: no type has a weight above 0, so that nothing could be learnt; give one of them a weight"


def _parts(settings: Settings, sections: Sections) -> Iterator[str]:
    splits, stored = settings.splits, settings.events.parts
    parts = splits.parts(stored)
    if splits.kind == "stored" and TEST not in stored:
        yield "splits.kind: stored needs what the source holds out; say it in events.parts, as in parts: {test: data/test.csv}"
    if splits.kind != "stored" and stored:
        yield f"events.parts: {', '.join(stored)} would be learnt from where splits.kind is {splits.kind}; set it to stored, or leave parts out"
    for part, job, what in ((FIT, "rankers", "learn from"), (TUNE, "rankers", "stop by"), (TUNE, "champion", "choose by")):
        if part not in parts and job in sections:
            yield f"{job}: a part `{part}` is there to {what}, and these splits (kind: {splits.kind}) have none; give it labels, or set {job} to null"


def _order_and_times(settings: Settings, sections: Sections) -> Iterator[str]:
    events = settings.events
    if (settings.splits.counts_from_last or settings.splits.latest) and events.resolved_order == "none":
        yield (
            f"splits.kind: {settings.splits.kind} needs each user's last events, and nothing says what sorts them; map events.columns.event_at "
            "or events.columns.event_order, set events.order: file, or choose splits.kind: random"
        )
    if events.columns.event_at is not None:
        return
    needing = [f"splits.kind: {settings.splits.kind}"] if settings.splits.needs_times else []
    needing += [f"{job}.half_life_days: {days:g}" for job in sections if (days := _knob(sections, job, "half_life_days")) is not None]
    needing += ["seen.policy: window"] if _knob(sections, "seen", "policy") == "window" else []
    yield from (f"{one} needs times, and events.columns.event_at is not mapped; map it, or choose otherwise" for one in needing)


def _values(settings: Settings, sections: Sections) -> Iterator[str]:
    explicit = _knob(sections, "vectors_als", "model") in ("explicit", "pmf")
    method = _knob(sections, "predictions", "method")
    if method == "als" and not explicit:
        yield "predictions: ratings are predicted where vectors_als.model is explicit or pmf; set it so, or choose another predictions.method"
    if method not in (None, "als") and f"neighbours_{method}" not in sections:
        yield f"predictions.method: {method} reads neighbours_{method}, which is null; give it a section, or choose another method"
    similarity = _knob(sections, f"neighbours_{method}", "similarity")
    if similarity not in (None, "pearson"):
        yield (
            f"predictions.method: {method} weighs ratings by how alike they are, and neighbours_{method}.similarity is {similarity}, which "
            "compares what was used; set it to pearson, or choose another method"
        )
    if settings.events.columns.value is None:
        needing = [f"{job}.similarity: pearson" for job in sections if _knob(sections, job, "similarity") == "pearson"]
        needing += [f"vectors_als.model: {_knob(sections, 'vectors_als', 'model')}"] if explicit else []
        needing += [f"predictions.method: {method}"] if method not in (None, "als") else []
        needing += ["labels.min_value"] if _knob(sections, "labels", "min_value") is not None else []
        yield from (f"{one} needs values, and events.columns.value is not mapped; map it, or choose otherwise" for one in needing)


def _models(sections: Sections) -> Iterator[str]:
    if "vectors_als" in sections:
        names = ("engine", "model", "nonnegative", "solver", "half_life_days")
        yield from engine_misfits(**{name: _knob(sections, "vectors_als", name) for name in names})
    names = ("similarity", "weighting", "shrinkage_form", "asymmetry", "half_life_days")
    for job in ("neighbours_item_knn", "neighbours_user_knn"):
        if job in sections:
            yield from measure_misfits(job, **{name: _knob(sections, job, name) for name in names})
    loss = _knob(sections, "next_item_models", "loss")
    asked = {
        "rankers": (_knob(sections, "rankers", "label_smoothing"), _knob(sections, "rankers", "loss"), "label_smoothing", "loss"),
        "next_item_models": (getattr(loss, "label_smoothing", None), getattr(loss, "name", None), "loss.label_smoothing", "loss.name"),
    }
    for job, (smoothing, name, knob, of) in asked.items():
        if smoothing and name not in _SMOOTHED[job]:
            fit = ", ".join(_SMOOTHED[job])
            yield f"{job}.{knob}: {smoothing:g} has no meaning where {job}.{of} is {name}; set it to 0, or choose one of {fit}"


def _attributes(settings: Settings, sections: Sections) -> Iterator[str]:
    for entity, source in (("item", settings.items), ("user", settings.users)):
        fitted, encoded = f"feature_stats_{entity}", f"{entity}_features"
        for kind in ("numeric", "categorical"):
            # The categories are a list: a feature of categories, and no number.
            known = [name for name in _known_attributes(source) if kind == "categorical" or name != CATEGORIES]
            described = _knob(sections, fitted, kind) or {}
            yield from _strange(f"{fitted}.{kind}", described, known, f"{entity}s.attributes")
            yield from _strange(f"{encoded}.{kind}", _knob(sections, encoded, kind), described, f"{fitted}.{kind}")


def _known_attributes(source: ItemsMapping | UsersMapping | None) -> list[str]:
    if source is None:
        return []
    return [*source.attributes, *([CATEGORIES] if isinstance(source, ItemsMapping) and source.columns.categories else [])]


def _measures(sections: Sections) -> Iterator[str]:
    ks, k = _knob(sections, "metrics", "ks"), _knob(sections, "champion", "k")
    yield from _twice("metrics.ks", ks)
    if ks is not None and k is not None and k not in ks:
        yield f"champion.k: {k} is not among metrics.ks ({', '.join(map(str, ks))}), so that nothing would be measured there; add it, or choose one"
    metric = _knob(sections, "champion", "metric")
    yield from _strange("champion.metric", [metric] if metric else [], ACCURACY, "the metrics that choose")


def _seen(sections: Sections) -> Iterator[str]:
    policy, days = _knob(sections, "seen", "policy"), _knob(sections, "seen", "window_days")
    if policy == "window" and days is None:
        yield "seen.window_days: missing, where seen.policy is window; say for how many days an item stays hidden"
    if policy in ("never_again", "allowed") and days is not None:
        yield f"seen.window_days: {days:g} has no meaning where seen.policy is {policy}; set seen.policy: window, or leave it out"


def _processes(settings: Settings, sections: Sections) -> Iterator[str]:
    name, engine = "spark.dynamicAllocation.enabled", _knob(sections, "vectors_als", "engine")
    if settings.spark.get(name, "false").lower() != "true":
        return
    told = f"spark.{name}: true excludes the barrier tasks that"
    if not settings.torch.local:
        yield f"{told} torch.local: false trains in; set it to false, or torch.local to true"
    if engine in ("auto", "blocked"):
        yield f"{told} vectors_als.engine: {engine} fits in; set it to false, or vectors_als.engine to mllib"


def _next_item(settings: Settings, sections: Sections) -> Iterator[str]:
    """Training and serving see the same events in the same codes."""
    length = _knob(sections, "next_item_models", "length")
    if "next_item" not in settings.sources or length is None:
        return
    for job, least in (("sequences", length + 1), ("histories", length)):
        n = _knob(sections, job, "max_length")
        if n is not None and n < least:
            yield f"{job}.max_length: {n} is below the {least} that next_item_models.length: {length} wants; raise it, or lower that"
    taught, asked = (_knob(sections, job, "types") for job in ("sequences", "histories"))
    if taught != asked:
        yield f"sequences.types: {taught} are not histories.types: {asked}; a model is asked in the codes that it was taught: give both the same"
