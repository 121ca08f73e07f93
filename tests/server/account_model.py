"""What accounts and permissions mean, from their definitions alone: loops over lists, nothing remembered, nothing fast.

``World`` describes accounts, users and connected clients. ``publish`` says what one message leads to: the copies that must come,
for each queue group the members of which one must have it, the error text, and the requests that may be answered. Answers are
published like everything else. The names of replies of services are random, so that all of them are ``SERVICE_REPLY`` here.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Final, NamedTuple

SERVICE_REPLY: Final = "_R_.x.y"
_SERVICE_REPLY: Final = re.compile(r"_R_\.[0-9A-Za-z]{6}\.[0-9A-Za-z]{6}(\.[0-9A-Za-z]{8}\.T)?")


def plain_name(subject: str) -> str:
    """``subject`` with ``SERVICE_REPLY`` for any reply of a service in it."""
    return _SERVICE_REPLY.sub(SERVICE_REPLY, subject)


def bind(pattern: str, subject: str) -> tuple[list[str], str] | None:
    """What the stars and the tail of ``pattern`` stand for in ``subject``; None: it does not match."""
    wanted, tokens = pattern.split("."), subject.split(".")
    if "" in tokens:
        return None
    stars: list[str] = []
    for index, token in enumerate(wanted):
        if token == ">":
            return (stars, ".".join(tokens[index:])) if len(tokens) > index else None
        if index >= len(tokens) or token not in ("*", tokens[index]):
            return None
        if token == "*":
            stars.append(tokens[index])
    return (stars, "") if len(wanted) == len(tokens) else None


def matches(pattern: str, subject: str) -> bool:
    """Whether ``pattern`` matches ``subject``, whose wildcards are text like any other."""
    return bind(pattern, subject) is not None


def meets(pattern: str, other: str) -> bool:
    """Whether some subject matches both patterns."""
    one, two = pattern.split("."), other.split(".")
    for a, b in zip(one, two, strict=False):
        if ">" in (a, b):
            return True
        if a != b and "*" not in (a, b):
            return False
    return len(one) == len(two)


def fill(template: str, stars: list[str], tail: str) -> str:
    """``template`` with ``$1`` and stars replaced by what they stand for."""
    following = iter(stars)
    filled = []
    for token in template.split("."):
        if re.fullmatch(r"\$\d+", token):
            filled.append(stars[int(token[1:]) - 1])
        else:
            filled.append(next(following) if token == "*" else tail if token == ">" else token)
    return ".".join(filled)


# ---- permissions ----

Entries = tuple[tuple[str, str], ...]  # (subject, queue)


@dataclass(slots=True, frozen=True)
class Permissions:
    """What a user may do. An empty list restricts nothing."""

    publish_allow: tuple[str, ...] = ()
    publish_deny: tuple[str, ...] = ()
    subscribe_allow: Entries = ()
    subscribe_deny: Entries = ()
    responses: int = 0  # answers to each request; 0: the setting is absent, -1: any number

    def may_publish(self, subject: str) -> bool:
        """Not counting answers."""
        if any(matches(one, subject) for one in self.publish_deny):
            return False
        if not self.publish_allow:
            return not self.responses
        return any(matches(one, subject) for one in self.publish_allow)

    def denied(self, subject: str, queue: str) -> bool:
        """An entry with a queue speaks of that queue alone."""
        return any(
            matches(one, subject) and (not group or _fits(group, queue)) for one, group in self.subscribe_deny
        )

    def may_subscribe(self, subject: str, queue: str) -> bool:
        """A queue that is spoken of must be named; one that is not is as good as none."""
        if self.denied(subject, queue):
            return False
        about = [group for one, group in self.subscribe_allow if matches(one, subject)]
        groups = [group for group in about if group]
        if not self.subscribe_allow:
            return True
        return any(_fits(group, queue) for group in groups) if queue and groups else "" in about


def _fits(pattern: str, queue: str) -> bool:
    return bool(queue) and (pattern == queue or matches(pattern, queue))


# ---- accounts ----


@dataclass(slots=True, frozen=True)
class Export:
    """What an account offers; to all others, unless some are named or the name of the importer is a token of the subject."""

    account: int
    kind: str  # stream or service
    subject: str
    response: str = ""  # of a service: how many answers
    only: tuple[int, ...] = ()
    position: int = 0


@dataclass(slots=True, frozen=True)
class Import:
    """A way from one account's ``remote`` to another's name of it."""

    export: Export
    remote: str
    to: str = ""
    prefix: str = ""
    share: bool = False

    @property
    def local(self) -> str:
        """The importer's name, perhaps with references."""
        return f"{self.prefix}.{self.remote}" if self.prefix else self.to or self.remote

    def shown(self, subject: str) -> str | None:
        """The importer's name of a message of a stream; None: it is not imported."""
        bound = bind(self.remote, subject)
        return None if bound is None else fill(self.local, *bound)

    def asked(self, subject: str) -> str | None:
        """The exporter's name of a request to a service; None: it is none."""
        references = [token for token in self.local.split(".") if token == "*" or token.startswith("$")]
        bound = bind(re.sub(r"\$\d+", "*", self.local), subject)
        if bound is None:
            return None
        stars = list(bound[0])
        for reference, star in zip(references, bound[0], strict=True):
            if reference != "*":
                stars[int(reference[1:]) - 1] = star
        return fill(self.remote, stars, bound[1])


