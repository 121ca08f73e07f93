"""Workers that are killed or hang under load: who loses what, and for how long.

Nobody but the dead worker's own clients may notice. The real nats-server is one process; there is nothing to compare with.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import re
import select
import signal
import socket
import stat
import statistics
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

import nats
import pytest

from tests.harness import FOUR, ONE, Raw, Server
from tests.server.farm import Farm, Others, kill

pytestmark = pytest.mark.timeout(90)

KILLED: Final = r"\[ERR\] Worker \d+ \(pid \d+\) was killed by SIGKILL, restarting it"
READY: Final = r"\[INF\] Worker \d+ \(pid \d+\) is ready"
# How soon a worker is back: a busy machine (others' tests run on it, too) may need longer than an idle one.
BACK_SECONDS: Final = 1.0
BACK_SECONDS_BUSY: Final = 6.0


@dataclass(slots=True)
class Stream:
    """Numbered messages from one client to others, sent until told to stop."""

    publisher: Raw
    subject: bytes
    body: bytes = b""
    sent: int = 0
    progress: threading.Event = field(default_factory=threading.Event)

    def send(self, stop: threading.Event) -> None:
        """Publish in small blocks."""
        while not stop.is_set():
            block = bytearray()
            for number in range(self.sent, self.sent + 50):
                payload = b"%08d" % number + self.body
                block += b"PUB %s %d\r\n%s\r\n" % (self.subject, len(payload), payload)
            self.publisher.send(bytes(block))
            self.sent += 50
            self.progress.set()
            stop.wait(0.001)


def numbers_of(data: bytes, subject: bytes) -> list[int]:
    """The numbers in what a subscriber of one stream got; asserts that it consists of whole messages."""
    pattern = re.compile(rb"MSG %s 1 8\r\n(\d{8})\r\n" % re.escape(subject))
    rest, found = 0, []
    while rest < len(data):
        match = pattern.match(data, rest)
        assert match, f"not a message: {data[rest : rest + 80]!r}"
        found.append(int(match[1]))
        rest = match.end()
    return found


@dataclass(slots=True)
class Caller:
    """Connects all the time, as a client would, and notes what happened."""

    port: int
    begun: list[float] = field(default_factory=list)
    failed: list[tuple[float, str]] = field(default_factory=list)
    slowest: float = 0.0

    def call(self, stop: threading.Event) -> None:
        """Connect, be greeted, ask, be answered, leave; again and again."""
        while not stop.is_set():
            began = time.monotonic()
            try:
                client = Raw(self.port, timeout=20.0)
                client.expect_pong()
                client.close()
            except (OSError, AssertionError) as error:
                self.failed.append((began, repr(error)))
            self.begun.append(began)
            self.slowest = max(self.slowest, time.monotonic() - began)


def test_a_killed_worker_costs_others_nothing(farm: Farm) -> None:
    """Publishers and subscribers on surviving workers lose no message, and no connection is refused."""
    server = farm.server
    groups = farm.spread(5)
    victim, *survivors = groups
    streams: list[Stream] = []
    readers: list[tuple[Raw, Stream]] = []
    for index, pid in enumerate(survivors[:2]):
        stream = Stream(groups[pid].pop(), b"load.%d" % index)
        streams.append(stream)
        for other in survivors:
            reader = groups[other].pop().send(b"SUB %s 1\r\n" % stream.subject).expect_pong()
            readers.append((reader.watch(), stream))
    # The victim is busy, too: it receives all and publishes something.
    groups[victim][0].send(b"SUB load.> 1\r\n").expect_pong()
    doomed = Stream(groups[victim][1], b"doomed")
    listener = groups[survivors[0]].pop().send(b"SUB doomed 1\r\n").expect_pong()

    callers = [Caller(server.port) for _ in range(2)]
    for caller in callers:
        farm.run(lambda caller=caller: caller.call(farm.stopping))
    for stream in streams:
        farm.run(lambda stream=stream: stream.send(farm.stopping))

    def drain(client: Raw) -> None:
        with suppress(OSError):
            while client.sock.recv(1 << 18):
                pass

    def publish_until_death() -> None:
        with suppress(OSError):
            doomed.send(farm.stopping)

    groups[victim][0].sock.settimeout(None)
    listener.sock.settimeout(None)
    for client in (groups[victim][0], listener):
        threading.Thread(target=drain, args=(client,), daemon=True).start()
    farm.run(publish_until_death)
    for stream in (*streams, doomed):
        assert stream.progress.wait(10.0)

    mark = server.log.mark()
    before = [stream.sent for stream in streams]
    kill(server, victim)
    server.log.wait_for(KILLED, since=mark)
    dead = time.monotonic()
    server.log.wait_for(READY, since=mark)
    calls = [len(caller.begun) for caller in callers]
    deadline = time.monotonic() + 20.0
    while any(stream.sent < sent + 1000 for stream, sent in zip(streams, before, strict=True)) or any(
        len(caller.begun) < count + 20 for caller, count in zip(callers, calls, strict=True)
    ):
        assert time.monotonic() < deadline, "the publishers or the callers are stuck"
        farm.stopping.wait(0.01)
    farm.stopping.set()
    for thread in farm.threads:
        thread.join(20.0)
        assert not thread.is_alive()
    for reader, stream in readers:
        got = numbers_of(reader.received_from(stream.publisher), stream.subject)
        assert got == list(range(stream.sent)), f"{len(got)} of {stream.sent}"
    for caller in callers:
        assert not [error for _, error in caller.failed if "Refused" in error]
        assert not [error for began, error in caller.failed if began > dead], caller.failed
        # One that was open when the worker died may have been that worker's own.
        assert len(caller.failed) <= 1, caller.failed
        assert caller.slowest < BACK_SECONDS_BUSY


def test_back_within_a_second(farm: Farm) -> None:
    """From the kill of a worker to its successor's service, one worker after another."""
    server = farm.server
    times: list[float] = []
    others = Others(server)
    for pid in server.workers()[:3]:
        mark = server.log.mark()
        began = kill(server, pid)
        server.log.wait_for(READY, since=mark)
        times.append(time.monotonic() - began)
    served = {server.worker_of(client.sock) for group in farm.spread(1).values() for client in group}
    assert len(served) == 4
    print("seconds from kill to ready:", [round(each, 3) for each in times])
    assert statistics.median(times) < (BACK_SECONDS_BUSY if others.busy() else BACK_SECONDS)


