"""Ten thousand connections that nobody wants, on a server with authentication, while one good client goes on.

Five kinds of them: silent ones, garbage, half a CONNECT, a line without an end, a claim of a huge message. All are closed in
time and cost a bounded amount of memory each, whatever they send. Where the machine lets a process have fewer descriptors
(``ulimit -Hn``) there are as many as fit.
"""

from __future__ import annotations

import resource
import select
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import pytest

from tests import probe
from tests.harness import FOUR, ONE, Kind, Raw, Server, start

pytestmark = pytest.mark.timeout(90)

WANTED: Final = 10_000
OWN_DESCRIPTORS: Final = 500  # what the test process and a worker have open besides
AUTH_SECONDS: Final = 2
CONFIG: Final = f"authorization {{ user: u, password: p, timeout: {AUTH_SECONDS} }}\nmax_connections: 20000"
# A connection may hold a control line (4 kB) besides what it costs by itself.
BYTES_EACH: Final = 8 * 1024
BYTES_ANYWAY: Final = 8 * 1024 * 1024
ENDLESS: Final = 1 << 30
PIECE: Final = bytes(4096).replace(b"\0", b"x")

UNAUTHORIZED: Final = b"-ERR 'Authorization Violation'\r\n"
TIMEOUT: Final = b"-ERR 'Authentication Timeout'\r\n"
LINE: Final = b"-ERR 'maximum control line exceeded'\r\n"
PAYLOAD: Final = b"-ERR 'Maximum Payload Violation'\r\n"


@dataclass(slots=True, frozen=True)
class Sort:
    """What one sort of client sends, and what it is told before it is cut (it may be gone too early to hear it)."""

    sends: bytes
    told: bytes
    endless: bool = False
    waits_for_the_clock: bool = False


SORTS: Final = (
    Sort(b"", TIMEOUT, waits_for_the_clock=True),
    Sort(bytes(range(128, 256)) * 4, UNAUTHORIZED),
    Sort(b'CONNECT {"user":"u","pass":"' + b"p" * 3000, TIMEOUT, waits_for_the_clock=True),
    Sort(b'CONNECT {"user":"', LINE, endless=True),
    Sort(b'CONNECT {"user":"u","pass":"p","verbose":false}\r\nPUB a 999999999\r\n', PAYLOAD),
)


@dataclass(slots=True)
class Client:
    """One of them."""

    sock: socket.socket
    sort: Sort
    began: float
    received: bytearray = field(default_factory=bytearray)
    sent: int = 0
    ended: float = 0.0


@pytest.fixture(params=[ONE, FOUR], ids=lambda kind: kind.name)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server with authentication."""
    kind: Kind = request.param
    running = start(kind, CONFIG)
    try:
        yield running
        running.stop(allow=r"\[ERR\]")
    finally:
        running.destroy()


@pytest.fixture
def room() -> Iterator[int]:
    """How many connections a process may have here."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        yield min(WANTED, hard - OWN_DESCRIPTORS)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class Good:
    """A client that asks for an answer again and again."""

    def __init__(self, port: int) -> None:
        self.client = Raw(port, timeout=20.0).hello(user="u", **{"pass": "p"})
        self.client.send(b"SUB own 1\r\n").expect_pong()
        self.rounds = 0
        self.slowest = 0.0
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        while not self.stop.wait(0.01):
            began = time.monotonic()
            self.client.send(b"PUB own 2\r\nhi\r\n").expect(b"MSG own 1 2\r\nhi\r\n")
            self.slowest = max(self.slowest, time.monotonic() - began)
            self.rounds += 1

    def end(self) -> None:
        """Stop asking."""
        self.stop.set()
        self.thread.join(20.0)
        self.client.leave()


class Flood:
    """All the unwanted clients, served by one epoll loop."""

    def __init__(self, server: Server, count: int) -> None:
        self.server = server
        self.count = count
        self.open: dict[int, Client] = {}
        self.done: list[Client] = []
        self.poll = select.epoll()
        self.peak = dict.fromkeys(server.processes(), 0)

    def run(self) -> None:
        """Open all, serve them until the last is closed."""
        for number in range(self.count):
            self._open(SORTS[number % len(SORTS)])
            if number % 50 == 0:
                self._serve(0.0)
        self._measure()
        deadline = time.monotonic() + AUTH_SECONDS + 20.0
        while self.open:
            assert time.monotonic() < deadline, f"{len(self.open)} connections are still open"
            self._serve(0.1)
            self._measure()

    def _open(self, sort: Sort) -> None:
        sock = socket.create_connection(("127.0.0.1", self.server.port), timeout=20.0)
        sock.setblocking(False)
        client = Client(sock, sort, time.monotonic())
        if sort.sends:
            client.sent = sock.send(sort.sends)
        self.open[sock.fileno()] = client
        self.poll.register(sock, select.EPOLLIN | (select.EPOLLOUT if sort.endless else 0))

    def _serve(self, wait: float) -> None:
        for descriptor, events in self.poll.poll(wait, 1024):
            client = self.open[descriptor]
            try:
                if events & (select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR):
                    data = client.sock.recv(1 << 16)
                    client.received += data
                    if not data:
                        self._closed(client)
                        continue
                if events & select.EPOLLOUT:
                    client.sent += client.sock.send(PIECE)
                    assert client.sent < ENDLESS, "an endless line is read to its end"
            except BlockingIOError:
                continue
            except (ConnectionResetError, BrokenPipeError):
                self._closed(client)

    def _closed(self, client: Client) -> None:
        client.ended = time.monotonic()
        del self.open[client.sock.fileno()]
        self.poll.unregister(client.sock)
        client.sock.close()
        self.done.append(client)

    def _measure(self) -> None:
        for pid in self.peak:
            self.peak[pid] = max(self.peak[pid], probe.resident(pid))


def test_a_flood_of_strangers(server: Server, room: int) -> None:
    before = {pid: probe.resident(pid) for pid in server.processes()}
    workers = server.workers()
    good = Good(server.port)
    flood = Flood(server, room)
    began = time.monotonic()
    flood.run()
    took = time.monotonic() - began
    good.end()
    assert len(flood.done) == room
    for client in flood.done:
        lived = client.ended - client.began
        if client.sort.waits_for_the_clock:
            assert lived > AUTH_SECONDS * 0.95, f"closed after {lived:.2f} s"
        heard = bytes(client.received)
        if heard.endswith(client.sort.told):
            assert heard.startswith(b"INFO {")
        else:  # a reset by the server may overtake its last words, when there was more to read than it would
            assert client.sort.endless and not heard.partition(b"\r\n")[2], heard
    sent = max(client.sent for client in flood.done)
    growth = {pid: flood.peak[pid] - before[pid] for pid in before}
    print(
        f"{room} connections in {took:.1f} s; longest line {sent} bytes; most bytes of growth per connection "
        f"{max(growth[pid] for pid in workers) * len(workers) // room}; "
        f"slowest of {good.rounds} answers {good.slowest * 1000:.0f} ms"
    )
    for pid, grown in growth.items():
        share = room // len(workers) if pid in workers else 0
        assert grown < BYTES_ANYWAY + share * BYTES_EACH, f"process {pid} grew by {grown} bytes"
    assert sent < 16 << 20
    assert good.rounds > 20 and good.slowest < 5.0
    # Nothing stays: the next flood finds the memory of this one, and room for its connections.
    assert max(client.ended - client.began for client in flood.done) < AUTH_SECONDS + 10.0
    server.check(allow=r"\[ERR\]")
