"""What is a subject, and what a publish or a subscription to one does: section 7 of the client protocol."""

from __future__ import annotations

import pytest

from tests.server.shared import Dial

INVALID = b"-ERR 'Invalid Subject'\r\n"
PEDANTIC = b"-ERR 'Invalid Publish Subject'\r\n"


@pytest.mark.parametrize(
    "subject", ["a..b", ".a", "a.", "a.>.b", ">.a", "..", ".", "a.b.", "a..", "*..*", ">.>", "a.>.>"]
)
@pytest.mark.parametrize("queue", ["", "q "])
def test_invalid_subscription(dial: Dial, subject: str, queue: str) -> None:
    client = dial().hello(verbose=True)
    client.send(f"SUB {subject} {queue}1\r\n".encode()).expect(INVALID).expect_pong()
    client.send(b"SUB fine 1\r\nPUB fine 0\r\n\r\n").expect(
        b"+OK\r\n+OK\r\nMSG fine 1 0\r\n\r\n"
    )  # the sid is still free


@pytest.mark.parametrize("pedantic", [False, True])
def test_invalid_subscription_whatever_pedantic_says(dial: Dial, pedantic: bool) -> None:
    dial().hello(pedantic=pedantic).send(b"SUB a..b 1\r\n").expect(INVALID).expect_pong()


@pytest.mark.parametrize(
    ("pattern", "matched", "unmatched"),
    [
        (b"w.*", [b"w.a", b"w.*", b"w.>", b"w.\xff"], [b"w", b"w.a.b", b"W.a", b"wa"]),
        (b"w.>", [b"w.a", b"w.a.b", b"w.*", b"w.>", b"w.a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p"], [b"w", b"W.a"]),
        (b"w.*.c", [b"w.b.c", b"w.*.c"], [b"w.b", b"w.b.c.d", b"w.c", b"w.b.d"]),
        (b"w.*.*", [b"w.a.b"], [b"w.a", b"w.a.b.c"]),
        (b"w.*.>", [b"w.a.b", b"w.a.b.c"], [b"w.a"]),
        (b"w.foo*", [b"w.foo*"], [b"w.foo", b"w.foobar", b"w.foo.bar"]),
        (b"w.a>b", [b"w.a>b"], [b"w.a", b"w.axb", b"w.a.b"]),
        (b"w.**", [b"w.**"], [b"w.*", b"w.a"]),
        (b"w.>>", [b"w.>>"], [b"w.>", b"w.a"]),
        (b"w.Case", [b"w.Case"], [b"w.case", b"w.CASE"]),
        (b"*.w1", [b"a.w1", b"*.w1"], [b"a.b.w1", b"w1"]),
        (b"w" * 300, [b"w" * 300], [b"w" * 299]),
        (b".".join([b"w"] * 40), [b".".join([b"w"] * 40)], [b".".join([b"w"] * 39), b".".join([b"w"] * 41)]),
    ],
)
def test_matching(dial: Dial, pattern: bytes, matched: list[bytes], unmatched: list[bytes]) -> None:
    publisher = dial().hello()
    subscriber = dial().hello().watch().send(b"SUB %s 1\r\n" % pattern).expect_pong()
    for client in (publisher, subscriber):  # from elsewhere, and from the subscriber's own connection
        client.send(b"".join(b"PUB %s 0\r\n\r\n" % subject for subject in (*unmatched, *matched)))
        assert subscriber.received_from(client) == b"".join(
            b"MSG %s 1 0\r\n\r\n" % subject for subject in matched
        )


def test_everything_matches_a_full_wildcard_but_empty_tokens(dial: Dial) -> None:
    publisher = dial().hello()
    subscriber = (
        dial()
        .hello()
        .watch()
        .send(b"SUB > 1\r\nSUB * 2\r\nSUB *.* 3\r\nSUB a.> 4\r\nSUB *.*.* 5\r\n")
        .expect_pong()
    )
    for subject in (b"a..b", b".a", b"a.", b".", b"..", b"a..", b"..a", b"a.b."):
        publisher.send(b"PUB %s 0\r\n\r\n" % subject)
    publisher.expect_pong()
    marker = subscriber.received_from(publisher)
    # The marker itself matches two of the patterns, before or after its own subscription.
    assert b"MSG a" not in marker and b"MSG ." not in marker


def test_publish_to_a_wildcard_is_literal(dial: Dial) -> None:
    publisher = dial().hello()
    subscriber = (
        dial()
        .hello()
        .watch()
        .send(b"SUB lit.* 1\r\nSUB lit.bar 2\r\nSUB lit.> 3\r\nSUB *.foo 4\r\n")
        .expect_pong()
    )
    publisher.send(b"PUB lit.* 0\r\n\r\n")
    got = subscriber.received_from(publisher)
    assert sorted(got.split(b"MSG ")) == [b"", b"lit.* 1 0\r\n\r\n", b"lit.* 3 0\r\n\r\n"]
    publisher.send(b"PUB lit.> 0\r\n\r\n")
    got = subscriber.received_from(publisher)
    assert sorted(got.split(b"MSG ")) == [b"", b"lit.> 1 0\r\n\r\n", b"lit.> 3 0\r\n\r\n"]


