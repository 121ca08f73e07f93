"""Subscriptions, queue groups, UNSUB and echo: sections 5.3 and 8 of the client protocol."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.harness import Raw
from tests.server.shared import Dial


def sids(data: bytes) -> list[int]:
    """The sids of the (empty) messages in ``data``, in order."""
    return [int(message.split()[1]) for message in data.split(b"MSG ")[1:]]


def test_repeated_sid_keeps_the_first_subject(dial: Dial) -> None:
    client = dial().hello(verbose=True)
    client.send(b"SUB dup.a 1\r\nSUB dup.b 1\r\nSUB dup.c q 1\r\n").expect(b"+OK\r\n" * 3)
    client.send(b"PUB dup.b 0\r\n\r\nPUB dup.c 0\r\n\r\nPUB dup.a 0\r\n\r\n")
    client.expect(b"+OK\r\n+OK\r\n+OK\r\nMSG dup.a 1 0\r\n\r\n").expect_pong()


def test_one_copy_for_each_subscription_of_a_connection(dial: Dial) -> None:
    client = dial().hello()
    client.send(
        b"SUB copy.a 1\r\nSUB copy.a 2\r\nSUB copy.* 3\r\nSUB copy.> 4\r\nPUB copy.a 0\r\n\r\nPING\r\n"
    )
    got = client.read_until(b"PONG\r\n")
    assert sorted(sids(got.removesuffix(b"PONG\r\n"))) == [1, 2, 3, 4]


def test_sids_are_private_to_a_connection(dial: Dial) -> None:
    one, two = dial().hello().watch(), dial().hello().watch()
    one.send(b"SUB private 1\r\n").expect_pong()
    two.send(b"UNSUB 1\r\n").expect_pong()
    publisher = dial().hello().send(b"PUB private 0\r\n\r\n")
    assert one.received_from(publisher) == b"MSG private 1 0\r\n\r\n"
    assert two.received_from(publisher) == b""


@pytest.mark.parametrize("elsewhere", [False, True])
class TestUnsub:
    """The publisher is the subscriber, or another connection."""

    @staticmethod
    def pair(dial: Dial, elsewhere: bool) -> tuple[Raw, Raw]:
        """A watching subscriber and a publisher."""
        subscriber = dial().hello().watch()
        return subscriber, dial().hello() if elsewhere else subscriber

    def test_at_once(self, dial: Dial, elsewhere: bool) -> None:
        subscriber, publisher = self.pair(dial, elsewhere)
        subscriber.send(b"SUB un.a 1\r\nUNSUB 1\r\n").expect_pong()
        publisher.send(b"PUB un.a 0\r\n\r\n")
        assert subscriber.received_from(publisher) == b""

    @pytest.mark.parametrize("maximum", [1, 2, 5])
    def test_after_a_number_of_messages(self, dial: Dial, elsewhere: bool, maximum: int) -> None:
        subscriber, publisher = self.pair(dial, elsewhere)
        subscriber.send(b"SUB un.b 1\r\nUNSUB 1 %d\r\n" % maximum).expect_pong()
        publisher.send(b"PUB un.b 0\r\n\r\n" * (maximum + 3))
        assert subscriber.received_from(publisher) == b"MSG un.b 1 0\r\n\r\n" * maximum
        subscriber.send(b"SUB un.b 1\r\n").expect_pong()  # the sid is free again
        publisher.send(b"PUB un.b 0\r\n\r\n")
        assert subscriber.received_from(publisher) == b"MSG un.b 1 0\r\n\r\n"

    def test_maximum_counts_from_the_start(self, dial: Dial, elsewhere: bool) -> None:
        subscriber, publisher = self.pair(dial, elsewhere)
        subscriber.send(b"SUB un.c 1\r\n").expect_pong()
        publisher.send(b"PUB un.c 0\r\n\r\n" * 3)
        assert subscriber.received_from(publisher) == b"MSG un.c 1 0\r\n\r\n" * 3
        subscriber.send(b"UNSUB 1 5\r\n").expect_pong()
        publisher.send(b"PUB un.c 0\r\n\r\n" * 5)
        assert subscriber.received_from(publisher) == b"MSG un.c 1 0\r\n\r\n" * 2

    @pytest.mark.parametrize("maximum", ["2", "3", "0", "-5", "x", "1x", "00"])
    def test_reached_or_meaningless_maximum_removes_at_once(
        self, dial: Dial, elsewhere: bool, maximum: str
    ) -> None:
        subscriber, publisher = self.pair(dial, elsewhere)
        subscriber.send(b"SUB un.d 1\r\n").expect_pong()
        publisher.send(b"PUB un.d 0\r\n\r\n" * 3)
        assert subscriber.received_from(publisher) == b"MSG un.d 1 0\r\n\r\n" * 3
        subscriber.send(b"UNSUB 1 %s\r\n" % maximum.encode()).expect_pong()
        publisher.send(b"PUB un.d 0\r\n\r\n")
        assert subscriber.received_from(publisher) == b""

    def test_later_unsub_removes_at_once(self, dial: Dial, elsewhere: bool) -> None:
        subscriber, publisher = self.pair(dial, elsewhere)
        subscriber.send(b"SUB un.e 1\r\nUNSUB 1 10\r\n").expect_pong()
        publisher.send(b"PUB un.e 0\r\n\r\n" * 2)
        assert subscriber.received_from(publisher) == b"MSG un.e 1 0\r\n\r\n" * 2
        subscriber.send(b"UNSUB 1\r\n").expect_pong()
        publisher.send(b"PUB un.e 0\r\n\r\n" * 2)
        assert subscriber.received_from(publisher) == b""

    def test_later_unsub_replaces_the_maximum(self, dial: Dial, elsewhere: bool) -> None:
        subscriber, publisher = self.pair(dial, elsewhere)
        subscriber.send(b"SUB un.f 1\r\nUNSUB 1 1\r\nUNSUB 1 4\r\n").expect_pong()
        publisher.send(b"PUB un.f 0\r\n\r\n" * 6)
        assert subscriber.received_from(publisher) == b"MSG un.f 1 0\r\n\r\n" * 4

    def test_queue_member(self, dial: Dial, elsewhere: bool) -> None:
        subscriber, publisher = self.pair(dial, elsewhere)
        subscriber.send(b"SUB un.g q 1\r\nUNSUB 1 2\r\n").expect_pong()
        publisher.send(b"PUB un.g 0\r\n\r\n" * 5)
        assert subscriber.received_from(publisher) == b"MSG un.g 1 0\r\n\r\n" * 2

    def test_closed_connection_is_no_subscriber(self, dial: Dial, elsewhere: bool) -> None:
        subscriber, publisher = self.pair(dial, elsewhere)
        other = dial().hello().send(b"SUB un.h q 1\r\n").expect_pong()
        other.leave()
        subscriber.send(b"SUB un.h q 1\r\n").expect_pong()
        publisher.send(b"PUB un.h 0\r\n\r\n" * 20)
        assert subscriber.received_from(publisher) == b"MSG un.h 1 0\r\n\r\n" * 20


def test_unknown_sid_is_no_error(dial: Dial) -> None:
    dial().hello(verbose=True).send(b"UNSUB 77\r\nUNSUB 77 3\r\nUNSUB x y\r\n").expect(
        b"+OK\r\n" * 3
    ).expect_pong()


def test_queue_group_shares_evenly(dial: Dial) -> None:
    members = [dial().hello().watch().send(b"SUB even g %d\r\n" % i).expect_pong() for i in range(3)]
    publisher = dial().hello().send(b"PUB even 4\r\nbody\r\n" * 3000)
    counts = [
        member.received_from(publisher).count(b"MSG even %d 4\r\nbody\r\n" % i)
        for i, member in enumerate(members)
    ]
    assert sum(counts) == 3000
    assert all(800 <= count <= 1200 for count in counts), counts


def test_queue_group_on_one_connection(dial: Dial) -> None:
    client = (
        dial()
        .hello()
        .send(b"SUB one g 1\r\nSUB one g 2\r\nSUB one g 3\r\n" + b"PUB one 0\r\n\r\n" * 3000 + b"PING\r\n")
    )
    counts = Counter(sids(client.read_until(b"PONG\r\n").removesuffix(b"PONG\r\n")))
    assert counts.total() == 3000 and all(800 <= counts[sid] <= 1200 for sid in (1, 2, 3)), counts


def test_groups_and_plain_subscribers_are_independent(dial: Dial) -> None:
    subscriptions = (
        b"SUB ind g1 1",
        b"SUB ind g1 2",
        b"SUB ind g2 3",
        b"SUB ind g2 4",
        b"SUB ind 5",
        b"SUB ind 6",
    )
    members = [dial().hello().watch().send(line + b"\r\n").expect_pong() for line in subscriptions]
    publisher = dial().hello().send(b"PUB ind 0\r\n\r\n" * 100)
    counts = [len(sids(member.received_from(publisher))) for member in members]
    assert counts[0] + counts[1] == 100 and counts[2] + counts[3] == 100 and counts[4:] == [100, 100]
    assert all(counts)


@pytest.mark.parametrize("subject", [b"mix.1", b"mix.2"])
def test_patterns_with_the_same_queue_name_are_one_group(dial: Dial, subject: bytes) -> None:
    subscriptions = (
        b"SUB mix.* g 1",
        b"SUB mix.> g 2",
        b"SUB %s g 3" % subject,
        b"SUB mix.other g 4",
        b"SUB mix.* h 5",
    )
    members = [dial().hello().watch().send(line + b"\r\n").expect_pong() for line in subscriptions]
    publisher = dial().hello().send(b"PUB %s 0\r\n\r\n" % subject * 300)
    counts = [len(sids(member.received_from(publisher))) for member in members]
    assert sum(counts[:3]) == 300 and all(50 <= count <= 150 for count in counts[:3]), counts
    assert counts[3:] == [0, 300]


def test_reserved_queue_name(dial: Dial) -> None:
    client = dial().hello(verbose=True).send(b"SUB foo _sys_ 1\r\n")
    client.expect(
        b'-ERR \'Permissions Violation for Subscription to "foo" using queue "_sys_"\'\r\n'
    ).expect_pong()


def test_no_echo(dial: Dial) -> None:
    quiet = dial().hello(echo=False).send(b"SUB echo 1\r\nSUB echo q 2\r\n").expect_pong()
    other = dial().hello().watch().send(b"SUB echo 1\r\n").expect_pong()
    quiet.send(b"PUB echo 0\r\n\r\n").expect_pong()
    assert other.received_from(quiet) == b"MSG echo 1 0\r\n\r\n"
    other.send(b"PUB echo 0\r\n\r\n").expect(b"MSG echo 1 0\r\n\r\n")
    assert sorted(sids(quiet.take(32))) == [1, 2]
    quiet.expect_pong()


def test_no_echo_tries_the_next_queue_member(dial: Dial) -> None:
    quiet = dial().hello(echo=False).send(b"SUB next g 1\r\n").expect_pong()
    other = dial().hello().watch().send(b"SUB next g 2\r\n").expect_pong()
    quiet.send(b"PUB next 0\r\n\r\n" * 200)
    assert other.received_from(quiet) == b"MSG next 2 0\r\n\r\n" * 200
    quiet.expect_pong()


def test_order_of_a_publisher(dial: Dial) -> None:
    subscribers = [dial().hello().watch().send(b"SUB order.> 1\r\n").expect_pong() for _ in range(4)]
    publisher = dial().hello()
    publisher.send(b"".join(b"PUB order.%d 4\r\n%04d\r\n" % (i % 7, i) for i in range(5000)))
    expected = b"".join(b"MSG order.%d 1 4\r\n%04d\r\n" % (i % 7, i) for i in range(5000))
    assert all(subscriber.received_from(publisher) == expected for subscriber in subscribers)


def test_many_subscriptions_come_and_go(dial: Dial) -> None:
    client = dial().hello()
    for _ in range(3):
        client.send(b"".join(b"SUB churn.%d.* %d\r\n" % (i, i) for i in range(3000)))
        client.send(b"PUB churn.0.a 0\r\n\r\nPUB churn.2999.a 0\r\n\r\n")
        client.expect(b"MSG churn.0.a 0 0\r\n\r\nMSG churn.2999.a 2999 0\r\n\r\n").expect_pong()
        client.send(b"".join(b"UNSUB %d\r\n" % i for i in range(3000)))
        client.send(b"PUB churn.0.a 0\r\n\r\nPUB churn.2999.a 0\r\n\r\n").expect_pong()
