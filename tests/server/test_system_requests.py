"""Requests of the system account. Numbers are those of the system account sheet's conformance list."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any, Final, cast

import pytest

from broker.system.requests import Requests
from tests.harness import Raw, start
from tests.server.monitor import moment
from tests.server.shared import Dial
from tests.server.system import Asker, asker

CONFIG: Final = """server_name: req-1
server_tags: ["az:1", "Role:DB"]
system_account: SYS
accounts {
  SYS { users: [ { user: sys, password: sys }
                 { user: sys2, password: sys2, permissions: { subscribe: { deny: zzz } } } ] }
  APP {
    users: [ { user: app, password: app }
             { user: lim, password: lim, permissions: {
                 publish: { allow: ["a.>", "$SYS.REQ.>"], deny: "d" }
                 subscribe: ["_INBOX.>", "q"]
                 allow_responses: { max: 3, expires: "1m" } } } ]
    exports: [ { service: svc.a }, { service: svc.b, response_type: stream, accounts: [OTH] }, { stream: "st.>" } ]
    mappings { m.a: m.b, w.x: [ { destination: w.y, weight: 30% }, { destination: w.z, weight: 60% } ] }
  }
  OTH {
    users: [ { user: oth, password: oth } ]
    imports: [ { service: { account: APP, subject: svc.a }, to: my.svc, share: true }
               { stream: { account: APP, subject: "st.>" }, prefix: p } ]
  }
  EMPTY { }
}
"""
PING: Final = "$SYS.REQ.SERVER.PING"
ACCOUNT: Final = "$SYS.REQ.ACCOUNT"
ENDPOINTS: Final = (
    "VARZ SUBSZ CONNZ ROUTEZ GATEWAYZ LEAFZ ACCOUNTZ JSZ HEALTHZ PROFILEZ EXPVARZ IPQUEUESZ RAFTZ".split()
)


@pytest.fixture
def sys(dial: Dial) -> Asker:
    """A user of the system account."""
    return asker(dial, CONFIG, "sys")


@pytest.fixture
def app(dial: Dial) -> Asker:
    """A user of another one."""
    return asker(dial, CONFIG, "app")


# -- who answers, and in what form ----------------------------------------------------------------------------------------


def test_ping(sys: Asker) -> None:
    """12."""
    for subject in (PING, f"{PING}.STATSZ", "$SYS.REQ.SERVER.<id>.STATSZ"):
        answer = sys.ask(subject).json
        assert list(answer) == ["server", "statsz"]
        state = answer["statsz"]
        moment(state["start"])
        assert state["connections"] >= 1 and state["total_connections"] >= state["connections"]
        assert state["mem"] > 1 << 20 and state["cores"] >= 1 and state["active_servers"] == 1
        assert state["active_accounts"] >= 1 and set(state["sent"]) == {"msgs", "bytes"} == set(
            state["received"]
        )


def test_server_block(sys: Asker) -> None:
    """35, and 1.1 of the sheet."""
    numbers = []
    for _ in range(3):
        server = sys.ask(f"{PING}.VARZ").json["server"]
        assert (server["name"], server["host"], server["id"]) == ("req-1", "127.0.0.1", sys.server_id)
        assert server["ver"] == sys.raw.info["version"] and server["tags"] == ["az:1", "role:db"]
        assert server["jetstream"] is False and server["flags"] == 0
        moment(server["time"])
        numbers.append(server["seq"])
    assert numbers[0] < numbers[1] < numbers[2]


def test_identity_is_bare(sys: Asker) -> None:
    """14."""
    for body in ("", "{bad", '{"server_name":"zzz"}', "[]"):
        for where in ("PING", "<id>"):
            answer = sys.ask(f"$SYS.REQ.SERVER.{where}.IDZ", body)
            assert answer.json == {"name": "req-1", "host": "127.0.0.1", "id": sys.server_id}


@pytest.mark.parametrize("name", ENDPOINTS)
def test_endpoints(sys: Asker, name: str) -> None:
    for where in ("PING", "<id>"):
        answer = sys.ask(f"$SYS.REQ.SERVER.{where}.{name}")
        assert answer.headers == b"" and list(answer.json) == ["server", "data"]
        assert isinstance(answer.json["data"], dict)


def test_unknown_endpoints(sys: Asker) -> None:
    for subject in (
        f"{PING}.NOPE",
        f"{PING}.KICK",
        f"{PING}.RELOAD",
        f"{ACCOUNT}.APP.NOPE",
        "$SYS.REQ.SERVER.<id>.PING",
    ):
        sys.nobody(subject)
    sys.nobody(f"$SYS.REQ.SERVER.{'N' * 56}.VARZ")


def test_varz(sys: Asker) -> None:
    """15."""
    answer = sys.ask(f"{PING}.VARZ").json
    assert answer["data"]["server_id"] == answer["server"]["id"] == sys.server_id
    assert answer["data"]["server_name"] == "req-1" and answer["data"]["system_account"] == "SYS"
    assert re.fullmatch("sha256:[0-9a-f]{64}", answer["data"]["config_digest"])


def test_without_jetstream(sys: Asker) -> None:
    assert sys.data(f"{PING}.JSZ")["disabled"] is True
    assert sys.data(f"{PING}.RAFTZ") == {}
    assert sys.error(f"{ACCOUNT}.APP.JSZ", null=True) == (500, "jetstream not enabled")
    assert sys.error(f"{ACCOUNT}.NOPE.JSZ", null=True) == (500, "jetstream not enabled")


def test_health(sys: Asker) -> None:
    assert sys.data(f"{PING}.HEALTHZ") == {"status": "ok", "status_code": 200}
    assert (
        sys.data(f"{PING}.HEALTHZ", '{"js-enabled-only":true,"account":"NOPE","details":true}')["status"]
        == "ok"
    )
    error = '"account" must not be empty when checking stream health'
    bad = {"status": "error", "status_code": 400}
    assert sys.data(f"{PING}.HEALTHZ", '{"stream":"S"}') == {**bad, "error": error}
    errors = [{"type": "BAD_REQUEST", "error": error}]
    assert sys.data(f"{PING}.HEALTHZ", '{"stream":"S","details":true}') == {**bad, "errors": errors}


def test_profile(sys: Asker) -> None:
    assert sys.data(f"{PING}.PROFILEZ") == {"profile": None, "error": "Profile name not specified"}
    assert sys.data(f"{PING}.PROFILEZ", '{"name":"zzz"}') == {
        "profile": None,
        "error": 'Profile "zzz" not found',
    }
    error = "Duration 1m39s should be between 0s and 15s"
    assert sys.data(f"{PING}.PROFILEZ", '{"name":"cpu","duration":99000000000}')["error"] == error


def test_own_variables_and_queues(sys: Asker) -> None:
    variables = sys.data(f"{PING}.EXPVARZ")
    assert set(variables) == {"memstats", "cmdline"} and variables["memstats"]["Sys"] > 1 << 20
    assert sys.data(f"{PING}.IPQUEUESZ")["System recvQ"]["in_progress"] >= 1
    assert sys.data(f"{PING}.IPQUEUESZ", '{"filter":"zz"}') == {}
    assert "System recvQ Pings" not in sys.data(f"{PING}.IPQUEUESZ")
    assert sys.data(f"{PING}.IPQUEUESZ", '{"filter":"Pings","all":true}') == {
        "System recvQ Pings": {"pending": 0}
    }


# -- filters --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        "{}",
        "null",
        '{"server_name":"req"}',
        '{"server_name":"req-1","exact_match":true}',
        '{"host":"127."}',
        '{"cluster":""}',
        '{"tags":["AZ:1"]}',
        '{"tags":["role:db","az:1"]}',
        '{"tags":[]}',
        '{"server_name":null,"domain":"","other":[1,{"a":2}]}',
    ],
)
def test_meant(sys: Asker, body: str) -> None:
    """17, 18."""
    assert sys.data(f"{PING}.RAFTZ", body) == {}
    assert "statsz" in sys.ask(PING, body).json


NOT_MEANT: Final = [
    '{"server_name":"zzz"}',
    '{"SERVER_NAME":"zzz"}',
    '{"server_name":"req","exact_match":true}',
    '{"host":"127.","exact_match":true}',
    '{"cluster":"x"}',
    '{"tags":["az:1","x"]}',
    '{"domain":"x"}',
]


def test_not_meant(sys: Asker) -> None:
    """16, 17, 18."""
    subjects = (
        PING, f"{PING}.STATSZ", f"{PING}.RAFTZ", "$SYS.REQ.SERVER.<id>.VARZ", "$SYS.REQ.SERVER.<id>.RELOAD",
        f"{ACCOUNT}.APP.INFO", f"{ACCOUNT}.APP.CONNZ", f"{ACCOUNT}.APP.STATZ", f"{ACCOUNT}.PING.STATZ",
    )  # fmt: skip
    sys.silent(*((subject, body) for subject in subjects for body in NOT_MEANT))


# -- bodies ---------------------------------------------------------------------------------------------------------------


def test_malformed_bodies(sys: Asker) -> None:
    """19."""
    text = "invalid character 'b' looking for beginning of object key string"
    subjects = [PING, f"{PING}.STATSZ", "$SYS.REQ.SERVER.<id>.RELOAD"]
    subjects += [f"{PING}.{name}" for name in ENDPOINTS] + [
        f"$SYS.REQ.SERVER.<id>.{name}" for name in ENDPOINTS
    ]
    subjects += [f"{ACCOUNT}.APP.{name}" for name in ("SUBSZ", "CONNZ", "LEAFZ", "JSZ", "INFO", "STATZ")]
    for subject in subjects:
        assert sys.error(subject, "{bad") == (400, text), subject
        assert sys.error(subject, " ") == (400, "unexpected end of JSON input"), subject


@pytest.mark.parametrize(
    ("subject", "go_name"),
    [
        (PING, "StatszEventOptions"),
        *((f"{PING}.{name}", f"{name.capitalize()}EventOptions") for name in ENDPOINTS),
        (f"{ACCOUNT}.APP.INFO", "AccInfoEventOptions"),
        (f"{ACCOUNT}.APP.STATZ", "AccountStatzEventOptions"),
        ("$SYS.REQ.SERVER.<id>.RELOAD", "EventFilterOptions"),
    ],
)
def test_bodies_of_another_type(sys: Asker, subject: str, go_name: str) -> None:
    for body, kind in (("[]", "array"), ("3", "number"), ('"x"', "string")):
        text = f"json: cannot unmarshal {kind} into Go value of type server.{go_name}"
        assert sys.error(subject, body) == (400, text)
    owner = "EventFilterOptions" if go_name == "EventFilterOptions" else f"{go_name}.EventFilterOptions"
    for body, text in (
        ('{"server_name":3}', f"number into Go struct field {owner}.server_name of type string"),
        ('{"tags":[3]}', f"number into Go struct field {owner}.tags of type string"),
        ('{"exact_match":"x"}', f"string into Go struct field {owner}.exact_match of type bool"),
    ):
        assert sys.error(subject, body) == (400, f"json: cannot unmarshal {text}")


@pytest.mark.parametrize(
    ("name", "field", "value", "text"),
    [
        ("SUBSZ", "offset", "1.5", "number 1.5 into Go struct field SubszEventOptions.SubszOptions.offset of type int"),
        ("SUBSZ", "limit", '"5"', "string into Go struct field SubszEventOptions.SubszOptions.limit of type int"),
        ("CONNZ", "limit", "1e3", "number 1e3 into Go struct field ConnzEventOptions.ConnzOptions.limit of type int"),
        ("CONNZ", "limit", "9223372036854775808",
         "number 9223372036854775808 into Go struct field ConnzEventOptions.ConnzOptions.limit of type int"),
        ("CONNZ", "cid", "-1", "number -1 into Go struct field ConnzEventOptions.ConnzOptions.cid of type uint64"),
        ("CONNZ", "sort", "1", "number into Go struct field ConnzEventOptions.ConnzOptions.sort of type server.SortOpt"),
        ("CONNZ", "state", '"open"',
         "string into Go struct field ConnzEventOptions.ConnzOptions.state of type server.ConnState"),
        ("HEALTHZ", "js-enabled", "1", "number into Go struct field HealthzEventOptions.HealthzOptions.js-enabled of type bool"),
        ("JSZ", "offset", "{}", "object into Go struct field JszEventOptions.JSzOptions.offset of type int"),
        ("PROFILEZ", "duration", '"1s"',
         "string into Go struct field ProfilezEventOptions.ProfilezOptions.duration of type time.Duration"),
    ],
)  # fmt: skip
def test_options_of_another_type(sys: Asker, name: str, field: str, value: str, text: str) -> None:
    assert sys.error(f"{PING}.{name}", f'{{"{field}":{value}}}') == (400, f"json: cannot unmarshal {text}")


@pytest.mark.parametrize("name", ["CONNZ", "SUBSZ"])
def test_pages(dial: Dial, sys: Asker, app: Asker, name: str) -> None:
    app.raw.send(b"SUB a 2\r\nSUB b 3\r\n").expect_pong()
    listed = "connections" if name == "CONNZ" else "subscriptions_list"

    def page(fields: str) -> dict[str, Any]:
        found: dict[str, Any] = sys.data(f"{PING}.{name}", f'{{"subscriptions":true,{fields}}}')
        return found

    everything = page('"offset":0')
    assert everything["total"] == len(everything[listed]) >= 2 and everything["limit"] == 1024
    one = page('"offset":1,"limit":1')
    assert (one["offset"], one["limit"], one["total"], len(one[listed])) == (1, 1, everything["total"], 1)
    assert (
        page('"offset":-1,"limit":-1')[listed]
        and page('"offset":-9223372036854775808,"limit":0')["limit"] == 1024
    )
    if dial.kind.real:
        return  # a sum beyond 2^63 ends that of 2.14.0
    most = (1 << 63) - 1
    assert not page(f'"offset":{most},"limit":{most}').get(listed)
    assert len(page(f'"offset":1,"limit":{most}')[listed]) == everything["total"] - 1


CRLF: Final = "x\\r\\nPUB evil 0\\r\\n\\r\\n"


def test_line_ends_in_bodies_stay_there(dial: Dial, sys: Asker, app: Asker) -> None:
    """What a body names goes to other processes and comes back in answers, but is never a line of the protocol."""
    for witness in (sys, app):
        witness.raw.send(b"SUB evil 66\r\nSUB x 67\r\n").expect_pong()
    assert sys.data(f"{PING}.CONNZ", f'{{"acc":"{CRLF}"}}')["server_id"] == ""
    assert sys.data(f"{PING}.CONNZ", f'{{"user":"{CRLF}"}}')["connections"] == []
    assert sys.data(f"{PING}.CONNZ", f'{{"acc":"APP","filter_subject":"{CRLF}"}}')["connections"] == []
    assert sys.data(f"{PING}.SUBSZ", f'{{"account":"{CRLF}","subscriptions":true}}')["total"] == 0
    code, text = sys.error(f"{PING}.ACCOUNTZ", f'{{"account":"{CRLF}"}}', null=True)
    assert code == 500 and text.startswith("Account x\r\n")
    for body in (
        b"x\r\nPUB evil 0\r\n",
        b"x q\r\nPUB evil 0\r\n",
        b"x \0\xff",
        b"\r\n",
        b" ",
        b"a..b",
    ):
        assert sys.ask("$SYS.DEBUG.SUBSCRIBERS", body).payload == b"0", body
    sys.silent(("$SYS.REQ.ACCOUNT.NSUBS", f'{{"acc":"{CRLF}","subject":"x"}}'))
    assert sys.ask("$SYS.REQ.ACCOUNT.NSUBS", f'{{"acc":"APP","subject":"{CRLF}"}}').payload == b"0"
    sys.raw.expect_pong()
    app.raw.expect_pong()


# -- compression ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "encoding"),
    [
        ("snappy", "snappy"), ("s2", "snappy"), ("gzip", "gzip"), ("GZIP", "gzip"), ("gzip, snappy", "snappy"),
        ("br;q=1, gzip", "gzip"), ("deflate", "identity"), ("", ""),
    ],
)  # fmt: skip
def test_encodings(sys: Asker, wanted: str, encoding: str) -> None:
    """20."""
    header = b"Accept-Encoding: " + wanted.encode()
    answer = sys.ask(f"{PING}.VARZ", b"", header)
    assert answer.encoding == encoding and answer.json["data"]["server_name"] == "req-1"
    assert answer.headers == (
        b"NATS/1.0\r\nContent-Encoding: %s\r\n\r\n" % encoding.encode() if encoding else b""
    )
    answer = sys.ask(f"{ACCOUNT}.APP.INFO", b"", header)
    assert answer.encoding == encoding and answer.json["data"]["account_name"] == "APP"


def test_never_encoded(sys: Asker, app: Asker) -> None:
    header = b"Accept-Encoding: gzip"
    for subject, body in (
        (PING, ""), (f"{PING}.STATSZ", ""), (f"{PING}.IDZ", ""), (f"{PING}.VARZ", "{bad"), ("$SYS.REQ.USER.INFO", ""),
        (f"{PING}.CONNZ", '{"sort":"x"}'), (f"{ACCOUNT}.NOPE.INFO", ""), (f"{ACCOUNT}.APP.CONNS", ""),
        ("$SYS.REQ.SERVER.<id>.KICK", '{"cid":999999}'),
    ):  # fmt: skip
        answer = sys.ask(subject, body, header)
        assert answer.headers == b"" and answer.text


def test_large_answers_are_encoded_whole(dial: Dial, sys: Asker, app: Asker) -> None:
    app.raw.send(b"".join(b"SUB some.long.subject.%d %d\r\n" % (i, i + 2) for i in range(3000))).expect_pong()
    for wanted in (b"gzip", b"snappy"):
        body = '{"subscriptions":true,"account":"APP","limit":5000}'
        answer = sys.ask(f"{PING}.SUBSZ", body, b"Accept-Encoding: " + wanted)
        assert answer.encoding == wanted.decode() and len(answer.payload) < len(answer.text) / 2
        subjects = {entry["subject"] for entry in answer.json["data"]["subscriptions_list"]}
        assert {f"some.long.subject.{i}" for i in range(3000)} <= subjects


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


# -- clients of other accounts --------------------------------------------------------------------------------------------


def test_who_am_i(dial: Dial) -> None:
    """27."""
    assert asker(dial, CONFIG, "app").data("$SYS.REQ.USER.INFO") == {
        "user": "app", "account": "APP", "account_name": "APP",
    }  # fmt: skip
    assert asker(dial, CONFIG, "sys").data("$SYS.REQ.USER.INFO", "{bad")["account"] == "SYS"
    assert asker(dial, CONFIG, "sys2").data("$SYS.REQ.USER.INFO")["permissions"] == {
        "publish": {}, "subscribe": {"deny": ["zzz"]},
    }  # fmt: skip
    permissions = asker(dial, CONFIG, "lim").data("$SYS.REQ.USER.INFO")["permissions"]
    assert set(permissions["publish"]["allow"]) == {"a.>", "$SYS.REQ.>"} and permissions["publish"][
        "deny"
    ] == ["d"]
    assert (
        set(permissions["subscribe"]["allow"]) == {"_INBOX.>", "q"} and "deny" not in permissions["subscribe"]
    )
    assert permissions["responses"] == {"max": 3, "ttl": 60_000_000_000}


def test_who_am_i_without_credentials(dial: Dial) -> None:
    config = (
        "accounts { A { users: [ { user: none }, { user: some, password: some } ] } }\nno_auth_user: none"
    )
    silent = dial(config, info=True).send(b"SUB in 1\r\nPUB $SYS.REQ.USER.INFO in 0\r\n\r\n")
    silent.expect(b"+OK\r\n+OK\r\n").read_until(b'"data":')
    silent.expect(b'{"user":"none","account":"A","account_name":"A"}}\r\n')
    assert asker(dial, "", "whoever").data("$SYS.REQ.USER.INFO") == {
        "user": "whoever", "account": "$G", "account_name": "$G",
    }  # fmt: skip


def test_own_connections_and_statistics(dial: Dial, sys: Asker, app: Asker) -> None:
    """26, 29."""
    second = asker(dial, CONFIG, "app")
    for subject in (f"{PING}.CONNZ", f"{ACCOUNT}.PING.CONNZ"):
        for body in ("", '{"acc":"OTH","auth":true}', '{"acc":"SYS"}'):
            page = app.data(subject, body)
            assert {entry["cid"] for entry in page["connections"]} == {app.cid, second.cid}
    for body in ("", '{"accounts":["OTH","SYS"],"include_unused":true}'):
        assert [one["acc"] for one in app.data(f"{ACCOUNT}.PING.STATZ", body)["account_statz"]] == ["APP"]


OF_ACCOUNT: Final = ("SUBSZ", "CONNZ", "LEAFZ", "JSZ", "INFO", "STATZ", "CONNS")
SYSTEM_SUBJECTS: Final = [
    PING,
    *(f"$SYS.REQ.SERVER.{where}.{name}" for where in ("PING", "<id>") for name in (*ENDPOINTS, "STATSZ", "IDZ")),
    *(f"$SYS.REQ.SERVER.<id>.{name}" for name in ("RELOAD", "KICK", "LDM")),
    *(f"{ACCOUNT}.{acc}.{name}" for acc in ("APP", "OTH") for name in OF_ACCOUNT),
    *(f"{ACCOUNT}.PING.{name}" for name in ("SUBSZ", "LEAFZ", "JSZ", "INFO")),
    f"{ACCOUNT}.PING.STATZ",
    f"{ACCOUNT}.NSUBS",
    "$SYS.REQ.USER.APP.INFO",
    "$SYS.REQ.USER.OTH.INFO",
    "$SYS.DEBUG.SUBSCRIBERS",
]  # fmt: skip
IMPORTED: Final = {f"{PING}.CONNZ", f"{ACCOUNT}.PING.STATZ"}


def test_no_other_account_reaches_a_handler(dial: Dial, app: Asker) -> None:
    """30: every subject that the system account has a handler for, from outside of it."""
    for subject in SYSTEM_SUBJECTS:
        if subject not in IMPORTED:
            app.nobody(subject)


def test_every_handler_is_known_here() -> None:
    """Every handler is in the list, so that the test above has tried to reach it."""
    subjects: set[str] = set()

    class Recorder:
        """Takes note of what is subscribed to."""

        info = SimpleNamespace(id="<id>")

        def on(self, subject: str, handler: object) -> None:
            subjects.add(subject)

    Requests(cast(Any, Recorder()), cast(Any, None), cast(Any, None), cast(Any, None))
    shown = {re.sub(r"\.(APP|OTH)\.", ".*.", subject) for subject in SYSTEM_SUBJECTS}
    assert subjects == shown - {f"{ACCOUNT}.PING.{name}" for name in ("SUBSZ", "LEAFZ", "JSZ", "INFO")}


def test_a_claim_to_be_somebody_else_is_nothing(dial: Dial, app: Asker) -> None:
    """Who asks is what the server says; what the client says of it is removed."""
    oth = asker(dial, CONFIG, "oth")
    for header in (
        b'Nats-Request-Info: {"acc":"OTH","id":%d,"user":"oth"}' % oth.cid,
        b'nats-request-info: {"acc":"OTH","id":%d}' % oth.cid,
        b'Nats-Request-Info: {"acc":"OTH","id":%d}\r\nNats-Request-Info: {"acc":"SYS"}' % oth.cid,
    ):
        answer = app.ask("$SYS.REQ.USER.INFO", b"", header).json["data"]
        assert answer == {"user": "app", "account": "APP", "account_name": "APP"}
        page = app.ask(f"{PING}.CONNZ", b"", header).json["data"]
        assert [entry["cid"] for entry in page["connections"]] == [app.cid]


def test_configured_imports(dial: Dial) -> None:
    """What the operator offers can be imported, and an import in the place of an automatic one replaces it."""
    config = """system_account: SYS
