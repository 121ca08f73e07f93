"""Answers of services in the requester's account: they are mapped there, and may go on as requests of their own."""

from __future__ import annotations

from typing import Final

import pytest

from tests.harness import FOUR, Raw, start
from tests.server.crew import Crew
from tests.server.shared import Dial
from tests.server.test_service_imports import HEADERS, REPLY, ask, info_of, next_message

CONFIG: Final = """accounts {
  EXP {
    users: [ { user: exp } ]
    exports: [ { service: q }, { service: stream.q, response: stream }, { service: log }, { service: far } ]
  }
  MID {
    users: [ { user: mid } ]
    exports: [ { service: hop }, { service: notes } ]
    imports: [ { service: { account: EXP, subject: q }, to: hop }, { service: { account: EXP, subject: far }, to: notes } ]
  }
  IMP {
    users: [ { user: imp } ]
    imports: [
      { service: { account: EXP, subject: q } }
      { service: { account: EXP, subject: stream.q } }
      { service: { account: EXP, subject: log }, share: true }
      { service: { account: MID, subject: hop } }
      { service: { account: MID, subject: notes } }
    ]
    mappings { in.one: moved, "in.box.*": "out.$1", in.lost: { destination: in.lost, weight: 0 }, in.log: log, in.far: notes }
  }
}
"""


def client(dial: Dial, user: str, *subjects: bytes) -> Raw:
    """A client with headers that listens to these subjects, numbered from 1."""
    found = dial(CONFIG).hello(user=user, **HEADERS)
    return found.send(b"".join(b"SUB %s %d\r\n" % (s, n) for n, s in enumerate(subjects, 1))).expect_pong()


def reply_to(responder: Raw) -> bytes:
    """The reply subject of the next request."""
    reply = next_message(responder)[0][2]
    assert REPLY.match(reply), reply
    return reply


@pytest.mark.parametrize("service", [b"q", b"hop"])
@pytest.mark.parametrize(
    ("inbox", "mapped"), [(b"in.one", b"moved"), (b"in.box.a", b"out.a"), (b"in.other", b"in.other")]
)
def test_an_answer_is_mapped(dial: Dial, service: bytes, inbox: bytes, mapped: bytes) -> None:
    responder, requester = client(dial, "exp", b"q"), client(dial, "imp", b">")
    ask(requester, service, b"?", inbox).expect(b"MSG %s 1 %s 1\r\n?\r\n" % (service, inbox))
    responder.send(b"PUB %s 2\r\nok\r\n" % reply_to(responder)).expect_pong()
    requester.expect(b"MSG %s 1 2\r\nok\r\n" % mapped).expect_pong()


def test_each_answer_of_a_stream_is_mapped(dial: Dial) -> None:
    responder, requester = client(dial, "exp", b"stream.q"), client(dial, "imp", b"moved")
    ask(requester, b"stream.q", b"?", b"in.one")
    reply = reply_to(responder)
    responder.send(b"".join(b"PUB %s %d\r\n%s\r\n" % (reply, len(data), data) for data in (b"1", b"2", b"")))
    requester.expect(b"MSG moved 1 1\r\n1\r\nMSG moved 1 1\r\n2\r\nMSG moved 1 0\r\n\r\n")


def test_an_answer_that_nobody_hears_has_been_given(dial: Dial) -> None:
    """Unlike one to a request that never was."""
    responder = client(dial, "exp", b"q", b"own")
    ask(client(dial, "imp"), b"q", b"?", b"in.other")
    responder.send(b"PUB %s own 1\r\n!\r\n" % reply_to(responder)).expect_pong()
    responder.send(b"PUB _R_.abcdef.ghijkl own 1\r\n!\r\n")
    responder.expect(b"HMSG own 2 49 49\r\nNATS/1.0 503\r\nNats-Subject: _R_.abcdef.ghijkl\r\n\r\n\r\n")


def test_an_answer_may_be_lost_like_any_message(dial: Dial) -> None:
    responder, requester = client(dial, "exp", b"q"), client(dial, "imp", b"in.>")
    ask(requester, b"q", b"?", b"in.lost")
    responder.send(b"SUB own 2\r\nPUB %s own 1\r\n!\r\n" % reply_to(responder)).expect_pong()
    requester.expect_pong()


@pytest.mark.parametrize(
    ("inbox", "subject", "via"),
    [(b"log", b"log", ""), (b"in.log", b"log", ""), (b"notes", b"far", "MID"), (b"in.far", b"far", "MID")],
)
def test_an_answer_that_asks(dial: Dial, inbox: bytes, subject: bytes, via: str) -> None:
    """It is a request of whoever answers, so not on behalf of the account through which it comes, and tells no more of him."""
    responder, third = client(dial, "exp", b"q", b"own"), client(dial, "exp", subject)
    ask(client(dial, "imp"), b"q", b"?", inbox)
    responder.send(b"PUB %s own 5\r\nfirst\r\n" % reply_to(responder))
    (found, _, back), headers, payload = next_message(third)
    told = info_of(headers)
    if dial.kind.workers > 1:
        told.setdefault("rtt", 1)  # nothing is known of a client of another worker but its account
    assert (found, payload) == (subject, b"first") and told.pop("rtt") > 0
    assert told == ({"acc": "EXP", "svc": via} if via else {"acc": "EXP"})
    third.send(b"PUB %s 6\r\nsecond\r\n" % back)
    responder.expect(b"MSG own 2 6\r\nsecond\r\n")


def test_an_answer_does_not_say_who_asks(dial: Dial) -> None:
    if dial.kind.real:
        pytest.skip("nats-server believes the header of an answer")
    responder, third = client(dial, "exp", b"q"), client(dial, "exp", b"log")
    ask(client(dial, "imp"), b"q", b"?", b"log")
    block = b'NATS/1.0\r\nNats-Request-Info: {"acc":"ROOT"}\r\n\r\n'
    responder.send(b"HPUB %s %d %d\r\n%s!\r\n" % (reply_to(responder), len(block), len(block) + 1, block))
    headers = next_message(third)[1]
    assert info_of(headers)["acc"] == "EXP" and b"ROOT" not in headers


def test_across_workers() -> None:
    server = start(FOUR, CONFIG)
    crew = Crew(server)
    try:
        (requester,) = crew.place(0, user="imp", **HEADERS)
        responders = crew.place(0, 1, 2, 3, user="exp", **HEADERS)
        thirds = crew.place(0, 1, 2, 3, user="exp", **HEADERS)
        requester.send(b"SUB moved 1\r\n").expect_pong()
        for third in thirds:
            third.send(b"SUB log 1\r\nSUB far 2\r\n").expect_pong()
        for responder in responders:
            responder.send(b"SUB q 1\r\n").expect_pong()
            for inbox, subject in ((b"log", b"log"), (b"in.far", b"far")):
                ask(requester, b"q", b"?", inbox)
                responder.send(b"PUB %s 3000\r\n%s\r\n" % (reply_to(responder), b"!" * 3000))
                for third in thirds:
                    (found, _), headers, payload = next_message(third)
                    assert (found, payload) == (subject, b"!" * 3000) and info_of(headers)["acc"] == "EXP"
            ask(requester, b"q", b"?", b"in.one")
            responder.send(b"PUB %s 2\r\nok\r\n" % reply_to(responder))
            requester.expect(b"MSG moved 1 2\r\nok\r\n")
            responder.send(b"UNSUB 1\r\n").expect_pong()
        for third in thirds:
            third.expect_pong()
        crew.close()
        server.stop()
    finally:
        server.destroy()
