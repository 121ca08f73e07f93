"""Requests that have crossed into another account, when the worker of either side or the gateway dies or hangs.

Nobody gets what is not his: not another account, not a client that comes back under the same inbox. What a dead worker remembered
is gone with it, what others remember of its clients is forgotten, and whoever comes next is served at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Final

import nats
import pytest
from nats.errors import Error as NatsError

from tests import probe
from tests.harness import FOUR, Raw, Server, start, until
from tests.server.crew import Crew
from tests.server.farm import kill
from tests.server.monitor import MONITOR, Monitor
from tests.server.test_faults import READY
from tests.server.test_service_imports import HEADERS, next_message

IMPORTS: Final = ", ".join(
    f"{{ service: {{ account: EXP, subject: {one} }} }}"
    for one in ("one", "many", "parts", "measured", "brief")
)
CONFIG: Final = f"""{MONITOR}
accounts {{
  EXP {{
    users: [ {{ user: exp }} ]
    exports: [
      {{ service: one }}
      {{ service: many, response_type: stream }}
      {{ service: parts, response_type: chunked }}
      {{ service: measured, latency: "lat.measured" }}
      {{ service: brief, threshold: "500ms", latency: "lat.brief" }}
      {{ service: deep }}
    ]
  }}
  MID {{
    users: [ {{ user: mid }} ]
    exports: [ {{ service: hop }} ]
    imports: [ {{ service: {{ account: EXP, subject: deep }}, to: hop }} ]
  }}
  IMP {{
    users: [ {{ user: imp }} ]
    imports: [ {IMPORTS}, {{ service: {{ account: MID, subject: hop }}, to: start }} ]
  }}
  OTHER {{
    users: [ {{ user: other }} ]
    imports: [ {IMPORTS}, {{ service: {{ account: MID, subject: hop }}, to: start }} ]
  }}
}}"""
SERVICES: Final = (b"one", b"many", b"parts", b"measured", b"start")
EACH: Final = 40  # requests to each service

# What the log says of processes that are killed, and of one that hangs.
ALLOWED: Final = "was killed by SIG|gave no sign of life|Fatal Python error|Aborted|File |thread|Thread"

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A server that survives all of this."""
    running = start(FOUR, CONFIG)
    try:
        yield running
        running.stop(allow=ALLOWED)
    finally:
        running.destroy()


@pytest.fixture
def crew(server: Server) -> Iterator[Crew]:
    """Places clients; workers are numbered by age, so that one that has replaced another is the last."""
    placed = Crew(server)
    yield placed
    placed.close()
    server.check(allow=ALLOWED)


def place(crew: Crew, worker: int, user: str, *subjects: bytes) -> Raw:
    """A client with these subscriptions, all with the number 1."""
    (client,) = crew.place(worker, user=user, **HEADERS)
    for number, subject in enumerate(subjects, 1):
        client.send(b"SUB %s %d\r\n" % (subject, number))
    return client.expect_pong()


def ask_all(requester: Raw, what: bytes) -> dict[bytes, bytes]:
    """Send requests to all services; the payload that each reply subject is to get."""
    wanted: dict[bytes, bytes] = {}
    for service in SERVICES:
        for number in range(EACH):
            inbox, payload = b"in.%s.%d" % (service, number), b"%s.%s.%d" % (what, service, number)
            wanted[inbox] = payload
            requester.send(b"PUB %s %s %d\r\n%s\r\n" % (service, inbox, len(payload), payload))
    return wanted


def requests(responder: Raw, number: int) -> list[tuple[bytes, bytes]]:
    """(reply subject, payload) of the next requests."""
    found = [next_message(responder) for _ in range(number)]
    assert all(len(words) == 3 and words[2].startswith(b"_R_.") for words, _, _ in found)
    return [(words[2], payload) for words, _, payload in found]


