"""Random accounts that share streams and services, against a model of a few lines: who gets what, and nobody else anything."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from hypothesis import strategies as st

from tests.harness import Raw

GROUPS: Final = ("", "", "g", "h")
SUBJECTS: Final = ("s.a.b", "s.b.b", "q.a", "q.b", "r.a", "x", "y", "in0.b.a", "in1.a.b", "in2.s.a.b")
PATTERNS: Final = (
    "s.a.b",
    "s.*.b",
    "s.>",
    "q.*",
    "q.a",
    "r.>",
    "x",
    "y",
    ">",
    "*.*",
    "*.*.*",
    "in0.>",
    "in1.*.*",
    "in2.>",
)
# The ways to import a stream `s.>` or `s.*.*`, and a service `q.*`, from account number j.
STREAMS: Final = (
    ("s.>", ""),
    ("s.>", "prefix: in{j}"),
    ("s.*.*", "to: 'in{j}.$2.$1'"),
    ("s.a.*", "to: 'x.$1'"),
)
SERVICES: Final = (("q.*", ""), ("q.*", "to: 'r.$1'"), ("q.a", "to: y"), ("q.b", "to: 'q.b'"))


@dataclass(slots=True, frozen=True)
class Import:
    """A way from a stream or service of account ``source``: what it is called there, and here."""

    kind: str
    source: int
    remote: str
    option: str

    def local(self, subject: str) -> str | None:
        """The importer's name of an exporter's subject; None: it is not imported."""
        if not matches(self.remote, subject):
            return None
        tokens = subject.split(".")
        option = self.option.replace("{j}", str(self.source))
        if option.startswith("prefix"):
            return f"{option.split()[1]}.{subject}"
        if option.startswith("to"):
            stars = [tokens[i] for i, token in enumerate(self.remote.split(".")) if token == "*"]
            name = option.split("'")[1] if "'" in option else option.split()[1]
            return re.sub(r"\$(\d)", lambda found: stars[int(found[1]) - 1], name)
        return subject

    def remotes(self, subject: str) -> Iterator[str]:
        """The exporter's subject of a request, if this import takes it."""
        for candidate in ("q.a", "q.b"):
            if self.local(candidate) == subject:
                yield candidate


@dataclass(slots=True)
class Graph:
    """Accounts by number; each exports ``s.>`` and ``q.*``."""

    imports: list[list[Import]]
    mappings: list[dict[str, str]]
    subscriptions: list[list[tuple[str, str]]]  # per account: (pattern, group)
    publishes: list[tuple[int, str]]


def matches(pattern: str, subject: str) -> bool:
    """Whether ``pattern`` matches ``subject``."""
    wanted, tokens = pattern.split("."), subject.split(".")
    for index, token in enumerate(wanted):
        if token == ">":
            return len(tokens) > index
        if index >= len(tokens) or token not in ("*", tokens[index]):
            return False
    return len(wanted) == len(tokens)


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Imports go to accounts with smaller numbers only, so that none is refused for a cycle."""
    count = draw(st.integers(3, 5))
    imports: list[list[Import]] = []
    for number in range(count):
        own: list[Import] = []
        for source in range(number):
            for remote, option in draw(
                st.lists(st.sampled_from(STREAMS), max_size=2, unique_by=lambda one: one[0])
            ):
                own.append(Import("stream", source, remote, option))
            for remote, option in draw(st.lists(st.sampled_from(SERVICES), max_size=1)):
                own.append(Import("service", source, remote, option))
        imports.append(own)
    mapping = st.dictionaries(st.sampled_from(SUBJECTS), st.sampled_from(SUBJECTS), max_size=2)
    subscription = st.tuples(st.sampled_from(PATTERNS), st.sampled_from(GROUPS))
    return Graph(
        imports,
        [draw(mapping) for _ in range(count)],
        [draw(st.lists(subscription, min_size=1, max_size=4)) for _ in range(count)],
        draw(
            st.lists(st.tuples(st.integers(0, count - 1), st.sampled_from(SUBJECTS)), min_size=5, max_size=20)
        ),
    )


def config(graph: Graph) -> str:
    """The configuration; besides, every account hears of the end of every other's messages."""
    text = "accounts {\n"
    everybody = range(len(graph.imports))
    for number in everybody:
        exports = '{ stream: "s.>" }, { service: "q.*" }, { stream: _end }'
        imports = [
            f'{{ {one.kind}: {{ account: A{one.source}, subject: "{one.remote}" }}, '
            f"{one.option.replace('{j}', str(one.source))} }}"
            for one in graph.imports[number]
        ]
        imports += [
            f"{{ stream: {{ account: A{other}, subject: _end }}, to: '_end.{other}' }}"
            for other in everybody
            if other != number
        ]
        own = ",\n".join(imports)
        mappings = " ".join(f'"{source}": "{to}"\n' for source, to in graph.mappings[number].items())
        text += (
            f"A{number} {{ users: [ {{ user: u{number} }} ]\n exports: [ {exports} ]\n imports: [ {own} ]\n"
        )
        text += f" mappings {{ {mappings} }} }}\n"
    return text + "}\n"