@pytest.mark.parametrize("farm", [(ONE, ""), (FOUR, "")], indirect=True, ids=["1-worker", "4-workers"])
def test_connections_that_wait_are_not_lost(farm: Farm) -> None:
    """In the accept queue (one worker) or handed to a worker that has not taken them (four): the successor takes them."""
    server = farm.server
    victim = server.workers()[0]
    kill(server, victim, signal.SIGSTOP)
    sockets = [socket.create_connection(("127.0.0.1", server.port), timeout=20.0) for _ in range(24)]
    try:
        waiting = set(sockets)
        while greeted := select.select(waiting, [], [], 0.3)[0]:
            waiting -= set(greeted)
        assert waiting, "no connection was handed to the stopped worker"
        mark = server.log.mark()
        kill(server, victim)
        server.log.wait_for(KILLED, since=mark)
        for each in sockets:
            each.settimeout(20.0)
            data = b""
            while not data.endswith(b"\r\n"):
                more = each.recv(4096)
                assert more, "a waiting connection was closed"
                data += more
            assert data.startswith(b"INFO {")
            each.sendall(b"PING\r\n")
            assert each.recv(6) == b"PONG\r\n"
    finally:
        for each in sockets:
            each.close()


def test_a_stopped_worker_is_replaced(farm: Farm) -> None:
    """One that hangs is found by its heart, says where it hung, and is replaced; the others keep working meanwhile."""
    server = farm.server
    groups = farm.spread(2)
    victim, first, second, _ = groups
    publisher, subscriber = groups[first][0], groups[second][0]
    subscriber.send(b"SUB a 1\r\n").expect_pong()
    mark = server.log.mark()
    began = kill(server, victim, signal.SIGSTOP)
    slowest = 0.0
    while not re.search(READY, "".join(server.log.text.splitlines(True)[mark:])):
        sent = time.monotonic()
        assert sent < began + 20.0, "the stopped worker is not replaced"
        publisher.send(b"PUB a 2\r\nhi\r\n")
        subscriber.expect(b"MSG a 1 2\r\nhi\r\n")
        slowest = max(slowest, time.monotonic() - sent)
        time.sleep(0.005)  # a steady trickle, not a load
    print(f"replaced {time.monotonic() - began:.2f} s after it hung; slowest message {slowest * 1000:.1f} ms")
    assert slowest < 2.0
    log = "".join(server.log.text.splitlines(True)[mark:])
    assert re.search(
        rf"\[ERR\] Worker \d+ \(pid {victim}\) gave no sign of life for \d\.\ds: killing it", log
    )
    assert "Fatal Python error: Aborted" in log and "most recent call first" in log
    assert re.search(rf"Worker \d+ \(pid {victim}\) was killed by SIGABRT", log)
    groups[victim][0].expect_eof()
    # The successor is a full member: it has the interest of the others, and they have its own.
    newcomer = next(pid for pid in server.workers() if pid not in groups)
    client = next(c for c in iter(lambda: farm.dial().hello(), None) if server.worker_of(c.sock) == newcomer)
    client.send(b"SUB b 1\r\nPUB a 3\r\nnew\r\n").expect_pong()
    subscriber.expect(b"MSG a 1 3\r\nnew\r\n")
    publisher.send(b"PUB b 1\r\nx\r\n")
    client.expect(b"MSG b 1 1\r\nx\r\n")


