"""Imports that lead back to where they began: refused at start, or, where the rules let them be, of no effect but an end."""

from __future__ import annotations

from typing import Final

import pytest

from tests.harness import FOUR, Raw, Server, start
from tests.server.shared import Dial

HEADERS: Final = {"headers": True, "no_responders": True}
CYCLE: Final = "import forms a cycle"


def accounts(*shares: tuple[str, str]) -> str:
    """Accounts A, B, ... with a user of the same name, each with its exports and its imports."""
    text = "accounts {\n"
    for name, (exports, imports) in zip("ABCDEF", shares, strict=False):
        text += (
            f"{name} {{ users: [ {{ user: {name} }} ]\n exports: [ {exports} ]\n imports: [ {imports} ] }}\n"
        )
    return text + "}\n"


def service(account: str, subject: str, more: str = "") -> str:
    """An import of a service."""
    return f"{{ service: {{ account: {account}, subject: '{subject}' }} {more} }}"


def stream(account: str, subject: str, more: str = "") -> str:
    """An import of a stream."""
    return f"{{ stream: {{ account: {account}, subject: '{subject}' }} {more} }}"


@pytest.mark.parametrize(
    "config",
    [
        accounts(
            (
                "{ service: s }, { service: t }",
                service("A", "t", ", to: s") + "\n" + service("A", "s", ", to: t"),
            )
        ),
        accounts(("{ service: s }", service("B", "s")), ("{ service: s }", service("A", "s"))),
        accounts(
            ("{ service: s }", service("C", "s")),
            ("{ service: s }", service("A", "s")),
            ("{ service: s }", service("B", "s")),
        ),
        accounts(
            ("{ service: a }", service("B", "b", ", to: a")), ("{ service: b }", service("A", "a", ", to: b"))
        ),
        accounts(
            ("{ service: 'a.*' }", service("B", "b.*", ", to: 'a.*'")),
            ("{ service: 'b.*' }", service("A", "a.x", ", to: 'b.x'")),
        ),
        accounts(
            ("{ service: '>' }", service("B", "q.>")),
            ("{ service: 'q.>' }", service("C", "q.*")),
            ("{ service: 'q.*' }", service("A", "q.a")),
        ),
        accounts(("{ stream: s }", stream("B", "s")), ("{ stream: s }", stream("A", "s"))),
        accounts(
            ("{ stream: 's.>' }", stream("C", "s.>")),
            ("{ stream: 's.>' }", stream("A", "s.>")),
            ("{ stream: 's.>' }", stream("B", "s.>")),
        ),
        accounts(
            ("{ stream: '>' }", stream("B", "s", ", prefix: p")),
            ("{ stream: '>' }", stream("A", "s", ", to: p.s")),
        ),
    ],
    ids=[
        "self",
        "two",
        "three",
        "renamed",
        "wildcards",
        "three-wildcards",
        "streams",
        "three-streams",
        "prefix",
    ],
)
def test_refused(dial: Dial, config: str) -> None:
    with pytest.raises(AssertionError) as failure:
        start(dial.kind, config)
    assert CYCLE in str(failure.value)


ENDS: Final = {
    "self": accounts(("{ service: s }", service("A", "s"))),
    "self, mapped": accounts(("{ service: 's.*' }", service("A", "s.*", ", to: 't.*'"))).replace(
        "\n imports:", "\n mappings { 's.a': 't.a' }\n imports:"
    ),
    "other names": accounts(
        ("{ service: s }", service("B", "s", ", to: t")), ("{ service: s }", service("A", "s", ", to: t"))
    ),
    "mapped to and fro": accounts(
        ("{ service: s }", service("B", "s", ", to: t")), ("{ service: s }", service("A", "s", ", to: t"))
    ).replace("\n imports:", "\n mappings { s: t }\n imports:"),
}


@pytest.mark.parametrize("name", ENDS)
def test_what_is_let_be_comes_to_an_end(dial: Dial, name: str) -> None:
    """One request, whose way may lead through its own account again: it is answered, or nobody is there."""
    config = ENDS[name]
    for subject in (b"s", b"t", b"s.a", b"t.a"):
        client = dial(config).hello(user="A", **HEADERS).send(b"SUB in.> 9\r\n").expect_pong()
        client.send(b"PUB %s in.box 1\r\n?\r\n" % subject)
        assert client.expect_after(b"PONG\r\n").count(b"\r\nNATS/1.0 503\r\n") <= 1
        responder = dial(config).hello(user="A", **HEADERS).send(b"SUB %s 1\r\n" % subject).expect_pong()
        client.send(b"PUB %s in.box 1\r\n?\r\n" % subject).expect_after(b"PONG\r\n")
        for line in responder.expect_after(b"PONG\r\n").split(b"\r\n"):
            words = line.split(b" ")
            if words[0] in (b"MSG", b"HMSG") and words[3].startswith((b"_R_.", b"in.")):
                responder.send(b"PUB %s 2\r\nok\r\n" % words[3])
        responder.expect_after(b"PONG\r\n")
        assert client.expect_after(b"PONG\r\n").count(b"ok\r\n") <= 4
        responder.leave()
        client.leave()


