"""Random worlds of accounts for ``account_model``, and the configuration that makes a server one of them."""

from __future__ import annotations

import re
from random import Random
from typing import Final

from tests.server.account_model import (
    Account,
    Client,
    Entries,
    Export,
    Import,
    Permissions,
    Subscription,
    World,
)

SUBJECTS: Final = (
    "s.a.b s.b.a s.a.a s.c.b s.a.b.c q.a q.b q.c r.a r.b w.a.b w.b.a w.c y d.a.b d.c e.a.b x.a m.a m.b n "
    "tok.A2.q in0.s.a.b _GR_.a s.* svc0.a svc1.b back.a none none.b"
).split()
PATTERNS: Final = (
    "s.a.b s.*.b s.a.* s.> s.*.* *.a.b *.a.* q.* q.a q.> r.* r.a w.*.* w.*.a *.*.a y d.> d.*.* d.c e.> x.* x.a > "
    "*.* *.*.* *.a *.> in0.> in1.> in0.s.*.b in1.*.b.* t0.*.* t1.a.* t2.*.b own.> m.* n i.* i.> i.a _R_.> svc0.* back.*"
).split()
QUEUES: Final = ("", "", "", "g", "g", "h", "v1.x", "v1.y")
GROUPS: Final = ("g", "h", "v1.*", "*", "v1.x", ">")
REPLIES: Final = ("", "", "", "i.a", "i.b", "i.c", "i.a", "_R_.a.b")
INBOXES: Final = ("i.a", "i.b", "i.c", "i.*", "i.>", "*.*", ">")
USERS: Final = 3
CLIENTS: Final = 14


def some(random: Random, of: list[str] | tuple[str, ...], least: int, most: int) -> tuple[str, ...]:
    """Between ``least`` and ``most`` different ones."""
    return tuple(random.sample(of, random.randint(least, most)))


def permissions(random: Random) -> Permissions:
    """Some lists are absent, some are broad with exceptions, some are narrow."""

    def entries(most: int) -> Entries:
        queues = random.random() < 0.6
        return tuple(
            (one, random.choice(GROUPS) if queues and random.random() < 0.4 else "")
            for one in some(random, PATTERNS, 0, most)
        )

    broad = (">",) if random.random() < 0.3 else ()
    inbox = (("i.>", ""),) if random.random() < 0.7 else ()
    responses = random.random() < 0.4
    return Permissions(
        publish_allow=broad + some(random, PATTERNS, 0, 8) if random.random() < 0.6 else (),
        publish_deny=some(random, PATTERNS, 0, 3) if random.random() < 0.5 else (),
        subscribe_allow=tuple(dict.fromkeys(entries(14) + inbox)) if random.random() < 0.6 else (),
        subscribe_deny=entries(5) if random.random() < 0.7 else (),
        responses=random.choice((1, 1, 2, -1)) if responses else 0,
    )


def exports(random: Random, number: int, count: int) -> list[Export]:
    """What account ``number`` offers."""
    offered = [
        Export(number, "stream", one) for one in some(random, ("s.>", "s.*.*", "s.a.*", "q.*", "w.*.*"), 1, 4)
    ]
    if random.random() < 0.1:
        offered.append(Export(number, "stream", ">"))
    for one in some(random, ("q.*", "q.a", "w.*.*", "d.>", "y"), 1, 4):
        offered.append(
            Export(number, "service", one, random.choice(("", "", "singleton", "stream", "chunked")))
        )
    only = tuple(random.sample(range(count), 2))
    offered.append(Export(number, random.choice(("stream", "service")), "x.*", only=only))
    offered.append(Export(number, "service", "back.*", "stream"))
    if random.random() < 0.5:
        kind = random.choice(("stream", "service"))
        offered.append(Export(number, kind, "tok.*.q", position=2))
    return offered


