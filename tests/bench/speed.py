"""ALS, similarity and top-k: recspark against implicit, and against MLlib where that is asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np

from tests.bench import mllib, ours, peak, peers
from tests.bench.agree import losses_agree
from tests.bench.data import ML1M, Size, ml20m
from tests.bench.rows import Check, Measured, compare
from tests.bench.session import Bench

IMPLICIT = "implicit"
# Ratios to reach: recspark's seconds over the peer's.
ALS_TARGETS = {64: 0.7, 128: 0.8}
SIMILARITY_TARGET, TOPK_TARGET, MLLIB_TARGET = 0.9, 1.2, 0.1
ALS_SETTINGS = {"alpha": 1.0, "reg": 0.01, "seed": 1}
K = 100
MIN_SUPPORT = 2
# Compiles kernels and warms the JVM; in no figure.
WARM_UP = ml20m(0.01)
SAMPLE = 200


def _sample(n: int, size: int = SAMPLE) -> list[int]:
    return sorted(np.random.default_rng(1).choice(n, min(n, size), replace=False).tolist())


def _als_ours(bench: Bench, folder: str, rank: int, iterations: int) -> Measured:
    return bench.ours.measure(ours.als, folder, rank=rank, iterations=iterations, to=f"{bench.folder}/vectors", **ALS_SETTINGS)


def _als_peer(bench: Bench, folder: str, size: Size, rank: int, iterations: int) -> Measured:
    knobs = {"rank": rank, "iterations": iterations, "threads": bench.cores, **ALS_SETTINGS}
    return bench.peer.measure(peers.als, folder, size, **knobs)


def _als_check(bench: Bench, folder: str, size: Size) -> Check:
    """The objective of both sides' last fits, which had the same number of iterations."""
    settings = {"alpha": ALS_SETTINGS["alpha"], "reg": ALS_SETTINGS["reg"]}
    own = bench.peer.call(peers.als_loss, folder, size, written=f"{bench.folder}/vectors", **settings)
    return losses_agree(own, bench.peer.call(peers.als_loss, folder, size, **settings))


def bench_als(bench: Bench, size: Size, *, ranks: tuple[int, ...] = (64, 128), iterations: int = 5, mllib_size: Size | None = None) -> None:
    """Seconds of one full iteration (users and items) of implicit ALS, and of a whole fit."""
    tiny, folder = bench.world(WARM_UP), bench.world(size)
    bench.peer.call(peers.load, folder, size)
    limits = bench.peer.call(peak.measure, bench.cores)
    for rank in ranks:
        bench.now(f"ALS rank {rank}: warm-up")
        _als_ours(bench, tiny, rank, 1)
        _als_peer(bench, tiny, WARM_UP, rank, 1)
        bench.peer.call(peers.load, folder, size)
        measured = bench.rounds(
            f"ALS rank {rank}",
            lambda rank=rank: _als_ours(bench, folder, rank, iterations),
            lambda rank=rank: _als_peer(bench, folder, size, rank, iterations),
        )
        bench.now(f"ALS rank {rank}: do the losses agree?")
        check = _als_check(bench, folder, size)
        names = f"ALS iteration, rank {rank}", f"ALS fit of {iterations} iterations, rank {rank}", f"{IMPLICIT} CG"
        reached = peak.reached(peak.als_work(**asdict(size), rank=rank), measured[0], limits)
        bench.add_pair(*names, measured, size, target=ALS_TARGETS.get(rank), check=check, limits=reached)
    if mllib_size is not None:
        _als_against_mllib(bench, mllib_size, ranks[0])


def _als_against_mllib(bench: Bench, size: Size, rank: int) -> None:
    """At a size that MLlib bears; both in one session. Its regularisation grows with a row's pairs, so the losses are of the data alone."""
    folder = bench.world(size)
    bench.peer.call(peers.load, folder, size)
    knobs = {"rank": rank, "blocks": bench.cores, **ALS_SETTINGS}
    bench.now("MLlib: warm-up")
    bench.ours.call(mllib.fit, bench.world(WARM_UP), max_iter=3, **knobs)
    measured = bench.rounds(
        "ALS against MLlib",
        lambda: _als_ours(bench, folder, rank, 3),
        lambda: bench.ours.measure(mllib.als, folder, iterations=2, **knobs),
        n=1,
    )
    written = f"{bench.folder}/vectors", f"{bench.folder}/vectors-mllib"
    bench.ours.call(mllib.write_factors, written[1])
    losses = [bench.peer.call(peers.als_loss, folder, size, alpha=ALS_SETTINGS["alpha"], reg=0.0, written=path) for path in written]
    check = losses_agree(*losses, tolerance=0.03)
    seconds = [[run.seconds for run in runs] for runs in measured]
    bench.add(compare(f"ALS iteration, rank {rank}", *seconds, "MLlib", target=MLLIB_TARGET, check=check, data=str(size)))


