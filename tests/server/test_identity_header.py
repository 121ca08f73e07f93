"""Nats-Request-Info tells a service who asks. Only the server may say so, whatever a requester writes into its headers."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from email.parser import BytesParser
from typing import Final

import pytest

from tests.harness import FOUR, Raw, start
from tests.server.crew import Crew
from tests.server.shared import Dial

CONFIG: Final = """accounts {
  EXP { users: [ { user: exp } ], exports: [ { service: q }, { stream: s } ] }
  MID { users: [ { user: mid } ], exports: [ { service: hop } ]
        imports: [ { service: { account: EXP, subject: q }, to: hop } ] }
  IMP { users: [ { user: imp } ]
        imports: [ { service: { account: EXP, subject: q } }, { service: { account: MID, subject: hop } }
                   { stream: { account: EXP, subject: s } } ] }
}
"""
HEADERS: Final = {"headers": True, "no_responders": True}
FORGED: Final = b'{"acc":"ROOT"}'
NAME: Final = "nats-request-info"

# Header blocks; True: nats-server, which removes the header of exactly this name, removes it, too.
BLOCKS: Final = {
    "plain": (b"NATS/1.0\r\nNats-Request-Info: %s\r\n\r\n", True),
    "without a blank": (b"NATS/1.0\r\nNats-Request-Info:%s\r\n\r\n", True),
    "first of some": (b"NATS/1.0\r\nNats-Request-Info: %s\r\nA: b\r\nC: d\r\n\r\n", True),
    "last of some": (b"NATS/1.0\r\nA: b\r\nC: d\r\nNats-Request-Info: %s\r\n\r\n", True),
    "twice": (b"NATS/1.0\r\nNats-Request-Info: %s\r\nA: b\r\nNats-Request-Info: x\r\n\r\n", True),
    "lower case": (b"NATS/1.0\r\nnats-request-info: %s\r\n\r\n", False),
    "upper case": (b"NATS/1.0\r\nNATS-REQUEST-INFO: %s\r\nA: b\r\n\r\n", False),
    "each case": (b"NATS/1.0\r\nnaTs-reqUest-inFo: %s\r\nNats-request-info: %s\r\n\r\n", False),
    "blank behind the name": (b"NATS/1.0\r\nNats-Request-Info : %s\r\n\r\n", False),
    "tabs behind the name": (b"NATS/1.0\r\nNats-Request-Info\t\t: %s\r\n\r\n", False),
    "blank before the name": (b"NATS/1.0\r\n Nats-Request-Info: %s\r\n\r\n", False),
    "as if folded": (b"NATS/1.0\r\nA: b\r\n\tNats-Request-Info: %s\r\n\r\n", False),
    "folded": (b"NATS/1.0\r\nNats-Request-Info:\r\n %s\r\n\t%s\r\nA: b\r\n\r\n", False),
    "line feeds": (b"NATS/1.0\nA: b\nNats-Request-Info: %s\n\n", False),
    "carriage returns": (b"NATS/1.0\r\nA: b\rNats-Request-Info: %s\r\r\n\r\n", False),
    "carriage return first": (b"NATS/1.0\r\n\rNats-Request-Info: %s\r\n\r\n", False),
    "no status line": (b"Nats-Request-Info: %s\r\n\r\n", False),
    "no status line, but others": (b"A: b\r\nNats-Request-Info: %s\r\n\r\n", False),
    "blank line before others": (b"NATS/1.0\r\n\r\nNats-Request-Info: %s\r\n\r\n", False),
    "blank line of line feeds": (b"NATS/1.0\r\nA: b\n\nNats-Request-Info: %s\r\n\r\n", False),
    "line of blanks": (b"NATS/1.0\r\nA: b\r\n \r\nNats-Request-Info: %s\r\n\r\n", False),
    "no end": (b"NATS/1.0\r\nA: b", False),
    "no end, with the name": (b"NATS/1.0\r\nNats-Request-Info: %s", False),
    "half an end": (b"NATS/1.0\r\nA: b\r", False),
    "half a name": (b"NATS/1.0\r\nA: b\r\nX-", False),
    "neither status line nor header": (b"no header\r\nNats-Request-Info: %s\r\n\r\n", False),
    "no header": (b"NATS/1.0\r\nA: b\r\nno header\r\n\r\n", False),
    "empty": (b"", False),
}


def exact(block: bytes) -> list[tuple[str, str]]:
    """As a reader does that follows the book."""
    lines = block.split(b"\r\n\r\n")[0].split(b"\r\n")[1:]
    return [
        (name.decode().lower(), value.decode().strip())
        for name, _, value in (one.partition(b":") for one in lines)
    ]


def as_mail(block: bytes) -> list[tuple[str, str]]:
    """As a client library does that takes a parser of mail headers."""
    parsed = BytesParser().parsebytes(block.split(b"\n", 1)[1])
    return [(name.lower(), str(value)) for name, value in parsed.items()]


def lenient(block: bytes) -> list[tuple[str, str]]:
    """As somebody does for whom everything ends a line and blanks mean nothing."""
    lines = re.split(rb"[\r\n]+", block)[1:]
    return [
        (name.decode().strip().lower(), value.decode().strip())
        for name, _, value in (one.partition(b":") for one in lines)
    ]


READERS: Final[tuple[Callable[[bytes], list[tuple[str, str]]], ...]] = (exact, as_mail, lenient)


def headers_of(client: Raw) -> bytes:
    """The header block of the next message, whose payload is one byte."""
    words = client.read_until(b"\r\n").split()
    assert words[0] == b"HMSG", words
    return client.take(int(words[-1]) + 2)[: int(words[-2])]


def check(block: bytes, via: str = "") -> None:
    """Every reader finds exactly one such header, the server's."""
    assert block.startswith(b"NATS/1.0") and block.endswith(b"\r\n\r\n"), block
    for read in READERS:
        told = [value for name, value in read(block) if name == NAME]
        assert len(told) == 1, (read.__name__, block)
        fields = json.loads(told[0])
        assert fields.pop("rtt") > 0
        assert fields == ({"acc": "IMP", "svc": via} if via else {"acc": "IMP"})


