"""The log's writer: one thread that puts the packets of lines of all processes one behind the other, into whatever the log is.

All processes share the sending end of one socket; what the supervisor itself has to say to the writer (reopen, another log)
goes the same way, so that it takes its turn. The thread is there for the day on which a write blocks: signals and children are
looked after all the same.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

from broker.log import STDERR, Log, ToWriter
from broker.options import Options
from broker.options.command_line import program_name
from supervisor.errors import system_text
from supervisor.sinks import File, Sink, Stderr, Syslog

_PACKET_BYTES: Final = 1 << 18
_AT_ONCE: Final = 1 << 18  # bytes that are written together, if so many are there
_COMMAND: Final = b"\0"  # no line begins with it
_END_SECONDS: Final = 5.0  # how long the last lines may take


class SinkError(Exception):
    """The log cannot be opened. Its text says why, in nats-server's words."""


def open_sink(options: Options, make_line: Callable[[str, str], bytes], program: str) -> Sink:
    """Where these options want the log. ``make_line`` (level, text) composes what the log says about itself."""
    try:
        if options.log_file:
            return File(options.log_file, options.log_size_limit, options.log_max_num, make_line)
        if options.remote_syslog:
            return Syslog(options.remote_syslog, program)
        if options.syslog:
            return Syslog("", program)
    except OSError as error:
        if options.log_file:
            raise SinkError(f"error opening file: open {options.log_file}: {system_text(error)}") from error
        raise SinkError(f"error connecting to syslog: {system_text(error)}") from error
    except ValueError as error:
        raise SinkError(str(error)) from error
    return Stderr()


class _Reader(Protocol):
    def __call__(self, size: int, flags: int = 0, /) -> bytes: ...


class LogWriter:
    """The writer and its log. ``log`` is the supervisor's own; ``descriptor`` is what children inherit."""

    __slots__ = ("_commands", "_program", "_receive", "_send", "_thread", "descriptor", "log")

    def __init__(self, options: Options) -> None:
        """SinkError: the log cannot be opened. OSError: out of descriptors."""
        self._program = program_name()
        self._receive, self._send = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.descriptor = self._send.fileno()
        self._commands: deque[Callable[[Sink], Sink]] = deque()
        self.log = Log.of(options, os.getpid(), ToWriter(self._send))
        try:
            sink = self.open(options)
        except SinkError:
            self._receive.close()
            self._send.close()
            raise
        self._thread = threading.Thread(target=self._run, args=(sink,), name="log", daemon=True)
        self._thread.start()

    def open(self, options: Options) -> Sink:
        """Another log, to ``switch`` to. SinkError: it cannot be opened."""
        composer = Log.of(options, os.getpid())
        return open_sink(options, lambda level, text: composer.line(level, text), self._program)

    def switch(self, sink: Sink) -> None:
        """Write to another log from now on; the old one is closed."""
        self._command(lambda old: _replace(old, sink))

    def reopen(self) -> None:
        """Open the file again, under the name that it had: somebody may have moved it away."""
        self._command(_reopen)

    def close(self) -> None:
        """Write what is left, and end. All children have to be gone."""
        self._send.close()
        self._thread.join(_END_SECONDS)
        if not self._thread.is_alive():
            self._receive.close()

    def _command(self, action: Callable[[Sink], Sink]) -> None:
        self._commands.append(action)
        with contextlib.suppress(BlockingIOError):  # it will be seen with the next lines
            self._send.send(_COMMAND, socket.MSG_DONTWAIT)

    def _run(self, sink: Sink) -> None:
        while True:
            packet = self._receive.recv(_PACKET_BYTES)
            lines = packet
            while packet and packet != _COMMAND and len(lines) < _AT_ONCE:
                try:
                    packet = self._receive.recv(_PACKET_BYTES, socket.MSG_DONTWAIT)
                except BlockingIOError:
                    break
                lines += packet
            if packet == _COMMAND:
                lines = lines[:-1]
            if lines:
                sink.write(lines)
            if packet == _COMMAND:
                while self._commands:
                    sink = self._commands.popleft()(sink)
            elif not packet:
                sink.close()
                return


def _replace(old: Sink, new: Sink) -> Sink:
    old.close()
    return new


def _reopen(sink: Sink) -> Sink:
    if isinstance(sink, File):
        sink.reopen()
    return sink


def fatal_stamp() -> str:
    """How Go's own log begins a line, which is all there is when the log cannot be opened."""
    return time.strftime("%Y/%m/%d %H:%M:%S ")


def say_last(text: str) -> None:
    """A line on standard error, without a log."""
    with contextlib.suppress(OSError):
        os.write(STDERR, f"{fatal_stamp()}{text}\n".encode("utf-8", "backslashreplace"))