def bench_similarity(bench: Bench, size: Size, users_size: Size) -> None:
    """The K most similar items of each item, pairs below a support left out; and users, at a size of their own."""
    tiny = bench.world(WARM_UP)
    for users, this in ((False, size), (True, users_size)):
        folder = bench.world(this)
        own: dict[str, Any] = {"n_neighbours": K, "min_support": MIN_SUPPORT, "users": users}
        other = {"n_neighbours": K, "threads": bench.cores, "users": users}
        name = f"{'user-user' if users else 'item-item'} cosine, K = {K}"
        bench.now(f"{name}: warm-up")
        bench.ours.measure(ours.cosine, tiny, **own)
        bench.peer.measure(peers.cosine, tiny, WARM_UP, **other)
        bench.peer.call(peers.load, folder, this)
        measured = bench.rounds(
            name,
            lambda folder=folder, own=own: bench.ours.measure(ours.cosine, folder, **own),
            lambda folder=folder, this=this, other=other: bench.peer.measure(peers.cosine, folder, this, **other),
        )
        bench.now(f"{name}: do the neighbours agree?")
        written = f"{bench.folder}/neighbours"
        bench.ours.call(ours.cosine, folder, to=written, **own)
        rows = _sample(this.n_users if users else this.n_items, SAMPLE // 4)
        check = bench.peer.call(peers.check_neighbours, folder, this, rows, written, k=K, min_support=MIN_SUPPORT, users=users)
        bench.add_pair(name, name, IMPLICIT, measured, this, target=SIMILARITY_TARGET, check=check)


def prepare_topk(bench: Bench, size: Size, rank: int) -> tuple[str, str, dict[str, Any]]:
    """Factors from two iterations of the peer, in memory there and as tables here: the world, the tables, the published arrays."""
    folder, target = bench.world(size), f"{bench.folder}/topk-{size.n_users}-{size.n_items}"
    _als_peer(bench, folder, size, rank, 2)
    return folder, target, bench.peer.call(peers.write_tables, folder, size, target)


def bench_topk(bench: Bench, size: Size, *, rank: int = 64, with_mllib: bool = False) -> None:
    """The K best items of every user by dot product, without those the user has."""
    name = f"top {K} of every user, rank {rank}, known items masked"
    limits = bench.peer.call(peak.measure, bench.cores)
    bench.now(f"{name}: warm-up")
    _, target, arrays = prepare_topk(bench, WARM_UP, rank)
    bench.ours.measure(ours.topk, target, arrays, k=K)
    folder, target, arrays = prepare_topk(bench, size, rank)
    measured = bench.rounds(
        name,
        lambda: bench.ours.measure(ours.topk, target, arrays, k=K),
        lambda: bench.peer.measure(peers.topk, folder, size, k=K, threads=bench.cores),
    )
    bench.now(f"{name}: do the lists agree?")
    written, rows = f"{bench.folder}/lists", _sample(size.n_users)
    bench.ours.call(ours.topk, target, arrays, k=K, to=written)
    check = bench.peer.call(peers.check_lists, folder, size, rows, written, k=K)
    reached = peak.reached(peak.topk_work(size.n_users, size.n_items, rank), measured[0], limits)
    bench.add_pair(name, name, IMPLICIT, measured, size, target=TOPK_TARGET, check=check, limits=reached)
    if with_mllib:
        _topk_against_mllib(bench, ML1M, rank, with_mask=True)
        _topk_against_mllib(bench, ml20m(0.3), rank, with_mask=False)


def _topk_against_mllib(bench: Bench, size: Size, rank: int, *, with_mask: bool) -> None:
    """Both from MLlib's factors. recommendForAllUsers knows no mask and does less; with the mask around it, it does the same.

    With the mask it bears only a small world, in which Spark's own overhead is most of the time.
    """
    folder, target = bench.world(size), f"{bench.folder}/topk-mllib-{size.n_users}"
    vectors, ours_lists, their_lists = (f"{bench.folder}/{name}" for name in ("vectors-mllib", "lists", "lists-mllib"))
    bench.now("MLlib: factors for its top-k")
    bench.ours.call(mllib.fit, folder, max_iter=1, rank=rank, blocks=bench.cores, **ALS_SETTINGS)
    bench.ours.call(mllib.write_factors, vectors)
    arrays = bench.peer.call(peers.write_tables, folder, size, target, written=vectors)
    bench.ours.call(ours.topk, target, arrays, k=K, to=ours_lists)

    def against(peer_name: str, peer: Callable[[], Measured], check: Callable[[], Check | None]) -> None:
        measured = bench.rounds(peer_name, lambda: bench.ours.measure(ours.topk, target, arrays, k=K), peer, n=1)
        seconds = [[run.seconds for run in runs] for runs in measured]
        bench.add(compare(f"top {K} of every user, rank {rank}", *seconds, peer_name, target=MLLIB_TARGET, check=check(), data=str(size)))

    def lists_are_equal() -> Check:
        return bench.peer.call(peers.check_lists, folder, size, _sample(size.n_users), ours_lists, k=K, peer_written=their_lists)

    if with_mask:
        against(
            "MLlib, k + longest history, anti-join",
            lambda: bench.ours.measure(mllib.masked_topk, folder, k=K, to=their_lists),
            lists_are_equal,
        )
    else:
        against("MLlib, no mask", lambda: bench.ours.measure(mllib.topk, k=K), lambda: None)
