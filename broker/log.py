"""The log: lines in nats-server's format, or JSON objects, from all processes of one server as one stream.

    [14237] 2026/11/23 20:48:41.970551 [INF] Server is ready

Every process composes its own lines, with the supervisor's pid, and hands them on as packets of whole lines: to standard
error, or to the socket behind which the supervisor's writer (supervisor/logs.py) puts the packets of all processes one behind
the other. So lines never mix, and what becomes of them (a file, its rotation, syslog) is one process's business. The standard
library's logging package is not used: it would cost more at start-up than everything else in the supervisor, and none of it
is needed.
"""

from __future__ import annotations

import json
import os
import select
import socket
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Literal

from broker.options import Options

STDERR: Final = 2
PACKET_BYTES: Final = 32 * 1024  # held back lines are sent when there are this many bytes of them
LINE_BYTES: Final = 60 * 1024  # a longer line is cut: it has to fit into a packet
PATIENCE: Final = 1.0  # seconds for which a full socket may hold up its process

Style = Literal["text", "json", "syslog"]

# What each label looks like on a terminal (the codes are nats-server's).
_COLOURS: Final = {"INF": "32", "DBG": "36", "WRN": "0;93", "ERR": "31", "FTL": "31", "TRC": "33"}
_WORDS: Final = {"INF": "info", "DBG": "debug", "WRN": "warn", "ERR": "error", "FTL": "fatal", "TRC": "trace"}
# Severities of syslog, chosen as nats-server does.
_SEVERITIES: Final = {"INF": 5, "DBG": 7, "WRN": 4, "ERR": 3, "FTL": 2, "TRC": 5}

# Text from clients may be part of a line: it must not begin another line, nor reach the terminal as a
# command.
_CONTROLS: Final = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0)) if code != 0x09}
_CONTROLS[0x0A] = "\\n"
_CONTROLS[0x0D] = "\\r"

_quoted: Final = json.JSONEncoder(ensure_ascii=False).encode


@dataclass(slots=True, frozen=True)
class About:
    """The client that a line is about."""

    cid: int
    address: str = ""  # ip:port
    client: str = ""  # "v1.2:go:name"
    user: str = ""  # "account/user:name"

    def prefix(self) -> str:
        """How nats-server begins such a line."""
        text = f"{self.address} - cid:{self.cid} - " if self.address else f"cid:{self.cid} - "
        if self.client:
            text += f'"{self.client}" - '
        if self.user:
            text += f'"{self.user}" - '
        return text

    def fields(self) -> dict[str, str | int]:
        """The same for a JSON line."""
        named = {"client": self.address, "name": self.client, "user": self.user}
        return {"cid": self.cid} | {name: text for name, text in named.items() if text}


def style_of(options: Options) -> Style:
    """The form of lines for what these options say about the log."""
    if options.log_format == "json":
        return "json"
    to_syslog = not options.log_file and (options.syslog or options.remote_syslog)
    return "syslog" if to_syslog else "text"


