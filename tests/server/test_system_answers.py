"""Answers of the system account about connections, subscriptions and accounts.

Numbers are those of the system account sheet's conformance list.
"""

from __future__ import annotations

import re

import pytest

from tests.server.operators import ACCOUNT, CONFIG, PING
from tests.server.shared import Dial
from tests.server.system import Asker, asker


@pytest.fixture
def sys(dial: Dial) -> Asker:
    """A user of the system account."""
    return asker(dial, CONFIG, "sys")


@pytest.fixture
def app(dial: Dial) -> Asker:
    """A user of another one."""
    return asker(dial, CONFIG, "app")


# -- connections and subscriptions ----------------------------------------------------------------------------------------


def test_connections(dial: Dial, sys: Asker, app: Asker) -> None:
    """21, 22."""
    oth = asker(dial, CONFIG, "oth")
    page = sys.data(f"{PING}.CONNZ")
    assert {app.cid, oth.cid, sys.cid} <= {entry["cid"] for entry in page["connections"]}
    assert not any("account" in entry for entry in page["connections"])
    app.raw.send(b"SUB foo 7\r\nSUB bar q 8\r\n").expect_pong()
    for entry in sys.data(f"{PING}.CONNZ", '{"acc":"APP","auth":true}')["connections"]:
        assert entry["account"] == "APP" and entry["cid"] not in (oth.cid, sys.cid)
    (entry,) = sys.data(f"{PING}.CONNZ", f'{{"cid":{app.cid},"auth":true,"subscriptions":true}}')[
        "connections"
    ]
    assert set(entry["subscriptions_list"]) == {f"{app.inbox}.*", "foo", "bar"}
    assert (entry["name"], entry["authorized_user"], entry["account"]) == ("app-conn", "app", "APP")
    both = f'{{"cid":{app.cid},"subscriptions":true,"subscriptions_detail":true}}'
    (entry,) = sys.data(f"{PING}.CONNZ", both)["connections"]
    assert "subscriptions_list" not in entry
    details = {sub["subject"]: sub for sub in entry["subscriptions_list_detail"]}
    assert details["bar"] == {"subject": "bar", "qgroup": "q", "sid": "8", "msgs": 0, "cid": app.cid}


def test_connections_cannot_be_told(sys: Asker) -> None:
    for body, text in (
        ('{"sort":"x"}', "invalid sorting option: x"),
        ('{"sort":"stop"}', "sort by stop only valid on closed connections"),
        ('{"sort":"reason"}', "sort by reason only valid on closed connections"),
        ('{"filter_subject":"x"}', "filter by subject only valid with account filtering"),
    ):
        assert sys.error(f"{PING}.CONNZ", body, null=True) == (500, text)
    for body in ('{"state":7}', '{"state":-1}'):
        page = sys.data(f"{PING}.CONNZ", body)
        assert (page["num_connections"], page["total"], page["connections"]) == (0, 0, [])


@pytest.mark.parametrize(
    ("subject", "found"),
    [
        ("orders.eu", "ab"), ("orders.*", "ab"), ("orders.us", "b"), ("orders.eu.x", ""), ("bills", "a"), (">", "ab"),
        ("a b", ""),
    ],
)  # fmt: skip
def test_connections_with_a_subscription(dial: Dial, sys: Asker, subject: str, found: str) -> None:
    clients = {}
    for name, subs in (("a", b"SUB orders.eu 2\r\nSUB bills q 3\r\n"), ("b", b"SUB orders.* 2\r\n")):
        clients[name] = asker(dial, CONFIG, "app", name=name)
        clients[name].raw.send(subs).expect_pong()
    page = sys.data(f"{PING}.CONNZ", f'{{"acc":"APP","filter_subject":"{subject}"}}')
    assert {entry["cid"] for entry in page["connections"]} == {clients[name].cid for name in found}
    assert page["num_connections"] == len(found) and page["total"] == 2


def test_subscriptions(sys: Asker, app: Asker) -> None:
    app.raw.send(b"SUB w.* 2\r\nSUB w.> 3\r\nSUB w.a qq 4\r\n").expect_pong()
    page = sys.data(f"{PING}.SUBSZ", '{"subscriptions":true,"account":"APP","test":"w.a"}')
    assert {entry["subject"] for entry in page["subscriptions_list"]} == {"w.*", "w.>", "w.a"} and page[
        "total"
    ] == 3
    assert sys.data(f"{PING}.SUBSZ")["num_subscriptions"] >= 4
    text = "invalid test subject, must be valid publish subject: w.>"
    assert sys.error(f"{PING}.SUBSZ", '{"test":"w.>"}', null=True) == (500, text)


# -- accounts -------------------------------------------------------------------------------------------------------------


