"""Streams that cross accounts: what one account publishes is seen in another, under another name."""

from __future__ import annotations

import re
from typing import Final

import pytest

from tests.harness import FOUR, Raw, start
from tests.server.crew import Crew
from tests.server.shared import Dial

CONFIG: Final = """accounts {
  EXP {
    users: [ { user: exp } ]
    exports: [
      { stream: "pub.>" }
      { stream: "priv.x", accounts: [IMP] }
      { stream: "ord.*.*" }
      { stream: same }
      { stream: "wide.>" }
      { stream: fin }
      { stream: "pos.*.s", account_token_position: 2 }
    ]
  }
  IMP {
    users: [
      { user: imp }
      { user: deaf, permissions: { subscribe: { deny: ["local.9.*"] } } }
      { user: narrow, permissions: { subscribe: ["local.1.*", "_fin.*"] } }
    ]
    imports: [
      { stream: { account: EXP, subject: "pub.>" }, prefix: fromexp }
      { stream: { account: EXP, subject: "priv.x" } }
      { stream: { account: EXP, subject: "ord.*.*" }, to: "local.$2.$1" }
      { stream: { account: EXP, subject: same }, to: other }
      { stream: { account: EXP, subject: "wide.in.>" } }
      { stream: { account: EXP, subject: "pos.IMP.s" } }
      { stream: { account: EXP, subject: fin }, to: "_fin.end" }
    ]
    exports: [ { stream: "fromexp.>" } ]
  }
  THIRD {
    users: [ { user: third } ]
    imports: [ { stream: { account: IMP, subject: "fromexp.>" } } ]
  }
}
"""


def as_user(dial: Dial, user: str, **options: object) -> Raw:
    """A client of this user."""
    return dial(CONFIG).hello(user=user, **options)


def importer(dial: Dial, *subscriptions: bytes, user: str = "imp", **options: object) -> Raw:
    """A client with these subscriptions, numbered from 1, that knows when all that was published has come."""
    client = as_user(dial, user, **options)
    client.send(b"".join(b"SUB %s %d\r\n" % (what, number) for number, what in enumerate(subscriptions, 1)))
    return client.send(b"SUB _fin.end fin\r\n").expect_pong()


def received(publisher: Raw, client: Raw) -> list[bytes]:
    """The messages that a client got, until the end that the publisher sends now; sorted, as copies have no order."""
    publisher.send(b"PUB fin 0\r\n\r\nPUB fin 0\r\n\r\n")
    end = b"MSG _fin.end fin 0\r\n\r\n"
    data = client.read_until(end) + client.read_until(end)
    found = re.findall(rb"(MSG [^\r]*)\r\n([^\r]*)\r\n", data)
    return sorted(b"|".join(one) for one in found if b" _fin.end " not in one[0])


def test_prefix_to_and_same_name(dial: Dial) -> None:
    client = importer(dial, b"fromexp.pub.>", b"priv.x", b"local.*.*", b"local.9.8", b">", b"other")
    exporter = as_user(dial, "exp")
    exporter.send(b"PUB pub.a 1\r\nx\r\nPUB priv.x 1\r\nx\r\nPUB ord.8.9 1\r\nx\r\nPUB same 1\r\nx\r\n")
    assert received(exporter, client) == sorted(
        [
            b"MSG fromexp.pub.a 1 1|x",
            b"MSG fromexp.pub.a 5 1|x",
            b"MSG priv.x 2 1|x",
            b"MSG priv.x 5 1|x",
            b"MSG local.9.8 3 1|x",
            b"MSG local.9.8 4 1|x",
            b"MSG local.9.8 5 1|x",
            b"MSG other 6 1|x",
            b"MSG other 5 1|x",
        ]
    )


@pytest.mark.parametrize(
    ("subscription", "published", "shown"),
    [
        (b"local.*.8", b"ord.8.9", b"local.9.8"),
        (b"local.*.8", b"ord.9.8", None),
        (b"local.>", b"ord.8.9", b"local.9.8"),
        (b"*.9.*", b"ord.8.9", b"local.9.8"),
        (b"*.9", b"ord.8.9", None),
        (b"*.*.>", b"ord.8.9", b"local.9.8"),
        (b"fromexp.pub.a.*", b"pub.a.b", b"fromexp.pub.a.b"),
        (b"fromexp.*.a.b", b"pub.a.b", b"fromexp.pub.a.b"),
        (b"*.*.a.>", b"pub.a.b", b"fromexp.pub.a.b"),
        (b"fromexp.pub.a.*", b"pub.a", None),
        (b"fromexp.pub", b"pub.a", None),
        (b"wide.>", b"wide.in.a", b"wide.in.a"),
        (b"wide.>", b"wide.out.a", None),
        (b"*.in.*", b"wide.in.a", b"wide.in.a"),
        (b"pos.*.s", b"pos.IMP.s", b"pos.IMP.s"),
        (b"pos.*.s", b"pos.EXP.s", None),
        (b"pub.a", b"pub.a", None),
        (b"ord.*.*", b"ord.8.9", None),
    ],
)
def test_overlaps(dial: Dial, subscription: bytes, published: bytes, shown: bytes | None) -> None:
    client = importer(dial, subscription)
    exporter = as_user(dial, "exp").send(b"PUB %s 1\r\nx\r\n" % published)
    assert received(exporter, client) == ([b"MSG %s 1 1|x" % shown] if shown else [])


