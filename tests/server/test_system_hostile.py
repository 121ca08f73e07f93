"""Requests to the system account that mean harm: too much for it, without sense, or meant to go round in circles.

They cost who sends them an answer, and nobody else anything: the gateway stays alive, and soon has time for others.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Final

import pytest

from tests import probe
from tests.harness import FOUR, ONE, Kind, Raw, Server, start
from tests.server.operators import ACCOUNT, CONFIG, PING, SYSTEM_SUBJECTS
from tests.server.system import Asker

SIZES: Final = (60_000, 3_000_000)  # one that is looked at, one that is refused
MOST_SECONDS: Final = 0.25  # of processor time; what is wrong with these takes a second at least, or for ever
BODIES: Final = {
    "deep": lambda size: b"[" * size,
    "numbers": lambda size: b"[" + b"1," * (size // 2) + b"1]",
    "numbers for texts": lambda size: b'{"tags":[' + b"1," * (size // 2) + b"1]}",
    "objects": lambda size: b'{"x":[' + b'{"a":1},' * (size // 8) + b"1]}",
    "members": lambda size: b"{" + b'"a":1,' * (size // 6) + b'"b":1}',
    "almost right": lambda size: b"[" + b"1," * (size // 2) + b"x]",
    "endless text": lambda size: b'{"a":"' + b"x" * size,
    "escapes": lambda size: b'{"sort":"' + b"\\u0041" * (size // 6) + b'"}',
    "accounts": lambda size: b'{"accounts":[' + b'"APP",' * (size // 6) + b'"APP"]}',
    "test": lambda size: b'{"subscriptions":true,"test":"' + b"x." * (size // 2) + b'x"}',
    "filter": lambda size: b'{"acc":"APP","filter_subject":"' + b"*." * (size // 2) + b'x"}',
    "words": lambda size: b"x " * (size // 2),
    "wildcards": lambda size: b"*." * (size // 2) + b"x",
}
HEADERS: Final = {
    "blanks": b"Accept-Encoding:" + b" " * 100_000 + b"\rx",
    "encodings": b"Accept-Encoding: gzip\r\n" * 10_000 + b"X: y",
    "blanks before who asks": b"Nats-Request-Info:" + b" " * 100_000 + b"\rx",
    "who asks, deep": b"Nats-Request-Info: " + b"[" * 100_000,
    "who asks, numbers": b"Nats-Request-Info: [" + b"1," * 200_000 + b"1]",
}


@pytest.fixture(scope="module", params=[ONE, FOUR], ids=lambda kind: kind.name)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server with a client that has many subscriptions."""
    kind: Kind = request.param
    running = start(kind, CONFIG + "\nmax_pending: 64MB\nmax_payload: 4MB")
    try:
        many = Raw(running.port).hello(user="app", **{"pass": "app"})
        many.send(b"".join(b"SUB s.%d.y %d\r\n" % (i, i) for i in range(5_000))).expect_pong()
        yield running
        many.leave()
        running.stop(allow="requests to the system account were dropped")
    finally:
        running.destroy()


def ask_as(server: Server, user: str) -> Asker:
    client = Raw(server.port, timeout=30).hello(user=user, **{"pass": user}, headers=True, no_responders=True)
    return Asker(client)


def gateway(server: Server) -> int:
    (pid,) = [pid for pid in probe.children(server.pid) if "broker.gateway" in probe.command_of(pid)]
    return pid


def say(client: Asker, subject: str, body: bytes, headers: bytes) -> None:
    """Send a request whose answer goes nowhere, and wait until the server has taken it."""
    block = b"NATS/1.0\r\n" + headers + b"\r\n\r\n"
    client.raw.send(f"HPUB {subject} nobody.listens {len(block)} {len(block) + len(body)}\r\n".encode())
    client.raw.send(block + body + b"\r\n").expect_pong()


def cheap(server: Server, user: str, subjects: tuple[str, ...], body: bytes, headers: bytes = b"") -> None:
    """Such a request takes the gateway little time, after which it is still there."""
    hostile, operator = ask_as(server, user), ask_as(server, "sys")
    pid = gateway(server)
    for subject in subjects:
        before = probe.cpu_seconds(pid)
        say(hostile, subject, body, headers)
        for question in (f"{PING}.IDZ", f"{PING}.VARZ", "$SYS.REQ.USER.INFO"):
            assert operator.ask(question).json
        assert probe.cpu_seconds(pid) - before < MOST_SECONDS, subject
    assert gateway(server) == pid
    hostile.raw.close()
    operator.raw.leave()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", BODIES)
def test_bodies(server: Server, name: str, size: int) -> None:
    subjects = (
        *(
            PING,
            f"{PING}.VARZ",
            f"{PING}.CONNZ",
            f"{PING}.SUBSZ",
            f"{ACCOUNT}.APP.CONNZ",
            f"{ACCOUNT}.PING.STATZ",
        ),
        *("$SYS.DEBUG.SUBSCRIBERS", f"{ACCOUNT}.NSUBS"),
    )
    body = BODIES[name](size)
    cheap(server, "sys", subjects, body)
    cheap(server, "app", (f"{PING}.CONNZ", f"{ACCOUNT}.PING.STATZ", "$SYS.REQ.USER.INFO"), body)


