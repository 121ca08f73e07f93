"""Subject mappings: what is published on one subject arrives on another."""

from __future__ import annotations

import re
from typing import Final

import pytest

from tests.harness import Raw
from tests.server.shared import Dial

CONFIG: Final = """mappings {
  plain: mapped
  "swap.*.*": "swapped.$2.{{wildcard(1)}}"
  "exact.*": "pattern.$1"
  exact.one: literal
  "open.>": "opened.>"
  "parts.*.*": "parts.{{partition(1000000,2,1)}}"
  "whole.*": "whole.{{partition(1000000)}}"
  "cut.*.*": "cut.{{split(1,-)}}.{{splitFromLeft(2,2)}}.{{SplitFromRight(2,2)}}.{{sliceFromLeft(2,2)}}.{{sliceFromRight(2,2)}}"
  "edge.*": "edges.{{splitFromRight(1,0)}}.{{SplitFromLeft(1, -2)}}.{{sliceFromRight(1,-1)}}.{{partition(0,1)}}.{{random(0)}}"
  "letters.*": "letters.{{ Split( 1, ) }}"
  "drop.*.*": "dropped.$2"
  zero: { destination: other, weight: 0 }
  "dice.*": "dice.{{random(3)}}"
  chain: plain
  third: { destination: other, weight: 30% }
  split: [ { destination: one, weight: 20 }, { destination: two, weight: "80%" } ]
  lossy: { destination: lossy, weight: 50% }
  gone: { destination: gone, weight: 0 }
  near: [ { destination: near.all, weight: 100 }, { destination: near.c1, weight: 100, cluster: c1 } ]
  far: [ { destination: far.c1, weight: 100, cluster: c1 } ]
}
accounts {
  A { users: [ { user: a } ], mappings { plain: in.a } }
  B { users: [ { user: b } ] }
  P { users: [ { user: limited, permissions: { publish: "n.*" } }, { user: pub } ], mappings { "m.*": "n.$1", "q.*": "o.$1" } }
}
authorization { users: [ { user: g } ] }
no_auth_user: g
"""


def subjects(data: bytes) -> list[bytes]:
    """The subjects of the messages in ``data``, in order."""
    return re.findall(rb"^MSG (\S+) ", data, re.MULTILINE)


def seen(dial: Dial, *published: bytes, user: str = "g") -> list[bytes]:
    """What a subscriber to everything sees of these, published by somebody else."""
    witness = dial(CONFIG).hello(user=user).watch().send(b"SUB > 1\r\n").expect_pong()
    publisher = dial(CONFIG).hello(user=user)
    publisher.send(b"".join(b"PUB %s 0\r\n\r\n" % subject for subject in published))
    return [one for one in subjects(witness.received_from(publisher)) if not one.startswith(b"_end.")]


def fnv(text: bytes) -> int:
    """FNV-1a with 32 bits."""
    value = 2166136261
    for byte in text:
        value = (value ^ byte) * 16777619 % (1 << 32)
    return value


@pytest.mark.parametrize(
    ("published", "expected"),
    [
        (b"plain", b"mapped"),
        (b"plain.x", b"plain.x"),
        (b"swap.a.b", b"swapped.b.a"),
        (b"swap.a", b"swap.a"),
        (b"swap.a.b.c", b"swap.a.b.c"),
        (b"open.a.b", b"opened.a.b"),
        (b"open", b"open"),
        # What is published with wildcards is taken as a pattern.
        (b"open.>", b"opened.>"),
        (b"swap.*.b", b"swapped.b.*"),
        (b"swap.a.>", b"swap.a.>"),
        (b"drop.a.b", b"dropped.b"),
        (b"parts.a.bc", b"parts.%d" % (fnv(b"bca") % 1000000)),
        (b"whole.a", b"whole.%d" % (fnv(b"whole.a") % 1000000)),
        (b"cut.-ab--c-d-.abcde", b"cut.ab.c.d.ab.cde.abc.de.ab.cd.e.a.bc.de"),
        (b"cut.abc.ab", b"cut.abc.ab.ab.ab.ab"),
        (b"cut.a-b.abcd", b"cut.a.b.ab.cd.ab.cd.ab.cd.ab.cd"),
        (b"edge.ab", b"edges.ab.ab.ab.0.0"),
        (b"letters.abc", b"letters.a.b.c"),
        (b"chain", b"plain"),
        (b"zero", b"zero"),
        (b"near", b"near.all"),
        (b"far", b"far"),
    ],
)
def test_one_destination(dial: Dial, published: bytes, expected: bytes) -> None:
    assert seen(dial, published) == [expected]


