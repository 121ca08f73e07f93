"""What the log can be: standard error, a file that is rotated, syslog here or elsewhere.

A sink never raises when it writes. Lines that it could not write are counted, and the first one that can be written again is
preceded by a line that says how many are missing. A line that was cut by a full disk is ended before the next one begins.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable
from typing import Final, Protocol
from urllib.parse import urlsplit

from broker.log import STDERR
from broker.options.gotext import quote
from supervisor.errors import system_text

MakeLine = Callable[[str, str], bytes]

_FILE_MODE: Final = 0o640
_LOCAL_SYSLOG: Final = ("/dev/log", "/var/run/syslog", "/var/run/log")
_SYSLOG_PORT: Final = 514


class Sink(Protocol):
    """Takes whole lines."""

    def write(self, lines: bytes) -> None:
        """Write them, or count them as lost."""

    def close(self) -> None:
        """Give its descriptor back."""


class Stderr:
    """Standard error, which is somebody else's."""

    __slots__ = ()

    def write(self, lines: bytes) -> None:
        """A reader that is gone, or a full disk behind it, is no reason to end."""
        with contextlib.suppress(OSError):
            _write_all(STDERR, lines)

    def close(self) -> None:
        """It stays open."""


class File:
    """A file, appended to. When it has grown beyond ``limit`` bytes it gets a name with the time, and a new one begins."""

    __slots__ = (
        "_descriptor",
        "_keep",
        "_limit",
        "_lost",
        "_make_line",
        "_path",
        "_rotate_at",
        "_size",
        "_torn",
        "_why",
    )

    def __init__(self, path: str, limit: int, keep: int, make_line: MakeLine) -> None:
        """``limit`` 0: no rotation; ``keep``: how many files there may be, 0: any number. OSError: it cannot be opened."""
        self._path = path
        self._limit = max(limit, 0)
        self._keep = keep
        self._make_line = make_line
        self._lost = 0
        self._why = ""
        self._torn = False  # the file ends within a line
        self._descriptor = -1
        self._open()

    def write(self, lines: bytes) -> None:
        """Write, and rotate as often as that makes it necessary."""
        if self._lost and not self._report():
            self._lost += lines.count(b"\n")
            return
        start = 0
        while start < len(lines):
            end = len(lines)
            if self._limit:  # up to the end of the line that makes it too large
                full = lines.find(b"\n", start + max(0, self._rotate_at - self._size)) + 1
                end = full or end
            if not self._put(lines[start:end]):
                self._lost += lines.count(b"\n", end)
                return
            start = end
            if self._limit and self._size > self._rotate_at:
                self._rotate()

    def reopen(self) -> None:
        """Open the path anew; if that fails the old file stays in use."""
        try:
            self._open()
        except OSError as error:
            self._put(self._make_line("ERR", f"Unable to re-open logfile: {system_text(error)}"))
            return
        self._put(self._make_line("INF", "File log re-opened"))

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    def _open(self) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        descriptor = os.open(self._path, flags, _FILE_MODE)
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = descriptor
        self._size = os.fstat(descriptor).st_size
        self._rotate_at = self._limit
        self._torn = False

    def _put(self, lines: bytes) -> bool:
        joint = b"\n" if self._torn else b""
        done, error = _write_all(self._descriptor, joint + lines)
        self._size += done
        if error is None:
            self._torn = False
            return True
        whole = lines.rfind(b"\n", 0, max(0, done - len(joint))) + 1  # the end of the last line that is there
        self._torn = done > whole + len(joint) or (self._torn and not done)
        if not self._lost:
            _say(f"Log file {self._path} cannot be written: {system_text(error)}; the server goes on")
        self._why = system_text(error)
        self._lost += lines.count(b"\n", whole)
        return False

    def _report(self) -> bool:
        """Is there room again? Then say what is missing."""
        line = self._make_line("ERR", f"{self._lost} log lines were lost: {self._why}")
        done, error = _write_all(self._descriptor, b"\n" + line if self._torn else line)
        self._size += done
        if error is not None:
            self._torn = self._torn or done > 0
            return False
        self._torn = False
        self._lost = 0
        return True

    def _rotate(self) -> None:
        second, nanosecond = divmod(time.time_ns(), 1_000_000_000)
        stamp = time.strftime("%Y.%m.%d.%H.%M.%S", time.localtime(second))
        backup = f"{self._path}.{stamp}.{nanosecond:09d}"
        try:
            os.rename(self._path, backup)
            self._open()
        except OSError as error:
            self._rotate_at = self._size + self._limit  # try again, but not with every line
            self._put(self._make_line("ERR", f"Unable to rotate logfile: {system_text(error)}"))
            return
        self._put(self._make_line("INF", f"Rotated log, backup saved as {quote(backup)}"))
        if self._keep > 0:
            self._purge()

    def _purge(self) -> None:
        """Delete the oldest backups beyond the number that may be kept."""
        folder, name = os.path.split(self._path)
        try:
            backups = sorted(entry for entry in os.listdir(folder or ".") if _is_backup(entry, name))
            for entry in backups[: max(0, len(backups) - (self._keep - 1))]:
                os.unlink(os.path.join(folder, entry))
        except OSError as error:
            self._put(self._make_line("ERR", f"Unable to delete old logfiles: {system_text(error)}"))


