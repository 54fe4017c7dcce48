from __future__ import annotations

import threading
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client

import numpy as np
import pytest

from recspark.handover.peers import Peers, blocks_of, meet
from tests.peers import as_peers


@pytest.mark.parametrize("n", [1, 2, 5])
def test_blocks_are_summed_by_their_owners_and_shared(n: int) -> None:
    bounds = blocks_of(7, n)

    def work(peers: Peers) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
        partial = np.arange(14.0).reshape(7, 2) + peers.rank
        own = peers.sum_blocks(partial, bounds)
        whole = np.full((7, 2), np.nan)
        whole[bounds[peers.rank] : bounds[peers.rank + 1]] = own
        peers.share_blocks(whole, bounds)
        sent = peers.n_bytes
        return own, whole, peers.sum_all(np.array([peers.rank, 1])), sent

    # The sum over ranks r of x + r.
    expected = np.arange(14.0).reshape(7, 2) * n + n * (n - 1) / 2
    found = as_peers(n, work)
    for rank, (own, whole, total, _) in enumerate(found):
        np.testing.assert_array_equal(own, expected[bounds[rank] : bounds[rank + 1]])
        np.testing.assert_array_equal(whole, expected)
        assert total.tolist() == [n * (n - 1) / 2, n]
    # Everybody's rows but the own go out, and the own to everybody: twice 7 rows of 16 bytes, n - 1 times over all.
    assert sum(sent for *_, sent in found) == 2 * 7 * 16 * (n - 1)


def test_blocks_differ_by_one_at_most_and_may_be_empty() -> None:
    assert blocks_of(7, 3).tolist() == [0, 2, 4, 7]
    assert blocks_of(2, 3).tolist() == [0, 0, 1, 2]


def test_a_stranger_at_the_port_is_turned_away() -> None:
    address: list[tuple[str, int]] = []
    met = threading.Event()

    def tell_all(word: str) -> list[str]:
        if not word.startswith("["):
            return ["secret", "secret"]
        host, port = word.strip("[]").split(", ")
        address.append((host.strip('"'), int(port)))
        met.set()
        return [word, word]

    found: list[Peers] = []
    waiting = threading.Thread(target=lambda: found.append(meet(0, "127.0.0.1", tell_all)), daemon=True)
    waiting.start()
    assert met.wait(10)
    with pytest.raises(AuthenticationError):
        Client(address[0], authkey=b"guessed").recv()
    with Client(address[0], authkey=b"secretsecret") as friend:
        friend.send(1)
        waiting.join(10)
        assert found[0].n == 2
        with found[0]:
            pass


def test_a_peer_that_is_gone_ends_the_wait_of_the_others() -> None:
    def work(peers: Peers) -> str:
        if peers.rank == 1:
            return "left"
        with pytest.raises((EOFError, ConnectionError)):
            peers.sum_all(np.zeros(3))
        return "told"

    assert as_peers(2, work) == ["told", "left"]
