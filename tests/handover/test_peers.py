from __future__ import annotations

import json
import socket
import threading
from concurrent.futures import ThreadPoolExecutor, wait
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client

import numpy as np
import pytest

from recspark.handover import peers
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


def _meeting(n: int) -> tuple[tuple[str, int], threading.Thread, list[Peers | Exception]]:
    """The port of a task of rank 0, which waits for n - 1 others in a thread of its own; and what became of it."""
    address: list[tuple[str, int]] = []
    told = threading.Event()
    found: list[Peers | Exception] = []

    def tell_all(word: str) -> list[str]:
        if word.startswith("["):
            host, port = json.loads(word)
            address.append((host, port))
            told.set()
            return [word] * n
        return ["secret"] * n

    def work() -> None:
        try:
            found.append(meet(0, "127.0.0.1", tell_all))
        except TimeoutError as error:
            found.append(error)

    waiting = threading.Thread(target=work, daemon=True)
    waiting.start()
    assert told.wait(10)
    return address[0], waiting, found


def test_strangers_at_the_port_are_turned_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "_ANSWERED_WITHIN", 0.2)
    address, waiting, found = _meeting(2)
    # One who says nothing, one who speaks another language, one who hangs up, one who guesses.
    silent = socket.create_connection(address)
    with socket.create_connection(address) as other:
        other.sendall(b"GET / HTTP/1.1\r\n\r\n")
    socket.create_connection(address).close()
    with pytest.raises(AuthenticationError):
        Client(address, authkey=b"guessed").recv()
    with silent, Client(address, authkey=b"secretsecret") as friend:
        friend.send(1)
        waiting.join(10)
        met = found[0]
        assert isinstance(met, Peers)
        assert met.n == 2
        # Who is known may take longer than a stranger for each word.
        with met, ThreadPoolExecutor(1) as pool:
            total = pool.submit(met.sum_all, np.array([3.0]))
            assert not wait([total], timeout=0.5).done
            friend.send_bytes(np.array([4.0]).tobytes())
            assert total.result(10).tolist() == [7]


def test_a_task_that_nobody_calls_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "_CALLED_WITHIN", 0.05)
    address, waiting, found = _meeting(3)
    waiting.join(10)
    with pytest.raises(
        TimeoutError, match=rf"tasks \[1, 2\] of 3 have not called task 0 at .*{address[1]}\] within 0.05 seconds: .* firewall"
    ):
        raise found[0]  # type: ignore[misc]


def test_a_peer_that_is_gone_ends_the_wait_of_the_others() -> None:
    def work(peers: Peers) -> str:
        if peers.rank == 1:
            return "left"
        with pytest.raises((EOFError, ConnectionError)):
            peers.sum_all(np.zeros(3))
        return "told"

    assert as_peers(2, work) == ["told", "left"]