@dataclass(slots=True)
class Expected:
    """What one message leads to: copies that must come, and for each group that is asked one of several."""

    copies: Counter[tuple[int, str, str]] = field(default_factory=Counter)  # (account, sid, subject)
    choices: list[set[tuple[int, str, str]]] = field(default_factory=list)


def deliver(graph: Graph, account: int, subject: str, seen: Expected, way: tuple[Import, ...] = ()) -> None:
    """The model: publish within an account."""
    subject = graph.mappings[account].get(subject, subject)
    groups: dict[str, set[tuple[int, str, str]]] = {}
    shown = [(account, subject)]
    for other, imports in enumerate(graph.imports):
        for one in imports:
            # What came as a request to a service goes no further as a stream.
            if one.kind == "stream" and not way and one.source == account and (local := one.local(subject)):
                shown.append((other, local))
    for where, name in shown:
        for sid, (pattern, group) in enumerate(graph.subscriptions[where]):
            if not matches(pattern, name):
                continue
            copy = (where, str(sid), name)
            if group:
                groups.setdefault(group, set()).add(copy)
            else:
                seen.copies[copy] += 1
    seen.choices += groups.values()
    for one in graph.imports[account]:
        if one.kind == "service":
            for remote in one.remotes(subject):
                deliver(graph, one.source, remote, seen, (*way, one))


def explains(choices: list[set[tuple[int, str, str]]], copies: Counter[tuple[int, str, str]]) -> bool:
    """Whether these copies are one of each choice."""
    if not choices:
        return not +copies
    first, *rest = choices
    return any(copies[copy] > 0 and explains(rest, copies - Counter([copy])) for copy in first)


def read_to_the_end(client: Raw, accounts: int) -> list[tuple[str, str, str]]:
    """(subject, sid, payload) of all that came before the ends of all accounts."""
    found: list[tuple[str, str, str]] = []
    ends = 0
    while ends < accounts:
        _, subject, sid, size = client.read_until(b"\r\n").decode().split()
        payload = client.take(int(size) + 2)[:-2].decode()
        ends += sid.startswith("end")
        if not subject.startswith("_end"):
            found.append((subject, sid, payload))
    return found


def check(graph: Graph, heard: list[tuple[int, list[tuple[str, str, str]]]]) -> None:
    """Compare with the model, message by message."""
    got: dict[str, Counter[tuple[int, str, str]]] = {}
    for account, messages in heard:
        for subject, sid, payload in messages:
            got.setdefault(payload, Counter())[account, sid, subject] += 1
    for number, (account, subject) in enumerate(graph.publishes):
        expected = Expected()
        deliver(graph, account, subject, expected)
        copies = got.pop(f"{account}:{number}", Counter())
        grouped = Counter(
            {one: n for one, n in copies.items() if graph.subscriptions[one[0]][int(one[1])][1]}
        )
        assert copies - grouped == expected.copies, (number, copies, expected)
        assert explains(expected.choices, grouped), (number, grouped, expected.choices)
    assert not got
