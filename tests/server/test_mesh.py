"""Several workers are one server: what clients on different workers may rely on, and what they cannot notice."""

from __future__ import annotations

import os
import re
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import count
from random import Random
from threading import Event
from typing import Final

import pytest

from tests.harness import FOUR, Raw, Server, start
from tests.server.crew import PATIENCE, Crew, together

NUMBER: Final = re.compile(rb"\r\n(\d{6})\r\n")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A server with four workers. Its log would tell of interest that drifted (see ``harness``)."""
    running = start(FOUR)
    try:
        yield running
    finally:
        running.stop()


@pytest.fixture
def crew(server: Server) -> Iterator[Crew]:
    """Places clients on workers of the shared server."""
    clients = Crew(server)
    try:
        yield clients
    finally:
        clients.close()
        server.check()


def numbers(data: bytes) -> list[int]:
    """The numbers that are the messages' contents."""
    return [int(number) for number in NUMBER.findall(data)]


def publish(subject: str, values: range) -> bytes:
    """Messages to ``subject`` with these numbers as contents."""
    head = f"PUB {subject} 6\r\n"
    return "".join(f"{head}{value:06}\r\n" for value in values).encode()


def relay(client: Raw, end: bytes, pattern: re.Pattern[bytes], answer: bytes) -> None:
    """Answer every message that ``pattern`` matches until ``end`` has come."""
    rest = b""
    client.sock.settimeout(client.timeout)
    while end not in rest:
        rest += client.sock.recv(1 << 18)
        last = 0
        for match in pattern.finditer(rest):
            last = match.end()
        client.send(b"".join(match.expand(answer) for match in pattern.finditer(rest)))
        rest = rest[last:]


