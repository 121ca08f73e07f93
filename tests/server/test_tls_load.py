"""TLS: limits, slow readers, and many clients at once."""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any, Final

import nats
import pytest

from tests.harness import Kind, Raw, start
from tests.server.pki import Pki, echo, secure
from tests.server.shared import Dial

THROTTLED: Final = b"-ERR 'Connection throttling is active. Please try again later.'\r\n"


# -- limits -------------------------------------------------------------------------------------------------------


def test_handshakes_per_second(kind: Kind, pki: Pki) -> None:
    server = start(kind, pki.tls("connection_rate_limit: 2"))
    try:
        outcomes = []
        for _ in range(6):
            client = Raw(server.port)
            line = _one_line(client)
            outcomes.append(line)
            client.close()
        assert outcomes.count(THROTTLED) >= 2 and outcomes.count(b"") >= 2, outcomes
    finally:
        server.stop()


def _one_line(client: Raw) -> bytes:
    """What the server says before a handshake, if anything within a moment."""
    if client.buffer:
        return bytes(client.buffer)
    client.sock.settimeout(0.1)
    try:
        return client.sock.recv(4096)
    except TimeoutError:
        return b""


def test_full_server(kind: Kind, pki: Pki) -> None:
    server = start(kind, pki.tls("", "max_connections: 1"))
    try:
        client = secure(Raw(server.port), pki.authority.client()).hello()
        Raw(server.port).expect_eof(b"-ERR 'maximum connections exceeded'\r\n")
        echo(client)
        client.leave()
    finally:
        server.stop()


def test_slow_reader_is_cut(kind: Kind, pki: Pki) -> None:
    server = start(kind, pki.tls("", "max_pending: 2MB\nwrite_deadline: 60s"))
    try:
        reader = secure(Raw(server.port), pki.authority.client()).hello()
        writer = secure(Raw(server.port), pki.authority.client()).hello()
        reader.send(b"SUB flood 1\r\n").expect_pong()
        message = b"PUB flood 100000\r\n" + bytes(100000) + b"\r\n"
        for _ in range(400):
            writer.send(message)
            if "Slow Consumer" in server.log.text:
                break
        server.log.wait_for("Slow Consumer Detected: MaxPending of 2(097152|000000) Exceeded")
        echo(writer)
        reader.close()
        writer.close()
    finally:
        server.stop()


def test_quick_reader_is_not(kind: Kind, pki: Pki) -> None:
    """A reader that keeps up is not called slow, though more is sent to it at once than may be pending."""
    server = start(kind, pki.tls("", "max_pending: 300000\nmax_payload: 65536"))
    try:
        clients = [secure(Raw(server.port), pki.authority.client()).hello() for _ in range(5)]
        reader, writers = clients[0], clients[1:]
        reader.send(b"SUB flood 1\r\n").expect_pong()
        message = b"PUB flood 8000\r\n" + bytes(8000) + b"\r\n"
        frame = b"MSG flood 1 8000\r\n" + bytes(8000) + b"\r\n"
        for _ in range(20):
            for writer in writers:
                writer.send(message * 20)
            for _ in range(20 * len(writers)):
                reader.expect(frame)
        assert "Slow Consumer" not in server.log.text
        for client in clients:
            client.close()
    finally:
        server.stop()


# -- nats-py, and many at once ------------------------------------------------------------------------------------


async def settle(client: nats.NATS) -> None:
    """Return when the server knows the client's subscriptions. (nats-py's PING overtakes what waits to be written.)"""
    await client.flush()
    await client.flush()


@pytest.mark.parametrize("how", ["", "handshake_first: true"])
def test_nats_py(dial: Dial, pki: Pki, how: str) -> None:
    server = dial.server(pki.tls(how))

    async def talk() -> None:
        options: dict[str, Any] = {
            "tls": pki.authority.client(),
            "tls_hostname": "localhost",
            "tls_handshake_first": bool(how),
        }
        url = f"tls://127.0.0.1:{server.port}"
        one, two = await nats.connect(url, **options), await nats.connect(url, **options)

        async def answer(message: Any) -> None:
            await message.respond(message.data[::-1])

        await two.subscribe("service", cb=answer)
        await settle(two)
        for size in (0, 5, 70_000, 1_000_000):
            body = random.Random(size).randbytes(size)
            assert (await one.request("service", body, timeout=10)).data == body[::-1]
        inbox = await one.subscribe("many")
        await settle(one)
        for i in range(500):
            await two.publish("many", json.dumps(i).encode(), headers={"n": str(i)})
        for i in range(500):
            message = await inbox.next_msg(timeout=10)
            assert message.data == json.dumps(i).encode() and message.headers == {"n": str(i)}
        await one.close()
        await two.close()

    asyncio.run(asyncio.wait_for(talk(), 60))


def test_many_handshakes_at_once(kind: Kind, pki: Pki) -> None:
    """A crowd connects while two talk: everybody gets in, and the two are served meanwhile."""
    server = start(kind, pki.tls("timeout: 30"))
    context = pki.authority.client()

    async def crowd() -> None:
        talker = secure(Raw(server.port), context).hello()
        url = f"tls://127.0.0.1:{server.port}"
        join = [
            asyncio.create_task(nats.connect(url, tls=context, tls_hostname="localhost", connect_timeout=30))
            for _ in range(60)
        ]
        while not all(task.done() for task in join):
            await asyncio.to_thread(echo, talker)
        for task in join:
            client = task.result()
            await client.flush()
            await client.close()
        talker.close()

    try:
        asyncio.run(asyncio.wait_for(crowd(), 60))
    finally:
        server.stop()