def test_accounts(sys: Asker) -> None:
    answer = sys.data(f"{PING}.ACCOUNTZ")
    assert answer["system_account"] == "SYS" and set(answer["accounts"]) == {
        "$G",
        "SYS",
        "APP",
        "OTH",
        "EMPTY",
    }
    detail = sys.data(f"{PING}.ACCOUNTZ", '{"account":"OTH"}')["account_detail"]
    assert detail["account_name"] == "OTH" and detail["complete"] is True
    assert sys.error(f"{PING}.ACCOUNTZ", '{"account":"NOPE"}', null=True) == (
        500,
        "Account NOPE does not exist",
    )


def test_account_info(sys: Asker, app: Asker) -> None:
    """24, and 3.6 of the sheet."""
    info = sys.data(f"{ACCOUNT}.APP.INFO")
    assert (info["account_name"], info["name_tag"], info["client_connections"]) == ("APP", "APP", 1)
    assert info["mappings"] == {
        "m.a": [{"subject": "m.b", "weight": 100}],
        "w.x": [
            {"subject": "w.x", "weight": 10},
            {"subject": "w.y", "weight": 40},
            {"subject": "w.z", "weight": 100},
        ],
    }
    exports = sorted(info["exports"], key=lambda export: str(export["subject"]))
    assert exports == [
        {"subject": "st.>", "type": "stream"},
        {"subject": "svc.a", "type": "service", "response_type": "Singleton"},
        {"subject": "svc.b", "type": "service", "response_type": "Streamed", "approved_accounts": ["OTH"]},
    ]
    assert {found["to"] for found in info["imports"]} == {
        "$SYS.REQ.ACCOUNT.PING.CONNZ",
        "$SYS.REQ.SERVER.PING.CONNZ",
        "$SYS.REQ.ACCOUNT.PING.STATZ",
        "$SYS.REQ.USER.INFO",
    }
    (mine,) = [one for one in info["imports"] if one["to"] == "$SYS.REQ.USER.INFO"]
    assert mine == {
        "subject": "$SYS.REQ.USER.APP.INFO",
        "account": "SYS",
        "to": "$SYS.REQ.USER.INFO",
        "local_subject": "$SYS.REQ.USER.INFO",
        "type": "service",
        "invalid": False,
        "share": True,
        "tracking": False,
    }
    others = {one["local_subject"]: one for one in sys.data(f"{ACCOUNT}.OTH.INFO")["imports"]}
    assert others["p.st.>"]["type"] == "stream" and "to" not in others["p.st.>"]
    assert others["my.svc"]["subject"] == "svc.a" and others["my.svc"]["share"] is True
    system = sys.data(f"{ACCOUNT}.SYS.INFO")
    assert system["is_system"] is True and [one["to"] for one in system["imports"]] == ["$SYS.REQ.USER.INFO"]
    assert {(one["subject"], one["response_type"]) for one in system["exports"]} == {
        ("$SYS.REQ.ACCOUNT.*.CONNZ", "Streamed"),
        ("$SYS.REQ.ACCOUNT.*.STATZ", "Streamed"),
        ("$SYS.DEBUG.SUBSCRIBERS", "Singleton"),
        ("$SYS.REQ.USER.*.INFO", "Singleton"),
    }
    assert sys.error(f"{ACCOUNT}.NOPE.INFO", null=True) == (500, "Account NOPE does not exist")


def test_of_one_account(dial: Dial, sys: Asker, app: Asker) -> None:
    """23; and what the body says of another account counts for nothing."""
    oth = asker(dial, CONFIG, "oth")
    for body in ("", '{"acc":"OTH","account":"OTH"}'):
        connections = sys.data(f"{ACCOUNT}.APP.CONNZ", body)["connections"]
        assert [entry["cid"] for entry in connections] == [app.cid]
        subs = sys.data(f"{ACCOUNT}.APP.SUBSZ", body)
        assert {entry["account"] for entry in subs["subscriptions_list"]} == {"APP"}
        assert app.cid in {entry["cid"] for entry in subs["subscriptions_list"]}
        assert sys.data(f"{ACCOUNT}.APP.INFO", body)["account_name"] == "APP"
        assert [one["acc"] for one in sys.data(f"{ACCOUNT}.APP.STATZ", body)["account_statz"]] == ["APP"]
        assert sys.data(f"{ACCOUNT}.APP.LEAFZ", body)["leafs"] == []
    assert [entry["cid"] for entry in sys.data(f"{ACCOUNT}.OTH.CONNZ")["connections"]] == [oth.cid]
    unknown = sys.data(f"{ACCOUNT}.NOPE.CONNZ")
    assert (unknown["server_id"], unknown["connections"], unknown["total"]) == ("", None, 0)
    assert sys.data(f"{ACCOUNT}.EMPTY.CONNZ")["connections"] == []
    assert "subscriptions_list" not in sys.data(f"{ACCOUNT}.NOPE.SUBSZ")


