"""What developers do with the real `nats` tool: publish, subscribe, ask, answer, measure, and watch."""

from __future__ import annotations

import re
from itertools import chain
from pathlib import Path

from tests.harness import until
from tests.server.nats_cli import Cli
from tests.server.shared import Dial
from tests.server.test_nats_cli import cli, client

__all__ = ["cli"]  # the fixture


# -- messages -------------------------------------------------------------------------------------------------------------


def test_publish_and_subscribe(cli: Cli) -> None:
    reader = cli.start("app", "sub", "cli.>", "other", "--count", "3", subscriptions=2)
    done = cli("app", "pub", "cli.one", "hello", "--header", "X-Kind: greeting", "--reply", "back.here")
    assert 'Published 5 bytes to "cli.one"' in done.text
    cli("app", "pub", "cli.two", "number {{Count}}", "--count", "2", "--quiet")
    text = reader.wait().text
    assert '[#1] Received on "cli.one" with reply "back.here"\nX-Kind: greeting\n\nhello\n' in text
    assert '[#2] Received on "cli.two"\nnumber 1\n' in text
    assert '[#3] Received on "cli.two"\nnumber 2\n' in text


def test_accounts_and_mappings(cli: Cli) -> None:
    """A stream of another account, and a subject that is mapped."""
    imported = cli.start("oth", "sub", "p.st.>", "--count", "1")
    mapped = cli.start("app", "sub", "m.b", "--count", "1")
    cli("app", "pub", "st.news", "read me", "--quiet")
    cli("app", "pub", "m.a", "mapped", "--quiet")
    assert '[#1] Received on "p.st.news"\nread me\n' in imported.wait().text
    assert '[#1] Received on "m.b"\nmapped\n' in mapped.wait().text


def test_queue_group(cli: Cli) -> None:
    """Every message goes to one of the group."""
    group = [cli.start("app", "sub", "work.*", "--queue", "crew", "--raw") for _ in range(3)]
    watcher = cli.start("app", "sub", "work.*", "--count", "61", "--raw")
    cli("app", "pub", "work.item", "item-{{Count}}", "--count", "61", "--quiet")
    watcher.wait()
    until(lambda: sum(member.log.text.count("item-") for member in group) >= 61)
    got = [re.findall(r"item-\d+", member.stop().text) for member in group]
    assert all(got) and sorted(chain(*got)) == sorted(f"item-{number}" for number in range(1, 62))


def test_request_and_reply(cli: Cli) -> None:
    cli.start("app", "reply", "svc.a", "you said {{Request}}", "--header", "X-From: responder")
    for user, subject in (("app", "svc.a"), ("oth", "my.svc")):
        done = cli(user, "request", subject, "hi", "--header", "X-To: you")
        assert f'Sending request on "{subject}"' in done.text and done.text.endswith("\nyou said hi\n\n\n"), (
            done.text
        )
        assert "X-From: responder" in done.text
    cli.start("app", "reply", "echo.it", "--echo")
    assert cli("app", "request", "echo.it", "as it is", "--raw").text.strip() == "as it is"
    assert "No responders are available" in cli("app", "request", "nobody.there", "hi").text


def test_many_replies(cli: Cli) -> None:
    for number in range(3):
        cli.start("app", "reply", "poll", f"answer {number}", "--queue", f"group-{number}")
    text = cli("app", "request", "poll", "", "--replies", "3", "--raw").text
    assert sorted(re.findall(r"answer \d", text)) == ["answer 0", "answer 1", "answer 2"]


def test_what_is_not_permitted(cli: Cli) -> None:
    text = cli("lim", "request", "d", "x", "--timeout", "1s").text
    assert 'Permissions Violation for Publish to "d"' in text


def test_jetstream_is_not_there(cli: Cli) -> None:
    for command in ("stream ls", "kv ls", "object ls", "consumer ls some"):
        done = cli("app", *command.split(), code=1)
        assert re.search("no responders|not enabled", done.text), done.text


# -- measuring ------------------------------------------------------------------------------------------------------------


def test_rtt(cli: Cli) -> None:
    (found,) = cli("app", "rtt", "--json").json
    assert found["url"] == cli.server.url and found["results"][0]["rtt"] > 0
    assert re.search(rf"{cli.server.url}: \d\S*s\n", cli("app", "rtt", "3").text)


def test_latency(cli: Cli) -> None:
    login = cli.server.url.replace("//", "//app:app@")
    done = cli("app", "latency", "--server-b", login, "--duration", "1s", "--rate", "100", "--size", "64")
    for line in ("Pub Server RTT :", "Message Payload: 64B", "HDR Percentiles:", "Median Latency :"):
        assert line in done.text


def test_bench(cli: Cli) -> None:
    few = ("--msgs", "5000", "--no-progress")
    reader = cli.start("app", "bench", "sub", "cli.bench", "--clients", "2", *few)
    done = cli("app", "bench", "pub", "cli.bench", "--clients", "2", "--size", "64B", *few)
    assert re.search(r"NATS Core NATS publisher aggregated stats: [\d,]+ msgs/sec", done.text)
    text = reader.wait().text
    assert re.search(r"NATS Core NATS subscriber aggregated stats: [\d,]+ msgs/sec", text)
    assert text.count("(5,000 msgs)") == 2


