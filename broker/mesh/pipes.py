"""Interest and control between workers, over ZeroMQ.

Every worker binds one ROUTER, where it only receives, and connects one DEALER to each peer, where it only sends: an ordered pipe
in each direction. Addresses carry the worker's start number, so that nothing meant for a dead worker reaches its successor.
The content of the messages is the data plane's business. ZeroMQ's descriptors are edge-triggered: after every use the socket
is drained again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import zmq


def control_address(run_dir: str, index: int, serial: int) -> str:
    """Where a worker receives control messages."""
    return f"ipc://{Path(run_dir) / f'w{index}.{serial}.ctl'}"


def stream_path(run_dir: str, index: int, serial: int) -> str:
    """Where a worker's data plane accepts message streams."""
    return str(Path(run_dir) / f"w{index}.{serial}.msg")


class Pipes:
    """The ZeroMQ sockets of one worker. `report` is told what cannot be sent."""

    __slots__ = ("_context", "_dealers", "_report", "_router", "_run_dir")

    def __init__(self, run_dir: str, index: int, serial: int, report: Callable[[str], None]) -> None:
        """Bind the receiving socket. Raises zmq.ZMQError."""
        self._run_dir = run_dir
        self._report = report
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context(io_threads=1)
        self._dealers: dict[int, tuple[int, zmq.Socket[bytes]]] = {}
        self._router = self._context.socket(zmq.ROUTER)
        self._router.set(zmq.RCVHWM, 0)  # bounded by the window of unacknowledged batches
        self._router.set(zmq.LINGER, 0)
        self._router.bind(control_address(run_dir, index, serial))

    @property
    def context(self) -> zmq.Context[zmq.Socket[bytes]]:
        """The worker's only context, for other sockets of the same process."""
        return self._context

    def fileno(self) -> int:
        """Readable (edge-triggered) when a message may have come."""
        return int(self._router.get(zmq.FD))

    def connect(self, peer: int, serial: int) -> None:
        """Open the pipe to a peer, replacing one to its predecessor."""
        self.drop(peer)
        dealer = self._context.socket(zmq.DEALER)
        dealer.set(zmq.SNDHWM, 0)
        dealer.set(zmq.LINGER, 0)
        dealer.connect(control_address(self._run_dir, peer, serial))
        self._dealers[peer] = (serial, dealer)

    def drop(self, peer: int) -> None:
        """Close the pipe to a dead peer."""
        known = self._dealers.pop(peer, None)
        if known is not None:
            known[1].close()

    def serial(self, peer: int) -> int | None:
        """The start number of the peer that we are connected to."""
        known = self._dealers.get(peer)
        return known[0] if known else None

    def peers(self) -> list[int]:
        """Who we are connected to."""
        return list(self._dealers)

    def send(self, peer: int, message: bytes) -> None:
        """Queue a message; one to a peer that is gone is forgotten with it."""
        known = self._dealers.get(peer)
        if known is None:
            return
        try:
            known[1].send(message, zmq.NOBLOCK)
        except zmq.Again:
            self._report(f"mesh: cannot queue a message for worker {peer}")

    def receive(self) -> Iterator[bytes]:
        """Everything that has come, until there is nothing more."""
        while True:
            try:
                yield self._router.recv_multipart(zmq.NOBLOCK)[-1]
            except zmq.Again:
                return

    def pending(self) -> bool:
        """Is there something to receive? Must be asked after sending: the descriptor may not say so again."""
        return bool(int(self._router.get(zmq.EVENTS)) & zmq.POLLIN)

    def close(self) -> None:
        """Close all; does not wait for what is queued."""
        for peer in self.peers():
            self.drop(peer)
        self._router.close()
        self._context.term()
