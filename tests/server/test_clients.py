"""What an application does with a client library: nats-py, several connections, so that they meet on several workers."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

import nats
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import NoRespondersError

from tests.harness import Kind, Server, start
from tests.server.shared import Servers

PATIENCE: Final = 20.0  # seconds


@asynccontextmanager
async def connected(server: Server, number: int, **options: Any) -> AsyncIterator[list[Client]]:
    """This many connections, closed in the end. An error that a client was not told by the server fails the test."""
    errors: list[Exception] = []

    async def failed(error: Exception) -> None:
        errors.append(error)

    async with AsyncExitStack() as stack:
        clients: list[Client] = []
        for _ in range(number):
            client = await nats.connect(server.url, error_cb=failed, **options)
            stack.push_async_callback(client.close)
            clients.append(client)
        yield clients
    assert not errors, errors


def scenario(
    function: Callable[[Server], Coroutine[Any, Any, None]],
) -> Callable[[Servers], None]:
    """A test that runs ``function`` with a shared server in an event loop of its own."""

    def run(servers: Servers) -> None:
        asyncio.run(asyncio.wait_for(function(servers.get()), 60.0))
        servers.check()

    run.__name__ = run.__qualname__ = function.__name__
    run.__doc__ = function.__doc__
    return run


async def flush(*clients: Client) -> None:
    """Return when the server has handled all that these clients have sent.

    nats-py's PING overtakes what its client has still in a buffer, but a second one comes after that.
    """
    for client in clients:
        for _ in range(2):
            await client.flush(timeout=PATIENCE)  # type: ignore[arg-type]


async def collect(subscription: Any, number: int) -> list[Msg]:
    """The next messages of a subscription."""
    return [await subscription.next_msg(timeout=PATIENCE) for _ in range(number)]


@scenario
async def test_publish_and_subscribe(server: Server) -> None:
    async with connected(server, 4) as clients:
        subscriptions = [await client.subscribe("greet.*") for client in clients]
        await flush(*clients)
        for number, client in enumerate(clients):
            await client.publish(f"greet.{number}", b"hello %d" % number)
        await flush(*clients)
        for subscription in subscriptions:
            got = {message.subject: message.data for message in await collect(subscription, 4)}
            assert got == {f"greet.{number}": b"hello %d" % number for number in range(4)}
            assert subscription.pending_msgs == 0


@scenario
async def test_wildcards_and_many_subjects(server: Server) -> None:
    """Two thousand subjects on each of three connections; every message reaches its one subscriber and the wildcard's."""
    async with connected(server, 4) as (publisher, *subscribers):
        got: Counter[tuple[int, str]] = Counter()
        everything = await publisher.subscribe("many.>")

        def count_for(number: int) -> Callable[[Msg], Awaitable[None]]:
            async def count(message: Msg) -> None:
                got[number, message.subject] += 1

            return count

        for number, client in enumerate(subscribers):
            for token in range(2000):
                await client.subscribe(f"many.{number}.{token}", cb=count_for(number))
        await flush(*subscribers, publisher)
        expected = {(number, f"many.{number}.{token}") for number in range(3) for token in range(2000)}
        for _, subject in sorted(expected):
            await publisher.publish(subject, b"")
        messages = await collect(everything, 6000)
        assert [message.subject for message in messages] == [subject for _, subject in sorted(expected)]
        await flush(*subscribers)
        for client in subscribers:
            await client.drain()
        assert got == dict.fromkeys(expected, 1)


@scenario
async def test_request_and_reply(server: Server) -> None:
    async with connected(server, 4) as (requester, *responders):

        async def answer(message: Msg) -> None:
            await message.respond(message.data[::-1])

        for number, responder in enumerate(responders):
            await responder.subscribe(f"reverse.{number}", cb=answer)
        await flush(*responders)
        for number in range(300):
            data = b"%06d" % number
            reply = await requester.request(f"reverse.{number % 3}", data, timeout=PATIENCE)
            assert reply.data == data[::-1]
        requests = [requester.request(f"reverse.{n % 3}", b"%06d" % n, timeout=PATIENCE) for n in range(500)]
        assert [reply.data for reply in await asyncio.gather(*requests)] == [
            (b"%06d" % number)[::-1] for number in range(500)
        ]
        old = await requester.request(
            "reverse.0", b"abc", timeout=PATIENCE, old_style=True
        )  # an inbox of its own
        assert old.data == b"cba"


