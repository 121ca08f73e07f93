"""Requests of the system account: who answers, what bodies may hold, and how answers are encoded.

Numbers are those of the system account sheet's conformance list.
"""

from __future__ import annotations

import re
from typing import Any, Final

import pytest

from tests.server.monitor import moment
from tests.server.operators import ACCOUNT, CONFIG, ENDPOINTS, PING
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
