"""The HTTP server's patience and limits, without a message server behind it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator

import pytest

from broker.log import Log
from broker.monitor.http import MAX_CONNECTIONS, HttpServer, Limits, Request, Response, plain

QUICK = Limits(request=0.3, idle=0.3, handle=0.3, write=0.3)


async def handler(request: Request) -> Response:
    """Echoes what it was asked, except on paths that are there for trouble."""
    if request.path == "/slow":
        await asyncio.sleep(60)
    if request.path == "/broken":
        raise ValueError("on purpose")
    if request.path == "/large":
        return plain(200, "x" * (32 << 20))
    return plain(200, f"{request.method} {request.path} {request.query}")


@contextlib.asynccontextmanager
async def serving(limits: Limits) -> AsyncIterator[int]:
    listening = socket.create_server(("127.0.0.1", 0))
    port = int(listening.getsockname()[1])
    server = HttpServer(handler, Log(os.getpid()), limits)
    await server.listen(listening.detach(), None)
    try:
        yield port
    finally:
        await server.close()


async def ask(port: int, data: bytes) -> bytes:
    """All that comes back until the server closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    try:
        return await asyncio.wait_for(reader.read(), 20)
    except ConnectionResetError:
        return b"reset"
    finally:
        writer.close()


def answer(data: bytes, limits: Limits | None = None) -> bytes:
    async def run() -> bytes:
        async with serving(limits or Limits()) as port:
            return await ask(port, data)

    return asyncio.run(run())


CLOSE = b"Host: x\r\nConnection: close\r\n\r\n"


@pytest.mark.parametrize(
    ("request_line", "body"),
    [
        (b"GET /a?b=c HTTP/1.1", b"GET /a b=c"),
        (b"GET /a?b=c#d HTTP/1.1", b"GET /a b=c"),
        (b"POST /p HTTP/1.1", b"POST /p "),
        (b"GET http://elsewhere:1/a?b HTTP/1.1", b"GET /a b"),
        (b"GET / HTTP/1.0", b"GET / "),
    ],
)
def test_requests(request_line: bytes, body: bytes) -> None:
    got = answer(request_line + b"\r\n" + CLOSE)
    assert got.startswith(b"HTTP/1.1 200 OK\r\n") and got.endswith(b"\r\n\r\n" + body)


def test_byte_by_byte_is_the_same() -> None:
    async def run() -> bytes:
        async with serving(Limits()) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            for byte in b"POST /a HTTP/1.1\r\nContent-Length: 3\r\n" + CLOSE + b"xyz":
                writer.write(bytes([byte]))
                await asyncio.sleep(0)
            data = await reader.read()
            writer.close()
            return data

    assert asyncio.run(run()).endswith(b"POST /a ")


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"BREW /pot HTTP/1.1\r\n" + CLOSE, 405),
        (b"GET /broken HTTP/1.1\r\n" + CLOSE, 500),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),  # no host
        (b"GET /" + b"a" * 20000 + b" HTTP/1.1\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 5000, 431),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999\r\n\r\n" + b"x" * 100000, 413),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n", 413),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", 400),
    ],
)
def test_refusals(data: bytes, status: int) -> None:
    got = answer(data)
    assert got == b"reset" or got.startswith(b"HTTP/1.1 %d " % status)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"GET / HT",
        b"GET / HTTP/1.1\r\nX: ",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nab",
    ],
)
def test_unfinished_requests_are_cut_off(data: bytes) -> None:
    assert answer(data, QUICK) in (b"", b"reset")


def test_idle_connections_are_cut_off() -> None:
    assert answer(b"GET /1 HTTP/1.1\r\nHost: x\r\n\r\n", QUICK).endswith(b"GET /1 ")


def test_slow_answers() -> None:
    assert answer(b"GET /slow HTTP/1.1\r\n" + CLOSE, QUICK).startswith(b"HTTP/1.1 503 ")


def test_a_client_that_does_not_read_is_cut_off() -> None:
    async def run() -> None:
        listening = socket.create_server(("127.0.0.1", 0))
        server = HttpServer(handler, Log(os.getpid()), QUICK)
        port = int(listening.getsockname()[1])
        await server.listen(listening.detach(), None)
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(b"GET /large HTTP/1.1\r\n" + CLOSE)
            async with asyncio.timeout(10.0):
                while server.connections == 0:
                    await asyncio.sleep(0.01)
                while server.connections:
                    await asyncio.sleep(0.01)
        await server.close()

    asyncio.run(run())


def test_newcomers_displace_the_silent() -> None:
    async def run() -> None:
        async with serving(Limits()) as port:
            silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(MAX_CONNECTIONS + 20)]
            assert (await ask(port, b"GET /x HTTP/1.1\r\n" + CLOSE)).endswith(b"GET /x ")
            ended = [asyncio.create_task(reader.read()) for reader, _ in silent]
            done, waiting = await asyncio.wait(ended, timeout=1.0)
            assert len(done) >= 20 and len(waiting) <= MAX_CONNECTIONS
            for task in waiting:
                task.cancel()
            await asyncio.gather(*ended, return_exceptions=True)
            for _, writer in silent:
                writer.close()

    asyncio.run(run())