def test_reply_and_headers_are_unchanged(dial: Dial) -> None:
    client = importer(dial, b"other", headers=True)
    plain = importer(dial, b"other")
    exporter = as_user(dial, "exp", headers=True)
    exporter.send(b"PUB same re.ply 1\r\nx\r\nHPUB same re.ply 18 19\r\nNATS/1.0\r\nA: b\r\n\r\nx\r\n")
    client.expect(b"MSG other 1 re.ply 1\r\nx\r\nHMSG other 1 re.ply 18 19\r\nNATS/1.0\r\nA: b\r\n\r\nx\r\n")
    plain.expect(b"MSG other 1 re.ply 1\r\nx\r\n" * 2)


def test_it_goes_one_way_and_one_account_far(dial: Dial) -> None:
    exporter = as_user(dial, "exp").watch().send(b"SUB > 1\r\n").expect_pong()
    third = as_user(dial, "third").watch().send(b"SUB > 1\r\n").expect_pong()
    client = importer(dial, b"fromexp.>")
    client.send(b"PUB other 1\r\nx\r\nPUB fromexp.pub.own 1\r\nx\r\n").expect(
        b"MSG fromexp.pub.own 1 1\r\nx\r\n"
    )
    third.expect(b"MSG fromexp.pub.own 1 1\r\nx\r\n")
    exporter.send(b"PUB pub.a 1\r\ny\r\n").expect(b"MSG pub.a 1 1\r\ny\r\n")
    client.expect(b"MSG fromexp.pub.a 1 1\r\ny\r\n")
    assert not third.received_from(as_user(dial, "third")).replace(b"MSG", b"").startswith(b" fromexp")
    exporter.expect_pong()


def test_unsubscribe(dial: Dial) -> None:
    client = importer(dial, b"other", b"local.*.*")
    exporter = as_user(dial, "exp").send(b"PUB same 1\r\n1\r\n")
    assert received(exporter, client) == [b"MSG other 1 1|1"]
    client.send(b"UNSUB 1\r\nUNSUB 2\r\n").expect_pong()
    exporter.send(b"PUB same 1\r\n2\r\nPUB ord.1.2 1\r\n2\r\n")
    assert received(exporter, client) == []
    client.send(b"SUB other 1\r\n").expect_pong()
    exporter.send(b"PUB same 1\r\n3\r\n")
    assert received(exporter, client) == [b"MSG other 1 1|3"]


def test_auto_unsubscribe_counts_copies_of_both_accounts(dial: Dial) -> None:
    if dial.kind.real:
        pytest.skip("nats-server does not count messages of imports if UNSUB follows SUB")
    client = importer(dial, b"other")
    client.send(b"UNSUB 1 3\r\nPUB other 1\r\n1\r\n").expect(b"MSG other 1 1\r\n1\r\n").expect_pong()
    exporter = as_user(dial, "exp").send(b"".join(b"PUB same 1\r\n%d\r\n" % number for number in range(2, 6)))
    assert received(exporter, client) == [b"MSG other 1 1|2", b"MSG other 1 1|3"]
    exporter.send(b"PUB same 1\r\n6\r\n")
    assert received(exporter, client) == []


def test_permissions_are_about_the_importers_subject(dial: Dial) -> None:
    deaf = importer(dial, b"local.>", user="deaf")
    narrow = as_user(dial, "narrow").send(b"SUB local.1.* 1\r\n").expect_pong()
    narrow.send(b"SUB local.2.2 2\r\n").expect(
        b"-ERR 'Permissions Violation for Subscription to \"local.2.2\"'\r\n"
    ).expect_pong()
    exporter = as_user(dial, "exp").send(b"PUB ord.8.9 1\r\nx\r\nPUB ord.8.1 1\r\ny\r\n")
    assert received(exporter, deaf) == [b"MSG local.1.8 1 1|y"]
    narrow.expect(b"MSG local.1.8 1 1\r\ny\r\n")


