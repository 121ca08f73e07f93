"""What monitoring says of accounts, beside what the real nats-server says of the same ones in the same situation."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import pytest

from tests.harness import FOUR, ONE, REAL, Kind, Raw, Server, start
from tests.server.monitor import MONITOR, Monitor
from tests.server.shared import Dial

CONFIG: Final = (
    MONITOR
    + """
mappings { g.one: g.two, "g.*.x": "g.x.$1" }
accounts {
  A { users [ {user: a, password: a} ]
    exports [
      { service: "svc.one" }
      { service: "svc.s.*", response_type: stream, threshold: "50s", accounts: [B, C] }
      { service: "svc.c", response: chunked }
      { service: "tok.*.q", account_token_position: 2 }
      { stream: "str.>" }
      { stream: "ev.*", accounts: [B] }
      { stream: "tk.*.>", account_token_position: 2 }
      { stream: "none", accounts: [] }
    ]
    mappings {
      "m.one": "m.two"
      "m.w": [ {destination: "m.w1", weight: 30%}, {destination: "m.w2", weight: 20%} ]
      "m.*.c": [ {destination: "m.c1.$1", weight: 100%, cluster: C1}, {destination: "m.c2.$1", weight: 40%} ]
      "m.*.d": [ {destination: "m.$1.d", weight: 50%} ]
      "same": [ {destination: "same", weight: 40%}, {destination: "other", weight: 60%} ]
      "drop": [ {destination: "drop", weight: 50%} ]
    }
  }
  B { users [ {user: b, password: b} ]
    imports [
      { service: {account: A, subject: "svc.one"}, to: "my.one", share: true }
      { service: {account: A, subject: "svc.s.*"}, to: "my.s.*" }
      { stream: {account: A, subject: "str.>"}, prefix: "pre" }
      { service: {account: A, subject: "svc.c"} }
      { service: {account: A, subject: "tok.B.q"}, to: "tok" }
      { stream: {account: A, subject: "ev.*"}, to: "evt.$1" }
      { stream: {account: A, subject: "str.x"}, to: "x" }
      { stream: {account: A, subject: "tk.B.>"} }
    ]
  }
  C { users [ {user: c, password: c} ]
    exports [ { service: "q.>" } ]
    imports [ { service: {account: A, subject: "svc.s.*"}, to: "s.$1.t" },
              { stream: {account: A, subject: "str.a.*.*"}, to: "rev.$2.$1" } ]
  }
  D { users [ {user: d, password: d} ], imports [ { service: {account: C, subject: "q.x"} } ] }
  IDLE { users [ {user: i, password: i} ] }
  SYS { users [ {user: s, password: s} ] }
}
system_account: SYS
"""
)
ACCOUNTS: Final = ("A", "B", "C", "D", "IDLE", "SYS", "$G")
_NAME: Final = re.compile(r"_R_\.\w{6}\.\w{6}")
# What a cache holds, and how often it was asked, is not the same; nor what a server subscribes for itself.
_OWN: Final = ("cache_hit_rate", "num_cache", "num_matches", "max_fanout", "avg_fanout")
# nats-server offers it even without JetStream.
_JETSTREAM: Final = "$JS.API.>"


@dataclass(slots=True)
class Scene:
    """A server with one client in each of the first accounts, requests that wait for answers, and a stream that was shared."""

    server: Server
    monitor: Monitor
    clients: dict[str, Raw]
    expected: dict[str, str]  # the replies that the responder was given, and what they are to the requester

    def stats(self, query: str = "") -> dict[str, dict[str, Any]]:
        """What goes through the accounts. Without the bytes to A and C, which get headers."""
        entries = {entry["acc"]: entry for entry in self.monitor.json(f"/accstatz?{query}")["account_statz"]}
        for name in {"A", "C"} & set(entries):
            del entries[name]["sent"]["bytes"]
        return entries

    def detail(self, account: str) -> dict[str, Any]:
        """Its description."""
        detail: dict[str, Any] = self.monitor.json(f"/accountz?acc={account}")["account_detail"]
        return detail


def scene(kind: Kind) -> Iterator[Scene]:
    """One server, with what is to be compared."""
    server = start(kind, CONFIG)
    try:
        clients = {
            name: Raw(server.port).hello(user=name, **{"pass": name}, name=f"the {name}") for name in "abcd"
        }
        a, b, c, d = clients.values()
        a.send(b"SUB svc.> 1\r\nSUB tok.> 2\r\nSUB x.* q 3\r\nUNSUB 3 7\r\n").expect_pong()
        b.send(b"SUB inb.* 1\r\nSUB pre.> 2\r\nSUB evt.foo 3\r\n").expect_pong()
        c.send(b"SUB q.x 1\r\n").expect_pong()
        d.send(b"SUB in.d 1\r\nPUB q.x in.d 2\r\nhi\r\n").expect_pong()
        expected: dict[str, str] = {}
        for number, subject in enumerate((b"my.one", b"my.s.z", b"tok"), 1):
            b.send(b"PUB %b inb.%d 2\r\nhi\r\n" % (subject, number)).expect_pong()
            asked = a.read_until(b"hi\r\n").split()
            expected[asked[3].decode()] = f"inb.{number}"
        a.send(b"PUB str.a 1\r\nx\r\n").expect_pong()
        b.expect(b"MSG pre.str.a 2 1\r\nx\r\n")
        c.read_until(b"hi\r\n")
        found = Scene(server, Monitor(server), clients, expected)
        found.monitor.until(lambda: found.stats()["A"]["sent"]["msgs"] == 4)
        yield found
        for client in clients.values():
            client.close()
        server.stop()
    finally:
        server.destroy()


@pytest.fixture(scope="module", params=[ONE, FOUR], ids=lambda kind: kind.name)
def ours(request: pytest.FixtureRequest) -> Iterator[Scene]:
    """Our server."""
    yield from scene(request.param)


@pytest.fixture(scope="module")
def theirs() -> Iterator[Scene]:
    """The real one."""
    yield from scene(REAL)


def comparable(detail: dict[str, Any]) -> dict[str, Any]:
    """A description without what is different each time; responses by whom they are for."""
    detail["update_time"] = bool(detail["update_time"])
    for name in _OWN:
        del detail["sublist_stats"][name]
    exports = [export for export in detail.get("exports", []) if export["subject"] != _JETSTREAM]
    for export in exports:
        export.get("approved_accounts", []).sort()
    for key, entries in (("exports", exports), ("imports", detail.get("imports", []))):
        if entries:
            detail[key] = sorted(entries, key=json.dumps)
    for name, response in list(detail.get("responses", {}).items()):
        assert _NAME.fullmatch(name)
        assert name == response.pop("to") == response.pop("local_subject")
        del detail["responses"][name]
        detail["responses"][response["subject"]] = response
    if detail.get("is_system"):
        del detail["subscriptions"], detail["sublist_stats"]
    return detail


@pytest.mark.parametrize("account", ACCOUNTS)
def test_detail(ours: Scene, theirs: Scene, account: str) -> None:
    mine, real = ours.detail(account), theirs.detail(account)
    assert list(mine) == list(real)
    for each in ("exports", "imports"):
        kinds = [{tuple(entry) for entry in detail.get(each, [])} for detail in (mine, real)]
        assert kinds[0] == kinds[1]
    assert list(mine["sublist_stats"]) == list(real["sublist_stats"])
    assert comparable(mine) == comparable(real)


def test_responses_are_where_the_responder_answers(ours: Scene, theirs: Scene) -> None:
    for found in (ours, theirs):
        responses = found.detail("A")["responses"]
        assert {name: one["subject"] for name, one in responses.items()} == found.expected


def test_system_account(ours: Scene, theirs: Scene) -> None:
    """What it holds is the server's own affair, but that it holds something is seen."""
    for found in (ours, theirs):
        detail = found.detail("SYS")
        assert detail["is_system"] is True
        assert detail["subscriptions"] == detail["sublist_stats"]["num_subscriptions"] > 20
        answer = found.monitor.json("/accountz")
        assert answer["system_account"] == "SYS" == found.monitor.json("/varz")["system_account"]
        assert set(answer["accounts"]) == set(ACCOUNTS)