class TestInterest:
    """The barrier: nobody who reacts to a message finds a subscription missing that was made before it."""

    def test_chain_over_three_workers_with_fresh_inboxes(self, crew: Crew) -> None:
        requester, forwarder, responder = crew.place(0, 1, 2)
        forwarder.send(b"SUB chain.request 1\r\nSUB chain.end 2\r\n").expect_pong()
        responder.send(b"SUB chain.forward 1\r\nSUB chain.end 2\r\n").expect_pong()

        def request() -> None:
            inboxes = count(1)
            for window in [1] * 2000 + [20] * 400:
                for number in (some := [next(inboxes) for _ in range(window)]):
                    requester.send(
                        b"SUB chain.inbox.%d %d\r\nUNSUB %d 1\r\nPUB chain.request chain.inbox.%d 0\r\n\r\n"
                        % (number, number, number, number)
                    )
                replies = b"".join(requester.read_until(b"\r\n\r\n") for _ in some)
                expected = sorted(b"MSG chain.inbox.%d %d 0\r\n\r\n" % (each, each) for each in some)
                assert sorted(re.findall(rb"MSG.*\r\n\r\n", replies)) == expected
            requester.send(b"PUB chain.end 0\r\n\r\n").expect_pong()

        asked = re.compile(rb"MSG chain\.request 1 (\S+) 0\r\n\r\n")
        forwarded = re.compile(rb"MSG chain\.forward 1 (\S+) 0\r\n\r\n")
        end = b"MSG chain.end 2 0\r\n\r\n"
        together(
            [
                request,
                lambda: relay(forwarder, end, asked, rb"PUB chain.forward \1 0\r\n\r\n"),
                lambda: relay(responder, end, forwarded, rb"PUB \1 0\r\n\r\n"),
            ]
        )

    def test_withdrawn_before_it_was_announced(self, crew: Crew) -> None:
        client, other = crew.place(0, 1)
        for number in range(500):
            client.send(b"SUB gone.%d 1\r\nUNSUB 1\r\nPING\r\n" % number).expect(b"PONG\r\n")
            client.send(
                b"SUB gone.%d 1\r\nUNSUB 1\r\nSUB gone.%d 1\r\nPUB gone.%d 0\r\n\r\n"
                % (number, number, number)
            )
            client.expect(b"MSG gone.%d 1 0\r\n\r\n" % number)
            other.send(b"PUB gone.%d 0\r\n\r\n" % number)
            assert client.received_from(other) == b"MSG gone.%d 1 0\r\n\r\n" % number
            client.send(b"UNSUB 1\r\n")

    def test_what_follows_a_ping_of_a_client_whose_flush_comes_early(self, crew: Crew) -> None:
        """nats-py's PING overtakes the SUB that it is to flush: its PONG waits for that, too."""
        client, other = crew.place(0, 1, lang="python3")
        client.send(b"SUB first 1\r\n").expect_pong()
        for number in range(500):
            client.send(b"PING\r\nSUB early.%d 1%d\r\n" % (number, number)).expect(b"PONG\r\n")
            other.send(b"PUB early.%d 0\r\n\r\n" % number)
            client.expect(b"MSG early.%d 1%d 0\r\n\r\n" % (number, number))

    def test_no_responders_only_if_there_are_none(self, crew: Crew) -> None:
        """Interest moves from worker to worker, and always somebody has it. In the end nobody has."""
        requester, *holders = crew.place(0, 1, 2, 3, headers=True, no_responders=True)
        requester.send(b"SUB none.inbox 7\r\n").expect_pong()
        holders[0].send(b"SUB none.service 1\r\n").expect_pong()
        moved = Event()

        def request() -> int:
            sent = 0
            while not moved.is_set():
                requester.send(b"PUB none.service none.inbox 0\r\n\r\n" * 10).expect_pong()  # and no 503
                sent += 10
            return sent

        def move() -> None:
            try:
                for turn in range(600):
                    holders[(turn + 1) % 3].send(b"SUB none.service 1\r\n").expect_after(b"PONG\r\n")
                    holders[turn % 3].send(b"UNSUB 1\r\n").expect_after(b"PONG\r\n")
            finally:
                moved.set()

        assert together([request, move])[0] > 0
        for holder in holders:
            holder.send(b"UNSUB 1\r\n").expect_after(b"PONG\r\n")
        requester.send(b"PUB none.service none.inbox 0\r\n\r\nPING\r\n")
        answer = requester.read_until(b"PONG\r\n")
        while b"503" not in answer:  # the others learn soon that nobody is left
            answer = requester.send(b"PUB none.service none.inbox 0\r\n\r\nPING\r\n").read_until(b"PONG\r\n")
        refusal = b"HMSG none.inbox 7 44 44\r\nNATS/1.0 503\r\nNats-Subject: none.service\r\n\r\n\r\n"
        assert answer == refusal + b"PONG\r\n"


class TestQueueGroups:
    """One member of all, uniformly, wherever it is."""

    @pytest.mark.parametrize("publishers", [(0,), (1,), (2,), (0, 1, 2, 3)], ids=str)
    def test_spread(self, crew: Crew, publishers: tuple[int, ...]) -> None:
        """Three members on worker 0, one on worker 1: a quarter for each, whoever publishes."""
        members = crew.place(0, 0, 0, 1)
        for member in members:
            member.send(b"SUB spread q 1\r\n").expect_pong()
        each = 100_000 // len(publishers)
        sources = crew.place(*publishers)
        for number, source in enumerate(sources):
            source.send(publish("spread", range(number * each, (number + 1) * each)))
        got = [b"".join(member.received_from(source) for source in sources) for member in members]
        shares = [numbers(data) for data in got]
        assert sorted(numbers(b"".join(got))) == list(range(100_000))
        assert all(23_750 < len(share) < 26_250 for share in shares), [len(share) for share in shares]

    def test_group_with_the_last_member_leaving_loses_nothing(self, crew: Crew) -> None:
        """Members come and drain on three workers, at least one is always there: each message reaches one of them."""
        source, *members = crew.place(0, 1, 2, 3)
        members[0].send(b"SUB drain q 1\r\n").expect_pong()
        got = [b""] * 3
        turns, each = 300, 100
        for turn in range(turns):
            new, old = (turn + 1) % 3, turn % 3
            got[new] += members[new].send(b"SUB drain q 1\r\n").expect_after(b"PONG\r\n")
            members[old].send(b"UNSUB 1\r\nPING\r\n")  # at the same time as
            source.send(publish("drain", range(turn * each, (turn + 1) * each))).expect_pong()
            got[old] += members[old].read_until(b"PONG\r\n")
            got[new] += members[new].received_from(source)
        rounds = count(1)
        while (
            len(numbers(b"".join(got))) < turns * each and next(rounds) < 1000
        ):  # one may be on its way over a third worker
            got = [data + member.received_from(source) for data, member in zip(got, members, strict=True)]
        assert sorted(numbers(b"".join(got))) == list(range(turns * each))

    def test_members_with_a_maximum_share_exactly_that(self, crew: Crew) -> None:
        """Four members on four workers take 500 messages each: of 2,000 none is lost, of more none is delivered."""
        members = crew.place(0, 1, 2, 3)
        for member in members:
            member.send(b"SUB share q 1\r\nUNSUB 1 500\r\n").expect_pong()
        (source,) = crew.place(0)
        source.send(publish("share", range(2_000)))
        for member in members:
            member.read_messages(500)
        source.send(publish("share", range(2_000, 2_100)))
        assert [numbers(member.received_from(source)) for member in members] == [[]] * 4