def test_a_queue_group_spans_accounts(dial: Dial) -> None:
    members = [importer(dial, b"other q") for _ in range(2)]
    own = as_user(dial, "exp").send(b"SUB same q 1\r\n").expect_pong()
    exporter = as_user(dial, "exp").send(b"PUB same 1\r\nx\r\n" * 300).expect_pong()
    counts = [len(received(exporter, member)) for member in members]
    own.send(b"SUB stop 2\r\nPUB stop 0\r\n\r\n")
    counts.append(300 - sum(counts))
    own.expect(b"MSG same 1 1\r\nx\r\n" * counts[2]).expect(b"MSG stop 2 0\r\n\r\n")
    assert all(50 <= count <= 150 for count in counts), counts


def test_a_client_that_leaves_leaves_nothing(dial: Dial) -> None:
    exporter = as_user(dial, "exp", headers=True, no_responders=True).send(b"SUB in.box 1\r\n").expect_pong()
    nobody = b"HMSG in.box 1 36 36\r\nNATS/1.0 503\r\nNats-Subject: same\r\n\r\n\r\n"
    client = importer(dial, b"other", b"> q")
    exporter.send(b"PUB same in.box 0\r\n\r\n").expect_pong()
    client.leave()
    exporter.send(b"SUB ready 2\r\nPUB ready 0\r\n\r\n").expect(b"MSG ready 2 0\r\n\r\n")
    for _ in range(200):
        exporter.send(b"PUB same in.box 0\r\n\r\n")
        if exporter.expect_after(b"PONG\r\n"):
            break
    exporter.send(b"PUB same in.box 0\r\n\r\n").expect(nobody).expect_pong()


def test_across_workers() -> None:
    server = start(FOUR, CONFIG)
    crew = Crew(server)
    try:
        exporter = crew.place(0, user="exp")[0]
        clients = crew.place(0, 1, 2, 3, user="imp")
        for client in clients:
            client.send(b"SUB local.*.* 1\r\nSUB other q 2\r\nSUB _fin.end fin\r\n").expect_pong()
        exporter.send(b"PUB ord.1.2 1\r\nx\r\n" * 3 + b"PUB same 1\r\ny\r\n" * 400)
        found = [received(exporter, client) for client in clients]
        assert [one.count(b"MSG local.2.1 1 1|x") for one in found] == [3] * 4
        shares = [one.count(b"MSG other 2 1|y") for one in found]
        assert sum(shares) == 400 and min(shares) > 50
        for number, client in enumerate(clients):
            client.send(b"UNSUB 2\r\n" if number else b"").expect_after(b"PONG\r\n")
        exporter.send(b"PUB same 1\r\nz\r\n" * 10)
        clients[0].expect(b"MSG other 2 1\r\nz\r\n" * 10)
        crew.close()
        server.stop()
    finally:
        server.destroy()


IMPORT: Final = """accounts {{
  E {{ exports: [ {{ stream: "a.*.b" }}, {{ stream: "p.*.q", account_token_position: 2 }}, {{ stream: c, accounts: [F] }} ] }}
  F {{ imports: [ {} ] }}
}}
"""


@pytest.mark.parametrize(
    ("imports", "text"),
    [
        ("{ stream: { account: E, subject: x } }", "stream import not authorized"),
        ("{ stream: { account: E, subject: 'p.G.q' } }", "stream import not authorized"),
        ("{ stream: { account: E, subject: 'p.*.q' } }", "stream import not authorized"),
        ("{ stream: { account: E, subject: 'a.>' } }", "stream import not authorized"),
        (
            "{ stream: { account: E, subject: 'a.*.b' }, prefix: '*' }",
            "prefix can not contain wildcard tokens",
        ),
        (
            "{ stream: { account: E, subject: c } }\n{ stream: { account: E, subject: c }, to: d }",
            "stream import already exists",
        ),
        (
            "{ stream: { account: E, subject: 'a.*.b' }, to: x }",
            'from "a.*.b" to "x": invalid mapping destination: not using all of the token wildcard(s) in x',
        ),
        ("{ stream: { account: X, subject: 'a.*.b' } }", '"X" account not defined for stream import'),
    ],
)
def test_refused(dial: Dial, imports: str, text: str) -> None:
    with pytest.raises(AssertionError) as failure:
        start(dial.kind, IMPORT.format(imports))
    assert text in str(failure.value)


def test_cycle(dial: Dial) -> None:
    config = """accounts {
      A { exports: [ { stream: s } ], imports: [ { stream: { account: B, subject: s } } ] }
      B { exports: [ { stream: s } ], imports: [ { stream: { account: A, subject: s } } ] }
    }"""
    with pytest.raises(AssertionError) as failure:
        start(dial.kind, config)
    assert 'Error adding stream import "s": import forms a cycle' in str(failure.value)