@dataclass(slots=True)
class Account:
    """An account. A user without permissions has the default ones."""

    name: str
    exports: list[Export] = field(default_factory=list)
    imports: list[Import] = field(default_factory=list)
    mappings: dict[str, str] = field(default_factory=dict)
    users: list[Permissions | None] = field(default_factory=list)
    default: Permissions | None = None

    def mapped(self, subject: str) -> str:
        """A mapping of exactly this subject goes before those of patterns, which do not overlap."""
        if subject in self.mappings:
            return self.mappings[subject]
        for source, target in self.mappings.items():
            bound = bind(source, subject)
            if bound is not None:
                return fill(target, *bound)
        return subject


# ---- clients ----


@dataclass(slots=True)
class Client:
    """A connection of a user, with the answers that it may still give."""

    account: int
    user: int
    echo: bool = True
    notices: bool = True  # of requests that nobody takes
    grants: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True, frozen=True)
class Subscription:
    """A client's wish."""

    client: int
    pattern: str
    queue: str = ""


class Copy(NamedTuple):
    """A message as one subscription sees it; ``asker`` and ``via``: the accounts of which a service is told."""

    subscription: int
    subject: str
    reply: str = ""
    asker: str = ""
    via: str = ""


@dataclass(slots=True)
class Waiting:
    """A request that has crossed into another account and may be answered there."""

    requester: int  # account
    reply: str
    streamed: bool
    before: Waiting | None  # the one for whose sake this one was made
    over: bool = False


@dataclass(slots=True)
class Outcome:
    """What a message leads to."""

    error: str = ""
    notice: str | None = None  # the subject of which the publisher must be told that nobody is there
    filtered: bool = False  # somebody would have it but may not
    copies: Counter[Copy] = field(default_factory=Counter)
    choices: list[set[Copy]] = field(default_factory=list)
    # Of subscriptions that come or go meanwhile, and who only overhears how an answer passes:
    maybe: Counter[Copy] = field(default_factory=Counter)
    may_choose: list[set[Copy]] = field(default_factory=list)  # one of them, or none
    waiting: dict[Copy, list[Waiting]] = field(default_factory=dict)

    def explains(self, seen: Counter[Copy]) -> bool:
        """Whether these copies are all that must come, and nothing that must not."""
        rest = seen.copy()
        rest.subtract(self.copies)
        if min(rest.values(), default=0) < 0:
            return False
        return self._choose(+rest, self.choices, self.may_choose)

    def _choose(self, rest: Counter[Copy], must: list[set[Copy]], may: list[set[Copy]]) -> bool:
        if not must and not may:
            return rest <= self.maybe
        first, *others = must or may
        left = (others, may) if must else ([], others)
        return any(rest[copy] > 0 and self._choose(+(rest - Counter([copy])), *left) for copy in first) or (
            not must and self._choose(rest, *left)
        )

    def take_in(self, other: Outcome, doubtful: bool) -> None:
        """Add what another message, which perhaps is none, leads to."""
        self.maybe += other.maybe
        self.may_choose += other.may_choose
        if doubtful:
            self.maybe += other.copies
            self.may_choose += other.choices
        else:
            self.copies += other.copies
            self.choices += other.choices


