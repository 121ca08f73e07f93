"""What happens at a limit: section 13 of the client protocol."""

from __future__ import annotations

import time
from typing import Final

import pytest

from tests.harness import Raw
from tests.server.shared import Dial

PAYLOAD: Final = b"-ERR 'Maximum Payload Violation'\r\n"
LINE: Final = b"-ERR 'maximum control line exceeded'\r\n"
CONNECTIONS: Final = b"-ERR 'maximum connections exceeded'\r\n"
SUBSCRIPTIONS: Final = b"-ERR 'maximum subscriptions exceeded'\r\n"


class TestMaxPayload:
    """Checked on the announced size, headers included."""

    @pytest.mark.parametrize("line", [b"PUB foo 1048577", b"PUB foo re.ply 999999999", b"pub foo 1048577"])
    def test_refused_before_it_is_sent(self, dial: Dial, line: bytes) -> None:
        dial().hello().send(line + b"\r\n").expect_eof(PAYLOAD)

    @pytest.mark.parametrize("line", [b"HPUB foo 12 1048577", b"HPUB foo re.ply 1048577 1048577"])
    def test_headers_count(self, dial: Dial, line: bytes) -> None:
        dial().hello(headers=True).send(line + b"\r\n").expect_eof(PAYLOAD)

    def test_largest(self, dial: Dial) -> None:
        body = bytes(range(256)) * 4096
        client = dial().hello(headers=True).send(b"SUB big 1\r\nPUB big 1048576\r\n" + body + b"\r\n")
        client.expect(b"MSG big 1 1048576\r\n" + body + b"\r\n")
        client.send(b"HPUB big 12 1048576\r\nNATS/1.0\r\n\r\n" + body[12:] + b"\r\n")
        client.expect(b"HMSG big 1 12 1048576\r\nNATS/1.0\r\n\r\n" + body[12:] + b"\r\n").expect_pong()

    def test_largest_for_others(self, dial: Dial) -> None:
        body = bytes(range(255, -1, -1)) * 4096
        subscribers = [dial().hello(headers=True).send(b"SUB huge 1\r\n").expect_pong() for _ in range(4)]
        dial().hello().send((b"PUB huge 1048576\r\n" + body + b"\r\n") * 3)
        for subscriber in subscribers:
            subscriber.expect((b"MSG huge 1 1048576\r\n" + body + b"\r\n") * 3).expect_pong()

    def test_configured(self, dial: Dial) -> None:
        small = "max_payload: 100"
        assert dial(small).info["max_payload"] == 100
        dial(small).hello().send(b"SUB a 1\r\nPUB a 100\r\n" + b"x" * 100 + b"\r\n").expect(
            b"MSG a 1 100\r\n" + b"x" * 100 + b"\r\n"
        )
        dial(small).hello().send(b"PUB a 101\r\n").expect_eof(PAYLOAD)

    def test_none(self, dial: Dial) -> None:
        client = dial("max_payload: -1")
        assert client.info["max_payload"] == -1
        body = b"0123456789abcdef" * (3 << 16)
        client.hello().send(b"SUB a 1\r\nPUB a %d\r\n%s\r\n" % (len(body), body))
        client.expect(b"MSG a 1 %d\r\n%s\r\n" % (len(body), body)).expect_pong()


@pytest.mark.parametrize(("config", "limit"), [("", 4096), ("max_control_line: 1kb", 1024)])
class TestMaxControlLine:
    """The bytes of the arguments count: from the first one to the last before the line's end."""

    def test_sub(self, dial: Dial, config: str, limit: int) -> None:
        subject = b"x" * (limit - 2)
        client = dial(config).hello(verbose=True).send(b"SUB %s 1\r\n" % subject).expect(b"+OK\r\n")
        client.send(b"PUB %s 0\r\n\r\n" % subject).expect(b"+OK\r\nMSG %s 1 0\r\n\r\n" % subject)
        client.send(b"SUB   %s 2\r\n" % subject).expect(b"+OK\r\n")  # blanks after the verb do not count
        client.send(b"SUB %sx 3\r\n" % subject).expect_eof(LINE)

    @pytest.mark.parametrize("verb", [b"PUB", b"HPUB", b"UNSUB", b"CONNECT", b"INFO", b"-ERR"])
    def test_no_end_in_sight(self, dial: Dial, config: str, limit: int, verb: bytes) -> None:
        client = dial(config).hello(headers=True).send(verb + b" " + b"x" * limit)
        client.expect_nothing_yet().send(b"x").expect_eof(LINE)

    def test_pub(self, dial: Dial, config: str, limit: int) -> None:
        client = (
            dial(config)
            .hello(verbose=True)
            .send(b"PUB %s 0\r\n\r\n" % (b"x" * (limit - 2)))
            .expect(b"+OK\r\n")
        )
        client.send(b"PUB %s 0\r\n" % (b"x" * (limit - 1))).expect_eof(LINE)

    def test_connect(self, dial: Dial, config: str, limit: int) -> None:
        fits = b'{"name":"%s"}' % (b"x" * (limit - 11))
        assert len(fits) == limit
        dial(config).send(b"CONNECT %s\r\n" % fits).expect(b"+OK\r\n").expect_pong()
        dial(config).send(b"CONNECT %s \r\n" % fits).expect_eof(LINE)

    def test_ping_is_no_line_with_arguments(self, dial: Dial, config: str, limit: int) -> None:
        dial(config).hello().send(b"PING" + b"x" * 3 * limit + b"\r\n").expect(b"PONG\r\n").expect_pong()


