"""Headers and no-responders notices: section 6 of the client protocol."""

from __future__ import annotations

import pytest

from tests.harness import Raw
from tests.server.shared import Dial

BLOCK = b"NATS/1.0\r\nA: 1\r\n\r\n"


def requester(dial: Dial, **options: object) -> Raw:
    """A client that wants to be told when nobody responds."""
    return dial().hello(**{"headers": True, "no_responders": True, **options})


def notice(reply: bytes, sid: bytes, subject: bytes) -> bytes:
    """The message that says that nobody was there to receive a request to ``subject``."""
    size = 32 + len(subject)
    return b"HMSG %s %s %d %d\r\nNATS/1.0 503\r\nNats-Subject: %s\r\n\r\n\r\n" % (
        reply,
        sid,
        size,
        size,
        subject,
    )


def test_headers_reach_who_understands_them(dial: Dial) -> None:
    publisher = dial().hello(headers=True)
    able = dial().hello(headers=True).watch().send(b"SUB head 1\r\n").expect_pong()
    unable = dial().hello().watch().send(b"SUB head 1\r\n").expect_pong()
    publisher.send(b"HPUB head %d %d\r\n%shello\r\n" % (len(BLOCK), len(BLOCK) + 5, BLOCK))
    assert able.received_from(publisher) == b"HMSG head 1 %d %d\r\n%shello\r\n" % (
        len(BLOCK),
        len(BLOCK) + 5,
        BLOCK,
    )
    assert unable.received_from(publisher) == b"MSG head 1 5\r\nhello\r\n"
    publisher.send(b"HPUB head re.ply %d %d\r\n%s\r\n" % (len(BLOCK), len(BLOCK), BLOCK))
    assert able.received_from(publisher) == b"HMSG head 1 re.ply %d %d\r\n%s\r\n" % (
        len(BLOCK),
        len(BLOCK),
        BLOCK,
    )
    assert unable.received_from(publisher) == b"MSG head 1 re.ply 0\r\n\r\n"
    publisher.send(b"PUB head 2\r\nhi\r\n")
    assert able.received_from(publisher) == unable.received_from(publisher) == b"MSG head 1 2\r\nhi\r\n"


def test_block_is_not_validated(dial: Dial) -> None:
    client = dial().hello(headers=True).send(b"SUB raw 1\r\n")
    client.send(b"HPUB raw 5 7\r\nabcdehi\r\n").expect(b"HMSG raw 1 5 7\r\nabcdehi\r\n")
    client.send(b"HPUB raw 7 7\r\n\r\n\0\xff\r\n\r\r\n").expect(
        b"HMSG raw 1 7 7\r\n\r\n\0\xff\r\n\r\r\n"
    ).expect_pong()


def test_sizes_are_echoed(dial: Dial) -> None:
    client = dial().hello(headers=True).send(b"SUB raw 1\r\n")
    client.send(b"HPUB raw 012 0014\r\nNATS/1.0\r\n\r\nhi\r\n").expect(
        b"HMSG raw 1 012 0014\r\nNATS/1.0\r\n\r\nhi\r\n"
    )


def test_empty_block_is_a_plain_message(dial: Dial) -> None:
    client = dial().hello(headers=True).send(b"SUB raw 1\r\n")
    client.send(b"HPUB raw 0 2\r\nhi\r\n").expect(b"MSG raw 1 2\r\nhi\r\n").expect_pong()


def test_server_without_headers(dial: Dial) -> None:
    off = "no_header_support: true"
    dial(off).send(b'CONNECT {"headers":true,"no_responders":true}\r\n').expect_eof(
        b"-ERR 'no responders requires headers support'\r\n"
    )
    client = dial(off).hello(headers=True).send(b"SUB plain 1\r\nPUB plain 2\r\nhi\r\n")
    client.expect(b"MSG plain 1 2\r\nhi\r\n").expect_pong()


@pytest.mark.parametrize("subject", [b"n", b"nobody.home", b"nobody." + b"x" * 90])
def test_nobody_responds(dial: Dial, subject: bytes) -> None:
    client = requester(dial).send(b"SUB in.box 9\r\nPUB %s in.box 2\r\nhi\r\nPING\r\n" % subject)
    client.expect(notice(b"in.box", b"9", subject) + b"PONG\r\n")


