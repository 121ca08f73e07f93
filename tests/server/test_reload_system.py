"""Reload of accounts, as the system account and monitoring tell of it: what is new is there, what is gone is forgotten."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import pytest

from tests.harness import FOUR, ONE, Kind, Raw
from tests.server.listener import Listener
from tests.server.monitor import MONITOR, Monitor
from tests.server.system import Asker
from tests.server.test_reload import Operator
from tests.server.test_reload_accounts import OTHER, PREFIXED, SERVICE, STREAM, accounts, applied, pair, user

BOTH: Final = f"{SERVICE}, {STREAM}"
SYS: Final = {"user": "s", "pass": "p"}
OF_NEW: Final = ("$SYS.ACCOUNT.NEW.*", "$SYS.SERVER.ACCOUNT.NEW.*")


def config(**more: str) -> str:
    """The system account, the account OLD, and others."""
    return (
        accounts(SYS=f"users: [{user('s')}]", OLD=f"users: [{user('o')}]", **more)
        + f"system_account: SYS\n{MONITOR}\n"
    )


BEFORE: Final = config()
AFTER: Final = config(NEW=f"users: [{user('n')}]", UNUSED="")


@pytest.fixture
def operator(kind: Kind) -> Iterator[Operator]:
    """An operator of a server with the accounts before."""
    made = Operator(kind, BEFORE)
    try:
        yield made
        for client in made.clients:
            client.close()
        made.server.stop()
    finally:
        made.server.destroy()


def asking(operator: Operator, name: str) -> Asker:
    """A client of this user that asks."""
    return Asker(operator.connect(user=name, **{"pass": "p"}, headers=True, no_responders=True))


def test_events_of_accounts_that_come_and_go(operator: Operator) -> None:
    listener = Listener(operator.server, **SYS)
    old = operator.connect(user="o", **{"pass": "p"})
    for turn in range(2):
        applied(operator, AFTER)
        new = Raw(operator.server.port).hello(user="n", **{"pass": "p"}, name=f"n{turn}")
        came = [listener.next(*OF_NEW) for _ in range(3)]
        counted = [event.body["conns"] for event in came if event.subject.endswith("CONNS")]
        (connected,) = [event.body["client"] for event in came if event.subject.endswith(".CONNECT")]
        assert counted == [1, 1] and connected["name"] == f"n{turn}" and connected["acc"] == "NEW"
        applied(operator, BEFORE)
        new.expect_eof()
        went = [listener.next(*OF_NEW) for _ in range(3)]
        counted = [event.body["conns"] for event in went if event.subject.endswith("CONNS")]
        (left,) = [event.body["client"] for event in went if event.subject.endswith(".DISCONNECT")]
        assert counted == [0, 0] and left["name"] == f"n{turn}" and left["acc"] == "NEW"
        new.close()
    old.expect_pong()
    listener.leave()


def test_requests_about_accounts_that_come_and_go(operator: Operator) -> None:
    sys, old = asking(operator, "s"), asking(operator, "o")
    assert sys.error("$SYS.REQ.ACCOUNT.NEW.INFO", null=True)[1] == "Account NEW does not exist"
    for _ in range(2):
        applied(operator, AFTER)
        new = asking(operator, "n")
        assert set(sys.data("$SYS.REQ.SERVER.PING.ACCOUNTZ")["accounts"]) == {
            "$G",
            "SYS",
            "OLD",
            "NEW",
            "UNUSED",
        }
        assert sys.data("$SYS.REQ.ACCOUNT.NEW.INFO")["client_connections"] == 1
        used = sys.data("$SYS.REQ.ACCOUNT.PING.STATZ")["account_statz"]
        assert {one["acc"]: one["conns"] for one in used} == {"SYS": 1, "OLD": 1, "NEW": 1}
        if not operator.server.kind.real:
            assert sys.ask("$SYS.REQ.SERVER.PING").json["statsz"]["active_accounts"] == 3
        assert sys.ask("$SYS.REQ.ACCOUNT.NEW.CONNS").json["conns"] == 1
        (shown,) = sys.data("$SYS.REQ.ACCOUNT.NEW.CONNZ")["connections"]
        assert shown["cid"] == new.cid
        # What every account may ask of itself, the new one can, and the old one still can.
        for asker, name in ((new, "NEW"), (old, "OLD")):
            assert asker.data("$SYS.REQ.USER.INFO")["account"] == name
            (own,) = asker.data("$SYS.REQ.ACCOUNT.PING.CONNZ")["connections"]
            assert own["cid"] == asker.cid
            (stat,) = asker.data("$SYS.REQ.ACCOUNT.PING.STATZ")["account_statz"]
            assert stat["acc"] == name and stat["conns"] == 1
        applied(operator, BEFORE)
        new.raw.expect_eof()
        assert set(sys.data("$SYS.REQ.SERVER.PING.ACCOUNTZ")["accounts"]) == {"$G", "SYS", "OLD"}
        assert sys.error("$SYS.REQ.ACCOUNT.NEW.INFO", null=True)[1] == "Account NEW does not exist"
        unused = sys.data("$SYS.REQ.ACCOUNT.PING.STATZ", '{"include_unused":true}')["account_statz"]
        assert {one["acc"] for one in unused} == {"$G", "SYS", "OLD"}
        if not operator.server.kind.real:  # which forgets one account too many
            assert sys.ask("$SYS.REQ.SERVER.PING").json["statsz"]["active_accounts"] == 2
        sys.silent(("$SYS.REQ.ACCOUNT.NEW.CONNS", ""))
        assert old.data("$SYS.REQ.USER.INFO")["account"] == "OLD"


def test_monitoring_of_accounts_that_come_and_go(operator: Operator) -> None:
    monitor = Monitor(operator.server)
    operator.connect(user="o", **{"pass": "p"})
    applied(operator, AFTER)
    new = operator.connect(user="n", **{"pass": "p"}, name="n")
    new.send(b"SUB x 1\r\nPUB x 2\r\nhi\r\n").expect(b"MSG x 1 2\r\nhi\r\n").expect_pong()
    assert set(monitor.json("/accountz")["accounts"]) == {"$G", "SYS", "OLD", "NEW", "UNUSED"}
    detail = monitor.json("/accountz?acc=NEW")["account_detail"]
    assert detail["client_connections"] == 1 and detail["subscriptions"] >= 1
    (stat,) = [one for one in monitor.json("/accstatz")["account_statz"] if one["acc"] == "NEW"]
    assert stat["conns"] == 1 and stat["num_subscriptions"] >= 1
    assert (stat["received"]["msgs"], stat["received"]["bytes"], stat["sent"]["msgs"]) == (1, 2, 1)
    assert [one["name"] for one in monitor.connections("acc=NEW&auth=1")] == ["n"]
    applied(operator, BEFORE)
    new.expect_eof()
    assert set(monitor.json("/accountz")["accounts"]) == {"$G", "SYS", "OLD"}
    assert {one["acc"] for one in monitor.json("/accstatz?unused=1")["account_statz"]} == {"$G", "SYS", "OLD"}
    assert monitor.json("/varz")["connections"] == 1


def test_subscriptions_of_imports_that_come_and_go(kind: Kind) -> None:
    """The server's own, which it makes for imports, are counted once, and no longer than the imports are there."""
    operator = Operator(kind, f"{pair(BOTH)}\n{MONITOR}")
    monitor = Monitor(operator.server)
    try:
        importer, exporter = (operator.connect(user=name, **{"pass": "p"}) for name in "ie")
        importer.send(b"SUB st.> 1\r\nSUB x 2\r\n").expect_pong()
        exporter.send(b"SUB svc 1\r\nSUB x 2\r\n").expect_pong()
        importer.send(b"PUB svc box 1\r\nx\r\n").expect_pong()
        for imports, numbers in (
            (BOTH, (8, 7)),
            (f"{OTHER}, {PREFIXED}", (7, 7)),
            ("", (7, 6)),
            (BOTH, (8, 7)),
        ):
            applied(operator, f"{pair(imports)}\n{MONITOR}")
            for name, number in zip("EI", numbers, strict=True):
                detail = monitor.json(f"/accountz?acc={name}")["account_detail"]
                stats = detail["sublist_stats"]
                assert detail["subscriptions"] == stats["num_subscriptions"] == number, (imports, name)
                assert stats["num_inserts"] - stats["num_removes"] == number
        for client in operator.clients:
            client.close()
        operator.server.stop()
    finally:
        operator.server.destroy()