class TestExact:
    """Counts and limits are the server's, not a worker's."""

    def test_maximum_of_a_subscription(self, crew: Crew) -> None:
        (subscriber,) = crew.place(0)
        sources = crew.place(0, 1, 2, 3)
        for round_ in range(20):
            subscriber.send(b"SUB exact.%d 1\r\nUNSUB 1 1000\r\n" % round_).expect_pong()
            data = publish(f"exact.{round_}", range(1000))
            together([partial(source.send, data) for source in sources])
            got = b"".join(subscriber.received_from(source) for source in sources)
            assert len(numbers(got)) == 1000

    def test_connections_that_race_for_the_last_places(self) -> None:
        """All workers find many connections waiting at the same moment, and as many as may are let in.

        Workers that decide about the last place at the very same moment may all refuse: it is free for the next.
        """
        limit, racers = 20, 80
        server = start(FOUR, f"max_connections: {limit}")
        try:
            for _ in range(5):
                for worker in server.workers():
                    os.kill(worker, signal.SIGSTOP)
                clients = [Raw(server.port, info=False) for _ in range(racers)]
                for worker in server.workers():
                    os.kill(worker, signal.SIGCONT)
                for client in clients:
                    client.send(b'CONNECT {"verbose":false}\r\nPING\r\n')
                    client.expect_info()
                answers = Counter(client.read_until(b"\r\n") for client in clients)
                refusal = b"-ERR 'maximum connections exceeded'\r\n"
                assert set(answers) == {b"PONG\r\n", refusal}
                admitted = answers[b"PONG\r\n"]
                assert limit - len(server.workers()) < admitted <= limit
                clients += [Raw(server.port).hello() for _ in range(limit - admitted)]
                Raw(server.port).expect_eof(refusal)
                for client in clients:
                    client.leave()
            server.stop()
        finally:
            server.destroy()

    def test_client_ids_never_repeat(self, server: Server) -> None:
        seen: Counter[int] = Counter()
        for _ in range(3):
            clients = together([lambda: [Raw(server.port) for _ in range(25)]] * 8)
            seen.update(client.info["client_id"] for some in clients for client in some)
            for some in clients:
                for client in some:
                    client.leave()
        assert len(seen) == 600 and set(seen.values()) == {1}