# The ways to import what is exported so: (remote subject, prefix, to); {j} is the exporter's number.
STREAMS: Final = {
    "s.>": (
        ("s.>", "", ""),
        ("s.>", "in{j}", ""),
        ("s.>", "", "t{j}.>"),
        ("s.a.>", "", ""),
        ("s.*.b", "", "t{j}.$1"),
    ),
    "s.*.*": (("s.*.*", "", ""), ("s.*.*", "", "t{j}.$2.$1"), ("s.*.a", "in{j}", ""), ("s.a.b", "", "y")),
    "s.a.*": (("s.a.*", "", "x.$1"), ("s.a.*", "", ""), ("s.a.b", "in{j}", "")),
    "q.*": (("q.*", "", "r.$1"), ("q.a", "", ""), ("q.*", "in{j}", "")),
    "w.*.*": (("w.*.*", "", "own.$2.$1"), ("w.*.*", "", "w.*.*"), ("w.a.*", "", "s.$1.b")),
    "x.*": (("x.*", "", ""), ("x.*", "own", "")),
    ">": ((">", "in{j}", ""),),
}
SERVICES: Final = {
    "q.*": (
        ("q.*", "", ""),
        ("q.*", "", "r.$1"),
        ("q.*", "", "svc{j}.$1"),
        ("q.b", "", "m.b"),
        ("q.*", "", "q.*"),
    ),
    "q.a": (("q.a", "", "y"), ("q.a", "", ""), ("q.a", "", "s.a.b")),
    "w.*.*": (("w.*.*", "", "w.$2.$1"), ("w.*.*", "", "s.$1.$2"), ("w.*.*", "", ""), ("w.a.*", "", "q.$1")),
    "d.>": (("d.>", "", ""), ("d.>", "", "e.>"), ("d.*.b", "", "q.$1")),
    "y": (("y", "", "x.a"), ("y", "", ""), ("y", "", "q.c")),
    "x.*": (("x.*", "", ""), ("x.*", "", "r.$1")),
}


def imports(random: Random, accounts: list[Account], number: int) -> list[Import]:
    """From accounts with smaller numbers only, so that none is refused for a cycle, but for one service that can make none."""
    chosen: list[Import] = []
    taken: set[tuple[int, str, str]] = set()
    for source in range(number):
        for export in accounts[source].exports:
            ways = STREAMS if export.kind == "stream" else SERVICES
            if random.random() < 0.35 or (export.only and number not in export.only):
                continue
            if export.position:
                forms: tuple[tuple[str, str, str], ...] = (
                    (f"tok.A{number}.q", "", random.choice(("", "y"))),
                )
            elif export.subject in ways:
                forms = ways[export.subject]
            else:
                continue
            remote, prefix, to = random.choice(forms)
            # An import belongs to the export of exactly its subject, else to any that covers it: leave no doubt which.
            covering = [
                other
                for other in accounts[source].exports
                if other.kind == export.kind and covers(other.subject, remote)
            ]
            if covering != [export] and export.subject != remote:
                continue
            one = Import(export, remote, to.format(j=source), prefix.format(j=source), random.random() < 0.3)
            name = one.remote if export.kind == "stream" else re.sub(r"\$\d", "*", one.local)
            key = (source, export.kind, name)
            if key not in taken:
                taken.add(key)
                chosen.append(one)
    for source in range(number + 1, len(accounts)):
        for export in accounts[source].exports:
            if export.subject == "back.*" and random.random() < 0.3:
                chosen.append(Import(export, "back.*", f"svc{source}.$1"))
    return chosen


def covers(pattern: str, other: str) -> bool:
    """Whether ``pattern`` matches all that ``other`` matches."""
    wanted, tokens = pattern.split("."), other.split(".")
    for index, token in enumerate(wanted):
        if token == ">":
            return len(tokens) > index
        if index >= len(tokens) or tokens[index] == ">" or token not in ("*", tokens[index]):
            return False
    return len(wanted) == len(tokens)


def mappings(random: Random) -> dict[str, str]:
    """Of single subjects, and of patterns that do not overlap."""
    chosen = {one: random.choice(SUBJECTS[:18]) for one in some(random, SUBJECTS[:18], 0, 2)}
    if random.random() < 0.4:
        chosen["m.*"] = random.choice(("q.$1", "s.$1.b", "x.a"))
    if random.random() < 0.2 and not any(covers("w.*.*", one) for one in chosen):
        chosen["w.*.*"] = random.choice(("s.$2.$1", "w.$2.$1"))
    if random.random() < 0.1:
        chosen["i.b"] = "i.a"
    return chosen


