"""Imports as the configuration's check sees them: who may, cycles, and what becomes of subjects."""

from __future__ import annotations

import pytest

from broker.options.sections import AccountOptions, Export, Import
from broker.options.sharing import Sharing, collide, covers, service_shape, stream_shape, wrong_export
from broker.options.transforms import StepKind, Transform


def spelled(transform: Transform | None) -> str:
    """A transform of imports in short: tokens of the source by position."""
    if transform is None:
        return "same"
    tokens = [f"<{s.tokens[0]}>" if s.kind is StepKind.WILDCARD else s.text for s in transform.steps]
    return ".".join(tokens) + (f">{transform.rest}" if transform.rest >= 0 else "")


@pytest.mark.parametrize(
    ("remote", "to", "prefix", "local", "show", "find"),
    [
        ("a.>", "", "", "a.>", "same", "same"),
        ("a.>", "", "p", "p.a.>", "p.a>1", "a>2"),
        ("a.*.b", "", "p.q.", "p.q.a.*.b", "p.q.a.<1>.b", "a.<3>.b"),
        ("a.*.*", "x.$2.$1", "", "x.*.*", "x.<2>.<1>", "a.<2>.<1>"),
        ("a.*", "x.*.y", "", "x.*.y", "x.<1>.y", "a.<1>"),
        ("a.*", "{{wildcard(1)}}", "", "*", "<1>", "a.<0>"),
        ("a", "b.c", "", "b.c", "b.c", "a"),
    ],
)
def test_streams(remote: str, to: str, prefix: str, local: str, show: str, find: str) -> None:
    shape = stream_shape(Import("stream", "E", remote, to, prefix))
    assert (shape.local, spelled(shape.show), spelled(shape.find)) == (local, show, find)


@pytest.mark.parametrize(
    ("remote", "to", "local", "target"),
    [
        ("a.*", "", "a.*", "same"),
        ("a.*.*", "x.$2.$1", "x.*.*", "a.<2>.<1>"),
        ("a.x", "b.*", "b.*", "a.x"),
        ("lat.$1", "b", "b", "lat.$1"),
        ("a.>", "b.>", "b.>", "a>1"),
    ],
)
def test_services(remote: str, to: str, local: str, target: str) -> None:
    shape = service_shape(Import("service", "E", remote, to))
    assert (shape.local, spelled(shape.target)) == (local, target)


def test_relations_of_patterns() -> None:
    assert covers("a.*", "a.b") and covers("a.>", "a.b.>") and covers(">", "a")
    assert not covers("a.*", "a.>") and not covers("a.b", "a.*") and not covers("a.>", "a")
    assert collide("a.*", "*.b") and collide("a.>", "a.b.c") and not collide("a.*", "a.b.c")


def ring(*services: tuple[str, str, str, str]) -> list[str]:
    """What is said to imports (importer, exporter, remote, local), one after the other."""
    names = {name for importer, exporter, _, _ in services for name in (importer, exporter)}
    accounts = {name: AccountOptions(name, exports=[Export("service", ">")]) for name in sorted(names)}
    sharing = Sharing(accounts.values())
    return [
        sharing.add(accounts[importer], Import("service", exporter, remote, local))
        for importer, exporter, remote, local in services
    ]


def test_streams_in_two_ways_are_no_cycle() -> None:
    accounts = {name: AccountOptions(name, exports=[Export("stream", "s.>")]) for name in "ABCD"}
    sharing = Sharing(accounts.values())
    for importer, exporter in ("BA", "CA", "CB", "DC"):
        assert sharing.add(accounts[importer], Import("stream", exporter, "s.>")) == ""
    refused = 'Error adding stream import "s.>": import forms a cycle'
    assert sharing.add(accounts["A"], Import("stream", "D", "s.>")) == refused


def test_cycles() -> None:
    cycle = 'Error adding service import "{}": import forms a cycle'
    assert ring(("A", "B", "q", "q"), ("B", "A", "q", "q")) == ["", cycle.format("q")]
    assert ring(("A", "B", "q", "a"), ("B", "A", "q", "b")) == ["", ""]
    assert ring(("A", "B", "q", "q"), ("B", "C", "q", "q"), ("C", "A", "q", "q"))[2] == cycle.format("q")
    # nats-server does not find this one; a request that goes round is stopped on its way.
    assert ring(("A", "C", "c", "a"), ("B", "A", "a", "b"), ("C", "B", "b", "c")) == ["", "", ""]
    assert ring(("A", "A", "q", "q")) == [""]


@pytest.mark.parametrize(("position", "wrong"), [(0, False), (2, False), (1, True), (4, True), (-1, True)])
def test_account_token_position(position: int, wrong: bool) -> None:
    export = Export("service", "a.*.b", account_token_position=position)
    assert wrong_export(export) == (
        'Error adding service export "a.*.b": sublist: invalid subject' if wrong else ""
    )


@pytest.mark.parametrize("byte", [chr(number) for number in (*range(33), 127)])
@pytest.mark.parametrize("remote", ["a", "a.*", "a.>"])
def test_no_control_byte_in_the_local_name_of_a_stream(byte: str, remote: str) -> None:
    """nats-server takes it, and its subscribers read what they were never sent: the byte would end the subject."""
    exporter, importer = AccountOptions("E", exports=[Export("stream", ">")]), AccountOptions("I")
    local = f"b{byte}c" + remote[1:]
    for found in (Import("stream", "E", remote, to=local), Import("stream", "E", remote, prefix=f"b{byte}c")):
        said = Sharing([exporter, importer]).add(importer, found)
        assert said == f'Error adding stream import "{remote}": invalid subject'