class Log:
    """Writes log lines. Never raises: a server whose log cannot be written goes on serving.

    ``debug_on`` and ``trace_on`` say whether ``debug()`` and ``trace()`` write anything; callers on busy paths look at them
    before they compose a text. ``lost`` counts lines that could not be handed on since the last that was.
    """

    __slots__ = (
        "_held",
        "_held_bytes",
        "_holding",
        "_labels",
        "_logtime",
        "_pid",
        "_second",
        "_send",
        "_stamp",
        "_style",
        "_utc",
        "_zone",
        "debug_on",
        "lost",
        "trace_on",
    )

    def __init__(
        self,
        pid: int,
        logtime: bool = True,
        debug: bool = False,
        trace: bool = False,
        send: Callable[[bytes], bool] | None = None,
    ) -> None:
        """``send`` takes whole lines and says whether it could; without it they go to standard error."""
        self.debug_on = debug
        self.trace_on = trace
        self.lost = 0
        self._pid = pid
        self._logtime = logtime
        self._utc = False
        self._style: Style = "text"
        self._send = send or _to_stderr
        self._second = -1
        self._stamp = self._zone = ""
        self._holding = False
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._paint(send is None)

    @classmethod
    def of(cls, options: Options, pid: int, send: Callable[[bytes], bool] | None = None) -> Log:
        """The log that these options ask for."""
        log = cls(pid, send=send)
        log.configure(options)
        return log

    def configure(self, options: Options) -> None:
        """Write as these options ask, from the next line on."""
        self.flush()
        self.debug_on = options.debug
        self.trace_on = options.trace or options.trace_verbose
        self._logtime = options.logtime
        self._utc = options.logtime_utc
        self._style = style_of(options)
        self._second = -1
        self._paint(not (options.log_file or options.syslog or options.remote_syslog))

    def info(self, text: str, about: About | None = None) -> None:
        """What an operator wants to know."""
        self._write("INF", text, about)

    def warn(self, text: str, about: About | None = None) -> None:
        """Something that is probably not meant to be so."""
        self._write("WRN", text, about)

    def error(self, text: str, about: About | None = None) -> None:
        """Something went wrong; the server goes on."""
        self._write("ERR", text, about)

    def fatal(self, text: str) -> None:
        """Why the server ends. Ending it is up to the caller."""
        self._write("FTL", text, None)

    def debug(self, text: str, about: About | None = None) -> None:
        """Events in the life of connections and processes, if ``debug_on``."""
        if self.debug_on:
            self._write("DBG", text, about)

    def trace(self, text: str, about: About | None = None) -> None:
        """Protocol lines, if ``trace_on``."""
        if self.trace_on:
            self._write("TRC", text, about)

    def hold(self) -> None:
        """Collect lines until ``flush()``: many are soon to come, and a packet of them costs no more than one."""
        self._holding = True

    def flush(self) -> None:
        """Send what was held back."""
        self._holding = False
        if self._held:
            self._hand_on()

    def line(self, label: str, text: str, about: About | None = None) -> bytes:
        """A line as it would be written now."""
        if not text.isprintable():
            text = text.translate(_CONTROLS)
        if self._style == "json":
            whole = self._json(label, text, about)
        else:
            text = about.prefix() + text if about else text
            if about and not text.isprintable():
                text = text.translate(_CONTROLS)
            if self._style == "syslog":
                whole = f"<{_SEVERITIES[label]}>{text}"
            else:
                whole = f"[{self._pid}] {self._time() if self._logtime else ''}{self._labels[label]}{text}"
        raw = whole.encode("utf-8", "backslashreplace")
        return (raw if len(raw) < LINE_BYTES else raw[: LINE_BYTES - 4] + b"...") + b"\n"

    def _write(self, label: str, text: str, about: About | None) -> None:
        line = self.line(label, text, about)
        self._held.append(line)
        self._held_bytes += len(line)
        if not self._holding or self._held_bytes > PACKET_BYTES:
            self._hand_on()

    def _hand_on(self) -> None:
        lines, self._held, self._held_bytes = self._held, [], 0
        if self.lost:
            lines.insert(0, self.line("ERR", f"{self.lost} log lines were lost: nobody took them"))
        if self._send(b"".join(lines)):
            self.lost = 0
        else:
            self.lost += len(lines) - bool(self.lost)

    def _json(self, label: str, text: str, about: About | None) -> str:
        fields: dict[str, str | int] = {}
        if self._logtime:
            stamp = self._time()  # 2026/11/23 20:48:41.970551, and a blank
            fields["time"] = f"{stamp[:10].replace('/', '-')}T{stamp[11:-1]}{self._zone}"
        fields |= {"level": _WORDS[label], "pid": self._pid, "msg": text}
        if about is not None:
            fields |= about.fields()
        return _quoted(fields)

    def _paint(self, stderr: bool) -> None:
        colours = stderr and os.isatty(STDERR)
        self._labels = {
            name: f"[\x1b[{colour}m{name}\x1b[0m] " if colours else f"[{name}] "
            for name, colour in _COLOURS.items()
        }

    def _time(self) -> str:
        """The time of day as ``YYYY/MM/DD hh:mm:ss.uuuuuu ``. The part up to seconds is kept."""
        second, nanosecond = divmod(time.time_ns(), 1_000_000_000)
        if second != self._second:
            self._second = second
            moment = time.gmtime(second) if self._utc else time.localtime(second)
            self._stamp = time.strftime("%Y/%m/%d %H:%M:%S", moment)
            zone = "Z" if self._utc else time.strftime("%z", moment)
            self._zone = zone if self._utc else f"{zone[:3]}:{zone[3:]}"
        return f"{self._stamp}.{nanosecond // 1000:06d} "


@contextmanager
def guarded(log: Log, doing: str) -> Iterator[None]:
    """Let a mistake of ours cost no more than what is done in this block: the log is told of it, and where it was made."""
    try:
        yield
    except Exception:
        log.error(f"internal error while {doing}: {traceback.format_exc()}")


def _to_stderr(lines: bytes) -> bool:
    try:
        os.write(STDERR, lines)
    except OSError:
        return False
    return True


class ToWriter:
    """Sends packets of lines to the writer. A writer that is stuck holds up its senders for ``PATIENCE``, once; then lines are
    lost until it takes some again, and the server goes on.
    """

    __slots__ = ("_socket", "_stuck")

    def __init__(self, end: socket.socket) -> None:
        """``end``: a SOCK_SEQPACKET socket; it stays the caller's."""
        self._socket = end
        self._stuck = False

    def __call__(self, lines: bytes) -> bool:
        while True:
            try:
                self._socket.send(lines, socket.MSG_DONTWAIT)
            except BlockingIOError:
                if self._stuck or not self._room():
                    self._stuck = True
                    return False
                continue
            except OSError:
                return False
            self._stuck = False
            return True

    def _room(self) -> bool:
        poll = select.poll()
        poll.register(self._socket, select.POLLOUT)
        return bool(poll.poll(PATIENCE * 1000))
