"""The control channel between the supervisor and one child: one JSON object per packet.

supervisor -> child   {"op":"peers","peers":[[index,serial],...]}   all workers that are bound
                      {"op":"stop"}                                 close the clients and exit
                      end of stream                                 the supervisor is dead: exit at once
child -> supervisor   {"op":"bound"}                                its mesh addresses are listening
                      {"op":"ready"}                                it accepts clients
                      {"op":"fatal","text":"..."}                   it cannot start, and says why
"""

from __future__ import annotations

import json
import socket
from collections import deque
from typing import Final

_PACKET_BYTES: Final = 1 << 16


class Channel:
    """The supervisor's end. Nothing blocks: what a slow child does not take is kept until it does."""

    __slots__ = ("_queue", "_socket", "ended")

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(False)
        self._socket = end
        self._queue: deque[bytes] = deque()
        self.ended = False  # the child closed its end

    @classmethod
    def pair(cls) -> tuple[Channel, socket.socket]:
        """A new channel and the child's end of it, to be inherited and then closed here. Raises OSError."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        return cls(ours), theirs

    def fileno(self) -> int:
        """What to watch."""
        return self._socket.fileno()

    @property
    def pending(self) -> bool:
        """Is there something to ``flush`` when the socket becomes writable?"""
        return bool(self._queue)

    def send(self, message: dict[str, object]) -> None:
        """Queue a message and send what can be sent."""
        self._queue.append(json.dumps(message, separators=(",", ":")).encode())
        self.flush()

    def flush(self) -> None:
        """Send what can be sent; a child that is gone gets nothing any more."""
        while self._queue:
            try:
                self._socket.send(self._queue[0])
            except BlockingIOError:
                return
            except OSError:
                self._queue.clear()
                return
            self._queue.popleft()

    def receive(self) -> list[dict[str, object]]:
        """All messages that are there; sets ``ended`` at the end. What is no JSON object is left out."""
        messages: list[dict[str, object]] = []
        while not self.ended:
            try:
                packet = self._socket.recv(_PACKET_BYTES)
            except BlockingIOError:
                break
            except OSError:
                packet = b""
            if not packet:
                self.ended = True
                break
            try:
                message = json.loads(packet)
            except ValueError:
                continue
            if isinstance(message, dict):
                messages.append(message)
        return messages

    def close(self) -> None:
        """Close our end; a child that still lives sees the end of the stream."""
        self._socket.close()
