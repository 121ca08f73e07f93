"""Random accounts whose subscriptions and clients come and go while messages, requests and answers flow between them.

``test_permission_oracle`` looks at accounts that stand still. Here a message must come to every subscription that was there from
before it was sent until everything had arrived, as the model says, to nobody who came later or had left before, and may come to
those that came or left meanwhile. Of a queue group one must have it if any member stayed, whoever of the others left.
More cases: ``GRAPH_CASES=1000 GRAPH_SEED=5``.
"""

from __future__ import annotations

import os
import socket
from collections import Counter
from dataclasses import dataclass, field, replace
from random import Random
from typing import Final

from tests.harness import Kind, Raw, Server, start
from tests.server.account_cases import PATTERNS, QUEUES, SUBJECTS, accounts, config, user_name
from tests.server.account_clients import HOPS, Fence, Message, frames, seen_as
from tests.server.account_model import Account, Client, Copy, Permissions, Subscription, Waiting, World

CASES: Final = int(os.environ.get("GRAPH_CASES", "3"))
SEED: Final = int(os.environ.get("GRAPH_SEED", "1"))
CLIENTS: Final = 10
BURSTS: Final = 12  # between two of them all is quiet
STEPS: Final = 40  # of a burst
REPLIES: Final = ("", "i.a", "i.b", "i.c")
NEVER: Final = 1 << 60


@dataclass(slots=True)
class Life:
    """When, in steps, a subscription was asked for, was there for sure, was to go, and was gone for sure."""

    wish: Subscription
    asked: int
    there: int = NEVER
    leaving: int = NEVER
    gone: int = NEVER


@dataclass(slots=True)
class Sent:
    """A message on its way."""

    at: int
    who: int
    subject: str
    reply: str
    waiting: Waiting | None
    seen: Counter[Copy] = field(default_factory=Counter)
    names: dict[Copy, str] = field(default_factory=dict)  # replies of services


