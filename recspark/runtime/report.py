"""The report of a run: one HTML page that needs nothing beside itself. Titles are other people's texts: everything is escaped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from recspark.runtime import charts
from recspark.runtime.printout import LOWER_IS_BETTER, best_models, label, main_cut, metric_table, n_measured

# The figures that get a picture, when they were measured.
PICTURED = ("ndcg", "recall", "mrr", "hit_rate", "map", "rmse", "mae")
N_PICTURES = 4


def _interval(row: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {"name": name, **{key: row[key] for key in ("value", "low", "high")}}


def _quality(summary: Mapping[str, Any]) -> dict[str, Any]:
    rows = summary["metrics"]["rows"]
    k = main_cut(rows)
    metrics, models = metric_table(rows, k)
    names = {metric: label(metric, next(m[metric]["k"] for m in models.values() if metric in m)) for metric in metrics}
    best = {metric: best_models(metric, models) for metric in metrics}
    pictures = []
    for metric in [m for m in PICTURED if m in metrics][:N_PICTURES]:
        shown = [_interval(row[metric], model) for model, row in models.items() if metric in row]
        shown.sort(key=lambda row: -row["value"])
        what = f"{names[metric]} by model with 95 % intervals: " + ", ".join(f"{row['name']} {row['value']:.4f}" for row in shown)
        pictures.append({"name": names[metric], "svg": charts.whiskers(shown, what, best[metric])})
    others = [row for row in rows if not row["baseline"] and (row["slice"] != "all" or row["k"] not in (0, k))]
    others.sort(key=lambda row: (row["slice"], row["k"], row["metric"], row["model"]))
    return {"k": k, "names": names, "models": models, "best": best, "pictures": pictures, "others": others, "n": n_measured(models)}


def _differences(summary: Mapping[str, Any], k: int) -> list[dict[str, Any]]:
    """Paired differences at the main cut, a picture for each metric."""
    rows = [
        row
        for row in summary["metrics"]["rows"]
        if row["baseline"] and row["slice"] == "all" and row["k"] in (0, k) and row["value"] is not None
    ]
    pictures = []
    for metric in [m for m in PICTURED if any(row["metric"] == m for row in rows)][:N_PICTURES]:
        shown = [_interval(row, f"{row['model']} − {row['baseline']}") for row in rows if row["metric"] == metric]
        name = label(metric, next(row["k"] for row in rows if row["metric"] == metric))
        what = f"Paired differences in {name} with 95 % intervals: " + ", ".join(f"{row['name']} {row['value']:+.4f}" for row in shown)
        pictures.append({"name": name, "svg": charts.whiskers(shown, what, zero=True, lower_is_better=metric in LOWER_IS_BETTER)})
    return pictures


def _profile(summary: Mapping[str, Any]) -> dict[str, Any]:
    tail, intake, bins = summary["long_tail"], summary["intake"], summary["events_over_time"]
    pictures: dict[str, Any] = dict.fromkeys(("over_time", "long_tail", "event_types", "intake", "quarantine"))
    if bins:
        what = f"Events over time, {bins[0]['from'][:10]} to {bins[-1]['to'][:10]}"
        pictures["over_time"] = charts.time_bars(bins, what)
    if tail["points"]:
        what = (
            f"Events of an item by its popularity rank; {tail['n_items_with_half']:,} of {tail['n_items']:,} items have half of the events"
        )
        pictures["long_tail"] = charts.log_log(tail["points"], "rank", "n_events", what, tail["n_items_with_half"])
    if summary["event_types"]:
        pictures["event_types"] = charts.counts(
            [(row["event_type"], row["n"]) for row in summary["event_types"]], "Events by type", tail["n_events"]
        )
    if intake:
        rows = [(name, intake[name]) for name in ("kept", "quarantined", "duplicates")]
        pictures["intake"] = charts.counts(rows, f"What became of {intake['rows_in']:,} rows", intake["rows_in"])
    if summary["quarantine"]:
        pictures["quarantine"] = charts.counts([(str(row["reason"]), row["n"]) for row in summary["quarantine"]], "Why rows were refused")
    return pictures


def _published(published: Mapping[str, Any]) -> dict[str, Any]:
    if not published:
        return {}
    pictures: dict[str, Any] = dict.fromkeys(("bands", "sources", "rungs"))
    names = ("items", "events", "recommendations")
    totals = [sum(band[name] for band in published["bands"]) or 1 for name in names]
    if published["bands"]:
        rows = [(band["band"], [band[name] / total for name, total in zip(names, totals, strict=True)]) for band in published["bands"]]
        what = "Share of the items, of the events and of the recommendations by popularity"
        pictures["bands"] = charts.grouped_shares(rows, ("of the items", "of the events", "of recommendations"), what)
    for name, heading in (("sources", "source"), ("rungs", "rung")):
        if published[name]:
            pictures[name] = charts.counts([(str(row[heading]), row["n"]) for row in published[name]], f"Recommendations by {heading}")
    return pictures


def _training(training: Mapping[str, Any]) -> dict[str, Any]:
    """Curves by epoch; epoch 0 is the model before its first step, which has no training loss."""

    def series(key: str, first: int = 0) -> list[tuple[float, float]]:
        return [(one["epoch"], one[key]) for one in training.get("curve", []) if one["epoch"] >= first and one.get(key) is not None]

    pictures: dict[str, Any] = {"best": None, "loss": None, "ndcg": None}
    losses = {name: line for name, line in (("training", series("train_loss", first=1)), ("tune", series("tune_loss"))) if line}
    if losses:
        pictures["loss"] = charts.lines(
            losses, "Loss by epoch: " + ", ".join(f"{name} ends at {line[-1][1]:.4g}" for name, line in losses.items())
        )
    quality = series("tune_ndcg")
    if quality:
        top = max(quality, key=lambda point: point[1])
        best = next((point for point in quality if point[0] == training.get("best_epoch")), top)
        pictures["best"] = best
        pictures["ndcg"] = charts.lines({"nDCG": quality}, f"nDCG at tune by epoch; kept: {best[1]:.4f} of epoch {best[0]:g}", best[0])
    return pictures


def _tiles(summary: Mapping[str, Any], quality: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The figures to read first."""
    tiles = [(f"{summary['counts'][name]:,}", name) for name in ("users", "items", "events")]
    champion, published = summary["champion"], summary["published"]
    figures = quality["models"].get(champion.get("model"), {})
    if "ndcg" in figures:
        tiles.append((f"{figures['ndcg']['value']:.3f}", f"{quality['names']['ndcg']} of the published model"))
    if published and published["coverage"] is not None:
        tiles.append((f"{published['coverage']:.0%}", "of the catalogue is recommended"))
    if summary["gates"]:
        tiles.append((f"{sum(bool(gate['passed']) for gate in summary['gates'])} of {len(summary['gates'])}", "gates passed"))
    return tiles


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:.1f} min"


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("recspark.runtime"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["number"] = lambda value: "" if value is None else f"{value:,}"
    environment.filters["figure"] = lambda value: "" if value is None else f"{value:.4f}"
    environment.filters["duration"] = _duration
    environment.globals["label"] = label
    return environment


def render_report(summary: Mapping[str, Any]) -> str:
    """The page for what `build_summary` found; sections without data are left out."""
    quality = _quality(summary)
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            summary=summary,
            tiles=_tiles(summary, quality),
            profile=_profile(summary),
            training=_training(summary["training"]),
            quality=quality,
            differences=_differences(summary, quality["k"]),
            published=_published(summary["published"]),
        )
    )
