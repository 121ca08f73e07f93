"""The service manager: what it wants to be told (sd_notify), and the sockets it may have opened for us (LISTEN_FDS).

Both are environment variables and a datagram each; no library is needed. Without a service manager all of it does
nothing.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import MutableMapping
from typing import Final

_FIRST_FD: Final = 3
_IDLE: Final = 3600.0


class Notifier:
    """Tells the service manager how we are. Never raises."""

    __slots__ = ("_address", "_due", "_interval", "_status")

    def __init__(self, environment: MutableMapping[str, str]) -> None:
        """Takes the variables out of the environment: they are not for our children."""
        address = environment.pop("NOTIFY_SOCKET", "")
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._interval = 0.0
        usec, pid = environment.pop("WATCHDOG_USEC", ""), environment.pop("WATCHDOG_PID", "")
        if usec.isdecimal() and pid in ("", str(os.getpid())):
            self._interval = int(usec) / 2e6  # twice as often as is asked for
        self._due = 0.0
        self._status = ""

    def ready(self, status: str) -> None:
        """All workers take clients (again: a reload is over)."""
        self._status = status
        self._send(f"READY=1\nSTATUS={status}")

    def status(self, status: str) -> None:
        """One line for people."""
        if status != self._status:
            self._status = status
            self._send(f"STATUS={status}")

    def reloading(self) -> None:
        """The configuration is being read again."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self, status: str) -> None:
        """The end has begun."""
        self._status = status
        self._send(f"STOPPING=1\nSTATUS={status}")

    def tick(self) -> float:
        """Say that we live, if it is time to; returns in how many seconds to call again at the latest."""
        if not self._interval or not self._address:
            return _IDLE
        now = time.monotonic()
        if now >= self._due:
            self._due = now + self._interval
            self._send("WATCHDOG=1")
        return self._due - now

    def _send(self, text: str) -> None:
        if not self._address:
            return
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
            end.setblocking(False)
            end.sendto(text.encode(), self._address)


def inherited_sockets(environment: MutableMapping[str, str]) -> list[socket.socket]:
    """The listening TCP sockets that were opened for us; what else we were given is closed."""
    count, pid = environment.pop("LISTEN_FDS", ""), environment.pop("LISTEN_PID", "")
    environment.pop("LISTEN_FDNAMES", None)
    if not count.isdecimal() or pid != str(os.getpid()):
        return []
    found: list[socket.socket] = []
    for descriptor in range(_FIRST_FD, _FIRST_FD + int(count)):
        with contextlib.suppress(OSError):
            each = socket.socket(fileno=descriptor)
            if not _listens(each):
                each.close()
                continue
            os.set_inheritable(descriptor, False)
            each.setblocking(False)
            found.append(each)
    return found


def _listens(each: socket.socket) -> bool:
    return (
        each.family in (socket.AF_INET, socket.AF_INET6)
        and each.type == socket.SOCK_STREAM
        and bool(each.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    )
