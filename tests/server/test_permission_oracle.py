"""Random accounts, permissions, imports and subscriptions: a message comes if and only if the model of a few loops says so.

What is compared: who gets a message (of a queue group: one who may), under which subject, with which reply, and what a service
is told of who asks; the text of each refusal; the notices of requests that nobody takes; and where answers arrive.
``nats-server`` plays the same cases, so that the model itself is checked. More cases: ``ORACLE_CASES=1000 ORACLE_SEED=5``.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from dataclasses import dataclass, field
from random import Random
from typing import Final

from tests.harness import Kind, Raw, Server, start
from tests.server.account_cases import REPLIES, SUBJECTS, accounts, config, populate, user_name
from tests.server.account_clients import HOPS, Fence, Message, frames, seen_as
from tests.server.account_model import Copy, Outcome, Waiting, World

CASES: Final = int(os.environ.get("ORACLE_CASES", "3"))
SEED: Final = int(os.environ.get("ORACLE_SEED", "1"))
ROUNDS: Final = 12  # of clients, for each configuration
PUBLISHES: Final = 120
ANSWERS: Final = 40


@dataclass(slots=True)
class Sent:
    """A message and what must come of it."""

    text: str
    outcome: Outcome
    seen: Counter[Copy] = field(default_factory=Counter)
    names: dict[int, str] = field(default_factory=dict)  # of replies of services, by what waits


class Play:
    """One round: clients of a server whose configuration is that of ``world``."""

    def __init__(self, server: Server, fence: Fence, world: World, random: Random) -> None:
        self.server, self.fence, self.world, self.random = server, fence, world, random
        self.sent: dict[str, Sent] = {}
        self.errors: list[list[str]] = [[] for _ in world.clients]  # expected, in order
        self.notices: list[Counter[tuple[str, str]]] = [Counter() for _ in world.clients]  # (reply, subject)
        self.perhaps: list[Counter[tuple[str, str]]] = [Counter() for _ in world.clients]
        self.tally: Counter[str] = Counter()
        self.answerable: list[tuple[int, str, Waiting | None]] = []
        self.raw = [
            Raw(server.port, timeout=60.0).hello(
                user=user_name(client.account, client.user),
                echo=client.echo,
                headers=True,
                no_responders=client.notices,
            )
            for client in world.clients
        ]

    def play(self) -> None:
        """Subscribe, publish, answer."""
        self.subscribe()
        for number in range(PUBLISHES):
            who = self.random.randrange(len(self.raw))
            self.publish(str(number), who, self.random.choice(SUBJECTS), self.random.choice(REPLIES))
        self.collect()
        self.random.shuffle(self.answerable)
        answerable, self.answerable = self.answerable[:ANSWERS], []
        for number, (who, reply, waiting) in enumerate(answerable):
            for again in range(self.random.randint(1, 3)):
                empty = waiting is not None and self.random.random() < 0.2
                text = "" if empty else f"answer.{number}.{again}"
                self.publish(text, who, reply, "", waiting)
                if empty:
                    self.collect()
                    self.finish("")
        self.collect()
        for text in list(self.sent):
            self.finish(text)

    def subscribe(self) -> None:
        """Everybody at once; what is refused is not there."""
        lines: list[list[str]] = [[] for _ in self.raw]
        for sid, one in enumerate(self.world.subscriptions):
            assert one
            lines[one.client].append(f"SUB {one.pattern} {one.queue} {sid}\r\n")
            if error := self.world.refusal(one):
                self.errors[one.client].append(error)
                self.world.subscriptions[sid] = None
        for client, mine in zip(self.raw, lines, strict=True):
            client.send("".join(mine).encode())
        self.collect()

    def publish(self, text: str, who: int, subject: str, reply: str, waiting: Waiting | None = None) -> None:
        """Send a message; the next one is sent when this one has been handled."""
        outcome = self.world.publish(who, subject, reply, waiting, empty=not text)
        if outcome.error:
            self.errors[who].append(outcome.error)
            self.tally["refused"] += 1
        if outcome.notice is not None and self.world.hears(who, reply):
            # Another worker knows that somebody is there who will not have it; whether that is a responder is a matter of taste.
            unsure = outcome.filtered and self.server.kind.workers > 1
            (self.perhaps if unsure else self.notices)[who][reply, outcome.notice] += 1
            self.tally["notices"] += 1
        self.sent[text] = Sent(f"{who} {subject} {reply}", outcome)
        self.raw[who].send(f"PUB {subject} {reply} {len(text)}\r\n{text}\r\n".encode())
        if waiting:
            self.pong(who)
            self.fence.past(1)

    def pong(self, who: int) -> None:
        """The server has handled what this client has sent; what comes before the PONG is taken note of."""
        self.take(who, self.raw[who].send(b"PING\r\n").read_until(b"PONG\r\n"))

    def collect(self) -> None:
        """All that has come, or will have."""
        for who in range(len(self.raw)):
            self.pong(who)
        self.fence.past(HOPS)
        for who in range(len(self.raw)):
            self.pong(who)
            assert self.errors[who] == [], f"client {who} was not told of {self.errors[who]}"
            missing = +self.notices[who]
            assert not missing, f"client {who} was not told that nobody is there for {missing}"

    def take(self, who: int, data: bytes) -> None:
        """Compare with what must come, as far as that does not depend on other clients."""
        for one in frames(data):
            if isinstance(one, str):
                expected = self.errors[who].pop(0) if self.errors[who] else None
                assert one == expected, f"client {who} was told {one!r}, not {expected!r}"
            elif one.headers.startswith("NATS/1.0 503\r\n"):
                self.notice(who, one)
            else:
                self.message(who, one)

    def notice(self, who: int, one: Message) -> None:
        """Nobody was there."""
        about = re.search("\r\nNats-Subject: (.*)\r\n", one.headers)
        assert about, one
        key = one.subject, about[1]
        left = self.notices[who] if self.notices[who][key] else self.perhaps[who]
        assert left[key] > 0, f"client {who} got {one}"
        left[key] -= 1
        wish = self.world.subscriptions[int(one.sid)]
        assert wish and wish.client == who and not wish.queue

    def message(self, who: int, one: Message) -> None:
        """Take note of a copy, and of the right to answer."""
        assert one.payload in self.sent, f"client {who} got {one}"
        sent = self.sent[one.payload]
        wish = self.world.subscriptions[int(one.sid)]
        assert wish and wish.client == who, f"client {who} got {one}"
        copy = seen_as(one)
        sent.seen[copy] += 1
        if one.reply:
            self.world.received(who, one.reply)
            waiting = sent.outcome.waiting.get(copy, [])
            if len(waiting) <= 1:  # else it is not known which of them this is
                self.answerable.append((who, one.reply, waiting[0] if waiting else None))
            if len(waiting) == 1:
                name = sent.names.setdefault(id(waiting[0]), one.reply)
                assert name == one.reply, f"one request, two replies: {one}"

    def finish(self, text: str) -> None:
        """The verdict on one message."""
        sent = self.sent.pop(text)
        self.tally["answered" if text.startswith("answer") and sent.seen else "copies"] += sum(
            sent.seen.values()
        )
        assert sent.outcome.explains(sent.seen), (
            f"message {text!r} ({sent.text}): got {dict(sent.seen)}, expected {dict(sent.outcome.copies)}"
            f" and one of each of {sent.outcome.choices}"
        )

    def leave(self) -> None:
        """Close all."""
        for raw in self.raw:
            raw.leave()


def play(kind: Kind, seed: int) -> Counter[str]:
    """One configuration, with several rounds of clients; how much of what has happened."""
    random = Random(seed)
    made = accounts(random)
    tally: Counter[str] = Counter()
    try:
        server = start(kind, config(World(made)))
    except AssertionError as refused:
        if kind.real and "import forms a cycle" in str(
            refused
        ):  # an account reached in two ways is none to us
            return tally
        raise
    try:
        fence = Fence(server)
        for _ in range(ROUNDS):
            world = World(made, real=kind.real)
            populate(random, world)
            round_ = Play(server, fence, world, random)
            round_.play()
            round_.leave()
            tally += round_.tally
        fence.crew.close()
        server.stop()
    except BaseException as failure:
        failure.add_note(f"seed {seed}, {kind.name}")
        raise
    finally:
        server.destroy()
    return tally


def test_delivered_if_and_only_if_allowed(kind: Kind) -> None:
    tally: Counter[str] = Counter()
    for seed in range(SEED, SEED + CASES):
        tally += play(kind, seed)
    print(tally)
    few = CASES * ROUNDS // 2  # a test in which little happens shows little
    assert all(tally[what] > few for what in ("copies", "answered", "refused", "notices")), tally
