"""Random histories of subscriptions that come and go, against a model of lists: each step is checked when it has happened.

``test_matching`` has many subscriptions and messages at once. Here few clients, on every worker, subscribe, unsubscribe, set
maximums, leave and publish one after the other, so that what a worker knows of the others is always changing.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.harness import FOUR, ONE, Kind, Raw, Server, start
from tests.server.crew import Crew

ROUNDS: Final = 200  # of asking whether something more has come
CLIENTS: Final = 6  # on four workers: two have two
MESSAGE: Final = re.compile(rb"MSG \S+ (\d+) 4\r\n(\d{4})\r\n")


@dataclass(slots=True, frozen=True)
class Subscribe:
    """SUB, and with a maximum UNSUB in the same write."""

    client: int
    pattern: str
    queue: str
    maximum: int  # 0: none


@dataclass(slots=True, frozen=True)
class Unsubscribe:
    """UNSUB of one of the client's subscriptions, by position among those it has."""

    client: int
    which: int


@dataclass(slots=True, frozen=True)
class Leave:
    """The connection is closed, and another one takes its place, perhaps on another worker."""

    client: int


@dataclass(slots=True, frozen=True)
class Publish:
    """A burst of messages to one subject."""

    client: int
    subject: str
    burst: int


Step = Subscribe | Unsubscribe | Leave | Publish

_CLIENT: Final = st.integers(0, CLIENTS - 1)
_PATTERN: Final = st.sampled_from("a b a.b a.a a.* *.b * > a.> *.*.> a.b.c *.*".split())
_SUBJECT: Final = st.sampled_from("a b a.b a.a a.c b.b a.b.c a.b.d".split())
_STEP: Final = st.one_of(
    st.builds(
        Subscribe, _CLIENT, _PATTERN, st.sampled_from(["", "", "q", "r"]), st.sampled_from([0, 0, 0, 1, 3])
    ),
    st.builds(Publish, _CLIENT, _SUBJECT, st.sampled_from([1, 1, 2, 5])),
    st.builds(Publish, _CLIENT, _SUBJECT, st.sampled_from([1, 1, 2, 5])),
    st.builds(Unsubscribe, _CLIENT, st.integers(0, 9)),
    st.builds(Leave, _CLIENT),
)


def matches(pattern: str, subject: str) -> bool:
    """What the protocol says, token by token."""
    wanted, tokens = pattern.split("."), subject.split(".")
    if wanted[-1] == ">":
        wanted, tokens = wanted[:-1], tokens[: len(wanted) - 1] if len(tokens) >= len(wanted) else []
        if not tokens and wanted:
            return False
    return len(wanted) == len(tokens) and all(w in ("*", t) for w, t in zip(wanted, tokens, strict=True))


@dataclass(slots=True)
class Live:
    """A subscription of the model."""

    client: int
    pattern: str
    queue: str
    left: int | None
    got: list[int] = field(default_factory=list)


class World:
    """Real clients, and the model of what they are subscribed to. Every example has subjects of its own."""

    def __init__(self, server: Server) -> None:
        self.crew = Crew(server)
        self.workers = server.kind.workers
        self.clients = self.crew.place(*(number % self.workers for number in range(CLIENTS)))
        self.sids = count(1)
        self.examples = count(1)
        self.numbers = count(0)
        self.prefix = ""
        self.live: dict[int, Live] = {}

    def run(self, steps: list[Step]) -> None:
        """One example, from nothing to nothing."""
        self.prefix = f"x{next(self.examples)}."
        for step in steps:
            match step:
                case Subscribe():
                    self.subscribe(step)
                case Unsubscribe(client, which):
                    mine = [sid for sid, each in self.live.items() if each.client == client]
                    if mine:
                        self.unsubscribe(mine[which % len(mine)])
                case Leave(client):
                    self.replace(client)
                case Publish():
                    self.publish(step)
        for sid in list(self.live):
            self.unsubscribe(sid)

    def subscribe(self, step: Subscribe) -> None:
        """It is in force for everybody when the PONG has come."""
        sid = next(self.sids)
        queue = f" {step.queue}" if step.queue else ""
        line = f"SUB {self.prefix}{step.pattern}{queue} {sid}\r\n"
        if step.maximum:
            line += f"UNSUB {sid} {step.maximum}\r\n"
        self.clients[step.client].send(line.encode()).expect_pong()
        self.live[sid] = Live(step.client, step.pattern, step.queue, step.maximum or None)

    def unsubscribe(self, sid: int) -> None:
        """Nothing comes any more when the PONG has come."""
        self.clients[self.live.pop(sid).client].send(b"UNSUB %d\r\n" % sid).expect_pong()

    def replace(self, client: int) -> None:
        """The others must not notice, except that a group has fewer members."""
        self.clients[client].leave()
        self.live = {sid: each for sid, each in self.live.items() if each.client != client}
        (self.clients[client],) = self.crew.place(client % self.workers)

    def publish(self, step: Publish) -> None:
        """Compare who got what with who had to."""
        numbers = [next(self.numbers) % 10_000 for _ in range(step.burst)]
        publisher = self.clients[step.client]
        publisher.send(
            "".join(f"PUB {self.prefix}{step.subject} 4\r\n{number:04}\r\n" for number in numbers).encode()
        )
        matching = {sid: each for sid, each in self.live.items() if matches(each.pattern, step.subject)}
        wanted = self.wanted(matching, step.burst)
        got: dict[int, list[int]] = {}
        rounds = count(1)
        while sum(map(len, got.values())) < wanted and next(rounds) <= ROUNDS:
            self.collect(publisher, got)
        self.collect(publisher, got)  # and nothing more
        assert got.keys() <= matching.keys()
        for sid, each in matching.items():
            if not each.queue:
                assert got.get(sid, []) == numbers[: each.left]
        for queue in {each.queue for each in matching.values()} - {""}:
            members = {sid: each for sid, each in matching.items() if each.queue == queue}
            taken = Counter(number for sid in members for number in got.get(sid, []))
            assert set(taken.values()) == {1} and len(taken) == self.wanted(members, step.burst)
        for sid, received in got.items():
            left = self.live[sid].left
            if left is not None:
                assert len(received) <= left
                self.live[sid].left = left - len(received)
                if left == len(received):
                    del self.live[sid]

    def collect(self, publisher: Raw, got: dict[int, list[int]]) -> None:
        """Add what has come.

        A message for a group may take a way over several workers, if the member that was picked had its maximum: it
        can come a little later than what was published after it.
        """
        for each in self.clients:
            for sid, number in MESSAGE.findall(each.received_from(publisher)):
                got.setdefault(int(sid), []).append(int(number))

    @staticmethod
    def wanted(subscriptions: dict[int, Live], burst: int) -> int:
        """How many of ``burst`` messages these (matching) subscriptions receive in all."""
        room: Counter[str] = Counter()
        total = 0
        for each in subscriptions.values():
            takes = burst if each.left is None else min(each.left, burst)
            if each.queue:
                room[each.queue] += takes
            else:
                total += takes
        return total + sum(min(takes, burst) for takes in room.values())


@pytest.fixture(scope="module", params=[ONE, FOUR], ids=lambda kind: kind.name)
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    """A server with clients on all its workers."""
    chosen: Kind = request.param
    server = start(chosen)
    try:
        made = World(server)
        yield made
        made.crew.close()
        server.stop()
    finally:
        server.destroy()


def test_histories(world: World) -> None:
    @settings(
        max_examples=120,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(st.lists(_STEP, min_size=5, max_size=40))
    def history(steps: list[Step]) -> None:
        world.run(steps)

    history()