def test_statistics(ours: Scene, theirs: Scene) -> None:
    """A stream counts as sent by the account that exports it. What is sent to a service has headers of its own length."""
    mine, real = (found.stats("unused=1") for found in (ours, theirs))
    del mine["SYS"]["num_subscriptions"], real["SYS"]["num_subscriptions"]
    assert mine == real
    assert list(mine["A"]) == list(real["A"])
    assert set(ours.stats()) == set(theirs.stats()) == {"A", "B", "C", "D"}


def test_subscriptions_of_an_account(ours: Scene, theirs: Scene) -> None:
    for query in ("acc=A", "acc=B", "acc=IDLE", "acc=NOPE"):
        mine, real = (found.monitor.json(f"/subsz?{query}") for found in (ours, theirs))
        for each in (mine, real):
            for name in ("server_id", "now", *_OWN):
                each.pop(name, None)
        assert mine == real, query


def test_connections_of_an_account(ours: Scene, theirs: Scene) -> None:
    for query in (
        "acc=A&auth=1",
        "acc=A&user=b",
        "acc=IDLE",
        "acc=NOPE",
        "acc=SYS&state=any",
        "user=b&auth=1",
        "acc=A&filter_subject=svc.one",
        "filter_subject=svc.one&limit=1",
        "acc=B&auth=1&limit=1&offset=1",
    ):
        mine, real = (found.monitor.json(f"/connz?{query}") for found in (ours, theirs))
        assert bool(mine["server_id"]) == bool(real["server_id"]), query
        for each in (mine, real):
            for name in ("server_id", "now"):
                del each[name]
            each["connections"] = [
                (
                    one["name"],
                    one.get("authorized_user"),
                    one.get("account"),
                    one.get("name_tag"),
                    one["in_msgs"],
                )
                for one in each["connections"] or []
            ]
        if "user=b" in query or "acc=" in query:
            assert mine == real, query
        else:
            assert mine["total"] == real["total"] and mine["num_connections"] == real["num_connections"], (
                query
            )


