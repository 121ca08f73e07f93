"""What clients of other accounts may ask the system account. Numbers are those of the system account sheet's conformance list."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any, Final, cast

import pytest

from broker.system.requests import Requests
from tests.server.operators import ACCOUNT, CONFIG, PING, SYSTEM_SUBJECTS
from tests.server.shared import Dial
from tests.server.system import Asker, asker

IMPORTED: Final = {f"{PING}.CONNZ", f"{ACCOUNT}.PING.STATZ"}


@pytest.fixture
def sys(dial: Dial) -> Asker:
    """A user of the system account."""
    return asker(dial, CONFIG, "sys")


@pytest.fixture
def app(dial: Dial) -> Asker:
    """A user of another one."""
    return asker(dial, CONFIG, "app")


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


def test_no_system_account(dial: Dial) -> None:
    """42."""
    config = "no_system_account: true\naccounts { A { users: [ { user: a, password: a } ] } }"
    client = asker(dial, config, "a")
    for subject in [*SYSTEM_SUBJECTS, "$SYS.REQ.USER.INFO"]:
        client.nobody(subject)