def answer_all(responder: Raw, asked: list[tuple[bytes, bytes]]) -> None:
    """Answer each with what was asked; nobody is told of an answer that is too late."""
    lines = [b"PUB %s %d\r\n%s\r\n" % (reply, len(payload), payload) for reply, payload in asked]
    responder.send(b"".join(lines)).expect_pong()


def answers(requester: Raw, number: int) -> dict[bytes, bytes]:
    """The next answers by subject, each of which may come once."""
    found: dict[bytes, bytes] = {}
    for _ in range(number):
        (subject, *_), _, payload = next_message(requester)
        assert subject not in found, (subject, payload)
        found[subject] = payload
    return found


def serve_once(requester: Raw, responder: Raw, what: bytes) -> None:
    """All services work, and nothing but their answers comes."""
    wanted = ask_all(requester, what)
    answer_all(responder, requests(responder, len(wanted)))
    assert answers(requester, len(wanted)) == wanted
    requester.expect_pong()


class Bystanders:
    """Clients of accounts that have no part in an answer, or only pass it on, and hear everything there."""

    def __init__(self, crew: Crew, workers: tuple[int, ...]) -> None:
        self.exporters = [place(crew, at, "exp") for at in workers]
        self.others = [place(crew, at, user, b">") for at in workers for user in ("other", "mid")]

    def heard(self, publisher: Raw) -> bytes:
        """What they got of all that ``publisher``, a client of the exporter, has sent so far."""
        for exporter in self.exporters:
            assert exporter.received_from(publisher) == b""  # its worker has had everything
        return b"".join(other.expect_after(b"PONG\r\n") for other in self.others)


def metrics(monitor: Raw, number: int) -> Counter[tuple[str, int]]:
    """The next measurements: how many of each subject and status."""
    found: Counter[tuple[str, int]] = Counter()
    for _ in range(number):
        words, _, payload = next_message(monitor)
        found[words[0].decode(), json.loads(payload)["status"]] += 1
    return found


def waiting(server: Server) -> dict[str, int]:
    """How many answers each account owes to others."""
    monitor = Monitor(server)
    details = (monitor.json(f"/accountz?acc={name}")["account_detail"] for name in ("EXP", "MID"))
    return {one["account_name"]: len(one.get("responses", {})) for one in details}


def gateway(server: Server) -> int:
    """The gateway's process, as soon as there is one."""
    found = until(
        lambda: [pid for pid in probe.children(server.pid) if "broker.gateway" in probe.command_of(pid)]
    )
    return int(found[0])


def test_the_requesters_worker_dies(server: Server, crew: Crew) -> None:
    """Late answers reach nobody, not even who asks again under the same inboxes; the responder does not notice."""
    responder = place(crew, 1, "exp", *SERVICES, b"deep")
    neighbour = place(crew, 2, "imp", b"in.>")
    requester = place(crew, 0, "imp", b"in.>")
    bystanders = Bystanders(crew, (2, 3))
    wanted = ask_all(requester, b"early")
    asked = requests(responder, len(wanted))
    bystanders.heard(responder)  # those of the account in the middle have seen requests pass
    parts = [(reply, payload) for reply, payload in asked if b".many." in payload]
    answer_all(responder, parts)  # it dies amid streams
    assert answers(requester, len(parts)) == {k: v for k, v in wanted.items() if b".many." in k}
    assert answers(neighbour, len(parts)).keys() == {k for k in wanted if b".many." in k}
    assert waiting(server) == {"EXP": len(wanted), "MID": EACH}
    mark = server.log.mark()
    kill(server, server.worker_of(requester.sock))
    requester.expect_eof()
    server.log.wait_for(READY, since=mark)
    assert waiting(server) == {"EXP": 0, "MID": 0}
    again = place(crew, 3, "imp", b"in.>")
    answer_all(responder, asked + [(reply, b"") for reply, _ in asked])
    assert bystanders.heard(responder) == b""
    again.expect_pong()
    neighbour.expect_pong()
    fresh = ask_all(again, b"late")
    later = requests(responder, len(fresh))
    assert not {reply[:10] for reply, _ in later} & {reply[:10] for reply, _ in asked}
    answer_all(responder, asked)
    answer_all(responder, later)
    assert answers(again, len(fresh)) == fresh
    again.expect_pong()
    assert waiting(server) == {"EXP": 2 * EACH, "MID": 0}  # streams that have not ended
    answer_all(responder, [(reply, b"") for reply, _ in later])
    assert len(answers(again, 2 * EACH)) == 2 * EACH
    assert waiting(server) == {"EXP": 0, "MID": 0}


