"""The summary of a run on a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from recspark.columns import TUNE

# Best is the largest value, but for these.
LOWER_IS_BETTER = frozenset({"mae", "rmse"})
# Neither more nor less of these is better by itself.
NO_BEST = frozenset({"coverage", "novelty", "diversity", "popularity_share"})
N_JOBS = 8


def main_cut(rows: Sequence[Mapping[str, Any]]) -> int:
    """The cut to show first: 10 where it was measured, else the smallest."""
    cuts = sorted({row["k"] for row in rows if row["k"] > 0})
    return 10 if 10 in cuts else (cuts[0] if cuts else 0)


def metric_table(
    rows: Sequence[Mapping[str, Any]], k: int, slice_name: str = "all"
) -> tuple[list[str], dict[str, dict[str, Mapping[str, Any]]]]:
    """Models' own figures at cut `k` (and those without a cut): the metrics' names in their order, and model -> metric -> row."""
    metrics: list[str] = []
    models: dict[str, dict[str, Mapping[str, Any]]] = {}
    for row in rows:
        if row["baseline"] or row["slice"] != slice_name or row["k"] not in (0, k) or row["value"] is None:
            continue
        if row["metric"] not in metrics:
            metrics.append(row["metric"])
        models.setdefault(row["model"], {})[row["metric"]] = row
    return sorted(metrics, key=_place), models


_ORDER = (
    "ndcg",
    "recall",
    "precision",
    "f1",
    "hit_rate",
    "map",
    "mrr",
    "auc",
    "accuracy",
    "mae",
    "rmse",
    "coverage",
    "novelty",
    "diversity",
    "popularity_share",
)


def _place(metric: str) -> tuple[int, str]:
    return (_ORDER.index(metric) if metric in _ORDER else len(_ORDER), metric)


def best_models(metric: str, models: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> set[str]:
    """Who is best at `metric`; none where more is not better, or where there is nobody to compare with."""
    values = {model: row[metric]["value"] for model, row in models.items() if metric in row}
    if metric in NO_BEST or len(values) < 2:
        return set()
    best = (min if metric in LOWER_IS_BETTER else max)(values.values())
    return {model for model, value in values.items() if value == best}


def n_measured(models: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> int:
    """How many requests the lists' figures average over."""
    return max((one["ndcg"]["n"] for one in models.values() if "ndcg" in one), default=0)


def label(metric: str, k: int) -> str:
    """`ndcg@10`, or `rmse` where there is no cut."""
    return f"{metric}@{k}" if k else metric


def print_summary(summary: Mapping[str, Any], console: Console) -> None:
    """Print what `build_summary` found."""
    _print_intake(summary, console)
    _print_metrics(summary, console)
    _print_decision(summary, console)
    _print_users(summary, console)
    seconds = summary["ran"]
    slowest = sorted(seconds, key=lambda job: -seconds[job])[:N_JOBS]
    if slowest:
        spent = ", ".join(f"{job} {seconds[job]:.1f} s" for job in slowest)
        console.print(f"[bold]Time[/]  {summary['seconds']:.1f} s in all; longest: {escape(spent)}", highlight=False)


def _print_intake(summary: Mapping[str, Any], console: Console) -> None:
    counts, intake = summary["counts"], summary["intake"]
    console.print(f"[bold]Data[/]  {counts['users']:,} users, {counts['items']:,} items, {counts['events']:,} events", highlight=False)
    if intake:
        parts = f"{intake['kept']:,} kept + {intake['quarantined']:,} quarantined + {intake['duplicates']:,} duplicates"
        console.print(f"      {intake['rows_in']:,} rows in = {parts}", highlight=False)
    for row in summary["quarantine"]:
        console.print(f"      quarantined {row['n']:,}: {escape(str(row['reason']))}", highlight=False)
    for row in summary["flagged"]:
        console.print(f"      flagged {row['n']:,} users, served but not learnt from: {escape(str(row['reason']))}", highlight=False)


def _print_metrics(summary: Mapping[str, Any], console: Console) -> None:
    rows = summary["metrics"]["rows"]
    k = main_cut(rows)
    metrics, models = metric_table(rows, k)
    if not models:
        return
    part = summary["metrics"]["part"]
    chosen = " (the champion was chosen here)" if part == TUNE else ""
    table = Table(title=f"Quality at {part}{chosen}, {n_measured(models):,} requests, 95 % intervals", title_justify="left")
    table.add_column("metric")
    for model in models:
        table.add_column(escape(model), justify="right")
    for metric in metrics:
        best = best_models(metric, models)
        name = label(metric, next(row[metric]["k"] for row in models.values() if metric in row))
        table.add_row(name, *(_figure(row.get(metric), model in best) for model, row in models.items()))
    console.print(table)


def _figure(row: Mapping[str, Any] | None, best: bool) -> str:
    if row is None:
        return ""
    value = f"[bold green]{row['value']:.4f}[/]" if best else f"{row['value']:.4f}"
    return value if row["low"] is None else f"{value} [dim]{row['low']:.3f}–{row['high']:.3f}[/]"


def _print_decision(summary: Mapping[str, Any], console: Console) -> None:
    champion, published = summary["champion"], summary["published"]
    if champion:
        console.print(f"[bold]Champion[/]  {escape(champion['model'])}: {escape(champion['reason'])}", highlight=False)
    for gate in summary["gates"]:
        mark = "[green]passed[/]" if gate["passed"] else "[bold red]failed[/]"
        console.print(f"[bold]Gate[/]  {mark}  {escape(gate['gate'])}: {escape(gate['message'])}", highlight=False)
    if published:
        share = f", {published['coverage']:.1%} of the catalogue" if published["coverage"] is not None else ""
        offers = f"{published['n_recommendations']:,} recommendations for {published['n_users']:,} users"
        console.print(f"[bold]Live[/]  {offers} show {published['n_items']:,} items{share}", highlight=False)
    for row in summary["shortfalls"]:
        console.print(f"      {row['n']:,} users get fewer than asked: {escape(str(row['shortfall']))}", highlight=False)


def _print_users(summary: Mapping[str, Any], console: Console) -> None:
    for user in summary["users"]:
        history = "; ".join(user["history"][:4]) if user["history"] else "no events yet"
        table = Table(title=f"User {escape(str(user['user_id']))}: {escape(history)}", title_justify="left")
        for heading in ("rank", "recommended", "source", "because"):
            table.add_column(heading)
        for item in user["recommendations"][:5]:
            table.add_row(str(item["rank"]), escape(item["title"]), escape(item["source"]), escape("; ".join(item["because"])))
        console.print(table)