class Way(NamedTuple):
    """How a message came into an account that is not its publisher's: by these exports, most recent last. None: by an answer."""

    exports: tuple[Export, ...]
    asker: str
    accounts: tuple[int, ...]  # that have asked, the publisher's first


@dataclass(slots=True)
class World:
    """Accounts, clients and what these are subscribed to (None: no longer, or refused).

    ``real``: with what nats-server 2.14 does otherwise. Every further copy of a request takes one of the answers to the first
    away; of what comes to a wildcard subscription, entries that deny a queue keep nothing away; and what a member of a queue
    group may have of a stream is judged by its exporter's name.
    """

    accounts: list[Account]
    real: bool = False
    clients: list[Client] = field(default_factory=list)
    subscriptions: list[Subscription | None] = field(default_factory=list)
    unsure: set[int] = field(default_factory=set)  # those that may be there or not

    def permissions(self, client: Client) -> Permissions:
        """Those of its user."""
        account = self.accounts[client.account]
        return account.users[client.user] or account.default or Permissions()

    def refusal(self, one: Subscription) -> str:
        """The error that this subscription leads to; empty: none."""
        if self.permissions(self.clients[one.client]).may_subscribe(one.pattern, one.queue):
            return ""
        queue = f' using queue "{one.queue}"' if one.queue else ""
        return f'Permissions Violation for Subscription to "{one.pattern}"{queue}'

    def hears(self, number: int, subject: str) -> bool:
        """Whether a client has a subscription on which it can be told that nobody is there."""
        return any(
            one and one.client == number and not one.queue and matches(one.pattern, subject)
            for one in self.subscriptions
        )

    def received(self, number: int, reply: str) -> None:
        """A client has received a copy of a request: it may answer."""
        client = self.clients[number]
        if not reply or not (responses := self.permissions(client).responses):
            return
        if self.real and client.grants.get(reply, 0):
            client.grants[reply] -= client.grants[reply] > 0
        else:
            client.grants[reply] = responses

    def publish(
        self,
        number: int,
        subject: str,
        reply: str = "",
        waiting: Waiting | None = None,
        empty: bool = False,
    ) -> Outcome:
        """What a client's message leads to. ``waiting``: the request that it answers, if it does."""
        client = self.clients[number]
        outcome = Outcome()
        subject = self.accounts[client.account].mapped(subject)
        if not self._may_publish(client, subject):
            outcome.error = f'Permissions Violation for Publish to "{subject}"'
        elif reply.startswith(("_R_.", "_GR_.", "$JS.ACK.")):
            outcome.error = f'Permissions Violation for Publish with Reply of "{reply}"'
        else:
            delivered = self._deliver(outcome, number, client.account, plain_name(subject), reply, None, None)
            if waiting:
                self._answer(outcome, number, waiting, empty)
            elif not delivered and client.notices and reply:
                outcome.notice = subject
        return outcome

    def _may_publish(self, client: Client, subject: str) -> bool:
        if subject.startswith(("_GR_.", "$NRG.")):
            return False
        if self.permissions(client).may_publish(subject):
            return True
        left = client.grants.get(subject, 0)
        if left > 0:
            client.grants[subject] = left - 1
        return left != 0

    def _deliver(
        self,
        outcome: Outcome,
        publisher: int,
        account: int,
        subject: str,
        reply: str,
        way: Way | None,
        waiting: Waiting | None,
    ) -> bool:
        """Within an account and all that it leads to; whether anybody had it."""
        shown = [(account, subject)]
        if way is None:  # what came as a request goes no further as a stream
            for other, importer in enumerate(self.accounts):
                for one in importer.imports:
                    if one.export.kind == "stream" and one.export.account == account:
                        name = one.shown(subject)
                        if name is not None:
                            shown.append((other, name))
        copies, groups = self._wanted(outcome, publisher, shown, reply, way)
        for copy in copies:
            (outcome.maybe if copy.subscription in self.unsure else outcome.copies)[copy] += 1
        for group in groups:
            sure = any(copy.subscription not in self.unsure for copy in group)
            (outcome.choices if sure else outcome.may_choose).append(group)
        if waiting:
            for copy in {*copies, *(copy for group in groups for copy in group)}:
                outcome.waiting.setdefault(copy, []).append(waiting)
        delivered = bool(copies or groups)
        for one in self.accounts[account].imports:
            if one.export.kind == "service" and (remote := one.asked(subject)) is not None:
                delivered |= self._request(outcome, publisher, account, one, remote, reply, way, waiting)
        return delivered

    def _wanted(
        self, outcome: Outcome, publisher: int, shown: list[tuple[int, str]], reply: str, way: Way | None
    ) -> tuple[list[Copy], list[set[Copy]]]:
        """Who has a message that some accounts see under these names: all plain ones, and of each group one."""
        copies: list[Copy] = []
        groups: dict[str, set[Copy]] = {}
        asker = way.asker if way else ""
        via = self.accounts[way.accounts[-1]].name if way and asker and len(way.accounts) > 1 else ""
        for account, name in shown:
            for sid, one in enumerate(self.subscriptions):
                if one is None or not matches(one.pattern, name):
                    continue
                client = self.clients[one.client]
                if client.account != account:
                    continue
                if not self._takes(one, name, shown[0][1]) or (one.client == publisher and not client.echo):
                    outcome.filtered = True
                    continue
                copy = Copy(sid, name, reply, asker, via)
                if one.queue:
                    groups.setdefault(one.queue, set()).add(copy)
                else:
                    copies.append(copy)
        return copies, list(groups.values())

    def _takes(self, one: Subscription, name: str, original: str) -> bool:
        """Whether a subscription may have what it sees as ``name``."""
        permissions = self.permissions(self.clients[one.client])
        if not self.real:
            return not permissions.denied(name, one.queue)
        plain = [subject for subject, queue in permissions.subscribe_deny if not queue]
        if not one.queue or name == original:
            return not any(matches(each, name) for each in plain)
        # It has begun to filter with the client's first wildcard subscription of which something is denied.
        lines = [" ".join(each).strip() for each in permissions.subscribe_deny]
        filters = any(
            meets(line, other.pattern)
            for other in self.subscriptions
            if other and other.client == one.client and not {"*", ">"}.isdisjoint(other.pattern.split("."))
            for line in lines
        )
        return not filters or not any(matches(each, original) for each in plain)

    def _request(
        self,
        outcome: Outcome,
        publisher: int,
        account: int,
        one: Import,
        remote: str,
        reply: str,
        way: Way | None,
        before: Waiting | None,
    ) -> bool:
        if way and one.export in way.exports:
            return False
        exports = (*(way.exports if way else ()), one.export)
        asked = (*(way.accounts if way else ()), account)
        asker = way.asker if way and way.asker else self.accounts[self.clients[publisher].account].name
        waiting = (
            Waiting(account, reply, one.export.response in ("stream", "chunked"), before) if reply else None
        )
        target = self.accounts[one.export.account].mapped(remote)
        crossed = Way(exports, asker, asked)
        return self._deliver(
            outcome, publisher, one.export.account, target, SERVICE_REPLY if reply else "", crossed, waiting
        )

    def _answer(self, outcome: Outcome, publisher: int, waiting: Waiting | None, empty: bool) -> None:
        """An answer goes back through all accounts through which the request came."""
        while waiting and not waiting.over:
            waiting.over = not waiting.streamed or empty
            way = Way((), "", (waiting.requester,))
            reply = self.accounts[waiting.requester].mapped(waiting.reply)
            passed = Outcome()
            self._deliver(passed, publisher, waiting.requester, plain_name(reply), "", way, None)
            waiting = waiting.before
            # Perhaps it is known already that nobody waits any more.
            outcome.take_in(passed, doubtful=waiting is not None and waiting.over)