def test_bench_service(cli: Cli) -> None:
    server = cli.start("app", "bench", "service", "serve", "cli.service", "--clients", "2", "--no-progress")
    few = ("--msgs", "600", "--no-progress", "--clients", "2")
    done = cli("app", "bench", "service", "request", "cli.service", *few)
    assert re.search(r"service requester aggregated stats: [\d,]+ msgs/sec", done.text)
    assert done.text.count("(300 msgs)") == 2
    server.stop()


# -- services -------------------------------------------------------------------------------------------------------------


def instances(cli: Cli, command: str, heading: str) -> dict[str, dict[str, str]]:
    """What both instances of the service answer, by identity. The tool does not wait long: one of them may need another try."""

    def both() -> dict[str, dict[str, str]] | None:
        done = cli.run("app", "service", command, "weather")
        rows = {row["ID"]: row for row in done.table(heading)} if done.code == 0 else {}
        return rows if len(set(rows) - {""}) == 2 else None

    found: dict[str, dict[str, str]] = until(both)
    return found


def test_services(cli: Cli) -> None:
    for _ in range(2):
        cli.start("app", "service", "serve", "weather", subscriptions=10)
    first, second = sorted(instances(cli, "list", "Name"))
    row, *_ = cli("app", "service", "list").table("Name")
    assert (row["Name"], row["Version"]) == ("weather", "1.0.0")
    pings = cli("app", "--timeout", "1s", "service", "ping").text
    assert sorted(re.findall(r"weather (\S+)", pings)) == [first, second]
    info = cli("app", "service", "info", "weather", first).text
    for line in (f"Service: weather ({first})", "Subject: weather.echo", "Queue Group: q"):
        assert line in info
    for number in range(6):
        text = cli("app", "service", "request", "weather", "echo", f"rain {number}", "--raw").text
        assert text.strip() == f"rain {number}"
    rows = instances(cli, "stats", "ID")
    assert int(rows[first]["Requests"]) + int(rows[second]["Requests"]) == 6 == int(rows[""]["Requests"])
    assert rows[""]["Errors"] == "0"
    assert "no service instances found" in cli("oth", "service", "list", code=1).text


# -- watching -------------------------------------------------------------------------------------------------------------


def test_events(cli: Cli, dial: Dial) -> None:
    watcher = cli.start("sys", "events", "--all", subscriptions=5)
    visitor = client(dial, "app", "visitor", b"PUB a 3\r\nabc\r\n")
    cid = visitor.info["client_id"]
    watcher.log.wait_for("Name: visitor")
    visitor.leave()
    watcher.log.wait_for(r"Client Published: 1 messages \(3 B\)")
    cli("wrong", "pub", "a", "b", code=1)
    watcher.log.wait_for("Reason: Authentication Failure")
    text = watcher.stop().text
    came, went = (part for part in re.split(r"\n(?=\[\d\d:)", text) if "Name: visitor" in part)
    assert "Client Connection" in came and "Client Disconnection" in went and "Reason: Client Closed" in went
    for line in (f"ID: {cid}\n", "User: app\n", "Account: APP\n", "Server: cli-1\n", "Host: 127.0.0.1\n"):
        assert line in came and line in went
    assert "Client Received: 0 messages (0 B)" in went


def test_top(cli: Cli, dial: Dial, tmp_path: Path) -> None:
    busy = client(dial, "app", "busy", b"SUB top.* 1\r\nPUB top.it 5\r\nabcde\r\n")
    file = tmp_path / "snapshot"
    cli("sys", "top", "cli-1", "--output", str(file), "--subs", "--sort", "cid")
    text = file.read_text()
    assert "Server: cli-1\n" in text and re.search(r"Connections Polled: [2-9]", text)
    (row,) = [line.split() for line in text.splitlines() if " busy " in line]
    assert (
        row[:9] == [row[0], str(busy.info["client_id"]), "busy", "1", "0", "1", "1", "5", "5"]
        and row[-1] == "top.*"
    )
    screen = cli.screen("sys", "top", "cli-1", "--max-refresh", "1").wait()
    assert screen.code == 0 and re.search(r"\x1b\[\d+;\d+Hbusy\x1b", screen.text)


def test_watch_servers(cli: Cli) -> None:
    screen = cli.screen("sys", "server", "watch", "servers")
    screen.log.wait_for("cli-1")
    screen.stop()


def test_graph(cli: Cli) -> None:
    screen = cli.screen("sys", "server", "graph", "cli-1")
    screen.log.wait_for("CPU")
    screen.stop()


def test_watch_accounts(cli: Cli, dial: Dial) -> None:
    """They are told of when somebody comes or goes."""
    screen = cli.screen("sys", "server", "watch", "accounts")
    screen.log.wait_for("Account")
    one = client(dial, "oth", "one")
    one.leave()
    screen.log.wait_for("OTH")
    screen.stop()