def accounts(random: Random) -> list[Account]:
    """Three to five of them, with users."""
    count = random.randint(3, 5)
    made = [Account(f"A{number}") for number in range(count)]
    for number, account in enumerate(made):
        account.exports = exports(random, number, count)
    for number, account in enumerate(made):
        account.imports = imports(random, made, number)
        account.mappings = mappings(random)
        account.users = [permissions(random) if random.random() < 0.6 else None for _ in range(USERS)]
        account.default = permissions(random) if random.random() < 0.5 else None
    return made


def populate(random: Random, world: World) -> None:
    """Clients and what they want to subscribe to."""
    for _ in range(CLIENTS):
        account = random.randrange(len(world.accounts))
        world.clients.append(
            Client(account, random.randrange(USERS), random.random() < 0.85, random.random() < 0.7)
        )
    for number in range(CLIENTS):
        world.subscriptions += [Subscription(number, one) for one in some(random, INBOXES, 1, 2)]
        wishes = some(random, PATTERNS, 2, 6)
        world.subscriptions += [Subscription(number, one, random.choice(QUEUES)) for one in wishes]


# ---- the configuration ----


def _list(entries: Entries | tuple[str, ...]) -> str:
    return ", ".join(f'"{one}"' if isinstance(one, str) else f'"{" ".join(one).strip()}"' for one in entries)


def _permissions(it: Permissions) -> str:
    text = f"{{ publish: {{ allow: [{_list(it.publish_allow)}], deny: [{_list(it.publish_deny)}] }}"
    text += f", subscribe: {{ allow: [{_list(it.subscribe_allow)}], deny: [{_list(it.subscribe_deny)}] }}"
    if it.responses:
        text += f', allow_responses: {{ max: {it.responses}, expires: "10m" }}'
    return text + " }"


def _export(it: Export, world: World) -> str:
    text = f'{{ {it.kind}: "{it.subject}"'
    if it.response:
        text += f", response_type: {it.response}"
    if it.only:
        text += f", accounts: [{', '.join(world.accounts[one].name for one in it.only)}]"
    if it.position:
        text += f", account_token_position: {it.position}"
    return text + " }"


def _import(it: Import, world: World) -> str:
    name = world.accounts[it.export.account].name
    text = f'{{ {it.export.kind}: {{ account: {name}, subject: "{it.remote}" }}'
    if it.prefix:
        text += f', prefix: "{it.prefix}"'
    if it.to:
        text += f', to: "{it.to}"'
    if it.share and it.export.kind == "service":
        text += ", share: true"
    return text + " }"


def user_name(account: int, user: int) -> str:
    """The name by which a client is this user."""
    return f"u{account}{user}"


def config(world: World) -> str:
    """The ``accounts`` block; besides, an account for those who only wait until all has arrived."""
    text = "accounts {\n  FENCE { users: [ { user: fence } ] }\n"
    for number, account in enumerate(world.accounts):
        users = []
        for user, permitted in enumerate(account.users):
            rights = f", permissions: {_permissions(permitted)}" if permitted else ""
            users.append(f"    {{ user: {user_name(number, user)}{rights} }}\n")
        text += f"  {account.name} {{\n   users: [\n{''.join(users)}   ]\n"
        if account.default:
            text += f"   default_permissions: {_permissions(account.default)}\n"
        text += f"   exports: [\n    {(chr(10) + '    ').join(_export(one, world) for one in account.exports)}\n   ]\n"
        text += f"   imports: [\n    {(chr(10) + '    ').join(_import(one, world) for one in account.imports)}\n   ]\n"
        mapped = "".join(f'    "{source}": "{to}"\n' for source, to in account.mappings.items())
        text += f"   mappings {{\n{mapped}   }}\n  }}\n"
    return text + "}\n"
