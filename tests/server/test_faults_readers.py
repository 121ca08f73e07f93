"""Readers that do not read: they are cut at their limit, and nobody else is held up."""

from __future__ import annotations

import statistics
import threading
import time
from dataclasses import dataclass
from typing import Final

import pytest

from tests.harness import FOUR, ONE, Kind, Raw
from tests.server.farm import Farm, Others


@dataclass(slots=True, frozen=True)
class Limit:
    """One of the two limits that cut a reader, and a publisher that makes it reach that one first."""

    config: str
    log_line: str
    blocks: int  # of 64 kB, in a round
    pause: float  # seconds after each block

    def kind(self, kind: Kind) -> tuple[Kind, str]:
        """A parameter for ``farm``."""
        return kind, self.config


# As fast as it can, eight times the limit; and at its own pace, twice as long as the deadline.
PENDING: Final = Limit(
    "max_pending: 64mb\nwrite_deadline: '1m'",
    r"Slow Consumer Detected: MaxPending of 67108864 Exceeded",
    8000,
    0.0,
)
DEADLINE: Final = Limit(
    "max_pending: 1gb\nwrite_deadline: '300ms'",
    r"Slow Consumer Detected: WriteDeadline of 300ms exceeded",
    1500,
    0.0003,
)
LIMITS: Final = {limit.config: limit for limit in (PENDING, DEADLINE)}
# The server, and whether the reader sits on its publisher's worker.
PLACES: Final = ((ONE, True), (FOUR, True), (FOUR, False))
BLOCK_MESSAGES: Final = 64
BLOCK: Final = (b"PUB flood 1000\r\n%s\r\n" % bytes(1000)) * BLOCK_MESSAGES
WINDOW: Final = 32 << 20  # how far the good reader may lag behind: less than what a limit allows
KEEPS: Final = 0.7
KEEPS_BUSY: Final = (
    0.3  # others compete for the processors; a publisher that is made to wait would keep next to nothing
)
ROUNDS: Final = 3
ATTEMPTS: Final = 3


def rate(publisher: Raw, reader: Raw, limit: Limit) -> float:
    """Messages per second of a publisher, to a reader that keeps up."""
    wanted = limit.blocks * BLOCK_MESSAGES * len(b"MSG flood 1 1000\r\n\r\n" + bytes(1000))
    received = [0]
    progress = threading.Event()

    def drain() -> None:
        while received[0] < wanted:
            piece = len(reader.sock.recv(min(wanted - received[0], 1 << 18)))
            assert piece, "the reader that keeps up was closed"
            received[0] += piece
            progress.set()

    reader.sock.settimeout(30.0)
    thread = threading.Thread(target=drain, daemon=True)
    thread.start()
    publisher.sock.settimeout(30.0)
    began = time.monotonic()
    for number in range(limit.blocks):
        while number * len(BLOCK) - received[0] > WINDOW:  # a busy machine may forget the reader for a while
            assert progress.wait(30.0), "the reader that keeps up gets nothing"
            progress.clear()
        publisher.sock.sendall(BLOCK)
        if limit.pause:
            time.sleep(limit.pause)  # a pace, not a wait
    publisher.expect_pong()
    took = time.monotonic() - began
    thread.join(30.0)
    assert received == [wanted], "the reader that keeps up did not get everything"
    return limit.blocks * BLOCK_MESSAGES / took


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    ("farm", "same"),
    [(limit.kind(kind), same) for limit in (PENDING, DEADLINE) for kind, same in PLACES],
    indirect=["farm"],
    ids=[
        f"{name}-{kind.name}-{'same' if same else 'other'}"
        for name in ("pending", "deadline")
        for kind, same in PLACES
    ],
)
def test_a_reader_that_never_reads(farm: Farm, same: bool) -> None:
    """It is cut at its limit, and until then its publisher is hardly slower than without it."""
    server = farm.server
    limit = LIMITS[farm.config]
    groups = farm.spread(2)
    home = next(iter(groups))
    publisher, reader = groups[home][0], groups[home][1]
    reader.send(b"SUB flood 1\r\n").expect_pong()
    rate(publisher, reader, limit)  # warm up
    without: list[float] = []
    with_it: list[float] = []
    others = Others(server)
    for _ in range(ATTEMPTS):
        for _ in range(ROUNDS):
            without.append(rate(publisher, reader, limit))
            stuck = next(
                client
                for client in iter(lambda: farm.dial().hello(), None)
                if (server.worker_of(client.sock) == home) == same
            )
            mark = server.log.mark()
            stuck.send(b"SUB flood 1\r\n").expect_pong()
            with_it.append(rate(publisher, reader, limit))
            server.log.wait_for(limit.log_line, timeout=5.0, since=mark)
            got = stuck.read_eof()
            assert b"-ERR" not in got
        keeps = statistics.median(with_it) / statistics.median(without)
        if keeps >= KEEPS or others.busy():
            break
    print(f"keeps {keeps:.2f} of {statistics.median(without):.0f} messages/s")
    assert keeps >= (KEEPS_BUSY if others.busy() else KEEPS), (without, with_it)
