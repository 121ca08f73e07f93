"""What every child process does alike: begin, speak with the supervisor, end.

The control channel carries one JSON object a packet, some with a descriptor (see ``supervisor/control.py``). Its end
means that the supervisor is dead, and with it the server.

Exit codes: 0 stopped, 3 could not begin (the supervisor then gives up instead of restarting).
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import json
import os
import signal
import socket
import sys
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Final, Protocol

import uvloop

from broker.launch import Launch, read_launch

CANNOT_BEGIN: Final = 3
BEAT_SECONDS: Final = 0.5

_PACKET_BYTES: Final = 1 << 16


class Control:
    """Our end of the control channel. ``report`` is told when the supervisor does not listen."""

    __slots__ = ("_report", "_socket")

    def __init__(self, descriptor: int, report: Callable[[str], None]) -> None:
        self._socket = socket.socket(fileno=descriptor)
        self._socket.setblocking(False)
        self._report = report

    def fileno(self) -> int:
        """What to watch."""
        return self._socket.fileno()

    def tell(self, message: dict[str, object]) -> None:
        """Send one message."""
        try:
            self._socket.send(json.dumps(message).encode())
        except OSError as error:
            self._report(f"the supervisor does not listen: {error}")

    def packets(self) -> Iterator[tuple[dict[str, Any], list[int]]]:
        """Every message that has come, with its descriptors. Ends this process at the end of the channel."""
        while True:
            try:
                packet, descriptors, _, _ = socket.recv_fds(self._socket, _PACKET_BYTES, 1)
            except BlockingIOError:
                return
            if not packet:
                os._exit(0)
            yield json.loads(packet), descriptors


class Child(Protocol):
    """A process's life, from when its sockets are made."""

    def run(self) -> Coroutine[Any, Any, int]:
        """Serve until told to stop; returns the exit code."""


def live(name: Callable[[Launch], str], make: Callable[[Launch], Child]) -> None:
    """The whole life of a process whose only argument is the number of its ``Launch`` descriptor."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's ^C reaches the supervisor, which stops us
    faulthandler.enable()
    launch = read_launch(int(sys.argv[1]))

    async def serve() -> int:
        child = make(launch)
        gc.collect()
        gc.freeze()  # what start-up made stays: collections need not look at it again
        return await child.run()

    try:
        code = uvloop.new_event_loop().run_until_complete(serve())
    except Exception as error:
        text = f"{name(launch)}: {type(error).__name__}: {error}"
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(launch.control)) as control:
            control.send(json.dumps({"op": "fatal", "text": text}).encode())
        faulthandler.disable()
        raise SystemExit(CANNOT_BEGIN) from error
    sys.stdout.flush()
    os._exit(code)  # nothing is left that would need an interpreter's slow good-bye