@pytest.mark.parametrize("ours", [ONE, FOUR], ids=lambda each: each.name)
def test_what_was_counted_of_an_account_that_comes_back(ours: Kind) -> None:
    """The page that counts grows; who is there is not mixed up with who was."""
    operator = Operator(ours, BEFORE)
    monitor = Monitor(operator.server)
    try:
        applied(operator, AFTER)
        old = operator.connect(user="o", **{"pass": "p"})
        old.send(b"PUB x 1\r\n1\r\n").expect_pong()
        for turn in range(1, 4):
            new = operator.connect(user="n", **{"pass": "p"})
            new.send(b"PUB x 2\r\nhi\r\n").expect_pong()
            more = {f"M{turn}x{number}": f"users: [{user(f'm{number}')}]" for number in range(100)}
            applied(operator, config(**more))
            new.expect_eof()
            other = operator.connect(user="m99", **{"pass": "p"})
            other.send(b"PUB x 3\r\nyou\r\n").expect_pong()
            text = monitor.get("/metrics").text
            assert f'account="M{turn}x99"' in text and 'account="NEW"' not in text
            applied(operator, AFTER)
            other.expect_eof()
            found = {
                one["acc"]: one["received"] for one in monitor.json("/accstatz?unused=1")["account_statz"]
            }
            counted = {name: (found[name]["msgs"], found[name]["bytes"]) for name in ("OLD", "NEW", "UNUSED")}
            assert counted == {"OLD": (1, 1), "NEW": (turn, 2 * turn), "UNUSED": (0, 0)}
        for client in operator.clients:
            client.close()
        operator.server.stop()
    finally:
        operator.server.destroy()