def test_the_responders_worker_dies(server: Server, crew: Crew) -> None:
    """Whoever asked waits in vain, as for any responder that leaves; whoever asks then is told so; the next responder serves."""
    requester = place(crew, 0, "imp", b"in.>")
    monitor = place(crew, 2, "exp", b"lat.*")
    responder = place(crew, 1, "exp", *SERVICES, b"deep", b"brief")
    wanted = ask_all(requester, b"early")
    for number in range(EACH):
        requester.send(b"PUB brief in.brief.%d 0\r\n\r\n" % number)
    requests(responder, len(wanted) + EACH)
    mark = server.log.mark()
    kill(server, server.worker_of(responder.sock))
    server.log.wait_for(READY, since=mark)
    for service in SERVICES:
        requester.send(b"PUB %s in.x 0\r\n\r\n" % service)
        status = b"NATS/1.0 503\r\nNats-Subject: %s\r\n\r\n" % service
        requester.expect(b"HMSG in.x 1 %d %d\r\n%s\r\n" % (len(status), len(status), status))
    requester.expect_pong()
    told = metrics(monitor, EACH + 1)
    assert told == {("lat.brief", 504): EACH, ("lat.measured", 503): 1}
    assert waiting(server) == {"EXP": len(wanted), "MID": EACH}
    successor = place(crew, 3, "exp", *SERVICES, b"deep", b"brief")
    serve_once(requester, successor, b"late")
    assert metrics(monitor, EACH) == {("lat.measured", 200): EACH}
    requester.send(b"UNSUB 1\r\n").expect_pong()
    assert metrics(monitor, EACH) == {("lat.measured", 408): EACH}
    assert waiting(server) == {"EXP": 0, "MID": 0}


def test_the_requesters_worker_hangs(server: Server, crew: Crew) -> None:
    """Answers wait for it, and reach whom they are for when it goes on, each once."""
    requester = place(crew, 0, "imp", b"in.>")
    responder = place(crew, 1, "exp", *SERVICES, b"deep")
    bystanders = Bystanders(crew, (2, 3))
    wanted = ask_all(requester, b"early")
    asked = requests(responder, len(wanted))
    bystanders.heard(responder)
    stopped = server.worker_of(requester.sock)
    kill(server, stopped, signal.SIGSTOP)
    try:
        answer_all(responder, asked)
        answer_all(responder, asked)  # once too often for some
        assert bystanders.heard(responder) == b""
    finally:
        kill(server, stopped, signal.SIGCONT)
    twice = Counter[bytes]()
    for _ in range(len(wanted) + 2 * EACH):
        (subject, *_), _, payload = next_message(requester)
        assert wanted[subject] == payload
        twice[subject] += 1
    assert {k for k, n in twice.items() if n == 2} == {
        k for k in wanted if re.match(rb"in\.(many|parts)\.", k)
    }
    requester.expect_pong()
    serve_once(requester, responder, b"late")


