"""What operators have done through the system account. Numbers are those of the system account sheet's conformance list."""

from __future__ import annotations

import re

import pytest

from tests.harness import Raw, start
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