@pytest.mark.parametrize("name", HEADERS)
def test_headers(server: Server, name: str) -> None:
    subjects = (
        f"{PING}.IDZ",
        f"{PING}.RAFTZ",
        f"{ACCOUNT}.APP.INFO",
        "$SYS.REQ.USER.APP.INFO",
        "$SYS.DEBUG.SUBSCRIBERS",
    )
    cheap(server, "sys", subjects, b"", HEADERS[name])
    cheap(server, "app", (f"{PING}.CONNZ", "$SYS.REQ.USER.INFO"), b"", HEADERS[name])


def test_too_large(server: Server) -> None:
    """Whoever waits is told."""
    for user, subject in (("sys", f"{PING}.VARZ"), ("app", f"{PING}.CONNZ"), ("sys", f"{ACCOUNT}.APP.STATZ")):
        client = ask_as(server, user)
        text = "a body of 100000 bytes is too large: at most 65536"
        assert client.error(subject, "x" * 100_000) == (400, text)
        assert client.data(subject, "{}" + " " * 65_000)
        client.raw.leave()


def test_garbage(server: Server) -> None:
    """On every subject there is. The log is looked at when the server stops."""
    chance = random.Random(5)
    sys, operator = ask_as(server, "sys"), ask_as(server, "sys")
    pid = gateway(server)
    for subject in SYSTEM_SUBJECTS:
        for _ in range(5):
            headers = b"" if chance.random() < 0.5 else b"Nats-Request-Info: " + chance.randbytes(20)
            sys.send(subject, chance.randbytes(chance.randrange(1, 200)), headers)
    odd = (
        b"$SYS.REQ.ACCOUNT.\xff\xfe.INFO",
        b"$SYS.REQ.ACCOUNT.*.CONNZ",
        b"$SYS.REQ.ACCOUNT.>.STATZ",
        b"$SYS.REQ.USER.\x01.INFO",
    )
    for subject in (*odd, b"$SYS.REQ.ACCOUNT." + b"A" * 3000 + b".INFO"):
        sys.raw.send(b"PUB " + subject + b" " + sys.inbox.encode() + b".odd 0\r\n\r\n")
    assert operator.ask(f"{PING}.IDZ").json["id"] == operator.server_id
    assert operator.data(f"{PING}.HEALTHZ")["status"] == "ok" and gateway(server) == pid
    sys.raw.close()


@pytest.mark.parametrize("user", ["sys", "app"])
def test_circles(server: Server, user: str) -> None:
    """Answers that go where requests go are no requests: each is seen once, and causes nothing more."""
    witness = ask_as(server, "sys")
    client = ask_as(server, user)
    subjects = ["$SYS.REQ.USER.INFO", f"{PING}.CONNZ", f"{ACCOUNT}.PING.STATZ", f"{ACCOUNT}.PING.CONNZ"]
    if user == "sys":
        subjects = [one.replace("<id>", client.server_id) for one in SYSTEM_SUBJECTS if "NSUBS" not in one]
    witness.raw.send(b"SUB circle.* 77\r\nSUB $SYS.REQ.> 78\r\n").expect_pong()
    for subject in subjects:
        for reply in (
            subject,
            "$SYS.REQ.SERVER.PING",
            f"$SYS.REQ.SERVER.{client.server_id}.VARZ",
            "$SYS.REQ.USER.INFO",
        ):
            client.raw.send(f"PUB {subject} {reply} 0\r\n\r\n".encode())
    client.ask("$SYS.REQ.USER.INFO")
    before = probe.cpu_seconds(gateway(server))
    for _ in range(20):  # what is under way has come to its end
        client.ask("$SYS.REQ.USER.INFO")
    witness.raw.send(b"UNSUB 78\r\nPUB circle.end 0\r\n\r\n")
    seen = witness.raw.read_until(b"MSG circle.end 77 0\r\n\r\n").count(b"MSG $SYS.REQ.")
    assert seen <= 3 * (4 * len(subjects) + 21)
    assert probe.cpu_seconds(gateway(server)) - before < 1.0
    client.raw.close()
    witness.raw.close()


@pytest.mark.parametrize("reply", [b"", b" nobody.listens"])
def test_floods_with_nobody_who_waits(server: Server, reply: bytes) -> None:
    """Whoever floods and does not listen delays others no longer than those that wait in a line take."""
    loud, operator = Raw(server.port, timeout=30).hello(user="sys", **{"pass": "sys"}), ask_as(server, "app")
    pid = gateway(server)
    for subject in (b"$SYS.REQ.SERVER.PING.IDZ", b"$SYS.REQ.SERVER.PING.VARZ", b"$SYS.REQ.ACCOUNT.APP.INFO"):
        loud.send((b"PUB " + subject + reply + b" 0\r\n\r\n") * 5_000).expect_pong()
        assert operator.ask("$SYS.REQ.USER.INFO").json["data"]["user"] == "app"
    assert gateway(server) == pid
    loud.close()
    operator.raw.leave()