def test_a_stopped_worker_holds_new_interest_back_only_until_it_is_replaced(farm: Farm) -> None:
    """Nobody may go past a new subscription that the stopped worker does not know; with its end they go on."""
    server = farm.server
    groups = farm.spread(1)
    victim, first, *_ = groups
    client = groups[first][0]
    kill(server, victim, signal.SIGSTOP)
    client.send(b"SUB new 1\r\nPUB new 0\r\n\r\nPING\r\n").expect_nothing_yet()
    kill(server, victim)
    client.expect(b"MSG new 1 0\r\n\r\nPONG\r\n")


def test_a_full_stream_to_a_dying_worker(farm: Farm) -> None:
    """A publisher that waits for a worker which takes nothing goes on when that is dead; its other receivers miss nothing."""
    server = farm.server
    groups = farm.spread(2)
    victim, first, second, _ = groups
    publisher = groups[first][0]
    here, there = groups[first][1], groups[second][0]
    for client in (here, there, groups[victim][0]):
        client.send(b"SUB full 1\r\n").expect_pong()
    kill(server, victim, signal.SIGSTOP)
    size, count = 10_000, 2_000  # more than sockets and queues hold
    body = bytes(size - 8)

    def publish() -> None:
        for number in range(count):
            publisher.send(b"PUB full %d\r\n%08d%s\r\n" % (size, number, body))

    def read(client: Raw) -> None:
        for number in range(count):
            client.expect(b"MSG full 1 %d\r\n%08d%s\r\n" % (size, number, body))
        done.append(client)

    done: list[Raw] = []
    sender = farm.run(publish)
    readers = [farm.run(lambda client=client: read(client)) for client in (here, there)]
    sender.join(0.5)
    assert sender.is_alive(), "the stopped worker did not make its producer wait"
    kill(server, victim)
    for thread in (sender, *readers):
        thread.join(30.0)
    assert len(done) == 2
    publisher.expect_pong()