@scenario
async def test_no_responders(server: Server) -> None:
    async with connected(server, 2) as (requester, responder):
        with pytest.raises(NoRespondersError):
            await requester.request("nobody.home", b"", timeout=PATIENCE)

        async def answer(message: Msg) -> None:
            await message.respond(b"here")

        subscription = await responder.subscribe("nobody.home", cb=answer)
        await flush(responder)
        assert (await requester.request("nobody.home", b"", timeout=PATIENCE)).data == b"here"
        await subscription.unsubscribe()
        await flush(responder)
        with pytest.raises(NoRespondersError):
            await _refused(requester, "nobody.home")


async def _refused(requester: Client, subject: str) -> None:
    """Request until it is refused: a request that is under way while its responder leaves may just get no answer."""
    for _ in range(100):
        try:
            await requester.request(subject, b"", timeout=0.2)
        except nats.errors.TimeoutError:
            continue


@scenario
async def test_queue_group(server: Server) -> None:
    """Each message reaches one of the members, each member gets its share, and a plain subscriber gets all."""
    async with connected(server, 5) as (publisher, *members):
        got: list[list[int]] = [[] for _ in members]

        def take(number: int) -> Callable[[Msg], Awaitable[None]]:
            async def taken(message: Msg) -> None:
                got[number].append(int(message.data))

            return taken

        for number, member in enumerate(members):
            await member.subscribe("jobs.*", queue="workers", cb=take(number))
        witness = await publisher.subscribe("jobs.>")
        await flush(publisher, *members)
        for number in range(4000):
            await publisher.publish(f"jobs.{number % 7}", b"%d" % number)
        assert [int(message.data) for message in await collect(witness, 4000)] == list(range(4000))
        for member in members:
            await member.drain()
        assert sorted(number for share in got for number in share) == list(range(4000))
        assert all(share == sorted(share) and 800 < len(share) < 1200 for share in got), [*map(len, got)]


@scenario
async def test_headers(server: Server) -> None:
    async with connected(server, 2) as (publisher, subscriber):
        subscription = await subscriber.subscribe("head")
        await flush(subscriber)
        headers = {"Trace-Id": "abc 123", "X-Empty": "", "Value": "dröhnt"}
        await publisher.publish("head", b"body", headers=headers)
        await publisher.publish("head", b"", headers={"Only": "header"})
        await publisher.publish("head", b"plain")
        first, second, third = await collect(subscription, 3)
        assert (first.headers, first.data) == (headers, b"body")
        assert (second.headers, second.data) == ({"Only": "header"}, b"")
        assert (third.headers, third.data) == (None, b"plain")


@scenario
async def test_unsubscribe_after_a_maximum(server: Server) -> None:
    async with connected(server, 3) as (subscriber, *publishers):
        got: list[bytes] = []

        async def take(message: Msg) -> None:
            got.append(message.data)

        subscription = await subscriber.subscribe("limited", cb=take)
        await subscription.unsubscribe(limit=70)
        marker = await subscriber.subscribe("limited.end")
        await flush(subscriber)
        for publisher in publishers:
            for number in range(50):
                await publisher.publish("limited", b"%d" % number)
            await publisher.publish("limited.end", b"")
        await collect(marker, 2)
        await flush(subscriber)
        assert len(got) == 70
        again = await subscriber.subscribe("limited")
        await flush(subscriber)
        await publishers[0].publish("limited", b"again")
        assert [message.data for message in await collect(again, 1)] == [b"again"]