class Syslog:
    """A syslog daemon: ours (address empty), or one at ``udp://host:port``, ``tcp://host:port`` or ``unix:///path``.

    Lines begin with ``<severity>``; the rest of the header is put between that and the text.
    """

    __slots__ = ("_address", "_head", "_lost", "_socket")

    def __init__(self, address: str, program: str) -> None:
        """OSError: nobody is there. ValueError: that is no address."""
        self._address = address
        self._lost = 0
        self._head = f"{program}[{os.getpid()}]: "
        self._socket: socket.socket | None = self._connect()

    def write(self, lines: bytes) -> None:
        """One message a line."""
        for line in lines.splitlines():
            if self._lost and self._send(b"<3>", b"%d log lines were lost: no syslog" % self._lost):
                self._lost = 0
            severity, closed, text = line.partition(b">")
            if not closed or not severity.startswith(b"<"):
                severity, text = b"<5", line
            if not self._send(severity + b">", text):
                self._lost += 1

    def close(self) -> None:
        """Close the socket."""
        if self._socket is not None:
            self._socket.close()

    def _send(self, severity: bytes, text: bytes) -> bool:
        message = severity + self._header().encode() + text + b"\n"
        for again in (True, False):  # a daemon that was restarted has another socket
            try:
                if self._socket is None:
                    self._socket = self._connect()
                self._socket.sendall(message)
                return True
            except OSError:
                self.close()
                self._socket = None
                if not again:
                    break
        return False

    def _header(self) -> str:
        now = time.localtime()
        if self._address:
            zone = time.strftime("%z", now)
            offset = "Z" if zone == "+0000" else f"{zone[:3]}:{zone[3:]}"
            return f"{time.strftime('%Y-%m-%dT%H:%M:%S', now)}{offset} {socket.gethostname()} {self._head}"
        return f"{time.strftime('%b', now)} {now.tm_mday:2d} {time.strftime('%H:%M:%S', now)} {self._head}"

    def _connect(self) -> socket.socket:
        if not self._address:
            return _connect_local()
        url = urlsplit(self._address)
        match url.scheme:
            case "udp" | "tcp":
                kind = socket.SOCK_DGRAM if url.scheme == "udp" else socket.SOCK_STREAM
                return _connect_remote(url.hostname or "localhost", url.port or _SYSLOG_PORT, kind)
            case "unix" | "unixgram":
                kind = socket.SOCK_STREAM if url.scheme == "unix" else socket.SOCK_DGRAM
                return _connect_path(url.path, kind)
        raise ValueError(f"invalid network type: {quote(url.scheme)}")


def _connect_local() -> socket.socket:
    refusal: OSError = FileNotFoundError(2, "no syslog")
    for path in _LOCAL_SYSLOG:
        for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
            try:
                return _connect_path(path, kind)
            except OSError as error:
                refusal = error
    raise refusal


def _connect_path(path: str, kind: socket.SocketKind) -> socket.socket:
    end = socket.socket(socket.AF_UNIX, kind)
    try:
        end.connect(path)
    except OSError:
        end.close()
        raise
    return end


def _connect_remote(host: str, port: int, kind: socket.SocketKind) -> socket.socket:
    refusal: OSError = FileNotFoundError(2, "no address")
    for family, found, protocol, _, address in socket.getaddrinfo(host, port, type=kind):
        end = socket.socket(family, found, protocol)
        try:
            end.connect(address)
        except OSError as error:
            end.close()
            refusal = error
            continue
        return end
    raise refusal


def _is_backup(entry: str, name: str) -> bool:
    """Is it ``<name>.YYYY.MM.DD.hh.mm.ss.nnnnnnnnn``?"""
    parts = entry[len(name) + 1 :].split(".")
    return entry.startswith(f"{name}.") and len(parts) == 7 and all(part.isdecimal() for part in parts)


def _write_all(descriptor: int, lines: bytes) -> tuple[int, OSError | None]:
    """Write; returns how many bytes were written, and why not all."""
    done = 0
    view = memoryview(lines)
    while done < len(lines):
        try:
            done += os.write(descriptor, view[done:])
        except OSError as error:
            return done, error
    return done, None


def _say(text: str) -> None:
    with contextlib.suppress(OSError):
        os.write(STDERR, text.encode("utf-8", "backslashreplace") + b"\n")
