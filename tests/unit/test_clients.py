"""A mistake of ours: the client that met it is closed, and nobody else notices."""

from __future__ import annotations

from typing import Any

from broker.clients import Clients
from broker.core import Event, EventType
from broker.protocol.errors import ClosedReason


class Recorder:
    """Stands for the data plane and for the log: remembers what it was told."""

    def __init__(self) -> None:
        self.rejected: list[tuple[int, int, str]] = []
        self.errors: list[str] = []

    def reject(self, conn: int, reason: int, text: str) -> None:
        self.rejected.append((conn, reason, text))

    def error(self, text: str) -> None:
        self.errors.append(text)


class Mistaken(Clients):
    """Clients with a mistake in them."""

    def __init__(self, recorder: Any) -> None:
        self._core = recorder
        self._log = recorder

    def _answer(self, event: Event) -> None:
        raise LookupError(f"no such thing as {event.data!r}")


def test_a_mistake_costs_one_connection() -> None:
    recorder = Recorder()
    clients = Mistaken(recorder)
    for conn in (7, 8):
        clients.handle(Event(EventType.CONNECT, 0, conn, conn + 100, b"{}", "127.0.0.1", 4222))
    assert recorder.rejected == [(7, ClosedReason.INTERNAL_CLIENT, ""), (8, ClosedReason.INTERNAL_CLIENT, "")]
    assert "cid:107" in recorder.errors[0] and "LookupError: no such thing" in recorder.errors[0]