def test_mappings_belong_to_an_account(dial: Dial) -> None:
    assert seen(dial, b"plain", b"swap.a.b", user="a") == [b"in.a", b"swap.a.b"]
    assert seen(dial, b"plain", user="b") == [b"plain"]


def test_subscribers_of_the_source_get_nothing(dial: Dial) -> None:
    client = dial(CONFIG).hello().send(b"SUB plain 1\r\nSUB mapped 2\r\nPUB plain re.ply 2\r\nhi\r\n")
    client.expect(b"MSG mapped 2 re.ply 2\r\nhi\r\n").expect_pong()


def test_headers_pass(dial: Dial) -> None:
    client = (
        dial(CONFIG).hello(headers=True).send(b"SUB mapped 2\r\nHPUB plain 12 14\r\nNATS/1.0\r\n\r\nhi\r\n")
    )
    client.expect(b"HMSG mapped 2 12 14\r\nNATS/1.0\r\n\r\nhi\r\n").expect_pong()


NUMBER: Final = 2000


@pytest.mark.parametrize(
    ("source", "shares"),
    [
        (b"third", {b"other": 0.3, b"third": 0.7}),
        (b"split", {b"one": 0.2, b"two": 0.8}),
        (b"lossy", {b"lossy": 0.5}),
        (b"gone", {}),
        (b"dice.x", {b"dice.0": 1 / 3, b"dice.1": 1 / 3, b"dice.2": 1 / 3}),
    ],
)
def test_shares(dial: Dial, source: bytes, shares: dict[bytes, float]) -> None:
    arrived = seen(dial, *[source] * NUMBER)
    assert set(arrived) == set(shares)
    for subject, share in shares.items():
        # More than seven standard deviations: once in 10^12 runs
        assert abs(arrived.count(subject) - share * NUMBER) < 7 * (NUMBER * share * (1 - share)) ** 0.5


def test_lost_request_has_no_responders(dial: Dial) -> None:
    client = (
        dial(CONFIG)
        .hello(headers=True, no_responders=True)
        .send(b"SUB in.box 1\r\nPUB gone in.box 0\r\n\r\n")
    )
    client.expect(b"HMSG in.box 1 32 32\r\nNATS/1.0 503\r\nNats-Subject: \r\n\r\n\r\n").expect_pong()


def test_no_responders_names_the_mapped_subject(dial: Dial) -> None:
    client = (
        dial(CONFIG)
        .hello(headers=True, no_responders=True)
        .send(b"SUB in.box 1\r\nPUB plain in.box 0\r\n\r\n")
    )
    client.expect(b"HMSG in.box 1 38 38\r\nNATS/1.0 503\r\nNats-Subject: mapped\r\n\r\n\r\n").expect_pong()


def test_permissions_are_about_the_destination(dial: Dial) -> None:
    def limited() -> Raw:
        return dial(CONFIG).hello(user="limited")

    witness = dial(CONFIG).hello(user="pub").send(b"SUB n.* 1\r\n").expect_pong()
    limited().send(b"PUB m.1 2\r\nhi\r\n").expect_pong()
    witness.expect(b"MSG n.1 1 2\r\nhi\r\n")
    limited().send(b"PUB q.1 0\r\n\r\n").expect(
        b"-ERR 'Permissions Violation for Publish to \"o.1\"'\r\n"
    ).expect_pong()


def test_every_message_is_mapped_by_itself(dial: Dial) -> None:
    assert seen(dial, *[b"swap.%d.x" % i for i in range(50)]) == [b"swapped.x.%d" % i for i in range(50)]