accounts {
  SYS { users: [ { user: sys, password: sys } ]
        exports: [ { service: "$SYS.REQ.ACCOUNT.*.*", accounts: [APP] }, { service: "$SYS.DEBUG.SUBSCRIBERS" } ] }
  APP { users: [ { user: app, password: app } ]
        imports: [ { service: { account: SYS, subject: "$SYS.REQ.ACCOUNT.OTH.INFO" }, to: oth.info }
                   { service: { account: SYS, subject: "$SYS.DEBUG.SUBSCRIBERS" }, to: dbg }
                   { service: { account: SYS, subject: "$SYS.REQ.ACCOUNT.OTH.CONNZ" }, to: "$SYS.REQ.SERVER.PING.CONNZ" } ] }
  OTH { users: [ { user: oth, password: oth } ] }
}
"""
    app, oth = asker(dial, config, "app"), asker(dial, config, "oth")
    assert app.data("oth.info")["account_name"] == "OTH"
    assert [entry["cid"] for entry in app.data(f"{PING}.CONNZ")["connections"]] == [oth.cid]
    assert [entry["cid"] for entry in app.data(f"{ACCOUNT}.PING.CONNZ")["connections"]] == [app.cid]
    assert [entry["cid"] for entry in oth.data(f"{PING}.CONNZ")["connections"]] == [oth.cid]
    oth.nobody("oth.info")
    app.raw.send(b"SUB mine 2\r\nSUB mine q 3\r\n").expect_pong()
    oth.raw.send(b"SUB mine 2\r\n").expect_pong()
    assert app.ask("dbg", "mine").payload == b"2" and app.ask("dbg", "mine q").payload == b"1"
    assert app.ask("dbg", ">").payload == b"3"


def test_automatic_imports_that_are_passed_on(dial: Dial) -> None:
    """An account without clients offers what it may ask itself: who asks is still who asks."""
    config = """accounts {
  MID { exports: [ { service: "$SYS.REQ.USER.INFO" }, { service: "$SYS.REQ.SERVER.PING.CONNZ" } ] }
  A { users: [ { user: a, password: a } ]
      imports: [ { service: { account: MID, subject: "$SYS.REQ.USER.INFO" }, to: mid.info, share: true }
                 { service: { account: MID, subject: "$SYS.REQ.SERVER.PING.CONNZ" }, to: mid.conns } ] } }"""
    client = asker(dial, config, "a")
    assert client.data("mid.info") == {"user": "a", "account": "A", "account_name": "A"}
    assert client.data("mid.conns")["connections"] == []


@pytest.mark.parametrize("name", ["A.B", "*", ">", "PING"])
def test_names_of_accounts_that_subjects_cannot_hold(dial: Dial, name: str) -> None:
    """Their clients can ask nothing: what they asked about themselves would be about others."""
    if dial.kind.real and name == "PING":
        pytest.skip("that lets it see all accounts")
    config = f"""accounts {{ "{name}" {{ users: [ {{ user: odd, password: odd }} ] }}
  "A*" {{ users: [ {{ user: fine, password: fine }} ] }} }}"""
    odd, fine = asker(dial, config, "odd"), asker(dial, config, "fine")
    for subject in ("$SYS.REQ.USER.INFO", f"{PING}.CONNZ", f"{ACCOUNT}.PING.CONNZ", f"{ACCOUNT}.PING.STATZ"):
        odd.nobody(subject)
    assert fine.data("$SYS.REQ.USER.INFO")["account"] == "A*"
    assert [entry["cid"] for entry in fine.data(f"{PING}.CONNZ")["connections"]] == [fine.cid]
    assert [one["acc"] for one in fine.data(f"{ACCOUNT}.PING.STATZ")["account_statz"]] == ["A*"]


def test_permissions_hold_for_requests(dial: Dial) -> None:
    config = """accounts { A { users: [
  { user: mute, password: mute, permissions: { publish: nothing } }
  { user: free, password: free } ] } }"""
    mute = asker(dial, config, "mute")
    mute.send("$SYS.REQ.USER.INFO")
    mute.raw.expect(b"-ERR 'Permissions Violation for Publish to \"$SYS.REQ.USER.INFO\"'\r\n").expect_pong()


# -- actions --------------------------------------------------------------------------------------------------------------


def test_kick(dial: Dial, sys: Asker, app: Asker) -> None:
    """31."""
    victim = asker(dial, CONFIG, "app", name="victim")
    answer = sys.ask("$SYS.REQ.SERVER.<id>.KICK", f'{{"cid":{victim.cid}}}').json
    assert set(answer) == {"server"}
    victim.raw.expect_eof()
    app.raw.expect_pong()
    gone = sys.error("$SYS.REQ.SERVER.<id>.KICK", f'{{"cid":{victim.cid}}}')
    assert gone == (500, "no such client or leafnode id")
    body = f'{{"state":1,"cid":{victim.cid}}}'
    (entry,) = sys.data(f"{PING}.CONNZ", body)["connections"]
    assert (entry["cid"], entry["name"], entry["reason"]) == (victim.cid, "victim", "Kicked")


def test_kick_of_one_that_has_not_introduced_itself(dial: Dial, sys: Asker) -> None:
    stranger = dial(CONFIG)
    ldm = sys.error("$SYS.REQ.SERVER.<id>.LDM", f'{{"cid":{stranger.info["client_id"]}}}')
    text = "client does not support Lame Duck Mode or is not ready to receive the notification"
    assert ldm == (500, text)
    assert set(sys.ask("$SYS.REQ.SERVER.<id>.KICK", f'{{"cid":{stranger.info["client_id"]}}}').json) == {
        "server"
    }
    stranger.expect_eof()


def test_lame_duck_of_one_client(dial: Dial, sys: Asker, app: Asker) -> None:
    """32."""
    client = (
        dial(CONFIG).send_connect(verbose=False, user="app", **{"pass": "app"}, protocol=1).send(b"PING\r\n")
    )
    client.expect(b"PONG\r\n").expect_info()
    old = asker(dial, CONFIG, "app")  # of the protocol that knows no INFO after the first
    cid = client.info["client_id"]
    assert set(sys.ask("$SYS.REQ.SERVER.<id>.LDM", f'{{"cid":{cid}}}').json) == {"server"}
    news = client.expect_info()
    assert news["ldm"] is True and news["client_id"] == cid and "connect_info" not in news
    client.expect_pong()
    app.raw.expect_pong()
    text = "client does not support Lame Duck Mode or is not ready to receive the notification"
    assert sys.error("$SYS.REQ.SERVER.<id>.LDM", f'{{"cid":{old.cid}}}') == (500, text)
    assert sys.error("$SYS.REQ.SERVER.<id>.LDM", '{"cid":99999999}') == (500, "no such client id")
    assert "ldm" not in dial(CONFIG).info


def test_actions_on_nobody(dial: Dial, sys: Asker) -> None:
    for body in ("{}", '{"cid":0}', '{"cid":18446744073709551615}', '{"id":5}', '{"cid":null}'):
        assert sys.error("$SYS.REQ.SERVER.<id>.KICK", body) == (500, "no such client or leafnode id")
        assert sys.error("$SYS.REQ.SERVER.<id>.LDM", body) == (500, "no such client id")
    log = dial.server(CONFIG).log
    bodies = ("", "{bad", "[]", '{"cid":-1}', '{"cid":"5"}', '{"cid":1.5}', '{"cid":18446744073709551616}')
    sys.silent(
        *((f"$SYS.REQ.SERVER.<id>.{name}", body) for name in ("KICK", "LDM") for body in bodies),
        *((f"$SYS.REQ.SERVER.<id>.{name}", '{"server_name":"zzz"}') for name in ("KICK", "LDM")),
    )
    log.wait_for(r"\[ERR\] SYSTEM - Error unmarshalling kick client request: unexpected end of JSON input")
    log.wait_for("cannot unmarshal number 1.5 into Go struct field KickClientReq.cid of type uint64")
    log.wait_for("cannot unmarshal array into Go value of type server.LDMClientReq")


def test_without_a_reply_nothing_is_done(dial: Dial, sys: Asker, app: Asker) -> None:
    body = b'{"cid":%d}' % app.cid
    for name in (b"KICK", b"LDM"):
        line = b"PUB $SYS.REQ.SERVER.%s.%s %d\r\n" % (sys.server_id.encode(), name, len(body))
        sys.raw.send(line + body + b"\r\n")
    for subject in (f"{PING}.VARZ", f"{ACCOUNT}.APP.INFO", "$SYS.REQ.USER.INFO", "$SYS.DEBUG.SUBSCRIBERS"):
        sys.raw.send(f"PUB {subject} 0\r\n\r\n".encode())
    sys.raw.expect_pong()
    sys.silent()
    app.raw.expect_pong()


def test_replies_that_are_no_subjects(dial: Dial, sys: Asker, app: Asker) -> None:
    for reply in ("a..b", ".a", "a.", "a.>.b", ">", "*", "..", "a.*.b"):
        for subject in (
            PING,
            f"{PING}.IDZ",
            f"{PING}.VARZ",
            f"{ACCOUNT}.APP.CONNS",
            "$SYS.DEBUG.SUBSCRIBERS",
        ):
            sys.raw.send(f"PUB {subject} {reply} 0\r\n\r\n".encode())
        for subject in ("$SYS.REQ.USER.INFO", f"{PING}.CONNZ"):
            app.raw.send(f"PUB {subject} {reply} 0\r\n\r\n".encode())
    assert sys.ask(f"{PING}.IDZ").json["id"] == sys.server_id  # and the log is clean, as always


def test_reload(dial: Dial) -> None:
    """33."""
    server = start(dial.kind, CONFIG)
    try:
        file = server.folder / "server.conf"
        good = file.read_text()
        sys = asker_of(server.port)
        reload = "$SYS.REQ.SERVER.<id>.RELOAD"
        assert set(sys.ask(reload).json) == {"server"}
        file.write_text(good + "max_payload: 2000\n")
        assert set(sys.ask(reload, "{}").json) == {"server"}
        assert sys.data(f"{PING}.VARZ")["max_payload"] == 2000
        encoded = sys.ask(reload, b"", b"Accept-Encoding: gzip")
        assert encoded.encoding == "gzip" and set(encoded.json) == {"server"}
        file.write_text(re.sub("port: -1", "port: 1", good))
        code, text = sys.error(reload)
        assert (
            code == 500
            and text.startswith("config reload not supported for Port: old=")
            and text.endswith("new=1")
        )
        file.write_text(good + "\nwibble: 3\n")
        code, text = sys.error(reload)
        assert code == 500 and 'unknown field "wibble"' in text
        assert sys.data(f"{PING}.VARZ")["max_payload"] == 2000
    finally:
        server.stop()


def asker_of(port: int) -> Asker:
    """A user of the system account of a server that no other test uses."""
    return Asker(Raw(port).hello(user="sys", **{"pass": "sys"}, headers=True, no_responders=True))


def test_no_system_account(dial: Dial) -> None:
    """42."""
    config = "no_system_account: true\naccounts { A { users: [ { user: a, password: a } ] } }"
    client = asker(dial, config, "a")
    for subject in [*SYSTEM_SUBJECTS, "$SYS.REQ.USER.INFO"]:
        client.nobody(subject)
