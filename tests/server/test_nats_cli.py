"""The real `nats` tool, as operators and developers use it, shows of our server what it shows of nats-server."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from typing import Any, Final

import pytest

from tests.harness import Kind, Raw, start
from tests.server.nats_cli import Cli, Done, home
from tests.server.shared import Dial

CONFIG: Final = """server_name: cli-1
server_tags: ["az:1"]
http_port: -1
system_account: SYS
accounts {
  SYS { users: [ { user: sys, password: sys } ] }
  APP {
    users: [ { user: app, password: app }
             { user: app2, password: app2 }
             { user: lim, password: lim, permissions: {
                 publish: { allow: ["$SYS.REQ.>", "$JS.API.>", "a.>"], deny: "d" }
                 subscribe: ["_INBOX.>", "q"]
                 allow_responses: { max: 3, expires: "1m" } } } ]
    exports: [ { service: svc.a }, { service: svc.b, accounts: [OTH], response_type: stream }, { stream: "st.>" } ]
    mappings { m.a: m.b, w.x: [ { destination: w.y, weight: 30% }, { destination: w.z, weight: 60% } ] }
  }
  OTH {
    users: [ { user: oth, password: oth } ]
    imports: [ { service: { account: APP, subject: svc.a }, to: my.svc }
               { stream: { account: APP, subject: "st.>" }, prefix: p } ]
  }
}
"""


@pytest.fixture
def cli(dial: Dial) -> Iterator[Cli]:
    """The tool, at a server with this configuration."""
    folder = home()
    tool = Cli(dial.server(CONFIG), folder)
    try:
        yield tool
    finally:
        tool.close()
        shutil.rmtree(folder)


def client(dial: Dial, user: str, name: str, send: bytes = b"") -> Raw:
    """A named client that has sent something."""
    made = dial(CONFIG).hello(user=user, **{"pass": user}, name=name, headers=True).send(send)
    made.expect_after(b"PONG\r\n")
    return made


def population(dial: Dial) -> dict[str, Raw]:
    """Some clients, with subscriptions and traffic: by name."""
    return {
        "one": client(dial, "app", "one", b"SUB foo.bar 1\r\nSUB foo.* 2\r\nSUB x q 3\r\n"),
        "two": client(dial, "app2", "two", b"SUB foo.bar 1\r\n" + 3 * b"PUB foo.bar 4\r\nabcd\r\n"),
        "oth": client(dial, "oth", "oth", b"PUB foo.bar 10\r\n0123456789\r\n"),
    }


def names(done: Done) -> list[str]:
    """Whose connections a report lists, in its order."""
    return [row["Name"] for row in done.table("CID") if row["CID"]]


# -- the server and what it is made of ------------------------------------------------------------------------------------


def test_check_connection(cli: Cli) -> None:
    done = cli("app", "server", "check", "connection")
    assert re.match(
        r"OK Connection OK:connected to nats://127\.0\.0\.1:\d+ in .* OK:rtt time .* OK:round trip", done.text
    )
    done = cli("wrong", "server", "check", "connection", code=2)
    assert done.text == "CRITICAL Connection Crit:connection failed: nats: Authorization Violation\n"


def test_check_server(cli: Cli) -> None:
    check = (
        "server",
        "check",
        "server",
        "--name",
        "cli-1",
        "--auth-required",
        "--conn-warn",
        "100",
        "--conn-critical",
    )
    assert cli("sys", *check, "200").text.startswith("OK cli-1 OK:Authentication required OK:Connections")
    done = cli("sys", *check, "200", "--tls-required", "--js-required", code=2)
    assert "Crit:TLS not required" in done.text and "Crit:JetStream not enabled" in done.text


def test_check_request(cli: Cli, dial: Dial) -> None:
    done = cli("app", "server", "check", "request", "--subject", "nobody", code=2)
    assert "Crit:could not send request: nats: no responders available for request" in done.text
    cli.start("app", "reply", "check.me", "pong", "--count", "1")
    done = cli("app", "server", "check", "request", "--subject", "check.me", "--match-payload", "^pong$")
    assert done.text.startswith("OK check.me")


def test_list(cli: Cli) -> None:
    total: dict[str, str]
    row, total = cli("sys", "server", "ls").table("Name")
    assert (row["Name"], row["Cluster"], row["Host"], row["JS"]) == ("cli-1", "", "127", "no")
    assert (
        row["Version"] == "2.14.0" and int(row["Conns"]) >= 1 and int(row["Subs"]) >= 1 and row["Slow"] == "0"
    )
    assert (
        (row["Routes"], row["GWs"]) == ("0", "0")
        and row["Mem"].endswith("MiB")
        and total["Conns"] == row["Conns"]
    )
    (state,) = cli("sys", "server", "ls", "--json").json
    assert state["server"]["name"] == "cli-1" and state["server"]["tags"] == ["az:1"]
    assert state["statsz"]["active_servers"] == 1
    done = cli("app", "server", "ls", code=1)
    assert "ensure the account used has system privileges" in done.text


def test_ping(cli: Cli) -> None:
    done = cli("sys", "server", "ping")
    assert re.match(r"cli-1 +rtt=\S+\n\n---- ping statistics ----\n1 replies max: ", done.text)


def test_info(cli: Cli) -> None:
    by_name = cli("sys", "server", "info", "cli-1").text
    identity = re.match(r"Server information for cli-1 \((N[A-Z2-7]{55})\)", by_name)
    assert identity is not None
    by_id = cli("sys", "server", "info", identity[1]).text
    for text in (by_name, by_id, cli("sys", "server", "info").text):
        assert text.startswith(identity[0])
        fields = dict(re.findall(r"^ *([A-Z][^:\n]*): (.*)$", text, re.MULTILINE))
        assert (
            fields["Version"] == "2.14.0"
            and fields["Auth Required"] == "true"
            and fields["TLS Required"] == "false"
        )
        assert fields["Host"] == f"127.0.0.1:{cli.server.port}" and fields["Maximum Payload"] == "1.0 MiB"
        assert fields["Maximum Connections"] == "65,536" and fields["Write Deadline"] == "10.00s"
        assert re.fullmatch(r"sha256:[0-9a-f]{64}", fields["Configuration Digest"])
        assert fields["Slow Consumers"] == "0"
    assert (
        "ensure the account used has system privileges"
        in cli("sys", "--timeout", "1s", "server", "info", "none", code=1).text
    )


# -- reports --------------------------------------------------------------------------------------------------------------


def test_report_connections(cli: Cli, dial: Dial) -> None:
    clients = population(dial)
    report = ("server", "report", "connections")
    rows = {row["Name"]: row for row in cli("sys", *report).table("CID")}
    for name, account, *numbers in (
        ("one", "APP", "0", "6", "0 B", "24 B", "3"),
        ("two", "APP", "3", "3", "12 B", "12 B", "1"),
        ("oth", "OTH", "1", "0", "10 B", "0 B", "0"),
    ):
        row = rows[name]
        assert row["CID"] == str(clients[name].info["client_id"]) and row["Account"] == account
        assert row["IP"] == f"127.0.0.1:{clients[name].sock.getsockname()[1]}" and row["Server"] == "cli-1"
        assert [row[key] for key in ("In Msgs", "Out Msgs", "In Bytes", "Out Bytes", "Subs")] == numbers
    app = (*report, "--account", "APP")
    assert names(cli("sys", *app)) == ["two", "one"]  # by subscriptions
    assert names(cli("sys", *app, "--sort", "in-msgs")) == ["one", "two"]
    assert names(cli("sys", *app, "--sort", "out-bytes")) == ["two", "one"]
    assert names(cli("sys", "server", "report", "--reverse", "connections", "--account", "APP")) == [
        "one",
        "two",
    ]
    assert names(cli("sys", *app, "--top", "1")) == ["two"]
    assert names(cli("sys", *app, "--subject", "foo.else")) == ["one"]
    assert names(cli("sys", *app, "--subject", "foo.bar", "--sort", "cid")) == ["one", "two"]
    assert names(cli("sys", *app, "--username", "app2")) == ["two"]
    assert names(cli("sys", *app, "--filter", 'conns.name == "two"')) == ["two"]
    assert "did not get results" in cli("sys", *report, "--account", "NONE", code=1).text
    found = {entry["name"]: entry for entry in cli("sys", *app, "--json").json}
    assert sorted(found["one"]["subscriptions_list"]) == ["foo.*", "foo.bar", "x"]
    assert found["two"]["account"] == "APP"


def test_report_closed_connections(cli: Cli, dial: Dial) -> None:
    client(dial, "app", "gone", b"SUB x 1\r\nPUB y 1\r\n1\r\n").leave()
    stale = client(dial, "app", "bad").send(b"NONSENSE\r\n")
    stale.read_until(b"-ERR 'Unknown Protocol Operation'\r\n")
    stale.read_eof()
    cli("wrong", "pub", "x", "y", code=1)
    report = ("server", "report", "connections", "--state", "closed", "--sort", "cid")
    rows = cli("sys", *report).table("CID")
    reasons = {row["Name"]: row["Reason"] for row in rows if row["CID"]}
    assert reasons["gone"] == "Client Closed" and reasons["bad"] == "Protocol Violation"
    assert names(cli("sys", *report, "--closed-reason", "protocol violation", "--account", "APP")) == ["bad"]
    wrong = cli("sys", *report, "--closed-reason", "authentication.*").table("CID")
    assert wrong[0]["Account"] == "" and {row["Reason"] for row in wrong if row["CID"]} == {
        "Authentication Failure"
    }


def test_report_accounts(cli: Cli, dial: Dial) -> None:
    population(dial)
    report = ("server", "report", "accounts")
    rows = {row["Account"]: row for row in cli("sys", *report).table("Account")}
    assert list(rows["APP"].values()) == ["APP", "2", "3", "9", "12 B", "36 B", "4"]
    assert list(rows["OTH"].values()) == ["OTH", "1", "1", "0", "10 B", "0 B", "0"]
    assert names(cli("sys", *report, "APP")) == ["two", "one"]
    order = [row["Account"] for row in cli("sys", *report, "--sort", "out-msgs").table("Account")]
    assert order.index("OTH") < order.index("APP")


@pytest.mark.parametrize("what", "cpu mem health jetstream leafnodes routes gateways".split())
def test_other_reports(cli: Cli, what: str) -> None:
    done = cli("sys", "server", "report", what)
    assert "cli-1" in done.text or what in ("leafnodes", "routes")


# -- requests, as they are ------------------------------------------------------------------------------------------------


def request(cli: Cli, *arguments: str) -> Any:
    """What the server answers to a request."""
    answer = cli("sys", "server", "request", *arguments).json
    assert answer["server"]["name"] == "cli-1" and set(answer) == {"server", "data"}, answer
    return answer["data"]


def test_requests(cli: Cli, dial: Dial) -> None:
    clients = population(dial)
    cid = clients["one"].info["client_id"]
    found = request(cli, "connections", "--sort", "cid", "--filter-account", "APP", "--subscriptions")
    assert [entry["name"] for entry in found["connections"]] == ["one", "two"]
    details = found["connections"][0]["subscriptions_list_detail"]
    assert sorted(entry["subject"] for entry in details) == ["foo.*", "foo.bar", "x"]
    (entry,) = request(cli, "connections", "--filter-cid", str(cid))["connections"]
    assert entry["name"] == "one" and entry["out_msgs"] == 6
    (entry,) = request(cli, "connections", "--filter-user", "app2")["connections"]
    assert entry["name"] == "two"
    app = ("connections", "--filter-account", "APP")
    assert request(cli, *app, "--filter-subject", "foo.else")["num_connections"] == 1
    assert request(cli, *app, "--filter-state", "closed", "--sort", "stop")["connections"] is not None
    found = request(cli, "subscriptions", "--detail", "--filter-account", "APP")
    listed = [(entry["subject"], entry.get("qgroup"), entry["cid"]) for entry in found["subscriptions_list"]]
    assert ("x", "q", cid) in listed and ("foo.*", None, cid) in listed
    found = request(
        cli, "subscriptions", "--detail", "--filter-account", "APP", "--filter-subject", "foo.bar"
    )
    assert sorted(entry["subject"] for entry in found["subscriptions_list"]) == [
        "foo.*",
        "foo.bar",
        "foo.bar",
    ]
    assert sorted(request(cli, "accounts")["accounts"]) == ["$G", "APP", "OTH", "SYS"]
    account = request(cli, "accounts", "--account", "APP")["account_detail"]
    assert account["client_connections"] == 2 and len(account["exports"]) == 3


def test_requests_for_what_is_not_there(cli: Cli) -> None:
    assert request(cli, "gateways", "--accounts")["outbound_gateways"] == {}
    assert request(cli, "routes", "--subscriptions")["routes"] == []
    assert request(cli, "leafnodes", "--subscriptions")["leafs"] == []
    found = request(cli, "jetstream", "--all")
    assert found["disabled"] is True and found["accounts"] == 0
    assert request(cli, "jetstream-health") == {"status": "ok", "status_code": 200}
    assert "System recvQ" in request(cli, "ipqueue")
    assert request(cli, "raft") == {}
    variables = request(cli, "variables")
    assert (
        variables["server_name"] == "cli-1"
        and variables["system_account"] == "SYS"
        and variables["jetstream"] == {}
    )
    assert cli("sys", "--timeout", "1s", "server", "request", "--name", "other", "variables").text == ""


def test_kick(cli: Cli, dial: Dial) -> None:
    victim = client(dial, "app", "victim")
    where = (str(victim.info["client_id"]), str(victim.info["server_id"]))
    assert cli("sys", "server", "request", "kick", *where).json.keys() == {"server"}
    victim.expect_eof()
    error = cli("sys", "server", "request", "kick", *where).json["error"]
    assert error == {"code": 500, "description": "no such client or leafnode id"}
    rows = cli("sys", "server", "report", "connections", "--state", "closed").table("CID")
    assert next(row["Reason"] for row in rows if row["Name"] == "victim") == "Kicked"


def test_reload(kind: Kind, cli: Cli) -> None:
    server = start(kind, CONFIG)
    try:
        own = cli.at(server)
        identity = request(own, "variables")["server_id"]
        file = server.folder / "server.conf"
        text = file.read_text()
        reload = ("server", "config", "reload", "--force", identity)
        file.write_text(text + "max_payload: 2MiB\n")
        assert "Maximum Payload: 2.0 MiB" in own("sys", *reload).text
        # The tool does not tell of a refusal, but shows what is in force.
        file.write_text(text + "max_payload: 4MiB\nserver_name: other\n")
        assert "Maximum Payload: 2.0 MiB" in own("sys", *reload).text
        answer = own("sys", "request", "--raw", f"$SYS.REQ.SERVER.{identity}.RELOAD", "").json
        assert "config reload not supported for ServerName" in answer["error"]["description"]
        server.stop()
    finally:
        server.destroy()


# -- accounts -------------------------------------------------------------------------------------------------------------


def test_account_info(cli: Cli, dial: Dial) -> None:
    text = cli("app", "account", "info").steady
    for line in (
        "User: app",
        "Account: APP (APP)",
        "System Account: false",
        "Expires: never",
        "TLS Connection: no",
    ):
        assert line in text
    assert "JetStream is not supported in this account" in text
    assert "System Account: true" in cli("sys", "account", "info").text
    lim = cli("lim", "account", "info").text
    permissions = lim[lim.index("Connection Permissions") :]
    assert (
        permissions.split()
        == (
            "Connection Permissions: Publish: Allow: $JS.API.> $SYS.REQ.> a.> Deny: d Subscribe: Allow: _INBOX.> q "
            "JetStream is not supported in this account"
        ).split()
    )


def test_server_account_info(cli: Cli, dial: Dial) -> None:
    population(dial)
    text = cli("sys", "server", "account", "info", "APP").steady
    for part in ("Tag: APP", "m.a\n  Destination: m.b", "Subject: svc.b\n  Type: service"):
        assert part in text
    assert "Account NONE does not exist" in cli("sys", "server", "account", "info", "NONE", code=1).text


def test_account_reports(cli: Cli, dial: Dial) -> None:
    population(dial)
    report = ("account", "report", "connections")
    listed = names(cli("app", *report))
    assert len(listed) == 3 and {"one", "two"} < set(listed)  # and the tool itself
    assert names(cli("oth", *report))[0] == "oth"
    assert names(cli("app", *report, "--subject", "foo.bar", "--sort", "out-bytes")) == ["two", "one"]
    assert names(cli("app", *report, "--username", "app2")) == ["two"]
    row, _ = cli("app", "account", "report", "statistics").table("Server")
    assert (row["Server"], row["Connections"], row["Leafnodes"], row["Slow Consumers"]) == (
        "127.0.0.1",
        "3",
        "0",
        "0",
    )
