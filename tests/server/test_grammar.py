"""Tokenizing, and what a malformed line does: sections 4, 4.1 and 5 of the client protocol."""

from __future__ import annotations

import pytest

from tests.server.shared import Dial

UNKNOWN = b"-ERR 'Unknown Protocol Operation'\r\n"
SILENT = b""
HEADERS = b'CONNECT {"verbose":false,"pedantic":false,"headers":true}\r\n'


@pytest.mark.parametrize(
    ("sent", "received"),
    [
        pytest.param(
            b"sub g 1\r\npub g 2\r\nhi\r\nping\r\n", b"MSG g 1 2\r\nhi\r\nPONG\r\n", id="lower case"
        ),
        pytest.param(
            b"sUb g 1\r\nPuB g 2\r\nhi\r\nuNsUb 1\r\nPiNg\r\n",
            b"MSG g 1 2\r\nhi\r\nPONG\r\n",
            id="mixed case",
        ),
        pytest.param(
            b"SUB g 1\nPUB g 2\nhi\r\nUNSUB 1\nPING\n", b"MSG g 1 2\r\nhi\r\nPONG\r\n", id="bare LF"
        ),
        pytest.param(b"SUB\tg\t1\r\nPUB\tg\t2\r\nhi\r\n", b"MSG g 1 2\r\nhi\r\n", id="tabs"),
        pytest.param(b"SUB  g \t 1\r\nPUB   g\t  2\r\nhi\r\n", b"MSG g 1 2\r\nhi\r\n", id="runs of blanks"),
        pytest.param(
            b"SUB g 1 \t \r\nPUB g 2 \t\r\nhi\r\nPING\r\n",
            b"MSG g 1 2\r\nhi\r\nPONG\r\n",
            id="trailing blanks",
        ),
        pytest.param(
            b"SUB g\t\tq  7\r\nPUB g  r\t2\r\nhi\r\n",
            b"MSG g 7 r 2\r\nhi\r\n",
            id="queue and reply among blanks",
        ),
        pytest.param(
            b"SUB g 1\rPUB\r\nPUB g 0\r\n\r\n", b"MSG g PUB 0\r\n\r\n", id="stray CR separates in SUB"
        ),
        pytest.param(
            b"SUB g 1\r\nUNSUB\t1 \t\r\nPUB g 0\r\n\r\nPING\r\n", b"PONG\r\n", id="UNSUB among blanks"
        ),
        pytest.param(
            b"SUB g 1\r\nUNSUB 1\r1\r\nPUB g 0\r\n\r\nPUB g 0\r\n\r\n",
            b"MSG g 1 0\r\n\r\n",
            id="stray CR in UNSUB",
        ),
        pytest.param(b"PINGxyz\r\n", b"PONG\r\n", id="PING with junk"),
        pytest.param(b"PING   and more\n", b"PONG\r\n", id="PING with arguments"),
        pytest.param(b"PONG\r\nPONGxyz\r\nPING\r\n", b"PONG\r\n", id="PONG with junk"),
        pytest.param(b"+OK\r\n+ok\r\n+OKjunk\r\nPING\r\n", b"PONG\r\n", id="OK from a client"),
        pytest.param(b'INFO {"server_id":"x"}\r\nPING\r\n', b"PONG\r\n", id="INFO from a client"),
        pytest.param(b"SUB g 1\r\nPUB g 0\r\n\r\n", b"MSG g 1 0\r\n\r\n", id="empty payload"),
        pytest.param(
            b"SUB g 1\r\nPUB g 002\r\nhi\r\n", b"MSG g 1 002\r\nhi\r\n", id="size echoed as received"
        ),
        pytest.param(
            b"SUB g 1\r\nPUB g 000000002\r\nhi\r\n", b"MSG g 1 000000002\r\nhi\r\n", id="nine digits"
        ),
        pytest.param(b"SUB g 1\r\nPUB g 000\r\n\r\n", b"MSG g 1 000\r\n\r\n", id="three zeros"),
        pytest.param(
            b"SUB g 1\r\nPUB g 9\r\n\r\nPUB x\r\n\r\n",
            b"MSG g 1 9\r\n\r\nPUB x\r\n\r\n",
            id="payload is not scanned",
        ),
        pytest.param(
            b"SUB g 1\r\nPUB g 4\r\n\0\xff\r\n\r\n", b"MSG g 1 4\r\n\0\xff\r\n\r\n", id="binary payload"
        ),
        pytest.param(
            b"SUB g\0\xff 1\r\nPUB g\0\xff 0\r\n\r\n", b"MSG g\0\xff 1 0\r\n\r\n", id="binary subject"
        ),
        pytest.param(b"SUB g abc-9_x\r\nPUB g 0\r\n\r\n", b"MSG g abc-9_x 0\r\n\r\n", id="sid is any token"),
        pytest.param(
            b"SUB g 1\r\nSUB g 01\r\nPUB g 0\r\n\r\n",
            b"MSG g 1 0\r\n\r\nMSG g 01 0\r\n\r\n",
            id="sids are text",
        ),
    ],
)
def test_accepted(dial: Dial, sent: bytes, received: bytes) -> None:
    client = dial().hello().send(sent)
    got = client.take(len(received))
    # The deliveries of one message to several subscriptions have no order among them.
    assert got == received or sorted(got.split(b"MSG ")) == sorted(received.split(b"MSG "))
    client.expect_pong()


