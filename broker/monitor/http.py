"""A small HTTP/1.1 server for monitoring: h11 knows the protocol, this module the limits.

Whoever is slow or greedy costs little: a request has seconds to arrive and kilobytes to fit in, an answer has a deadline,
and when there are too many connections, the one that has waited longest without a request makes room for the next. So
a client that opens connections and says nothing locks nobody out.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

import h11

from broker.log import Log

MAX_CONNECTIONS: Final = 128
MAX_AT_ONCE: Final = 8  # answers that are being made; others wait
MAX_REQUEST: Final = 16 * 1024  # bytes of a request line and headers
MAX_BODY: Final = 64 * 1024  # nobody needs one
_READ: Final = 16 * 1024

Headers = list[tuple[str, str]]


@dataclass(slots=True, frozen=True)
class Limits:
    """Seconds."""

    request: float = (
        5.0  # from its first byte (of the first one: from the start of the connection) to its last
    )
    idle: float = 60.0  # from an answer to the next request
    handle: float = 10.0  # for making an answer
    write: float = 20.0  # for the client to take it


@dataclass(slots=True, frozen=True)
class Request:
    """What was asked."""

    method: str
    path: str
    query: str


@dataclass(slots=True, frozen=True)
class Response:
    """What is answered."""

    status: int
    content_type: str
    body: bytes
    headers: Headers = field(default_factory=list)


Handler = Callable[[Request], Awaitable[Response]]

_REASONS: Final = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    413: "Content Too Large",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
}
_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def plain(status: int, text: str, headers: Headers | None = None) -> Response:
    """An answer of plain text."""
    return Response(status, "text/plain; charset=utf-8", text.encode("utf-8", "replace"), headers or [])


class _Refused(Exception):
    """The request cannot be read; the connection ends with this answer."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.status)
        self.response = response


class HttpServer:
    """Serves any number of listening sockets with one handler."""

    def __init__(self, handler: Handler, log: Log, limits: Limits | None = None) -> None:
        self._handler = handler
        self._log = log
        self._limits = limits or Limits()
        self._servers: list[asyncio.Server] = []
        self._free = asyncio.Semaphore(MAX_AT_ONCE)
        self._waiting: dict[asyncio.Task[None], float] = {}  # since when without a request
        self._open: set[asyncio.Task[None]] = set()

    async def listen(self, descriptor: int, tls: ssl.SSLContext | None) -> None:
        """Take connections from an inherited listening socket. Raises OSError."""
        listening = socket.socket(fileno=descriptor)
        handshake = self._limits.request if tls is not None else None
        self._servers.append(
            await asyncio.start_server(
                self._connected, sock=listening, ssl=tls, limit=_READ, ssl_handshake_timeout=handshake
            )
        )

    @property
    def connections(self) -> int:
        """How many there are now."""
        return len(self._open)

    async def close(self) -> None:
        """End all connections."""
        for server in self._servers:
            server.close()
        for task in list(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if len(self._open) >= MAX_CONNECTIONS and not self._make_room():
            writer.transport.abort()
            return
        self._open.add(task)
        try:
            await self._serve(task, reader, writer)
        except (ConnectionError, TimeoutError, ssl.SSLError, asyncio.CancelledError):
            writer.transport.abort()  # it is gone, too slow, or not wanted any more
        except Exception as error:
            self._log.error(f"monitoring: {type(error).__name__}: {error}")
            writer.transport.abort()
        finally:
            self._open.discard(task)
            self._waiting.pop(task, None)
            writer.close()

    def _make_room(self) -> bool:
        """End the connection that has waited longest without a request."""
        for task in self._waiting:
            del self._waiting[task]
            self._open.discard(task)
            task.cancel()
            return True
        return False

    async def _serve(
        self, task: asyncio.Task[None], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        writer.transport.set_write_buffer_limits(high=0)  # an answer is written when the client has taken it
        conn = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_REQUEST)
        first = True
        while True:
            self._waiting[task] = time.monotonic()
            try:
                request = await self._read(conn, reader, self._limits.request if first else self._limits.idle)
            except _Refused as refused:
                await self._write(conn, writer, refused.response)
                return
            if request is None:
                return
            first = False
            self._waiting.pop(task, None)
            await self._write(conn, writer, await self._handle(request), head=request.method == "HEAD")
            if conn.our_state is not h11.DONE or conn.their_state is not h11.DONE:
                return
            conn.start_next_cycle()

    async def _handle(self, request: Request) -> Response:
        if request.method not in ("GET", "HEAD", "POST"):
            return plain(405, "Method Not Allowed\n", [("Allow", "GET, HEAD, POST")])
        try:
            async with asyncio.timeout(self._limits.handle), self._free:
                return await self._handler(request)
        except TimeoutError:
            return plain(503, "the server is too busy to answer\n")
        except Exception as error:
            self._log.error(f"monitoring: {request.path}: {type(error).__name__}: {error}")
            return plain(500, "Internal Server Error\n")

    async def _read(
        self, conn: h11.Connection, reader: asyncio.StreamReader, patience: float
    ) -> Request | None:
        """The next request with all of its body, which is thrown away; None: the client is done."""
        request: h11.Request | None = None
        deadline = asyncio.get_running_loop().time() + patience
        begun = False
        body = 0
        while True:
            try:
                event = conn.next_event()
            except h11.RemoteProtocolError as error:
                status = error.error_status_hint
                raise _Refused(plain(status, f"{status} {_REASONS.get(status, 'Bad Request')}")) from error
            if event is h11.NEED_DATA:
                if conn.they_are_waiting_for_100_continue:
                    raise _Refused(plain(413, "413 Content Too Large"))
                async with asyncio.timeout_at(deadline):
                    data = await reader.read(_READ)
                if data and not begun:
                    begun = True
                    deadline = min(deadline, asyncio.get_running_loop().time() + self._limits.request)
                conn.receive_data(data)
            elif isinstance(event, h11.Request):
                request = event
            elif isinstance(event, h11.Data):
                body += len(event.data)
                if body > MAX_BODY:
                    raise _Refused(plain(413, "413 Content Too Large"))
            elif isinstance(event, h11.EndOfMessage):
                assert request is not None
                target = request.target.decode("ascii", "replace")
                if "://" in target[:8]:  # the form that is meant for proxies
                    target = "/" + target.split("://", 1)[1].partition("/")[2]
                path, _, query = target.partition("?")
                return Request(request.method.decode("ascii", "replace"), path, query.partition("#")[0])
            else:
                return None  # the end of the stream

    async def _write(
        self, conn: h11.Connection, writer: asyncio.StreamWriter, response: Response, head: bool = False
    ) -> None:
        headers = [
            ("Content-Type", response.content_type),
            *response.headers,
            ("Date", _date()),
            ("Content-Length", str(len(response.body))),
        ]
        reason = _REASONS.get(response.status, "").encode()
        out = [conn.send(h11.Response(status_code=response.status, headers=headers, reason=reason))]
        if not head:
            out.append(conn.send(h11.Data(data=response.body)))
        out.append(conn.send(h11.EndOfMessage()))
        writer.write(b"".join(part for part in out if part))
        last = conn.our_state is not h11.DONE
        async with asyncio.timeout(self._limits.write):
            await writer.drain()
            if last:
                writer.close()
                await writer.wait_closed()


def _date() -> str:
    t = time.gmtime()
    day, month = _DAYS[t.tm_wday], _MONTHS[t.tm_mon - 1]
    return f"{day}, {t.tm_mday:02d} {month} {t.tm_year} {t.tm_hour:02d}:{t.tm_min:02d}:{t.tm_sec:02d} GMT"