@pytest.mark.parametrize("subject", [b"ped.*", b"ped.>", b"*", b">", b"ped.*.x"])
def test_pedantic_publish_is_told_and_done(dial: Dial, subject: bytes) -> None:
    client = dial().hello(verbose=True, pedantic=True).send(b"SUB %s 1\r\n" % subject).expect(b"+OK\r\n")
    client.send(b"PUB %s 1\r\nx\r\n" % subject).expect(
        PEDANTIC + b"+OK\r\nMSG %s 1 1\r\nx\r\n" % subject
    ).expect_pong()


@pytest.mark.parametrize("subject", [b"ped..x", b".ped", b"ped."])
def test_pedantic_publish_with_empty_tokens(dial: Dial, subject: bytes) -> None:
    client = dial().hello(verbose=True, pedantic=True)
    client.send(b"PUB %s 1\r\nx\r\n" % subject).expect(PEDANTIC + b"+OK\r\n").expect_pong()


def test_pedantic_publish_of_literals(dial: Dial) -> None:
    client = dial().hello(verbose=True, pedantic=True)
    for subject in (b"ped", b"ped.foo*", b"ped.a>b", b"ped.>x", b"ped.**"):
        client.send(b"PUB %s 0\r\n\r\n" % subject).expect(b"+OK\r\n").expect_pong()


def test_pedantic_publish_with_headers(dial: Dial) -> None:
    client = dial().hello(verbose=True, pedantic=True, headers=True)
    client.send(b"HPUB ped.* 12 12\r\nNATS/1.0\r\n\r\n\r\n").expect(PEDANTIC + b"+OK\r\n").expect_pong()


def test_reply_queue_and_sid_are_never_validated(dial: Dial) -> None:
    client = dial().hello(pedantic=True)
    client.send(b"SUB free a..b 1\r\nPUB free a..*.>. 0\r\n\r\n").expect(b"MSG free 1 a..*.>. 0\r\n\r\n")
    client.send(b"UNSUB 1\r\nSUB free *.> >.*..\r\nPUB free 0\r\n\r\n").expect(
        b"MSG free >.*.. 0\r\n\r\n"
    ).expect_pong()


@pytest.mark.parametrize("subject", [b"_GR_.x", b"_GR_.a.b.c", b"$NRG.x"])
def test_reserved_subjects(dial: Dial, subject: bytes) -> None:
    client = (
        dial().hello(verbose=True).send(b"SUB %s 1\r\n" % subject).expect(b"+OK\r\n")
    )  # subscribing is allowed
    error = b"-ERR 'Permissions Violation for Publish to \"%s\"'\r\n" % subject
    client.send(b"PUB %s 1\r\nx\r\n" % subject).expect(error).expect_pong()


@pytest.mark.parametrize("reply", [b"_R_.x", b"$JS.ACK.x", b"_GR_.x"])
def test_reserved_replies(dial: Dial, reply: bytes) -> None:
    client = (
        dial()
        .hello(verbose=True, headers=True)
        .send(b"SUB res 1\r\nSUB %s 2\r\n" % reply)
        .expect(b"+OK\r\n+OK\r\n")
    )
    error = b"-ERR 'Permissions Violation for Publish with Reply of \"%s\"'\r\n" % reply
    client.send(b"PUB res %s 1\r\nx\r\n" % reply).expect(error).expect_pong()
    client.send(b"HPUB res %s 12 12\r\nNATS/1.0\r\n\r\n\r\n" % reply).expect(error).expect_pong()


def test_unreserved_neighbours(dial: Dial) -> None:
    client = dial().hello(verbose=True)
    for subject in (b"_GR_", b"_R_", b"_GR_x.y", b"$NRG", b"_INBOX.a", b"$JS.ACK.x"):
        client.send(b"PUB %s 0\r\n\r\n" % subject).expect(b"+OK\r\n").expect_pong()
        client.send(b"PUB near x.%s 0\r\n\r\n" % subject).expect(b"+OK\r\n").expect_pong()


def test_max_sub_tokens(dial: Dial) -> None:
    client = dial("max_sub_tokens: 3").hello(verbose=True)
    client.send(b"SUB a.b.c 1\r\nSUB *.*.> 2\r\n").expect(b"+OK\r\n+OK\r\n")
    error = b"-ERR 'Permissions Violation for Subscription to \"%s\", too many tokens'\r\n"
    for subject in (b"a.b.c.d", b"*.*.*.>", b"a.b.c.d.e.f"):
        client.send(b"SUB %s 3\r\n" % subject).expect(error % subject).expect_pong()
    client.send(b"PUB a.b.c.d 0\r\n\r\n").expect(b"+OK\r\nMSG a.b.c.d 2 0\r\n\r\n").expect_pong()
