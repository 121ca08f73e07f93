"""Signals as a queue: the handlers do nothing, the interpreter writes the signal's number into a socket.

A handler that does something runs between any two instructions of the program; here nothing happens until the
loop reads the queue.
"""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterable
from types import FrameType
from typing import Final

# As Go names them, and so nats-server's log.
NAMES: Final = {
    signal.SIGHUP: "hangup",
    signal.SIGINT: "interrupt",
    signal.SIGTERM: "terminated",
    signal.SIGUSR1: "user defined signal 1",
    signal.SIGUSR2: "user defined signal 2",
}


class SignalQueue:
    """The signals that arrived and have not been read. ``fileno()`` is readable when there are some."""

    __slots__ = ("_read", "_wanted", "_write")

    def __init__(self, wanted: Iterable[signal.Signals]) -> None:
        """Start to queue the wanted signals, also ones that the parent process had set to be ignored."""
        self._wanted = frozenset(wanted)
        self._read, self._write = socket.socketpair()
        self._read.setblocking(False)
        self._write.setblocking(False)
        # A full queue holds thousands of signals already: one more says nothing new.
        signal.set_wakeup_fd(self._write.fileno(), warn_on_full_buffer=False)
        for number in self._wanted:
            signal.signal(number, _queue_only)

    def fileno(self) -> int:
        """What to watch."""
        return self._read.fileno()

    def read(self) -> list[signal.Signals]:
        """The queued signals in the order of their arrival, without repetitions."""
        try:
            numbers = self._read.recv(4096)
        except BlockingIOError:
            return []
        return [signal.Signals(number) for number in dict.fromkeys(numbers)]

    def close(self) -> None:
        """Ignore the signals from now on: the process is about to end, and its exit code is settled.

        Without this, a second SIGTERM that comes while the interpreter cleans up would end it with another one.
        """
        for number in self._wanted:
            signal.signal(number, signal.SIG_IGN)
        signal.set_wakeup_fd(-1)
        self._read.close()
        self._write.close()


def _queue_only(number: int, frame: FrameType | None) -> None:
    """The wake-up descriptor has the number already."""