def test_wrong_accounts(ours: Scene, theirs: Scene) -> None:
    for path in ("/accountz?acc=NOPE", "/accountz?acc=$SYS", "/accountz?acc=%24X%0A"):
        mine, real = (found.monitor.get(path) for found in (ours, theirs))
        assert (mine.status, mine.body) == (real.status, real.body), path
    for path in ("/accountz?acc=A&acc=B", "/accountz?acc=", "/accountz?unused=maybe"):
        mine, real = (found.monitor.json(path) for found in (ours, theirs))
        assert set(mine) == set(real), path


def test_a_response_is_over_with_the_answer(dial: Dial) -> None:
    """Also when both clients are on different workers; and one that nobody waits for any more is none."""
    monitor = Monitor(dial.server(CONFIG))

    def waiting() -> set[str]:
        responses = monitor.json("/accountz?acc=A")["account_detail"].get("responses", {})
        return {one["subject"] for one in responses.values()}

    a = dial(CONFIG).hello(user="a", **{"pass": "a"}).send(b"SUB svc.one 1\r\n").expect_pong()
    b = dial(CONFIG).hello(user="b", **{"pass": "b"})
    b.send(b"SUB in.1 1\r\nSUB in.2 2\r\n").expect_pong()
    for number in (1, 2):
        b.send(b"PUB my.one in.%d 2\r\nhi\r\n" % number).expect_pong()
    replies = [a.read_until(b"hi\r\n").split()[3] for _ in range(2)]
    assert waiting() == {"in.1", "in.2"}
    a.send(b"PUB %b 2\r\nok\r\n" % replies[0]).expect_pong()
    b.expect(b"MSG in.1 1 2\r\nok\r\n")
    assert waiting() == {"in.2"}
    b.send(b"UNSUB 2\r\n").expect_pong()
    monitor.until(lambda: not waiting())