def test_the_responders_worker_hangs_for_longer_than_its_time(server: Server, crew: Crew) -> None:
    """Its requests are over when it answers them, and the exporter has been told; then all is as before."""
    requester = place(crew, 0, "imp", b"in.>")
    responder = place(crew, 1, "exp", b"brief")
    monitor = place(crew, 2, "exp", b"lat.*")
    bystanders = Bystanders(crew, (2, 3))
    stopped = server.worker_of(responder.sock)
    kill(server, stopped, signal.SIGSTOP)
    try:
        for number in range(EACH):
            requester.send(b"PUB brief in.brief.%d 1\r\n?\r\n" % number)
        requester.expect_pong()
        assert metrics(monitor, EACH) == {("lat.brief", 504): EACH}
    finally:
        kill(server, stopped, signal.SIGCONT)
    answer_all(responder, requests(responder, EACH))
    assert bystanders.heard(responder) == b""
    requester.expect_pong()
    requester.send(b"PUB brief in.brief.x 4\r\nnext\r\n")
    answer_all(responder, requests(responder, 1))
    requester.expect(b"MSG in.brief.x 1 4\r\nnext\r\n")
    assert metrics(monitor, 1) == {("lat.brief", 200): 1}


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_the_gateway_dies_or_hangs(server: Server, crew: Crew, number: signal.Signals) -> None:
    """Requests between clients do not need it, measured ones neither; what it serves itself is served by its successor."""
    requester = place(crew, 0, "imp", b"in.>")
    visitor = place(crew, 3, "other", b"in.>")
    responder = place(crew, 1, "exp", *SERVICES, b"deep")
    monitor = place(crew, 2, "exp", b"lat.*")
    wanted = ask_all(requester, b"early")
    asked = requests(responder, len(wanted))
    mark = server.log.mark()
    os.kill(gateway(server), number)
    visitor.send(b"PUB $SYS.REQ.USER.INFO in.info.0 0\r\n\r\n")
    answer_all(responder, asked)
    assert answers(requester, len(wanted)) == wanted
    assert metrics(monitor, EACH) == {("lat.measured", 200): EACH}
    server.log.wait_for(r"Gateway \(pid \d+\) is ready", since=mark)
    info: dict[str, Any] = {}
    turn = 0
    while "data" not in info:  # it may be ready a little before our worker has heard of it
        turn += 1
        visitor.send(b"PUB $SYS.REQ.USER.INFO in.info.%d 0\r\n\r\n" % turn)
        (subject, *_), headers, payload = next_message(visitor)
        assert subject.startswith(b"in.info.")
        info = {} if headers.startswith(b"NATS/1.0 503") else json.loads(payload)
    assert (info["data"]["user"], info["data"]["account"]) == ("other", "OTHER")
    requester.expect_pong()


PENDING: Final = 40_000  # requests; each with an inbox that makes it large
INBOX: Final = b"in." + b"x" * 400
KEPT: Final = 0.5  # of what they took; an allocator keeps some


def test_what_nobody_answers_is_forgotten(server: Server, crew: Crew) -> None:
    """Requests to responders that die cost memory until the requester has enough of waiting, and none after that."""
    taken: list[int] = []
    home = server.workers()[0]
    before = probe.resident(home)
    for _ in range(3):
        responder = place(crew, 1, "exp", b"one", b"many")
        requester = place(crew, 0, "imp", b"in.>")
        assert server.worker_of(requester.sock) == home
        for first in range(0, PENDING, 400):
            lines = [
                b"PUB %s %s.%d 0\r\n\r\n" % ((b"one", b"many")[n & 1], INBOX, n)
                for n in range(first, first + 400)
            ]
            requester.send(b"".join(lines)).expect_pong()
            requests(responder, 400)
        taken.append(probe.resident(home) - before)
        mark = server.log.mark()
        kill(server, server.worker_of(responder.sock))
        server.log.wait_for(READY, since=mark)
        assert waiting(server)["EXP"] > 1000  # it does not count them all
        requester.leave()
        assert waiting(server)["EXP"] == 0
    print(f"{taken} bytes")
    assert taken[0] > PENDING * len(INBOX) * 0.9, "nothing was remembered"
    assert max(taken) < taken[0] * (1 + KEPT)


# ---- everything at once ----


