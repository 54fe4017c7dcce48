"""Tasks of one stage that pass item-sized arrays to each other, past the driver.

All tasks of a barrier stage run at once and know each other's address. Each listens on its own, and every two share one
authenticated connection. Sums are made in an order that the ranks fix, so that they are the same however the messages arrive.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Connection, answer_challenge, deliver_challenge
from types import TracebackType
from typing import Any

import numpy as np

# Connections that wait to be accepted: every other task may call at once.
_BACKLOG = 1024
# Seconds that all tasks have to call, and that a caller has for each word of the handshake.
_CALLED_WITHIN = 600.0
_ANSWERED_WITHIN = 10.0


def blocks_of(n_rows: int, n_blocks: int) -> np.ndarray:
    """[n_blocks + 1] where each block of n_rows begins; sizes differ by one at most."""
    return np.arange(n_blocks + 1, dtype=np.int64) * n_rows // n_blocks


class Peers:
    """One of `n` tasks, and its connections to the others by rank. Use as a context: leaving closes the connections.

    `n_bytes` counts what this task has sent.
    """

    def __init__(self, rank: int, connections: Sequence[Connection | None]) -> None:
        self.rank, self.n = rank, len(connections)
        self._connections = connections
        self._sending = ThreadPoolExecutor(1, thread_name_prefix="recspark-peers")
        self.n_bytes = 0

    def __enter__(self) -> Peers:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        # First the connections: who still waits for this task is told so.
        for connection in self._connections:
            if connection is not None:
                connection.close()
        self._sending.shutdown(wait=False, cancel_futures=True)

    def _exchange(self, outgoing: Callable[[int], np.ndarray], incoming: Callable[[int], np.ndarray]) -> Iterator[None]:
        """Send outgoing(rank) to every other task while incoming(rank) is filled by each.

        Round by round, so that no two wait for each other; yields after each.
        """
        for distance in range(1, self.n):
            to, by = (self.rank + distance) % self.n, (self.rank - distance) % self.n
            sent = self._sending.submit(self._send, to, np.ascontiguousarray(outgoing(to)))
            self._receive(by, incoming(by))
            sent.result()
            yield

    def _send(self, rank: int, array: np.ndarray) -> None:
        connection = self._connections[rank]
        assert connection is not None
        if array.size:
            connection.send_bytes(array.reshape(-1).view(np.uint8).data)
        self.n_bytes += array.nbytes

    def _receive(self, rank: int, into: np.ndarray) -> None:
        connection = self._connections[rank]
        assert connection is not None
        if into.size:
            connection.recv_bytes_into(into.reshape(-1).view(np.uint8).data)

    def sum_blocks(self, partial: np.ndarray, bounds: np.ndarray) -> np.ndarray:
        """This task's block of the sum of all tasks' `partial`; block r is rows bounds[r]:bounds[r + 1].

        Holds two blocks beside `partial`, however many tasks there are.
        """
        total = partial[bounds[self.rank] : bounds[self.rank + 1]].copy()
        part = np.empty_like(total)
        for _ in self._exchange(lambda rank: partial[bounds[rank] : bounds[rank + 1]], lambda _: part):
            total += part
        return total

    def share_blocks(self, whole: np.ndarray, bounds: np.ndarray) -> None:
        """Fill in the other tasks' blocks of `whole`, of which this task knows its own."""
        own = whole[bounds[self.rank] : bounds[self.rank + 1]]
        for _ in self._exchange(lambda rank: own, lambda rank: whole[bounds[rank] : bounds[rank + 1]]):
            pass

    def sum_all(self, array: np.ndarray) -> np.ndarray:
        """The sum of all tasks' arrays, at every task; for small arrays."""
        return self.gather(array).sum(axis=0)

    def gather(self, array: np.ndarray) -> np.ndarray:
        """[n x ...]: all tasks' arrays, which have one shape, by rank."""
        parts = np.empty((self.n, *np.shape(array)), np.asarray(array).dtype)
        parts[self.rank] = array
        for _ in self._exchange(lambda rank: parts[self.rank], lambda rank: parts[rank]):
            pass
        return parts


def cannot_meet(dynamic_allocation: str, master: str) -> bool:
    """Whether the settings `spark.dynamicAllocation.enabled` and `spark.master` exclude barrier stages; without a cluster nothing is allocated."""
    return dynamic_allocation.lower() == "true" and not master.startswith("local")


def meet(rank: int, host: str, tell_all: Callable[[str], Sequence[str]]) -> Peers:
    """Connect the tasks that call this at once, each with its rank and the name that the others know its machine by.

    `tell_all` gives every task's word to all of them, by rank, as a barrier's allGather does.

    Raises:
        TimeoutError: a task has not called within _CALLED_WITHIN seconds.
    """
    key = "".join(tell_all(secrets.token_hex(16))).encode()
    with socket.create_server((host, 0), backlog=_BACKLOG) as door:
        addresses = [json.loads(word) for word in tell_all(json.dumps(door.getsockname()))]
        return Peers(rank, _connected(rank, door, addresses, key))


def _connected(rank: int, door: socket.socket, addresses: Sequence[Sequence[Any]], key: bytes) -> list[Connection | None]:
    """Call every task before this one, and be called by every one after it."""
    connections: list[Connection | None] = [None] * len(addresses)
    for other, (address, port) in enumerate(addresses[:rank]):
        connection = Client((address, port), authkey=key)
        connection.send(rank)
        connections[other] = connection
    until = time.monotonic() + _CALLED_WITHIN
    while None in connections[rank + 1 :]:
        door.settimeout(max(until - time.monotonic(), 0.001))
        try:
            caller, _ = door.accept()
        except TimeoutError:
            missing = [other for other in range(rank + 1, len(addresses)) if connections[other] is None]
            raise TimeoutError(
                f"tasks {missing} of {len(addresses)} have not called task {rank} at {addresses[rank]} within {_CALLED_WITHIN:g} seconds: "
                "all tasks of a stage must run at once and reach each other; look whether a firewall stands between the machines"
            ) from None
        found = _answered(caller, key)
        if found is not None:
            connections[found[0]] = found[1]
    return connections


def _limit(caller: socket.socket, seconds: float) -> None:
    """How long each read and write may wait; 0 for ever. The connection reads the descriptor itself, so that the kernel keeps the time."""
    for limit in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
        caller.setsockopt(socket.SOL_SOCKET, limit, struct.pack("ll", int(seconds), int(seconds % 1 * 1e6)))


def _answered(caller: socket.socket, key: bytes) -> tuple[int, Connection] | None:
    """The rank of who called, and the connection; None for a stranger, who does not know the key or keeps silent."""
    with caller:
        _limit(caller, _ANSWERED_WITHIN)
        connection = Connection(os.dup(caller.fileno()))
        try:
            deliver_challenge(connection, key)
            answer_challenge(connection, key)
            rank = int(connection.recv())
        except (OSError, EOFError, AssertionError, AuthenticationError):
            connection.close()
            return None
        _limit(caller, 0)
    return rank, connection
