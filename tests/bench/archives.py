"""Public research archives -> the files that the river reads (conf/bench). Plain readers: nothing is judged, split or left out here."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

Row = Sequence[str | int]


def _write(path: Path, header: Row, rows: Iterable[Row]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)


def _lines(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8") as file:
        yield from (line.rstrip("\n") for line in file)


def _tabbed(path: Path, n: int) -> Iterator[list[str]]:
    """The first `n` fields of each line."""
    return (line.split("\t")[:n] for line in _lines(path))


def write_ncf(archive: Path, target: Path) -> None:
    """He et al. 2017: one test item a user beside 99 stored negatives, which may hold the test item itself: it is one candidate."""
    _write(target / "train.csv", ("user", "item"), _tabbed(archive / "train.tsv", 2))
    _write(target / "test.csv", ("user", "item"), _tabbed(archive / "ml-1m.test.rating", 2))
    _write(target / "lists" / "candidates.csv", ("user", "item"), _stored_candidates(archive / "ml-1m.test.negative"))


def _stored_candidates(path: Path) -> Iterator[Row]:
    for line in _lines(path):
        pair, *negatives = line.split("\t")
        user, item = pair.strip("()").split(",")
        yield from ((user, one) for one in dict.fromkeys([item, *negatives]))


def write_gowalla(archive: Path, target: Path) -> None:
    """He et al. 2020: a line a user, the user's number, then items."""
    for name in ("train", "test"):
        _write(target / f"{name}.csv", ("user", "item"), _pairs(archive / f"{name}.txt"))


def _pairs(path: Path) -> Iterator[Row]:
    for line in _lines(path):
        user, *items = line.split()
        yield from ((user, item) for item in items)


def write_ml_100k(archive: Path, target: Path) -> None:
    """All 100,000 ratings, with their times."""
    _write(target / "ratings.csv", ("user", "item", "rating", "time"), _tabbed(archive / "u.data", 4))


def write_ml_1m(archive: Path, target: Path) -> None:
    """All 1,000,209 ratings."""
    _write(
        target / "ratings.csv",
        ("user", "item", "rating"),
        (line.split(",") for line in _lines(archive / "ratings_raworder.csv") if line[0] != "u"),
    )


def write_diginetica(archive: Path, target: Path) -> None:
    """A session is a user. Of a test example the clicks before the last are that user's past, the last is what is to be predicted."""
    _write(target / "train.csv", ("session", "item", "place"), _clicks(archive / "train_sessions.txt"))
    examples = [(f"test {i}", prefix.split(), item) for i, (prefix, item) in enumerate(_tabbed(archive / "test_examples.tsv", 2))]
    past = ((session, item, place) for session, prefix, _ in examples for place, item in enumerate(prefix))
    _write(target / "past.csv", ("session", "item", "place"), past)
    _write(target / "test.csv", ("session", "item", "place"), ((session, item, len(prefix)) for session, prefix, item in examples))


def _clicks(path: Path) -> Iterator[Row]:
    for session, line in enumerate(_lines(path)):
        yield from ((session, item, place) for place, item in enumerate(line.split()))


def write_sasrec_ml_1m(archive: Path, target: Path) -> None:
    """A line an event, user and item, each user's in their order."""
    events = enumerate(line.split() for line in _lines(archive / "sasrec_ml-1m.txt"))
    _write(target / "events.csv", ("user", "item", "place"), ((user, item, place) for place, (user, item) in events))


def write_s3rec(name: str) -> Callable[[Path, Path], None]:
    """Zhou et al. 2020: a line a user, the user's number, then items in their order."""

    def write(archive: Path, target: Path) -> None:
        events = enumerate(_pairs(archive / f"{name}.txt"))
        _write(target / "events.csv", ("user", "item", "place"), ((*pair, place) for place, pair in events))

    return write


# Name -> the archive's folder, and what reads it.
ARCHIVES: dict[str, tuple[str, Callable[[Path, Path], None]]] = {
    "ncf-ml-1m": ("ncf-ml-1m", write_ncf),
    "gowalla": ("gowalla", write_gowalla),
    "ml-100k": ("ml-100k", write_ml_100k),
    "ml-1m-ratings": ("ml-1m", write_ml_1m),
    "session-diginetica": ("session-diginetica", write_diginetica),
    "ml-1m-next": ("ml-1m", write_sasrec_ml_1m),
    "s3rec-beauty": ("s3rec", write_s3rec("Beauty")),
    "s3rec-sports": ("s3rec", write_s3rec("Sports_and_Outdoors")),
}
