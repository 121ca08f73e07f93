"""TCP knows no messages: however the bytes of a client are cut into segments, the server's answer is the same."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from itertools import groupby
from typing import Final

from tests import probe
from tests.server.shared import Dial

INFO: Final = re.compile(rb"INFO \{[^\r\n]*\} \r\n")
PEDANTIC: Final = b"-ERR 'Invalid Publish Subject'\r\n"

# A little of everything, ended by an error that closes.
EXCHANGE: Final = (
    b'CONNECT {"verbose":true,"pedantic":true,"headers":true,"no_responders":true,"protocol":1}\r\n'
    b"PING\r\n"
    b"SUB split.a 1\r\n"
    b"SUB split.* q\t2 \r\n"
    b"sub split.a 1\n"
    b"PUB split.a 5\r\nhello\r\n"
    b"PUB split.a  split.re.ply 002\r\nhi\r\n"
    b"PUB split.other 4\r\n\r\n\r\n\r\n"
    b"PUB split.a 0\r\n\r\n"
    b"HPUB split.a 18 23\r\nNATS/1.0\r\nA: 1\r\n\r\nhello\r\n"
    b"HPUB split.b split.c 12 12\r\nNATS/1.0\r\n\r\n\r\n"
    b"SUB a..b 3\r\n"
    b"PUB split.> 1\r\nx\r\n"
    b"SUB split.inbox 4\r\n"
    b"UNSUB 1 5\r\n"
    b"PUB nobody split.inbox 3\r\nreq\r\n"
    b"PUB _GR_.x 1\r\nx\r\n"
    b"PINGpong\n"
    b"PONG\r\n+OK\r\n"
    b"UNSUB 1\r\nUNSUB 77\r\n"
    b"PUB split.a 1\r\nz\r\n"
    b'CONNECT {"verbose":false,"pedantic":false}\r\n'
    b"SUB split.d 9\r\nPUB split.d 3\r\nend\r\n"
    b"PING\r\n"
    b"PUB split.d 2\r\nabc\r\n"
)


def exchange(dial: Dial, segments: Sequence[bytes]) -> tuple[bytes, bytes]:
    """Send the segments, each only when the one before was read. What comes back, and what somebody else receives."""
    witness = dial().hello().watch().send(b"SUB split.> 1\r\n").expect_pong()
    client = dial()
    with contextlib.suppress(
        BrokenPipeError, ConnectionResetError
    ):  # what comes after the error finds nobody
        for segment in segments:
            probe.wait_read(client.sock)
            client.send(segment)
    got = INFO.sub(b"INFO\r\n", client.read_eof())
    if (
        dial.kind.real
    ):  # nats-server looks at a publish twice, and says this twice, if its payload comes in parts
        got = got.replace(PEDANTIC + PEDANTIC, PEDANTIC)
    seen = witness.received_from(dial().hello())
    dial.close()
    return got, seen


def frames(data: bytes) -> list[bytes]:
    """``data`` cut into what the server said, the copies of one message in the order of their sids: they have no other."""
    found: list[tuple[bytes, bytes, bytes]] = []  # kind and content without the sid, sid, all
    while data:
        line, _, data = data.partition(b"\r\n")
        words = line.split(b" ")
        size = int(words[-1]) + 2 if words[0] in (b"MSG", b"HMSG") else 0
        body, data = data[:size], data[size:]
        sid = words[2] if size else b""
        content = b" ".join(words[:2] + words[3:]) + body if size else b""
        found.append((content, sid, line + b"\r\n" + body))
    groups = groupby(enumerate(found), key=lambda item: item[1][0] or item[0])
    return [frame[2] for _, group in groups for frame in sorted(each for _, each in group)]


def test_every_cut_and_every_byte(dial: Dial) -> None:
    answer, seen = exchange(dial, [EXCHANGE])
    assert answer.endswith(b"MSG split.d 9 3\r\nend\r\nPONG\r\n-ERR 'Unknown Protocol Operation'\r\n")
    assert answer.count(b"+OK\r\n") == 17 and answer.count(b"-ERR") == 4 and answer.count(b"INFO\r\n") == 1
    assert answer.count(b"HMSG") == 4 and seen.count(b"MSG ") == 9
    whole = frames(answer)

    bytewise, seen_bytewise = exchange(dial, [EXCHANGE[i : i + 1] for i in range(len(EXCHANGE))])
    assert frames(bytewise) == whole and seen_bytewise == seen

    for cut in range(1, len(EXCHANGE)):
        halves = (EXCHANGE[:cut], EXCHANGE[cut:])
        got, seen_halves = exchange(dial, halves)
        assert frames(got) == whole, f"cut after {halves[0][-40:]!r}"
        assert seen_halves == seen, f"cut after {halves[0][-40:]!r}"


def test_chunks_of_a_long_stream(dial: Dial) -> None:
    """Chunks that straddle the server's buffers in many ways: sizes around powers of two and prime ones."""
    stream = b"".join(
        b"PUB chunk.%d %d\r\n%s\r\n" % (i, i * 37 % 3000, b"." * (i * 37 % 3000)) for i in range(400)
    )
    expected = b"".join(
        b"MSG chunk.%d 1 %d\r\n%s\r\n" % (i, i * 37 % 3000, b"." * (i * 37 % 3000)) for i in range(400)
    )
    subscriber = dial().hello().watch().send(b"SUB chunk.* 1\r\n").expect_pong()
    for size in (127, 4095, 4096, 4097, 32767, 32768, 65537, 131071, 131072, 131073):
        publisher = dial().hello()
        for start in range(0, len(stream), size):
            publisher.send(stream[start : start + size])
            if size > 1000:
                probe.wait_read(publisher.sock)
        assert subscriber.received_from(publisher) == expected