class Traffic:
    """Clients of a server whose configuration is that of ``made``."""

    def __init__(self, server: Server, made: list[Account], random: Random) -> None:
        self.server, self.random = server, random
        self.fence = Fence(server)
        self.world = World(made, real=server.kind.real)
        # A client of each account hears all answers, so that there is always somebody who waits for them.
        self.world.clients = [Client(number, len(one.users) - 1) for number, one in enumerate(made)]
        for _ in range(CLIENTS):
            number = random.randrange(len(made))
            user = random.randrange(len(made[number].users))
            self.world.clients.append(Client(number, user, random.random() < 0.85))
        self.raw = [self.dial(number) for number in range(len(self.world.clients))]
        self.lives: list[Life] = []
        self.refused: set[int] = set()
        self.errors: list[list[str]] = [[] for _ in self.raw]
        self.notices: list[Counter[tuple[str, str]]] = [Counter() for _ in self.raw]
        self.sent: dict[str, Sent] = {}
        self.answerable: list[tuple[int, str, Waiting]] = []
        self.clock = 0
        self.numbers = 0
        self.tally: Counter[str] = Counter()
        for number in range(len(made)):
            self.subscribe(number, "i.>", "")
        for _ in range(8 * CLIENTS):
            self.subscribe_any()
        self.settle()

    def dial(self, who: int) -> Raw:
        """The connection of a client of the model."""
        client = self.world.clients[who]
        user = user_name(client.account, client.user)
        return Raw(self.server.port, timeout=60.0).hello(
            user=user, echo=client.echo, headers=True, no_responders=True
        )

    # ---- steps ----

    def burst(self) -> None:
        """Everything at once; then wait until all has arrived, and judge."""
        answers, self.answerable = self.answerable, []
        self.random.shuffle(answers)
        steps = ["publish"] * STEPS + ["subscribe", "unsubscribe"] * (STEPS // 8) + ["sync"] * (STEPS // 4)
        steps += ["answer"] * min(len(answers), STEPS // 4) + ["leave"]
        self.random.shuffle(steps)
        for step in steps:
            self.clock += 1
            match step:
                case "publish":
                    who = self.random.randrange(len(self.raw))
                    self.publish(who, self.random.choice(SUBJECTS), self.random.choice(REPLIES))
                case "subscribe":
                    self.subscribe_any()
                case "unsubscribe":
                    self.unsubscribe_any()
                case "sync":
                    self.pong(self.random.randrange(len(self.raw)))
                case "leave":
                    self.leave(self.random.randrange(len(self.world.accounts), len(self.raw)))
                case "answer":
                    self.answer(*answers.pop())
        if answers:
            who, reply, waiting = answers.pop()
            self.settle()
            self.answer(who, reply, waiting, empty=True)
        self.settle()

    def subscribe_any(self) -> None:
        """Somebody wants to hear something."""
        who = self.random.randrange(len(self.world.accounts), len(self.raw))
        self.subscribe(who, self.random.choice(PATTERNS), self.random.choice(QUEUES))

    def subscribe(self, who: int, pattern: str, queue: str) -> None:
        """It is there at some time between now and the next PONG."""
        wish = Subscription(who, pattern, queue)
        self.raw[who].send(f"SUB {pattern} {queue} {len(self.lives)}\r\n".encode())
        if error := self.world.refusal(wish):
            self.errors[who].append(error)
        self.lives.append(Life(wish, NEVER if error else self.clock))

    def unsubscribe_any(self) -> None:
        """It is gone at some time between now and the next PONG."""
        some = [sid for sid, one in enumerate(self.lives) if one.asked < NEVER and one.leaving == NEVER]
        some = some[len(self.world.accounts) :]
        if not some:
            return
        sid = self.random.choice(some)
        self.lives[sid].leaving = self.clock
        self.raw[self.lives[sid].wish.client].send(f"UNSUB {sid}\r\n".encode())

    def leave(self, who: int) -> None:
        """A client goes with all that it has, and comes again, perhaps elsewhere."""
        self.pong(who)
        for one in self.lives:
            if one.wish.client == who:
                one.leaving = min(one.leaving, self.clock)
        with self.raw[who].sock as sock:
            sock.shutdown(socket.SHUT_WR)
            self.take(who, self.raw[who].read_eof())
        self.clock += 1
        for one in self.lives:
            if one.wish.client == who:
                one.gone = min(one.gone, self.clock)
        self.raw[who] = self.dial(who)

    def publish(self, who: int, subject: str, reply: str) -> None:
        """Send a message and do not wait for anything."""
        self.numbers += 1
        self.send(str(self.numbers), Sent(self.clock, who, subject, reply, None))

    def answer(self, who: int, reply: str, waiting: Waiting, empty: bool = False) -> None:
        """An answer has arrived at the requester's worker before the next one is sent: which is the first one is known."""
        self.numbers += 1
        self.send("" if empty else f"answer.{self.numbers}", Sent(self.clock, who, reply, "", waiting))
        self.pong(who)
        self.fence.past(1)

    def send(self, text: str, one: Sent) -> None:
        """Send a message; whether it is refused does not depend on others."""
        self.sent[text] = one
        self.raw[one.who].send(f"PUB {one.subject} {one.reply} {len(text)}\r\n{text}\r\n".encode())
        error = self.world.publish(one.who, one.subject, one.reply).error
        if error:
            self.errors[one.who].append(error)

    # ---- what comes ----

    def pong(self, who: int) -> None:
        """What this client has asked for so far has been done."""
        self.take(who, self.raw[who].send(b"PING\r\n").read_until(b"PONG\r\n"))
        self.clock += 1
        for one in self.lives:
            if one.wish.client == who:
                one.there = min(one.there, self.clock)
                if one.leaving < NEVER:
                    one.gone = min(one.gone, self.clock)

    def take(self, who: int, data: bytes) -> None:
        """Take note of what a client got."""
        for one in frames(data):
            if isinstance(one, str):
                expected = self.errors[who].pop(0) if self.errors[who] else None
                assert one == expected, f"client {who} was told {one!r}, not {expected!r}"
            elif one.headers.startswith("NATS/1.0 503\r\n"):
                about = one.headers.split("Nats-Subject: ")[1].partition("\r\n")[0]
                self.notices[who][one.subject, about] += 1
            else:
                self.message(who, one)

    def message(self, who: int, one: Message) -> None:
        """A copy."""
        life = self.lives[int(one.sid)]
        assert life.wish.client == who and life.asked < NEVER, f"client {who} got {one}"
        assert one.payload in self.sent, f"client {who} got {one} when all had arrived"
        copy = seen_as(one)
        sent = self.sent[one.payload]
        sent.seen[copy] += 1
        if one.reply.startswith("_R_."):
            sent.names[copy] = one.reply

    def settle(self) -> None:
        """Wait until all has arrived, and compare it with the model."""
        for who in range(len(self.raw)):
            self.pong(who)
        self.fence.past(HOPS)
        for who in range(len(self.raw)):
            self.pong(who)
            assert self.errors[who] == [], f"client {who} was not told of {self.errors[who]}"
        may_tell: list[Counter[tuple[str, str]]] = [Counter() for _ in self.raw]
        sent, self.sent = self.sent, {}
        for text, one in sent.items():
            self.judge(text, one, may_tell[one.who])
        for who, told in enumerate(self.notices):
            assert told <= may_tell[who], f"client {who} was told of {told - may_tell[who]}"
            told.clear()

    def judge(self, text: str, one: Sent, may_tell: Counter[tuple[str, str]]) -> None:
        """The verdict on one message."""
        self.world.subscriptions = [
            life.wish if life.asked < NEVER and life.gone > one.at else None for life in self.lives
        ]
        self.world.unsure = {
            sid for sid, life in enumerate(self.lives) if life.there >= one.at or life.leaving < NEVER
        }
        outcome = self.world.publish(one.who, one.subject, one.reply, one.waiting, empty=not text)
        assert outcome.explains(one.seen), (
            f"message {text!r} at {one.at} ({one.who} {one.subject} {one.reply}): got {dict(one.seen)}, expected"
            f" {dict(outcome.copies)}, one of each of {outcome.choices}, perhaps {dict(outcome.maybe)} and one of"
            f" {outcome.may_choose}; of {[(sid, life) for sid, life in enumerate(self.lives) if sid in self.world.unsure]}"
        )
        if one.reply and not outcome.error and not outcome.copies and not outcome.choices:
            account = self.world.accounts[self.world.clients[one.who].account]
            may_tell[one.reply, account.mapped(one.subject)] += 1
        for copy, name in one.names.items():
            waiting = outcome.waiting.get(copy, [])
            if len(waiting) == 1 and one.seen[copy] == 1:
                who = self.lives[copy.subscription].wish.client
                self.answerable += [(who, name, waiting[0])] * self.random.randint(1, 2)
        self.tally["answers" if one.waiting else "messages"] += sum(one.seen.values())
        self.tally["in doubt"] += len(outcome.maybe) + len(outcome.may_choose)

    def close(self) -> None:
        """Leave all."""
        for client in self.raw:
            client.leave()
        self.fence.crew.close()


def without_responses(it: Permissions | None) -> Permissions | None:
    """Who may answer would depend on who was asked, and that on who was there."""
    return replace(it, responses=0) if it else None


def play(kind: Kind, seed: int) -> Counter[str]:
    """One configuration; how much of what has happened."""
    random = Random(seed)
    made = accounts(random)
    for account in made:
        account.users = [*map(without_responses, account.users), Permissions()]
        account.default = without_responses(account.default)
    try:
        server = start(kind, config(World(made)))
    except AssertionError as refused:
        if kind.real and "import forms a cycle" in str(
            refused
        ):  # an account reached in two ways is none to us
            return Counter()
        raise
    try:
        traffic = Traffic(server, made, random)
        for _ in range(BURSTS):
            traffic.burst()
        traffic.close()
        server.stop()
    except BaseException as failure:
        failure.add_note(f"seed {seed}, {kind.name}")
        raise
    finally:
        server.destroy()
    return traffic.tally


def test_subscriptions_come_and_go(kind: Kind) -> None:
    tally: Counter[str] = Counter()
    for seed in range(SEED, SEED + CASES):
        tally += play(kind, seed)
    print(tally)
    assert tally["messages"] > 100 * CASES and min(tally["answers"], tally["in doubt"]) > 20 * CASES
