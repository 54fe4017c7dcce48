"""From a job's work to a verdict: what is chosen for it, or why it is refused, with the figures and the setting to change."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from recspark.preflight.activity import Activity
from recspark.preflight.models import Model
from recspark.preflight.work import Place, Rates, Work, size

# A job is cut into more blocks where one does not fit, up to so many times what its section says.
_MOST_CUTS = 1024


class Limits(NamedTuple):
    """What a job may take; None for any. `origins` says where a limit that no setting gives comes from."""

    seconds: float | None = None
    shuffle_bytes: float | None = None
    task_bytes: float | None = None
    driver_bytes: float | None = None
    published_rows: float | None = None
    origins: Mapping[str, str] = {}


@dataclass(frozen=True)
class Verdict:
    """What a job at a slice will take, with which knobs chosen, and why it must not start, if so."""

    job: str
    work: Work
    seconds: float
    start: float  # of the seconds: what a job takes once, at however many slices it runs
    chosen: Mapping[str, Any]
    refusal: str  # or empty
    over: float  # how many times the limit that is exceeded most; infinite where the job itself refuses
    origin: str

    @property
    def figures(self) -> dict[str, Any]:
        """For the row of `runs`, to be compared with what comes."""
        work = self.work
        names = ("pairs", "flops", "shuffle_bytes", "sent_bytes", "task_bytes", "driver_bytes")
        return {**{name: round(getattr(work, name)) for name in names}, "seconds": round(self.seconds, 2), "chosen": dict(self.chosen)}


def count(number: float) -> str:
    """A count as a person says it."""
    for factor, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M")):
        if number >= factor:
            return f"{number / factor:.3g} {unit}"
    return f"{number:,.0f}"


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    return (
        f"{seconds:.2g} s"
        if seconds < 10
        else f"{seconds:.0f} s"
        if seconds < 300
        else f"{seconds / 60:.0f} min"
        if seconds < 18_000
        else f"{seconds / 3600:.0f} h"
    )


_WORDS: Mapping[str, tuple[str, Callable[[float], str]]] = {
    "seconds": ("takes about {}", duration),
    "shuffle_bytes": ("shuffles {}", size),
    "task_bytes": ("needs {} in a task", size),
    "driver_bytes": ("brings {} through the driver", size),
    "published_rows": ("has lists of {} rows, which pass through the driver as arrays", count),
}


def _fitting_blocks(model: Model, work: Callable[..., Work], knobs: Mapping[str, Any], limit: float | None) -> dict[str, Any]:
    """More blocks, where those of the section are too large for a task and more help."""
    if model.blocks is None or limit is None:
        return {}
    blocks = int(knobs[model.blocks])
    for cuts in (2**power for power in range(_MOST_CUTS.bit_length())):
        if work({model.blocks: blocks * cuts}).task_bytes <= limit:
            return {model.blocks: blocks * cuts} if cuts > 1 else {}
    return {}


def _largest_fitting(fits: Callable[[int], bool], now: int) -> int | None:
    """The largest value below `now` that fits, found by halving; None where not even 1 does."""
    if now <= 1 or not fits(1):
        return None
    low, high = 1, now
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def judge(
    job: str,
    model: Model,
    activity: Activity,
    knobs: Mapping[str, Any],
    place: Place,
    rates: Rates,
    limits: Limits,
) -> Verdict:
    """Forecast the job's work; choose what changes no result; refuse what is over a limit.

    `knobs` are the job's own and those that the model is told. The refusal says the figure that is furthest over its limit, names
    the other limits that are exceeded, and the least change that keeps all of them: of the levers the one whose largest value
    that fits is nearest to the present one.
    """

    if model.blocks is not None:
        # None: as many as run at once, as the jobs do.
        knobs = {**knobs, model.blocks: knobs[model.blocks] or place.n_slots}

    def work(changed: Mapping[str, Any]) -> Work:
        return model.work(activity, {**knobs, **changed}, place)

    chosen = _fitting_blocks(model, work, knobs, limits.task_bytes)
    found = work(chosen)

    def figure(name: str, of: Work) -> float:
        return of.seconds(rates) if name == "seconds" else float(getattr(of, name))

    bounds = {name: limit for name in _WORDS if (limit := getattr(limits, name)) is not None}

    def fits(changed: Mapping[str, Any]) -> bool:
        of = work({**chosen, **changed})
        return not of.refused and all(figure(name, of) <= limit for name, limit in bounds.items())

    def cures() -> list[str]:
        # No number at all stands for as many as there are, items or users.
        every = max(activity.n_places, int(activity.users.rows))
        present = {lever: every if knobs[lever] is None else int(knobs[lever]) for lever in model.levers}
        fitting = {lever: _largest_fitting(lambda value, lever=lever: fits({lever: value}), now) for lever, now in present.items()}  # type: ignore[misc]
        found = {lever: value for lever, value in fitting.items() if value is not None}
        said = []
        if found:
            least = min(found, key=lambda lever: present[lever] / found[lever])
            now = "all" if knobs[least] is None else present[least]
            said.append(f"set {model.told.get(least, f'{job}.{least}')} to {found[least]} (now {now})")
        return said + [
            f"set {job}.{knob} to {value}" for knob, value in model.instead.items() if knobs[knob] != value and fits({knob: value})
        ]

    ratios = {name: figure(name, found) / max(limit, 1.0) for name, limit in bounds.items() if figure(name, found) > limit}
    refusal, over = found.refused, math.inf if found.refused else max(ratios.values(), default=0.0)
    if ratios and not refusal:
        worst = max(ratios, key=lambda name: ratios[name])
        said, words = _WORDS[worst]
        origin = limits.origins.get(worst)
        of = f"limits.{worst} is {words(bounds[worst])}" + (f" ({origin})" if origin else "")
        others = "".join(f"; it is over limits.{name} too" for name in ratios if name != worst)
        raised = f"raise {' and '.join(f'limits.{name}' for name in ratios)} where there is more"
        refusal = f"{said.format(words(figure(worst, found)))}, and {of}{others}: {', or '.join([*cures(), raised])}"
    chosen = {**{name: value for name, value in found.chosen.items() if knobs.get(name) != value}, **chosen}
    return Verdict(job, found, found.seconds(rates), rates.start, chosen, refusal, over, activity.origin)


def refusal_of(verdicts: Mapping[str, Verdict]) -> str:
    """Why a job must not start, of its verdicts by horizon: at the horizon that is furthest over a limit; empty where none is."""
    refused = {horizon: verdict for horizon, verdict in verdicts.items() if verdict.refusal}
    if not refused:
        return ""
    worst = max(refused, key=lambda horizon: refused[horizon].over)
    others = f" (and {len(refused) - 1} more)" if len(refused) > 1 else ""
    return f"at {worst}{others} it {refused[worst].refusal}"


def in_words(verdicts: list[Verdict]) -> str:
    """One line of what a job will do at all the slices that it runs at."""
    works = [verdict.work for verdict in verdicts]
    first = verdicts[0]
    flops = sum(work.flops for work in works)
    said = [f"{count(sum(work.pairs for work in works))} {first.work.unit}"]
    said += [f"{count(flops)} flop"] if flops else []
    in_all = f" at all {len(works)} horizons" if len(works) > 1 else ""
    said += [f"about {duration(first.start + sum(verdict.seconds - verdict.start for verdict in verdicts))}{in_all}"]
    said += [f"{size(sum(work.shuffle_bytes for work in works))} shuffled"]
    said += [f"{size(max(work.task_bytes for work in works))} a task"]
    said += [f"{size(max(work.driver_bytes for work in works))} through the driver"]
    said += [f"{name}: {value}" for verdict in verdicts[-1:] for name, value in verdict.chosen.items()]
    said += [] if first.origin == "counted" else [first.origin]
    return f"{first.job}: {', '.join(said)}"
