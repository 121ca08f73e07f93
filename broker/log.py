"""The log: lines in nats-server's format on standard error, from all processes of one server as one stream.

    [14237] 2026/11/23 20:48:41.970551 [INF] Server is ready

Every process writes the supervisor's pid and hands each line to the kernel in one call, so that lines of
several processes never mix. The standard library's logging package is not used: it would cost more at
start-up than everything else in the supervisor, and none of it is needed.
"""

from __future__ import annotations

import os
import time
from typing import Final

STDERR: Final = 2

# What each label looks like on a terminal (the codes are nats-server's).
_COLOURS: Final = {"INF": "32", "DBG": "36", "WRN": "0;93", "ERR": "31", "FTL": "31", "TRC": "33"}

# Text from clients may be part of a line: it must not begin another line, nor reach the terminal as a
# command.
_CONTROLS: Final = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0)) if code != 0x09}
_CONTROLS[0x0A] = "\\n"
_CONTROLS[0x0D] = "\\r"


class Log:
    """Writes log lines. Never raises: a server whose log cannot be written goes on serving.

    ``debug_on`` and ``trace_on`` say whether ``debug()`` and ``trace()`` write anything; both may be changed
    at any time, and callers on busy paths look at them before they compose a text. ``lost`` counts lines that
    could not be written (standard error is closed, full or gone).
    """

    __slots__ = ("_labels", "_logtime", "_prefix", "_second", "_stamp", "debug_on", "lost", "trace_on")

    def __init__(self, pid: int, logtime: bool = True, debug: bool = False, trace: bool = False) -> None:
        self.debug_on = debug
        self.trace_on = trace
        self.lost = 0
        self._logtime = logtime
        self._prefix = f"[{pid}] "
        self._second = -1
        self._stamp = ""
        colours = os.isatty(STDERR)
        self._labels = {
            name: f"[\x1b[{colour}m{name}\x1b[0m] " if colours else f"[{name}] "
            for name, colour in _COLOURS.items()
        }

    def info(self, text: str) -> None:
        """What an operator wants to know."""
        self._write("INF", text)

    def warn(self, text: str) -> None:
        """Something that is probably not meant to be so."""
        self._write("WRN", text)

    def error(self, text: str) -> None:
        """Something went wrong; the server goes on."""
        self._write("ERR", text)

    def fatal(self, text: str) -> None:
        """Why the server ends. Ending it is up to the caller."""
        self._write("FTL", text)

    def debug(self, text: str) -> None:
        """Events in the life of connections and processes, if ``debug_on``."""
        if self.debug_on:
            self._write("DBG", text)

    def trace(self, text: str) -> None:
        """Protocol lines, if ``trace_on``."""
        if self.trace_on:
            self._write("TRC", text)

    def _write(self, label: str, text: str) -> None:
        if not text.isprintable():
            text = text.translate(_CONTROLS)
        line = f"{self._prefix}{self._time() if self._logtime else ''}{self._labels[label]}{text}\n"
        try:
            os.write(STDERR, line.encode("utf-8", "backslashreplace"))
        except OSError:
            self.lost += 1

    def _time(self) -> str:
        """The time of day as ``YYYY/MM/DD hh:mm:ss.uuuuuu `` (local time). The part up to seconds is kept."""
        second, nanosecond = divmod(time.time_ns(), 1_000_000_000)
        if second != self._second:
            self._second = second
            self._stamp = time.strftime("%Y/%m/%d %H:%M:%S", time.localtime(second))
        return f"{self._stamp}.{nanosecond // 1000:06d} "