@pytest.mark.parametrize(
    "line",
    [
        b"\r\n",
        b"\n",
        b" PING\r\n",
        b"\tPING\r\n",
        b"PUX\r\n",
        b"PUX foo 0\r\n\r\n",
        b"PUBLISH foo 0\r\n",
        b"FOO\r\n",
        b"Q",
        b"PUB\r\n",
        b"SUB\r\n",
        b"UNSUB\r\n",
        b"HPUB\r\n",
        b"MSG foo 1 0\r\n\r\n",
        b"RS+ $G foo\r\n",
        b"RS- $G foo\r\n",
        b"RMSG $G foo 0\r\n\r\n",
        b"LS+ foo\r\n",
        b"LMSG foo 0\r\n\r\n",
        b"A+ A\r\n",
        b"A- A\r\n",
        b"\0\0\0\0",
        b"\xff\xfe",
        b"GET / HTTP/1.1\r\n\r\n",
        b"PI\0NG\r\n",
        b"+NO\r\n",
        b"-EXX\r\n",
        b"-ERR\r\n",
        b"-ERRx\r\n",
        b"PUBfoo 0\r\n\r\n",
        b"SUBfoo 1\r\n",
        b"UNSUB1\r\n",
        b"HPUBfoo 12 12\r\n",
        b"PUB\n",
        b"SUB\n",
        b"\r",
    ],
)
def test_unknown_operation(dial: Dial, line: bytes) -> None:
    dial().hello().send(line).expect_eof(UNKNOWN)


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"PUB foo 2\r\nabc\r\n", id="longer"),
        pytest.param(b"PUB foo 2\r\na\r\nPING\r\n", id="shorter"),
        pytest.param(b"PUB foo 2\r\nab\nPING\r\n", id="bare LF"),
        pytest.param(b"PUB foo 2\r\nab\rPING\r\n", id="bare CR"),
        pytest.param(b"PUB foo 0\r\nPING\r\n", id="missing line"),
    ],
)
def test_payload_of_another_size(dial: Dial, sent: bytes) -> None:
    dial().hello().send(sent).expect_eof(UNKNOWN)


@pytest.mark.parametrize(
    "line",
    [
        b"PUB foo\r\n",
        b"PUB foo\r\n\r\n",
        b"PUB \r\n",
        b"PUB\t\r\n",
        b"PUB foo 0\r\r\n",
        b"PUB foo\r0\r\n",
        b"INFO\r\n",
        b"PUB foo bar baz 0\r\n",
        b"PUB foo abc\r\n",
        b"PUB foo -1\r\n",
        b"PUB foo +1\r\n",
        b"PUB foo 1x\r\n",
        b"PUB foo 0x1\r\n",
        b"PUB foo 1.0\r\n",
        b"PUB foo 1234567890\r\n",
        b"PUB foo 0000000001\r\n",
        b"SUB foo\r\n",
        b"SUB \r\n",
        b"SUB foo q 1 2\r\n",
        b"UNSUB \r\n",
        b"UNSUB \t \r\n",
        b"UNSUB 1 2 3\r\n",
        b"HPUB foo\r\n",
        b"HPUB foo 12\r\n",
        b"HPUB foo a b 12 12\r\n",
        b"HPUB foo x 12\r\n",
        b"HPUB foo 12 x\r\n",
        b"HPUB foo -1 12\r\n",
        b"HPUB foo 12 -1\r\n",
        b"HPUB foo 13 12\r\n",
        b"HPUB foo 1234567890 1234567890\r\n",
        b"INFO {\r\n",
        b"INFO [1]\r\n",
        b"-ERR \r\n",
        b"-ERR x\r\n",
        b"-ERR 'Stale Connection'\r\n",
    ],
)
def test_closed_silently(dial: Dial, line: bytes) -> None:
    dial().send(HEADERS + b"PING\r\n").expect(b"PONG\r\n").send(line).expect_eof(SILENT)


def test_hpub_without_headers_closes_silently(dial: Dial) -> None:
    dial().hello(headers=False).send(b"HPUB foo 12 12\r\nNATS/1.0\r\n\r\n\r\n").expect_eof(SILENT)
    dial().send(b"HPUB foo 12 12\r\nNATS/1.0\r\n\r\n\r\n").expect_eof(SILENT)