def test_nobody_responds_to_headers(dial: Dial) -> None:
    client = requester(dial).send(
        b"SUB in.box 9\r\nHPUB nobody.h in.box 12 12\r\nNATS/1.0\r\n\r\n\r\nPING\r\n"
    )
    client.expect(notice(b"in.box", b"9", b"nobody.h") + b"PONG\r\n")


def test_notice_reaches_a_wildcard_inbox(dial: Dial) -> None:
    client = (
        requester(dial)
        .send(b"SUB in.* 9\r\nPUB nobody.w in.box 0\r\n\r\n")
        .expect(notice(b"in.box", b"9", b"nobody.w"))
    )
    client.expect_pong()


def test_notice_comes_after_ok(dial: Dial) -> None:
    client = requester(dial, verbose=True).send(b"SUB in.box 9\r\nPUB nobody.v in.box 0\r\n\r\n")
    client.expect(b"+OK\r\n+OK\r\n" + notice(b"in.box", b"9", b"nobody.v")).expect_pong()


@pytest.mark.parametrize(
    "prepare",
    [
        pytest.param(b"", id="no subscription"),
        pytest.param(b"SUB other.box 1\r\n", id="another subject"),
        pytest.param(b"SUB in.box q 1\r\n", id="queue subscription only"),
        pytest.param(b"SUB in.* q 1\r\n", id="wildcard queue subscription only"),
    ],
)
def test_no_notice_without_a_plain_subscription_to_the_reply(dial: Dial, prepare: bytes) -> None:
    requester(dial).send(prepare + b"PUB nobody.q in.box 0\r\n\r\n").expect_pong()


def test_no_notice_by_the_subscription_of_another_connection(dial: Dial) -> None:
    other = dial().hello(headers=True).watch().send(b"SUB elsewhere.box 1\r\n").expect_pong()
    client = requester(dial).send(b"PUB nobody.e elsewhere.box 0\r\n\r\n").expect_pong()
    assert other.received_from(client) == b""


@pytest.mark.parametrize("options", [{"headers": True}, {"headers": True, "no_responders": False}, {}])
def test_no_notice_unasked(dial: Dial, options: dict[str, object]) -> None:
    dial().hello(**options).send(b"SUB in.box 1\r\nPUB nobody.u in.box 0\r\n\r\n").expect_pong()


def test_no_notice_without_a_reply(dial: Dial) -> None:
    requester(dial).send(b"SUB in.box 1\r\nPUB nobody.r 0\r\n\r\n").expect_pong()


@pytest.mark.parametrize("queue", [b"", b"q "])
@pytest.mark.parametrize("pattern", [b"some.body", b"some.*", b"some.>"])
def test_no_notice_when_somebody_is_there(dial: Dial, pattern: bytes, queue: bytes) -> None:
    responder = dial().hello().watch().send(b"SUB %s %s1\r\n" % (pattern, queue)).expect_pong()
    client = requester(dial).send(b"SUB in.box 1\r\nPUB some.body in.box 0\r\n\r\n").expect_pong()
    assert responder.received_from(client) == b"MSG some.body 1 in.box 0\r\n\r\n"


def test_notice_when_only_oneself_is_there_without_echo(dial: Dial) -> None:
    client = requester(dial, echo=False).send(
        b"SUB me 1\r\nSUB me q 2\r\nSUB in.box 3\r\nPUB me in.box 0\r\n\r\n"
    )
    client.expect(notice(b"in.box", b"3", b"me")).expect_pong()


def test_notice_does_not_count_towards_a_maximum(dial: Dial) -> None:
    client = requester(dial).send(b"SUB in.max 1\r\nUNSUB 1 1\r\nPUB nobody.m in.max 0\r\n\r\n")
    client.expect(notice(b"in.max", b"1", b"nobody.m"))
    client.send(b"PUB in.max 0\r\n\r\nPUB in.max 0\r\n\r\n").expect(b"MSG in.max 1 0\r\n\r\n").expect_pong()
