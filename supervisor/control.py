"""The control channel between the supervisor and one child: one JSON object per packet.

supervisor -> child   {"op":"peers","peers":[[index,serial],...]}   all workers that are bound
                      {"op":"stop"}                                 close the clients and exit
                      {"op":"prepare","id":n} + a descriptor        make ready for the Options in that memfd
                      {"op":"commit","id":n}                        apply them
                      {"op":"abort","id":n}                         forget them
                      {"op":"shed","count":n}                       close so many clients: there are more than may be
                      {"op":"lame_duck"}                            accept nobody any more, and tell the clients; (gateway)
                                                                    tell those who listen to the system account
                      {"op":"close_clients","pace":s}               close them one by one, one in so many seconds
                      {"op":"reloaded","id":n,"error":"..."}        what came of the reload that it asked for
                      end of stream                                 the supervisor is dead: exit at once
child -> supervisor   {"op":"bound"}                                its mesh addresses are listening
                      {"op":"ready"}                                it accepts clients
                      {"op":"fatal","text":"..."}                   it cannot start, and says why
                      {"op":"prepared","id":n,"error":"..."}        it is ready to commit (no error), or cannot
                      {"op":"committed","id":n}                     the new Options are in force
                      {"op":"empty"}                                it has closed its clients
                      {"op":"reload","id":n}                        (gateway) an operator wants a reload
                      {"op":"farewell"}                             (gateway) the server's last message is on its way
"""

from __future__ import annotations

import array
import json
import os
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
        self._queue: deque[tuple[bytes, int]] = (
            deque()
        )  # a packet, and a descriptor of ours that goes with it (or -1)
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

    def send(self, message: dict[str, object], descriptor: int = -1) -> None:
        """Queue a message, perhaps with a copy of a descriptor, and send what can be sent. OSError: no descriptors left."""
        packet = json.dumps(message, separators=(",", ":")).encode()
        self._queue.append((packet, os.dup(descriptor) if descriptor >= 0 else -1))
        self.flush()

    def flush(self) -> None:
        """Send what can be sent; a child that is gone gets nothing any more."""
        while self._queue:
            packet, descriptor = self._queue[0]
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [descriptor]))]
            try:
                self._socket.sendmsg([packet], rights if descriptor >= 0 else [])
            except BlockingIOError:
                return
            except OSError:
                self._forget()
                return
            self._queue.popleft()
            if descriptor >= 0:
                os.close(descriptor)

    def _forget(self) -> None:
        while self._queue:
            _, descriptor = self._queue.popleft()
            if descriptor >= 0:
                os.close(descriptor)

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
        self._forget()
        self._socket.close()