def test_hpub_to_a_server_without_headers_closes_silently(dial: Dial) -> None:
    client = dial("no_header_support: true")
    assert client.info["headers"] is False
    client.hello(headers=True).send(b"HPUB foo 12 12\r\nNATS/1.0\r\n\r\n\r\n").expect_eof(SILENT)


@pytest.mark.parametrize(
    "bad", [b"\r\n", b"PUB foo\r\n", b"FOO\r\n", b"PUB foo 1048577\r\n", b"CONNECT [\r\n"]
)
def test_commands_before_the_bad_one_are_executed(dial: Dial, bad: bytes) -> None:
    watcher = dial().hello().send(b"SUB before 1\r\n").expect_pong()
    client = (
        dial()
        .hello()
        .send(
            b"SUB before 9\r\nPUB before 1\r\na\r\nPING\r\nPUB before 1\r\nb\r\n"
            + bad
            + b"PUB before 1\r\nc\r\n"
        )
    )
    last = {
        b"\r\n": UNKNOWN,
        b"FOO\r\n": UNKNOWN,
        b"PUB foo 1048577\r\n": b"-ERR 'Maximum Payload Violation'\r\n",
    }.get(bad, b"")
    client.expect_eof(b"MSG before 9 1\r\na\r\nPONG\r\nMSG before 9 1\r\nb\r\n" + last)
    watcher.expect(b"MSG before 1 1\r\na\r\nMSG before 1 1\r\nb\r\n")
    assert watcher.watch().received_from(dial().hello()) == b""


def test_verbs_that_give_ok(dial: Dial) -> None:
    client = dial().hello(verbose=True, headers=True)
    client.send(b"SUB v 1\r\nPUB v 1\r\na\r\n").expect(b"+OK\r\n+OK\r\nMSG v 1 1\r\na\r\n")
    client.send(b"HPUB v 12 13\r\nNATS/1.0\r\n\r\nb\r\n").expect(
        b"+OK\r\nHMSG v 1 12 13\r\nNATS/1.0\r\n\r\nb\r\n"
    )
    client.send(b"UNSUB 1\r\nUNSUB 1\r\nUNSUB none\r\nUNSUB none 5\r\nSUB v 1\r\nSUB v 1\r\n").expect(
        b"+OK\r\n" * 6
    )
    client.send(b"PING\r\nPONG\r\n+OK\r\nPING\r\n").expect(b"PONG\r\nPONG\r\n")


def test_ok_of_a_publish_comes_before_its_deliveries(dial: Dial) -> None:
    client = dial().hello(verbose=True).send(b"SUB o.* 1\r\nSUB o.> 2\r\n").expect(b"+OK\r\n+OK\r\n")
    client.send(b"PUB o.a 1\r\nx\r\n").expect(b"+OK\r\n")
    assert {client.take(16) for _ in range(2)} == {b"MSG o.a 1 1\r\nx\r\n", b"MSG o.a 2 1\r\nx\r\n"}
    client.expect_pong()


def test_message_forms(dial: Dial) -> None:
    client = dial().hello(headers=True).send(b"SUB f 1\r\n")
    client.send(b"PUB f 2\r\nhi\r\n").expect(b"MSG f 1 2\r\nhi\r\n")
    client.send(b"PUB f reply.to 2\r\nhi\r\n").expect(b"MSG f 1 reply.to 2\r\nhi\r\n")
    client.send(b"HPUB f 12 14\r\nNATS/1.0\r\n\r\nhi\r\n").expect(b"HMSG f 1 12 14\r\nNATS/1.0\r\n\r\nhi\r\n")
    client.send(b"HPUB f reply.to 12 12\r\nNATS/1.0\r\n\r\n\r\n").expect(
        b"HMSG f 1 reply.to 12 12\r\nNATS/1.0\r\n\r\n\r\n"
    )
    client.expect_pong()


def test_many_commands_in_one_segment(dial: Dial) -> None:
    client = dial().hello()
    client.send(b"".join(b"SUB many.%d %d\r\n" % (i, i) for i in range(1000)))
    client.send(b"".join(b"PUB many.%d 3\r\n%03d\r\n" % (i, i) for i in range(1000)) + b"PING\r\n")
    client.expect(b"".join(b"MSG many.%d %d 3\r\n%03d\r\n" % (i, i, i) for i in range(1000)) + b"PONG\r\n")


def test_close_after_half_a_command(dial: Dial) -> None:
    watcher = dial().hello().send(b"SUB half.> 1\r\n").expect_pong().watch()
    for part in (
        b"PUB half.a 10\r\nabc",
        b"PUB half.a 0\r\n",
        b"SUB half.a",
        b"P",
        b"HPUB half.a 12 12\r\nNATS",
        b"CONNECT {",
    ):
        dial().hello(headers=True).send(part).leave()
    assert watcher.received_from(dial().hello()) == b""