class TestMaxConnections:
    """One too many is told why and sent away."""

    CONFIG: Final = "max_connections: 5"

    def test_excess(self, dial: Dial) -> None:
        clients = [dial(self.CONFIG).hello() for _ in range(5)]
        for _ in range(10):
            dial(self.CONFIG).expect_eof(CONNECTIONS)  # after the INFO line
        for client in clients:
            client.expect_pong()
        clients.pop().leave()
        self.enter(dial)

    def enter(self, dial: Dial) -> Raw:
        """Connect; a place that has just become free may take a moment to be seen."""
        deadline = time.monotonic() + 5.0
        while (client := dial(self.CONFIG).send(b"PING\r\n")).read_until(b"\r\n") != b"PONG\r\n":
            assert time.monotonic() < deadline, "the place of a client that left stays taken"
        return client

    @pytest.mark.parametrize("limit", [0, -1])
    def test_zero_and_less_mean_nobody(self, dial: Dial, limit: int) -> None:
        dial(f"max_connections: {limit}").expect_eof(CONNECTIONS)


class TestMaxSubscriptions:
    """A connection may have so many; the rest is ignored."""

    CONFIG: Final = "max_subscriptions: 3"

    def test_excess(self, dial: Dial) -> None:
        client = (
            dial(self.CONFIG)
            .hello(verbose=True)
            .send(b"SUB a 1\r\nSUB b 2\r\nSUB c q 3\r\n")
            .expect(b"+OK\r\n" * 3)
        )
        client.send(b"SUB d 4\r\n").expect(SUBSCRIPTIONS)
        client.send(b"SUB a 1\r\n").expect(SUBSCRIPTIONS)  # even a known sid
        client.send(b"PUB d 0\r\n\r\nPUB c 0\r\n\r\n").expect(b"+OK\r\n+OK\r\nMSG c 3 0\r\n\r\n")
        client.send(b"UNSUB 2\r\nSUB d 4\r\nPUB d 0\r\n\r\n").expect(
            b"+OK\r\n+OK\r\n+OK\r\nMSG d 4 0\r\n\r\n"
        )
        client.expect_pong()

    def test_each_connection_has_its_own(self, dial: Dial) -> None:
        for _ in range(4):
            dial(self.CONFIG).hello().send(b"SUB a 1\r\nSUB a 2\r\nSUB a 3\r\n").expect_pong()


SLOW: Final = 'max_pending: 2mb\nwrite_deadline: "1m"'
STUCK: Final = 'write_deadline: "400ms"'
DROPPING: Final = SLOW + "\nno_fast_producer_stall: true"


class TestSlowConsumer:
    """A client that does not read is closed without a word, others do not notice."""

    @staticmethod
    def flood(dial: Dial, config: str, log_line: str, size: int = 10_000) -> None:
        """Publish to a client that does not read, until the log says that it has been cut."""
        slow = dial(config).hello().send(b"SUB flood 1\r\n").expect_pong()
        good = dial(config).hello().send(b"SUB flood 1\r\n").expect_pong()
        publisher = dial(config).hello()
        log = dial.server(config).log
        since = log.mark()
        piece = (b"PUB flood %d\r\n" % size + b"x" * size + b"\r\n") * 50
        message = b"MSG flood 1 %d\r\n" % size + b"x" * size + b"\r\n"
        for _ in range(40):  # more than the sockets' own buffers and the limit hold
            publisher.send(piece)
            good.expect(message * 50)
        log.wait_for(log_line, since=since)
        got = slow.read_eof()
        assert got[: len(message)] == message and b"-ERR" not in got
        assert len(got) < 40 * 50 * len(message)
        publisher.expect_pong()
        publisher.send(b"PUB flood 2\r\nok\r\n")
        good.expect(b"MSG flood 1 2\r\nok\r\n").expect_pong()

    def test_pending_bytes(self, dial: Dial) -> None:
        self.flood(dial, SLOW, r"Slow Consumer Detected: MaxPending of 2097152 Exceeded")

    def test_write_deadline(self, dial: Dial) -> None:
        self.flood(dial, STUCK, r"Slow Consumer Detected: WriteDeadline of 400ms exceeded")

    def test_dropping_instead(self, dial: Dial) -> None:
        slow = dial(DROPPING).hello().send(b"SUB drop 1\r\n").expect_pong()
        publisher = dial(DROPPING).hello()
        body = b"x" * 9_990
        for start in range(0, 2000, 50):
            publisher.send(
                b"".join(b"PUB drop 10000\r\n%010d%s\r\n" % (i, body) for i in range(start, start + 50))
            )
            publisher.expect_pong()
        numbers: list[int] = []
        while (head := slow.read_until(b"\r\n")) == b"MSG drop 1 10000\r\n":
            numbers.append(int(slow.take(10)))
            assert slow.take(9_992) == body + b"\r\n"
            publisher.send(b"PUB drop 4\r\nlast\r\n").expect_pong()  # lost, too, until there is room again
        assert head == b"MSG drop 1 4\r\n"
        assert numbers == sorted(set(numbers)) and numbers[0] == 0 and len(numbers) < 2000
        publisher.expect_pong()