def send(client: Raw, subject: bytes, block: bytes) -> None:
    """Publish with these headers."""
    client.send(b"HPUB %s %d %d\r\n%s!\r\n" % (subject, len(block), len(block) + 1, block))


@pytest.mark.parametrize("name", BLOCKS)
def test_no_spelling_passes(dial: Dial, name: str) -> None:
    block, known = BLOCKS[name]
    if dial.kind.real and not known:
        pytest.skip("nats-server removes the exact name alone")
    service = dial(CONFIG).hello(user="exp", **HEADERS).send(b"SUB q 1\r\n").expect_pong()
    requester = dial(CONFIG).hello(user="imp", **HEADERS)
    forged = block.replace(b"%s", FORGED)
    if not forged:
        requester.send(b"HPUB q 0 1\r\n!\r\n")
    else:
        send(requester, b"q", forged)
    check(headers_of(service))
    send(requester, b"hop", forged or b"NATS/1.0\r\n\r\n")
    check(headers_of(service), "MID")
    service.expect_pong()


def test_other_headers_stay_as_they_are(dial: Dial) -> None:
    service = dial(CONFIG).hello(user="exp", **HEADERS).send(b"SUB q 1\r\n").expect_pong()
    requester = dial(CONFIG).hello(user="imp", **HEADERS)
    own = b"NATS/1.0 100 Status\r\nA: b\r\n folded: value\r\nA: b\r\nEmpty:\r\nWith blank: x\r\n"
    own += b"Nats-Request-Infos: x\r\nX-Nats-Request-Info: y\r\n"
    send(requester, b"q", own + b"\r\n")
    block = headers_of(service)
    assert block.startswith(own + b'Nats-Request-Info: {"acc":"IMP"')


def test_what_does_not_cross_as_a_request_is_not_touched(dial: Dial) -> None:
    """Within an account, in answers and in streams, a header of this name is one like any other."""
    service = dial(CONFIG).hello(user="exp", **HEADERS).send(b"SUB q 1\r\n").expect_pong()
    requester = dial(CONFIG).hello(user="imp", **HEADERS)
    requester.send(b"SUB own 1\r\nSUB s 2\r\nSUB in.box 3\r\n").expect_pong()
    block = b"NATS/1.0\r\nNats-Request-Info: %s\r\n\r\n" % FORGED
    send(requester, b"own", block)
    assert headers_of(requester) == block
    send(service, b"s", block)
    assert headers_of(requester) == block
    requester.send(b"PUB q in.box 1\r\n!\r\n")
    reply = service.read_until(b"\r\n").split()[3]
    service.read_until(b"!\r\n")
    send(service, reply, block)
    assert headers_of(requester) == block


def test_across_workers() -> None:
    """The requester's worker adds it, the responder's passes it on."""
    server = start(FOUR, CONFIG)
    crew = Crew(server)
    try:
        services = crew.place(0, 1, 2, 3, user="exp", **HEADERS)
        requester = crew.place(0, user="imp", **HEADERS)[0]
        for service in services:
            service.send(b"SUB q 1\r\n").expect_pong()
        for block, _ in BLOCKS.values():
            if block:
                send(requester, b"q", block.replace(b"%s", FORGED))
        for service in services:
            for block, _ in BLOCKS.values():
                if block:
                    check(headers_of(service))
        crew.close()
        server.stop()
    finally:
        server.destroy()
