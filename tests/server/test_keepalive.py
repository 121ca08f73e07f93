"""The server's PINGs: section 12 of the client protocol. The lower bounds are exact, the upper ones allow for a busy machine."""

from __future__ import annotations

import select
import time
from typing import Final

from tests.harness import Raw
from tests.server.shared import Dial

PING: Final = b"PING\r\n"
STALE: Final = b"-ERR 'Stale Connection'\r\n"
SECOND: Final = 'ping_interval: "1s"'
LATE: Final = 1.0  # seconds that a busy machine may add


def elapsed(start: float) -> float:
    """Seconds since ``start``."""
    return time.monotonic() - start


def test_first_ping(dial: Dial) -> None:
    silent, early = dial(pings=True), dial(pings=True)
    start = time.monotonic()
    client = dial(pings=True).send(b'CONNECT {"verbose":false}\r\n').expect(PING)
    assert 1.95 <= elapsed(start) <= 2.45 + LATE
    client.send(b"PONG\r\n").expect_pong()
    for other in (
        silent,
        early,
    ):  # nothing was promised to who has not introduced himself, before 2 minutes are over
        other.expect_pong()


def test_first_ping_is_sent_to_the_busy_too(dial: Dial) -> None:
    client = dial(pings=True).send(b'CONNECT {"verbose":false}\r\n')
    start = time.monotonic()
    while (answer := client.send(PING).read_until(b"\r\n")) == b"PONG\r\n":
        assert elapsed(start) < 2.5 + LATE
        select.select(
            [client.sock], [], [], 0.02
        )  # until the PING comes, or it is time for the next question
    assert answer == PING and elapsed(start) >= 1.95


def test_stale_connection(dial: Dial) -> None:
    dial.server(SECOND)  # starting it does not count
    start = time.monotonic()
    never = dial(SECOND, pings=True)  # sends nothing at all
    mute = dial(SECOND, pings=True).send(b'CONNECT {"verbose":false}\r\n')
    alive = dial(SECOND, pings=True).send(b'CONNECT {"verbose":false}\r\n')
    busy = dial(SECOND, pings=True).send(b'CONNECT {"verbose":false}\r\n')
    pings = {alive: 0, busy: 0}
    got = {never: b"", mute: b""}
    times: dict[Raw, list[float]] = {never: [], mute: []}
    by_socket = {client.sock: client for client in (never, mute, alive, busy)}
    waiting = {never.sock, mute.sock}
    while waiting:
        assert elapsed(start) < 4.0 + 4 * LATE
        readable, _, _ = select.select(list(by_socket), [], [], 0.1)
        for sock in readable:
            client = by_socket[sock]
            data = sock.recv(4096)
            if client in got:
                got[client] += data
                times[client].append(elapsed(start))
                if not data:
                    waiting.discard(sock)
                    del by_socket[sock]
            else:
                assert set(data.split(b"\r\n")) <= {b"PING", b""}
                pings[client] += data.count(PING)
                client.send(b"PONG\r\n" * data.count(PING))
        busy.send(b"PUB busy 0\r\n\r\n")
    for client in (never, mute):
        assert got[client] == PING + PING + STALE
        first, second, last = times[client][0], times[client][1], times[client][-1]
        assert 0.95 <= first <= 1.3 + LATE
        assert 1.9 <= second <= 2.3 + 2 * LATE
        assert 2.9 <= last <= 3.4 + 3 * LATE
    assert pings[alive] >= 2
    assert pings[busy] == 1  # the first one, which measures; then it was heard often enough
    for client in (alive, busy):
        client.expect_pong()


def test_ping_max(dial: Dial) -> None:
    client = dial('ping_interval: "200ms"\nping_max: 5', pings=True).send(b'CONNECT {"verbose":false}\r\n')
    client.expect_eof(PING * 5 + STALE)


def test_pong_counts_for_all_outstanding_pings(dial: Dial) -> None:
    client = dial('ping_interval: "200ms"\nping_max: 2', pings=True).send(b'CONNECT {"verbose":false}\r\n')
    for _ in range(4):
        client.expect(PING + PING).send(b"PONG\r\n")
    client.expect_eof(PING + PING + STALE)


def test_intervals_beyond_reason_do_not_keep_a_server_from_serving(dial: Dial) -> None:
    dial('ping_interval: "2400h"\nwrite_deadline: "2400h"').hello()