class TestLoad:
    """Much traffic between workers, and unrest beside it."""

    def test_a_million_messages_while_clients_come_and_go(self, server: Server, crew: Crew) -> None:
        """Ten publishers on one worker, ten subscribers on the others: each gets all of its 100,000, in order."""
        publishers = crew.place(*[0] * 10)
        subscribers = crew.place(*[1, 2, 3] * 3, 1)
        for number, subscriber in enumerate(subscribers):
            subscriber.send(b"SUB flow.%d 1\r\n" % number).expect_pong()
        done = Event()

        def source(publisher: Raw, number: int) -> None:
            for first in range(0, 10_000, 200):
                publisher.send(
                    "".join(
                        f"PUB flow.{to} 6\r\n{number}{value:05}\r\n"
                        for value in range(first, first + 200)
                        for to in range(10)
                    ).encode()
                )

        def received(subscriber: Raw, number: int) -> list[list[int]]:
            data = subscriber.take(100_000 * len(b"MSG flow.0 1 6\r\n000000\r\n"))
            found = numbers(data)
            assert data.count(b"MSG flow.%d 1 6\r\n" % number) == len(found) == 100_000
            return [[value % 100_000 for value in found if value // 100_000 == each] for each in range(10)]

        def unrest(seed: int) -> int:
            chosen = Random(seed)
            lives = 0
            while not done.is_set():
                client = Raw(server.port, timeout=PATIENCE)
                client.send(b'CONNECT {"verbose":false}\r\n')
                for sid in range(chosen.randrange(1, 30)):
                    subject = chosen.choice(["flow.*", "flow.>", f"flow.{sid % 10}", f"other.{seed}.{sid}"])
                    most = chosen.choice(["", " 1", " 50", " 1000"])  # none takes more than it can read
                    client.send(f"SUB {subject} {sid}\r\nUNSUB {sid}{most}\r\n".encode())
                if chosen.random() < 0.5:
                    client.send(b"PING\r\n").read_until(b"PONG\r\n")
                if chosen.random() < 0.5:
                    client.leave()
                client.close()  # with messages unread: a reset
                lives += 1
            return lives

        with ThreadPoolExecutor(2) as pool:
            restless = [pool.submit(unrest, seed) for seed in range(2)]
            try:
                got = together(
                    [
                        *(partial(received, each, number) for number, each in enumerate(subscribers)),
                        *(partial(source, each, number) for number, each in enumerate(publishers)),
                    ]
                )[:10]
            finally:
                done.set()
            assert all(each.result() > 0 for each in restless)
        whole = list(range(10_000))
        assert all(each == whole for streams in got for each in streams)
        for subscriber in subscribers:
            subscriber.expect_pong()  # and nothing twice

    def test_full_streams_in_both_directions(self, crew: Crew) -> None:
        """Two workers flood each other, and every message has eight readers: the streams between them fill and must flow on."""
        count_, size, fan = 10_000, 1_000, 8
        sides = [crew.place(0, *[1] * fan), crew.place(1, *[0] * fan)]
        jobs: list[Callable[[], object]] = []
        for side, (publisher, *readers) in enumerate(sides):
            payload = bytes([ord("a") + side]) * (size - 6)
            head = b"full.%d" % side
            for reader in readers:
                reader.send(b"SUB %s 1\r\n" % head).expect_pong()
            sent = b"".join(b"PUB %s %d\r\n%s%06d\r\n" % (head, size, payload, n) for n in range(count_))
            wanted = b"".join(b"MSG %s 1 %d\r\n%s%06d\r\n" % (head, size, payload, n) for n in range(count_))
            jobs.append(partial(publisher.send, sent))
            jobs += [partial(read_slowly, reader, wanted) for reader in readers]
        together(jobs)
        for publisher, *readers in sides:
            for client in (publisher, *readers):
                client.expect_pong()


def read_slowly(client: Raw, wanted: bytes) -> None:
    """Assert that exactly ``wanted`` comes, taking little at a time."""
    client.sock.settimeout(client.timeout)
    at = 0
    while at < len(wanted):
        data = client.sock.recv(min(16_384, len(wanted) - at))
        assert data and wanted.startswith(data, at), f"{data[:100]!r} instead of {wanted[at : at + 100]!r}"
        at += len(data)


class TestRestart:
    """A worker that dies costs its own clients a reconnect, and its successor is a full member."""

    def test_under_load(self) -> None:
        server = start(FOUR)
        crew = Crew(server)
        try:
            sources = crew.place(0, 1, 2)
            readers = crew.place(1, 2, 0)
            seen = {client.info["client_id"] for client in (*sources, *readers)}
            for number, reader in enumerate(readers):
                reader.send(b"SUB load.%d 1\r\n" % number).expect_pong()
            (reader,) = crew.place(1)
            reader.send(b"".join(b"SUB big.%d big%d\r\n" % (n, n) for n in range(5000))).expect_pong()
            done = Event()

            def flow(number: int) -> None:
                sent = 0
                while not done.is_set():
                    sources[number].send(publish(f"load.{number}", range(sent, sent + 50)))
                    readers[number].send(b"SUB churn.%d.%d %d\r\nUNSUB %d\r\n" % (number, sent, sent, sent))
                    readers[number].send(b"SUB churn.%d.%d last%d\r\n" % (number, sent, sent)).send(
                        b"UNSUB last%d\r\n" % sent
                    )
                    got = readers[number].received_from(sources[number])
                    assert numbers(got) == list(range(sent, sent + 50))
                    sent = (sent + 50) % 900_000

            with ThreadPoolExecutor(3) as pool:
                flows = [pool.submit(flow, number) for number in range(3)]
                try:
                    for _ in range(3):
                        seen |= self.replace_worker(server, reader)
                finally:
                    done.set()
                for each in flows:
                    each.result()
            assert len(seen) == 6 + 3 * 9
            crew.close()
            server.stop()
        finally:
            server.destroy()

    @staticmethod
    def replace_worker(server: Server, reader: Raw) -> set[int]:
        """Kill the youngest worker and try its successor; the new clients' ids."""
        crew = Crew(server)
        doomed = crew.place(3, 3)
        doomed[0].send(b"SUB dead 1\r\n").expect_pong()
        mark = server.log.mark()
        os.kill(server.workers()[3], signal.SIGKILL)
        for client in doomed:
            client.read_eof()
        (asker,) = crew.place(0, headers=True, no_responders=True)
        asker.send(b"SUB dead.inbox 2\r\n")
        while b"503" not in asker.send(b"PUB dead dead.inbox 0\r\n\r\n").expect_after(b"PONG\r\n"):
            continue  # the others notice at once that it is dead, and then know that nobody has its interest
        joined = Event()

        def hesitate() -> None:
            """One of its peers does everything late, in another order than the others."""
            while not joined.is_set():
                os.kill(server.workers()[1], signal.SIGSTOP)
                joined.wait(0.02)
                os.kill(server.workers()[1], signal.SIGCONT)
                joined.wait(0.01)

        def wait() -> None:
            try:
                server.log.wait_for(r"Worker 3 .*is ready", since=mark)
            finally:
                joined.set()

        together([hesitate, wait])
        clients = crew.place(3, 3, 3, 0, 1, 2)
        new = clients[0].send(b"SUB fresh 1\r\nSUB fresh.q q 2\r\nSUB load.0 3\r\nUNSUB 3\r\n").expect_pong()
        for other in clients[1:]:
            other.send(b"PUB fresh 0\r\n\r\nPUB fresh.q 0\r\n\r\n")
            assert new.received_from(other) == b"MSG fresh 1 0\r\n\r\nMSG fresh.q 2 0\r\n\r\n"
        for number in range(0, 5000, 50):
            new.send(b"PUB big.%d 0\r\n\r\n" % number)
        expected = b"".join(b"MSG big.%d big%d 0\r\n\r\n" % (n, n) for n in range(0, 5000, 50))
        assert reader.received_from(new) == expected  # it knows what the others have told long ago
        for number, other in enumerate(clients[3:]):
            other.send(b"SUB old.%d 1\r\n" % number).expect_pong()
            new.send(b"PUB old.%d 0\r\n\r\n" % number)
            assert other.received_from(new) == b"MSG old.%d 1 0\r\n\r\n" % number
        ids = {client.info["client_id"] for client in (*doomed, asker, *clients)}
        crew.close()
        return ids