def chain(kind: str, length: int) -> str:
    """Accounts A0, A1, ..., each of which imports from the one before it."""
    text = "accounts {\n"
    for number in range(length):
        source = f"{{ {kind}: {{ account: A{number - 1}, subject: s }} }}" if number else ""
        text += f"A{number} {{ users: [ {{ user: u{number} }} ]\n exports: [ {{ {kind}: s }} ]\n imports: [ {source} ] }}\n"
    return text + "}\n"


def answered(server: Server, last: int) -> None:
    """A request of the last account is answered in the first one, and the one in the middle sees neither."""
    responder = Raw(server.port).hello(user="u0", **HEADERS).send(b"SUB s 1\r\n").expect_pong()
    requester = Raw(server.port).hello(user=f"u{last}", **HEADERS).send(b"SUB in.> 9\r\n").expect_pong()
    watcher = Raw(server.port).hello(user=f"u{last // 2}", **HEADERS).send(b"SUB s q 1\r\n").expect_pong()
    requester.send(b"PUB s in.box 1\r\n?\r\n")
    words = responder.read_until(b"\r\n").split()
    data = responder.take(int(words[-1]) + 2)
    assert b'{"acc":"A%d","svc":"A1",' % last in data and data.endswith(b"?\r\n")
    responder.send(b"PUB %s 2\r\nok\r\n" % words[3])
    requester.expect(b"MSG in.box 9 2\r\nok\r\n")
    assert b"NATS/1.0" in watcher.read_until(b"?\r\n")  # it came by, to whoever listens there
    responder.send(b"PUB %s 2\r\nno\r\n" % words[3]).expect_pong()
    requester.expect_pong()
    responder.leave()
    watcher.leave()
    for _ in range(200):  # until all workers know that nobody is there
        if requester.send(b"PUB s in.box 1\r\n?\r\n").expect_after(b"PONG\r\n"):
            break
    requester.send(b"PUB s in.box 1\r\n?\r\n").expect(
        b"HMSG in.box 9 33 33\r\nNATS/1.0 503\r\nNats-Subject: s\r\n\r\n\r\n"
    )
    requester.leave()


@pytest.mark.parametrize("length", [65, 300])
def test_long_chains_of_services(dial: Dial, length: int) -> None:
    server = start(dial.kind, chain("service", length))
    try:
        answered(server, length - 1)
        server.stop()
    finally:
        server.destroy()


def test_too_long_a_chain() -> None:
    """nats-server, too, searches so far and no further; whether it has to depends on the order in which it takes accounts."""
    with pytest.raises(AssertionError) as failure:
        start(FOUR, chain("service", 1030))
    assert "search cycle depth exhausted" in str(failure.value)


def test_a_long_chain_of_streams_passes_nothing_on(dial: Dial) -> None:
    server = start(dial.kind, chain("stream", 130))
    try:
        clients = [
            Raw(server.port).hello(user=f"u{n}").send(b"SUB s 1\r\n").expect_pong() for n in (0, 1, 2, 129)
        ]
        clients[0].send(b"PUB s 1\r\n!\r\n").expect(b"MSG s 1 1\r\n!\r\n")
        clients[1].expect(b"MSG s 1 1\r\n!\r\n")
        for client in clients:
            client.expect_pong()
            client.leave()
        server.stop()
    finally:
        server.destroy()


def test_ways_that_part_and_meet_again_are_bounded() -> None:
    """Two accounts in each of 20 layers, each of which imports from both of the next: a million ways."""
    layers = 20
    text = "accounts {\n"
    for layer in range(layers):
        for side in "LR":
            below = (f"{{ service: {{ account: {other}{layer - 1}, subject: s }} }}" for other in "LR")
            text += f"{side}{layer} {{ users: [ {{ user: {side}{layer} }} ]\n exports: [ {{ service: s }} ]\n"
            text += f" imports: [ {', '.join(below) if layer else ''} ] }}\n"
    server = start(FOUR, text + "}\n")
    try:
        responder = Raw(server.port).hello(user="L0").send(b"SUB s 1\r\n").expect_pong()
        requester = Raw(server.port, timeout=60.0).hello(user=f"L{layers - 1}")
        requester.send(b"PUB s 1\r\n?\r\n").expect_pong()
        heard = responder.expect_after(b"PONG\r\n").count(b"MSG s 1 1\r\n?\r\n")
        assert 1 <= heard <= 2 * 16384
        requester.leave()
        responder.leave()
        server.stop()
    finally:
        server.destroy()