@scenario
async def test_flush_means_handled(server: Server) -> None:
    """After a flush, what anybody else publishes reaches the subscription: on any worker, at once."""
    async with connected(server, 4) as clients:
        for number in range(200):
            subscriber, publisher = clients[number % 4], clients[(number + 1 + number // 4 % 3) % 4]
            subscription = await subscriber.subscribe(f"flushed.{number}")
            await flush(subscriber)
            await publisher.publish(f"flushed.{number}", b"%d" % number)
            assert (await subscription.next_msg(timeout=PATIENCE)).data == b"%d" % number
            await subscription.unsubscribe()


@scenario
async def test_drain_handles_what_has_come(server: Server) -> None:
    """All members of a group drain with their queues full: what they have got is handled, and nothing comes any more."""
    async with connected(server, 5) as (publisher, *members):
        got: Counter[int] = Counter()
        go = asyncio.Event()

        async def take(message: Msg) -> None:
            await go.wait()
            got[int(message.data)] += 1

        group = [await member.subscribe("drained", queue="q", cb=take) for member in members]
        await flush(publisher, *members)
        for number in range(1000):
            await publisher.publish("drained", b"%d" % number)
        await flush(publisher)
        while sum(each.pending_msgs for each in group) < 1000 - len(group):  # and one is in each callback
            await asyncio.sleep(0.01)
        leaving = [asyncio.create_task(member.drain()) for member in members]
        go.set()
        await asyncio.gather(*leaving)
        assert sorted(got) == list(range(1000)) and set(got.values()) == {1}
        assert all(member.is_closed for member in members)


@scenario
async def test_large_messages(server: Server) -> None:
    async with connected(server, 3) as (publisher, *subscribers):
        subscriptions = [await subscriber.subscribe("large") for subscriber in subscribers]
        await flush(*subscribers)
        sizes = [0, 1, 4095, 32_767, 32_768, 65_536, 131_072, 1_000_000, publisher.max_payload]
        for size in sizes:
            await publisher.publish("large", bytes(range(256)) * (size // 256) + b"x" * (size % 256))
            await flush(publisher)
        for subscription in subscriptions:
            for size, message in zip(sizes, await collect(subscription, len(sizes)), strict=True):
                assert message.data == bytes(range(256)) * (size // 256) + b"x" * (size % 256)


def test_reconnect_after_a_restart(kind: Kind) -> None:
    """The server stops and another one takes its place: clients come back, subscribed as before."""

    async def run() -> None:
        server = start(kind)
        lost, back = asyncio.Event(), asyncio.Event()

        async def disconnected() -> None:
            lost.set()

        async def reconnected() -> None:
            back.set()

        try:
            client = await nats.connect(
                server.url,
                disconnected_cb=disconnected,
                reconnected_cb=reconnected,
                reconnect_time_wait=0.05,
                max_reconnect_attempts=-1,
                error_cb=_ignore,
            )
            subscription = await client.subscribe("kept.*")
            group = await client.subscribe("kept.*", queue="q")
            await flush(client)
            await asyncio.to_thread(server.stop)
            await asyncio.wait_for(lost.wait(), PATIENCE)
            await client.publish("kept.meanwhile", b"waits in the client")
            server = await asyncio.to_thread(start, kind, port=server.port)
            await asyncio.wait_for(back.wait(), PATIENCE)
            await flush(client)
            async with connected(server, 3) as others:
                for other in others:
                    await other.publish("kept.again", b"")
                    await flush(other)
                for each in (subscription, group):
                    subjects = Counter(message.subject for message in await collect(each, 4))
                    assert subjects == {"kept.meanwhile": 1, "kept.again": 3}
            await client.close()
            await asyncio.to_thread(server.stop)
        finally:
            server.destroy()

    asyncio.run(asyncio.wait_for(run(), 60.0))


async def _ignore(error: Exception) -> None:
    """A refused connection, while there is no server, is what the test is about."""
    assert isinstance(error, OSError | nats.errors.Error), error