def test_a_worker_dies_in_the_middle_of_a_message(farm: Farm) -> None:
    """What a dying worker has sent of a large message reaches nobody; whole ones before it stay whole."""
    server = farm.server
    groups = farm.spread(2)
    victim, first, second, _ = groups
    size = 1 << 20
    body = bytes(range(256)) * (size // 256)
    subscriber = groups[first][0].send(b"SUB big.> 1\r\n").expect_pong()
    publisher = groups[victim][0]
    ended = threading.Event()

    def publish() -> None:
        with suppress(OSError):
            while not ended.is_set():
                publisher.send(b"PUB big.doomed %d\r\n%s\r\n" % (size, body))

    farm.run(publish)
    message = b"MSG big.doomed 1 %d\r\n%s\r\n" % (size, body)
    try:
        for _ in range(3):
            subscriber.expect(message)
        mark = server.log.mark()
        kill(server, victim)
        server.log.wait_for(KILLED, since=mark)
    finally:
        ended.set()
    groups[second][0].send(b"PUB big.end 0\r\n\r\n").expect_pong()
    rest = subscriber.read_until(b"MSG big.end 1 0\r\n\r\n")
    assert len(rest) % len(message) == len(b"MSG big.end 1 0\r\n\r\n")
    assert rest.startswith(message * (len(rest) // len(message)))


def test_a_queue_group_survives_a_member(farm: Farm) -> None:
    """Once the dead worker's interest is gone, every queue message goes to a member that lives."""
    server = farm.server
    groups = farm.spread(2)
    victim, first, second, third = groups
    members = [groups[pid][0] for pid in (first, second, third)]
    for member in (groups[victim][0], *members):
        member.send(b"SUB job workers 1\r\n").expect_pong()
    mark = server.log.mark()
    kill(server, victim)
    server.log.wait_for(READY, since=mark)
    publisher = groups[first][1]
    members = [member.watch() for member in members]
    publisher.send(b"PUB job 0\r\n\r\n" * 600)
    counts = [member.received_from(publisher).count(b"MSG job 1 0\r\n\r\n") for member in members]
    assert sum(counts) == 600 and min(counts) > 100, counts


@pytest.mark.parametrize("farm", [(ONE, ""), (FOUR, "")], indirect=True, ids=["1-worker", "4-workers"])
def test_client_libraries_come_back_by_themselves(farm: Farm) -> None:
    """nats-py clients of killed workers reconnect and have their subscriptions again."""
    asyncio.run(come_back(farm.server))


async def come_back(server: Server) -> None:
    """Kill every worker under six nats-py clients, then let each of them speak to all."""
    back: asyncio.Queue[int] = asyncio.Queue()
    errors: list[Exception] = []
    clients: list[Any] = []
    inboxes: list[asyncio.Queue[bytes]] = []

    async def note_error(error: Exception) -> None:
        errors.append(error)

    def note_return(number: int) -> Callable[[], Any]:
        async def note() -> None:
            back.put_nowait(number)

        return note

    def keeper(inbox: asyncio.Queue[bytes]) -> Callable[[Any], Any]:
        async def keep(message: Any) -> None:
            inbox.put_nowait(message.data)

        return keep

    for number in range(6):
        client = await nats.connect(
            server.url,
            reconnect_time_wait=0.05,
            max_reconnect_attempts=200,
            reconnected_cb=note_return(number),
            error_cb=note_error,
        )
        inbox: asyncio.Queue[bytes] = asyncio.Queue()
        await client.subscribe("to.all", cb=keeper(inbox))
        await client.flush()
        clients.append(client)
        inboxes.append(inbox)
    mark = server.log.mark()
    workers = server.workers()
    for pid in workers:
        kill(server, pid)
    returned = {await asyncio.wait_for(back.get(), 30.0) for _ in clients}
    assert returned == set(range(6))
    assert server.log.text.count("was killed by SIGKILL") == len(workers), mark
    for client in clients:
        await client.flush(timeout=20)
    for number, client in enumerate(clients):
        await client.publish("to.all", b"%d" % number)
        await client.flush(timeout=20)
    for inbox in inboxes:
        got = [await asyncio.wait_for(inbox.get(), 20.0) for _ in clients]
        assert sorted(got) == [b"%d" % number for number in range(6)]
    for client in clients:
        await client.close()


SYS_PIDFD_GETFD: Final = 438


def break_streams(pid: int) -> int:
    """Shut down the message streams that a worker has accepted from others; returns how many there were."""
    broken = 0
    syscall = ctypes.CDLL(None, use_errno=True).syscall
    process = os.pidfd_open(pid)
    try:
        for name in os.listdir(f"/proc/{pid}/fd"):
            copy = syscall(SYS_PIDFD_GETFD, process, int(name), 0)
            if copy < 0:
                continue
            os.set_inheritable(copy, False)
            if not stat.S_ISSOCK(os.fstat(copy).st_mode):
                os.close(copy)
                continue
            with socket.socket(fileno=copy) as sock:
                accepting = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
                if (
                    sock.family == socket.AF_UNIX
                    and not accepting
                    and str(sock.getsockname()).endswith(".msg")
                ):
                    sock.shutdown(socket.SHUT_RDWR)
                    broken += 1
    finally:
        os.close(process)
    return broken


def test_workers_that_lose_each_other_meet_again(farm: Farm) -> None:
    """A stream between two living workers breaks: they are joined again, and nobody has to be restarted."""
    server = farm.server
    farm.allow = "mesh: no connection to (worker|the gateway)"
    groups = farm.spread(1)
    first, *rest = server.workers()
    here = groups[first][0].send(b"SUB here 1\r\n").expect_pong()
    there = [groups[pid][0] for pid in rest]
    for client in there:
        client.send(b"SUB there 1\r\n").expect_pong()
    mark = server.log.mark()
    assert sum(break_streams(pid) for pid in server.workers()) == 6 + 4  # four of them, and the gateway
    server.log.wait_for(r"\[WRN\] mesh: no connection to worker \d, trying again", since=mark)
    apart = list(there)
    deadline = time.monotonic() + 20.0
    while apart and time.monotonic() < deadline:
        here.send(b"PUB there 0\r\n\r\n").expect_pong()
        apart = [
            client for client in apart if b"MSG there" not in client.send(b"PING\r\n").read_until(b"PONG\r\n")
        ]
    assert not apart, "what is published on one worker does not reach all others"
    for client in there:
        client.send(b"SUB again 2\r\nPING\r\n").read_until(b"PONG\r\n")
        client.send(b"PUB here 1\r\nx\r\n")
    here.expect(b"MSG here 1 1\r\nx\r\n" * len(there))
    assert server.workers() == [first, *rest]