class Shop:
    """Responders that share the work, with nats-py's own reconnects."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.open: list[Any] = []
        self.served = 0

    async def connect(self, user: str) -> Any:
        """A client that comes back by itself."""
        client = await nats.connect(
            self.url,
            user=user,
            password="",
            reconnect_time_wait=0.05,
            max_reconnect_attempts=-1,
            error_cb=ignore,
        )
        self.open.append(client)
        return client

    async def serve(self) -> None:
        """One more responder to all services."""
        client = await self.connect("exp")

        async def answer(message: Any) -> None:
            self.served += 1
            with suppress_closed():
                await message.respond(message.data)
                if message.subject in ("many", "parts"):
                    await message.respond(message.data)
                    await message.respond(b"")

        for service in ("one", "many", "parts", "measured", "deep"):
            await client.subscribe(service, queue="shop", cb=answer)
        await client.flush()


class Customer:
    """Asks all the time, and knows what may be an answer."""

    def __init__(self, client: Any, user: str, number: int) -> None:
        self.client, self.user, self.name = client, user, f"{user}.{number}"
        self.asked = 0
        self.answered: Counter[bytes] = Counter()
        self.wrong: list[tuple[str, bytes]] = []

    async def listen(self) -> None:
        """Hear all answers of the account, which are those to its own requests and its neighbours'."""

        async def keep(message: Any) -> None:
            if message.data and not message.data.startswith(f"{message.subject}|{self.user}.".encode()):
                self.wrong.append((message.subject, message.data))
            if message.data.rpartition(b"|")[2].rpartition(b".")[0] == self.name.encode():
                self.answered[message.data] += 1

        await self.client.subscribe("in.>", cb=keep)
        await self.client.flush()

    async def ask(self, number: int) -> list[bytes]:
        """Send a request to every service."""
        wanted = []
        for service in ("one", "many", "parts", "measured", "start"):
            # The same inboxes in both accounts, so that an answer in the wrong one would be believed.
            inbox = f"in.{service}.{number}"
            payload = f"{inbox}|{self.name}.{number}".encode()
            wanted.append(payload)
            with suppress_closed():
                await self.client.publish(service, payload, reply=inbox)
        self.asked += len(wanted)
        return wanted


async def ignore(_: Exception) -> None:
    """Connections are expected to break."""


def suppress_closed() -> contextlib.suppress:
    """While a client reconnects it may refuse to publish."""
    return contextlib.suppress(NatsError)


def test_workers_die_one_after_the_other_while_services_are_used(server: Server, crew: Crew) -> None:
    asyncio.run(storm(server))


async def storm(server: Server) -> None:
    """Customers of two accounts, responders, and three workers that are killed meanwhile."""
    shop = Shop(server.url)
    try:
        for _ in range(4):
            await shop.serve()
        customers = [
            Customer(await shop.connect(user), user, n) for user in ("imp", "other") for n in range(4)
        ]
        for customer in customers:
            await customer.listen()
        number = await busy(customers, 0, lambda: sum(c.asked for c in customers) > 1000)
        for victim in server.workers()[:3]:
            mark = server.log.mark()
            kill(server, victim)
            number = await busy(customers, number, lambda mark=mark: ready(server, mark))
        for client in shop.open:
            await client.flush(timeout=30)
        assert shop.served > 500
        for customer in customers:
            customer.answered.clear()
        wanted = {customer: await customer.ask(number) for customer in customers}
        deadline = asyncio.get_running_loop().time() + 30
        while any(set(c.answered) != set(w) for c, w in wanted.items()):
            assert asyncio.get_running_loop().time() < deadline, [c.answered for c in customers]
            await asyncio.sleep(0.01)
        assert [customer.wrong for customer in customers] == [[]] * len(customers)
    finally:
        for client in shop.open:
            await client.close()


def ready(server: Server, mark: int) -> bool:
    """Whether a worker has come up since then."""
    return re.search(READY, "".join(server.log.text.splitlines(True)[mark:])) is not None


async def busy(customers: list[Customer], number: int, done: Callable[[], bool]) -> int:
    """Ask until something is so; the number of the next request."""
    while not done():
        for customer in customers:
            await customer.ask(number)
        number += 1
        await asyncio.sleep(0.005)  # a steady trickle
    return number