def test_statistics(sys: Asker, app: Asker) -> None:
    """25, 26."""
    app.raw.send(b"SUB own 5\r\nPUB own 3\r\nabc\r\n").expect(b"MSG own 5 3\r\nabc\r\n")
    (stat,) = sys.data(f"{ACCOUNT}.APP.STATZ")["account_statz"]
    assert (stat["acc"], stat["name"], stat["conns"], stat["total_conns"]) == ("APP", "APP", 1, 1)
    assert stat["received"]["msgs"] >= 1 and stat["sent"]["bytes"] >= 3 and stat["leafnodes"] == 0
    used = {one["acc"] for one in sys.data(f"{ACCOUNT}.PING.STATZ")["account_statz"]}
    assert used == {"APP", "SYS"}
    every = {
        one["acc"] for one in sys.data(f"{ACCOUNT}.PING.STATZ", '{"include_unused":true}')["account_statz"]
    }
    assert every == {"$G", "SYS", "APP", "OTH", "EMPTY"}
    some = sys.data(f"{ACCOUNT}.PING.STATZ", '{"accounts":["APP","NOPE","OTH"]}')["account_statz"]
    assert [one["acc"] for one in some] == ["APP"]
    assert sys.data(f"{ACCOUNT}.NOPE.STATZ", '{"include_unused":true}')["account_statz"] == []
    sys.silent((f"{ACCOUNT}.NOPE.STATZ", ""), (f"{ACCOUNT}.EMPTY.STATZ", ""), (f"{ACCOUNT}.$G.STATZ", ""))


def test_one_answer_about_all_accounts(dial: Dial, sys: Asker) -> None:
    if dial.kind.real:
        pytest.skip("that complains twice, once for the account that is called PING")
    for body in ("{bad", "[]", '{"accounts":3}'):
        assert sys.error(f"{ACCOUNT}.PING.STATZ", body)[0] == 400
        sys.silent()


def test_connection_counts(sys: Asker, app: Asker) -> None:
    for body in ("", '{"acc":"APP"}', '{"account":3}'):
        event = sys.ask(f"{ACCOUNT}.APP.CONNS", body).json
        assert event["type"] == "io.nats.server.advisory.v1.account_connections"
        assert re.fullmatch("[0-9A-Za-z]{22}", event["id"]) and event["server"]["id"] == sys.server_id
        assert (event["acc"], event["conns"], event["total_conns"]) == ("APP", 1, 1)
    sys.silent(
        (f"{ACCOUNT}.EMPTY.CONNS", ""),
        (f"{ACCOUNT}.NOPE.CONNS", ""),
        (f"{ACCOUNT}.APP.CONNS", '{"acc":"OTH"}'),
        (f"{ACCOUNT}.APP.CONNS", "{bad"),
    )


# -- subscribers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("subject", "queue", "count"),
    [
        ("foo", "", 1), ("bar", "", 3), ("bar", "qq", 2), ("bar", "q2", 1), ("bar", "zz", 0), ("f.a", "", 1),
        ("f.*", "", 1), ("f.>", "", 1), ("*", "", 4), ("*", "qq", 2), (">", "q2", 1), ("f.a", "qq", 0), ("none", "", 0),
        ("$SYS.>", "", 0), ("$SYS.REQ.USER.INFO", "", 0),
    ],
)  # fmt: skip
def test_subscribers(dial: Dial, sys: Asker, subject: str, queue: str, count: int) -> None:
    """38: a bare number; clients' subscriptions only."""
    for subs in (b"SUB foo 2\r\nSUB bar qq 3\r\nSUB f.* 4\r\n", b"SUB bar qq 3\r\nSUB bar q2 4\r\n"):
        asker(dial, CONFIG, "app").raw.send(subs).expect_pong()
    fields = {
        "acc": "APP",
        "subject": subject,
        "queue": {"qq": "cXE=", "q2": "cTI=", "zz": "eno="}.get(queue),
    }
    body = ",".join(f'"{key}":"{value}"' for key, value in fields.items() if value)
    assert sys.ask("$SYS.REQ.ACCOUNT.NSUBS", f"{{{body}}}").payload == b"%d" % count


def test_subscribers_of_the_system_account(sys: Asker) -> None:
    sys.raw.send(b"SUB own.* 2\r\nSUB own.a q 3\r\n").expect_pong()
    for body, count in (
        ("own.a", 2),
        ("own.a q", 1),
        ("own.a q x", 1),
        (" own.a", 2),
        ("own.>", 2),
        ("", 0),
        ("own.a\tq", 1),
        ("  own.a   q  ", 0),
    ):
        assert sys.ask("$SYS.DEBUG.SUBSCRIBERS", body).payload == b"%d" % count, body
