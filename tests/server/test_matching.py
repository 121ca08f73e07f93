"""Random subscriptions and messages through real sockets, against a matcher so simple that it must be right."""

from __future__ import annotations

import re
from collections import defaultdict
from itertools import count
from typing import Final, NamedTuple

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.harness import Kind, Raw
from tests.server.shared import Servers

CLIENTS: Final = 4  # more connections than most runs have workers
MESSAGE: Final = re.compile(rb"MSG (\S+) (\d+) 4\r\n(\d{4})\r\n")


class Subscription(NamedTuple):
    """Which client subscribes to what, and in which queue group ("": none)."""

    client: int
    pattern: tuple[str, ...]
    queue: str


class Message(NamedTuple):
    """Which client publishes to what."""

    client: int
    subject: tuple[str, ...]


TOKENS: Final = st.sampled_from(["a", "b", "c", "ab", "A", "a*", "$x"])
PATTERNS: Final = st.builds(
    lambda tokens, tail: (*tokens, *tail),
    st.lists(st.one_of(TOKENS, st.just("*")), min_size=1, max_size=4),
    st.sampled_from([(), (), (">",)]),
) | st.just((">",))
SUBJECTS: Final = st.lists(
    st.one_of(TOKENS, TOKENS, st.sampled_from(["*", ">"])), min_size=1, max_size=5
).map(tuple)
SUBSCRIPTIONS: Final = st.lists(
    st.builds(Subscription, st.integers(0, CLIENTS - 1), PATTERNS, st.sampled_from(["", "", "q", "r"])),
    max_size=20,
)
MESSAGES: Final = st.lists(st.builds(Message, st.integers(0, CLIENTS - 1), SUBJECTS), min_size=1, max_size=20)


def matches(pattern: tuple[str, ...], subject: tuple[str, ...]) -> bool:
    """What the protocol says, and nothing clever."""
    if not pattern or not subject:
        return not pattern and not subject
    if pattern == (">",):
        return True
    return pattern[0] in ("*", subject[0]) and matches(pattern[1:], subject[1:])


class Room:
    """The clients of all examples. An example's queue names are its own, so that it meets no group of an earlier one."""

    def __init__(self, port: int) -> None:
        self.clients = [Raw(port).hello().watch() for _ in range(CLIENTS)]
        self.examples = count(1)

    def run(
        self, subscriptions: list[Subscription], messages: list[Message]
    ) -> list[list[tuple[str, int, int]]]:
        """For each client what it received: subject, position of the subscription, position of the message."""
        example = next(self.examples)
        for sid, (client, pattern, queue) in enumerate(subscriptions):
            name = f" {queue}{example}" if queue else ""
            self.clients[client].send(f"SUB {'.'.join(pattern)}{name} {sid}\r\n".encode())
        for client in self.clients:
            client.expect_pong()
        for number, (client, subject) in enumerate(messages):
            self.clients[client].send(f"PUB {'.'.join(subject)} 4\r\n{number:04}\r\n".encode())
        received = [b""] * CLIENTS
        for publisher in self.clients:
            for position, client in enumerate(self.clients):
                received[position] += client.received_from(publisher)
        for sid, (client, _, _) in enumerate(subscriptions):
            self.clients[client].send(f"UNSUB {sid}\r\n".encode())
        for position, client in enumerate(self.clients):
            received[position] += client.send(b"PING\r\n").read_until(b"PONG\r\n").removesuffix(b"PONG\r\n")
        return [self._parse(data) for data in received]

    @staticmethod
    def _parse(data: bytes) -> list[tuple[str, int, int]]:
        rest = re.sub(rb"MSG _end\S+ \d+ 0\r\n\r\n", b"", data)  # markers that a wildcard has caught
        assert not MESSAGE.sub(b"", rest), rest
        return [(subject.decode(), int(sid), int(number)) for subject, sid, number in MESSAGE.findall(rest)]


def check(
    subscriptions: list[Subscription], messages: list[Message], received: list[list[tuple[str, int, int]]]
) -> None:
    """Compare what was received with what had to be: every plain copy, one for each group, in each publisher's order."""
    got: dict[int, list[int]] = defaultdict(list)  # message -> sids
    for client, deliveries in enumerate(received):
        last: dict[tuple[int, int], int] = {}
        for subject, sid, number in deliveries:
            assert subject == ".".join(messages[number].subject)
            assert subscriptions[sid].client == client
            got[number].append(sid)
            order = (sid, messages[number].client)
            assert last.get(order, -1) < number, "out of order or twice"
            last[order] = number
    for number, message in enumerate(messages):
        matching = [sid for sid, each in enumerate(subscriptions) if matches(each.pattern, message.subject)]
        plain = [sid for sid in matching if not subscriptions[sid].queue]
        assert sorted(sid for sid in got[number] if not subscriptions[sid].queue) == plain
        groups = sorted({subscriptions[sid].queue for sid in matching} - {""})
        members = [sid for sid in got[number] if subscriptions[sid].queue]
        assert sorted(subscriptions[sid].queue for sid in members) == groups
        assert set(members) <= set(matching)


def test_random_subscriptions_and_messages(kind: Kind, servers: Servers) -> None:
    room = Room(servers.get().port)

    @settings(
        max_examples=150,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(SUBSCRIPTIONS, MESSAGES)
    def example(subscriptions: list[Subscription], messages: list[Message]) -> None:
        check(subscriptions, messages, room.run(subscriptions, messages))

    try:
        example()
    finally:
        for client in room.clients:
            client.leave()
