"""Monitoring over HTTP, line by line of the monitoring sheet's conformance list; the numbers are the list's.

Exceptions: 54 and 55 need programs that cannot be part of this suite: what they decode is compared with nats-server's own
answers, name by name and type by type, in test_monitoring_fields. 60 is in test_system_requests.
"""

from __future__ import annotations

import contextlib
import itertools
import re
import socket
import time
from typing import Any, Final

import pytest

from tests.harness import Raw, launch, start
from tests.server.monitor import DURATION, MONITOR, UPTIME, Monitor, moment
from tests.server.shared import Dial

USERS: Final = (
    MONITOR
    + """
authorization { users = [
  { user: alice, password: s3cret-a, permissions: { publish: { deny: [ "no.*" ] } } },
  { user: bob, password: s3cret-b } ] }"""
)
ALICE: Final[dict[str, Any]] = {"user": "alice", "pass": "s3cret-a"}
BOB: Final[dict[str, Any]] = {"user": "bob", "pass": "s3cret-b"}


@pytest.fixture
def monitor(dial: Dial) -> Monitor:
    """The monitoring of the server without users."""
    return Monitor(dial.server(MONITOR))


@pytest.fixture
def named(dial: Dial) -> Monitor:
    """The monitoring of the server with users."""
    return Monitor(dial.server(USERS))


class Delta:
    """How much the counters of /varz have moved since this was made."""

    def __init__(self, monitor: Monitor) -> None:
        self._monitor = monitor
        self._before = monitor.json("/varz")

    def __call__(self, *names: str) -> tuple[int, ...]:
        now = self._monitor.json("/varz")
        return tuple(now[name] - self._before[name] for name in names)


# ---- /varz ----


def test_identity(dial: Dial, monitor: Monitor) -> None:
    """1, 2."""
    info = dial(MONITOR).info
    varz = monitor.json("/varz")
    assert varz["server_id"] == info["server_id"] and varz["version"] == info["version"]
    assert varz["port"] == dial.server(MONITOR).port == info["port"]
    assert varz["http_host"] == "127.0.0.1"
    assert varz["http_port"] == (-1 if dial.kind.real else monitor.port)


def test_defaults(monitor: Monitor) -> None:
    """13, 14, 16."""
    varz = monitor.json("/varz")
    assert varz["ping_interval"] == 120_000_000_000 and varz["write_deadline"] == 10_000_000_000
    assert varz["auth_timeout"] == 2 and varz["max_payload"] == 1 << 20 and varz["max_connections"] == 65536
    for name in ("cluster", "gateway", "leaf", "mqtt", "websocket", "jetstream"):
        assert varz[name] == {}
    assert varz["mem"] > 1 << 20 and varz["cores"] >= 1 and isinstance(varz["cpu"], (int, float))


def test_times(monitor: Monitor) -> None:
    """15."""
    before = time.time()
    varz = monitor.json("/varz")
    started, now = moment(varz["start"]), moment(varz["now"])
    assert started <= now and before - 1 <= now <= time.time() + 1
    assert UPTIME.fullmatch(varz["uptime"])
    assert moment(varz["config_load_time"]) >= started - 1


def test_connections_rise_and_fall(dial: Dial, monitor: Monitor) -> None:
    """3."""
    delta = Delta(monitor)
    clients = [dial(MONITOR).hello() for _ in range(5)]
    assert delta("connections", "total_connections") == (5, 5)
    for client in clients:
        client.leave()
    monitor.until(lambda: delta("connections") == (0,))
    assert delta("total_connections") == (5,)


def test_messages_are_counted(dial: Dial, monitor: Monitor) -> None:
    """4, 5."""
    subscribers = [dial(MONITOR).hello().send(b"SUB count.me 1\r\n").expect_pong() for _ in range(2)]
    delta = Delta(monitor)
    dial(MONITOR).hello().send(b"PUB count.me 5\r\nhello\r\n").expect_pong()
    for subscriber in subscribers:
        subscriber.expect(b"MSG count.me 1 5\r\nhello\r\n").expect_pong()
    assert delta("in_msgs", "in_bytes", "out_msgs", "out_bytes") == (1, 5, 2, 10)


def test_headers_are_counted(dial: Dial, monitor: Monitor) -> None:
    """6, 7: what a receiver without headers gets is less. Of nats-server, only the connections' own numbers say so."""
    plain = dial(MONITOR).hello(headers=False, name="no.headers").send(b"SUB with.head 1\r\n").expect_pong()
    full = dial(MONITOR).hello(headers=True).send(b"SUB with.head 1\r\n").expect_pong()
    delta = Delta(monitor)
    dial(MONITOR).hello(headers=True).send(b"HPUB with.head 12 17\r\nNATS/1.0\r\n\r\nhello\r\n").expect_pong()
    plain.expect(b"MSG with.head 1 5\r\nhello\r\n").expect_pong()
    full.expect(b"HMSG with.head 1 12 17\r\nNATS/1.0\r\n\r\nhello\r\n").expect_pong()
    sent = 34 if dial.kind.real else 22
    assert delta("in_msgs", "in_bytes", "out_msgs", "out_bytes") == (1, 17, 2, sent)
    assert monitor.entry("no.headers")["out_bytes"] == 5


def test_refused_messages(dial: Dial, named: Monitor) -> None:
    """8: without permission it is counted as received; 9: too large, it is not."""
    dial(USERS).hello(**BOB).send(b"SUB no.way 1\r\n").expect_pong()
    delta = Delta(named)
    alice = dial(USERS).hello(**ALICE).send(b"PUB no.way 2\r\nhi\r\n")
    alice.expect(b"-ERR 'Permissions Violation for Publish to \"no.way\"'\r\n").expect_pong()
    assert delta("in_msgs", "in_bytes", "out_msgs") == (1, 2, 0)
    dial(USERS).hello(**ALICE).send(b"PUB big 1048577\r\n").expect_eof(
        b"-ERR 'Maximum Payload Violation'\r\n"
    )
    assert delta("in_msgs", "in_bytes", "out_msgs") == (1, 2, 0)


def test_no_responders_are_not_counted(dial: Dial, monitor: Monitor) -> None:
    """10."""
    delta = Delta(monitor)
    client = dial(MONITOR).hello(headers=True, no_responders=True)
    client.send(b"SUB in.box 1\r\nPUB nobody in.box 0\r\n\r\n").read_until(b"503\r\n")
    client.read_until(b"\r\n\r\n\r\n")
    client.expect_pong()
    assert delta("in_msgs", "out_msgs", "out_bytes") == (1, 0, 0)


def test_subscriptions_are_counted(dial: Dial, monitor: Monitor) -> None:
    """11."""
    delta = Delta(monitor)
    client = dial(MONITOR).hello().send(b"SUB a 1\r\nSUB b.* 2\r\nSUB a q 3\r\n").expect_pong()
    assert delta("subscriptions") == (3,)
    client.send(b"UNSUB 2\r\n").expect_pong()
    assert delta("subscriptions") == (2,)


def test_requests_are_counted(monitor: Monitor) -> None:
    """12; /subscriptionsz is /subsz."""

    def count(path: str) -> int:
        return int(monitor.json("/varz")["http_req_stats"].get(path, 0))

    first = count("/varz")
    assert count("/varz") == first + 1
    before = count("/subsz")
    monitor.json("/subscriptionsz")
    monitor.json("/subsz")
    assert count("/subsz") == before + 2


# ---- /connz ----


def test_page(dial: Dial, monitor: Monitor) -> None:
    """19, 20, 21."""
    for _ in range(3):
        dial(MONITOR).hello(name="paged")
    everyone = monitor.json("/connz")
    assert (everyone["offset"], everyone["limit"]) == (0, 1024)
    cids = [entry["cid"] for entry in everyone["connections"]]
    assert cids == sorted(cids) and len(cids) >= 3
    page = monitor.json("/connz?limit=1&offset=1")
    assert [entry["cid"] for entry in page["connections"]] == [cids[1]]
    assert page["num_connections"] == 1 and page["total"] == everyone["total"] == len(cids)
    past = monitor.json("/connz?offset=1000")
    assert past["connections"] == [] and past["total"] == len(cids)


@pytest.mark.parametrize(
    ("query", "offset", "limit"),
    [
        ("limit=-1&offset=-1", 0, 1024),
        ("limit=0", 0, 1024),
        ("limit=9223372036854775807", 0, (1 << 63) - 1),
        ("offset=-9223372036854775808&limit=-9223372036854775808", 0, 1024),
    ],
)
def test_paging_at_the_edges(dial: Dial, monitor: Monitor, query: str, offset: int, limit: int) -> None:
    dial(MONITOR).hello()
    for path in ("/connz?", "/connz?state=any&", "/subsz?subs=1&"):
        answer = monitor.json(path + query)
        assert (answer["offset"], answer["limit"]) == (offset, limit)
    assert monitor.json("/connz?" + query)["num_connections"] >= 1


def test_paging_cannot_overflow(dial: Dial) -> None:
    """nats-server 2.14.0 does, and closes the connection without an answer."""
    if dial.kind.real:
        pytest.skip("that of 2.14.0 panics")
    monitor = Monitor(dial.server(MONITOR))
    dial(MONITOR).hello()
    for path in ("/connz?", "/connz?state=all&sort=subs&", "/subsz?subs=1&"):
        answer = monitor.json(f"{path}offset=9223372036854775807&limit=9223372036854775807")
        assert answer["total"] >= 0 and not answer.get("connections") and "subscriptions_list" not in answer


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/connz?sort=bogus", "invalid sorting option: bogus"),  # 22
        ("/connz?sort=stop", "sort by stop only valid on closed connections"),  # 23
        ("/connz?sort=reason&state=any", "sort by reason only valid on closed connections"),
        ("/connz?state=bogus", "Error decoding state for bogus"),
        (
            "/connz?auth=maybe",
            "Error decoding boolean for 'auth': strconv.ParseBool: parsing \"maybe\": invalid syntax",
        ),
        (
            "/connz?limit=x",
            "Error decoding int for 'limit': strconv.Atoi: parsing \"x\": invalid syntax",
        ),
        (
            "/connz?offset=1.5",
            "Error decoding int for 'offset': strconv.Atoi: parsing \"1.5\": invalid syntax",
        ),
        (
            "/subsz?offset=99999999999999999999",
            "Error decoding int for 'offset': strconv.Atoi: parsing \"99999999999999999999\": value out of range",
        ),
        (
            "/connz?cid=abc",
            "Error decoding uint64 for 'cid': strconv.ParseUint: parsing \"abc\": invalid syntax",
        ),
        (
            "/connz?cid=-1",
            "Error decoding uint64 for 'cid': strconv.ParseUint: parsing \"-1\": invalid syntax",
        ),
        ("/subsz?test=foo.*", "invalid test subject, must be valid publish subject: foo.*"),  # 42
        ("/accountz?acc=ZZ", "Account ZZ does not exist"),  # 45
    ],
)
def test_wrong_parameters(monitor: Monitor, path: str, text: str) -> None:
    answer = monitor.get(path)
    assert (answer.status, answer.text) == (400, text)
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert "access-control-allow-origin" not in answer.headers  # 49


def test_closed_connections(dial: Dial, monitor: Monitor) -> None:
    """24, 25, 57."""
    client = dial(MONITOR).hello(name="goes").send(b"SUB left.behind 1\r\nSUB x q 2\r\n").expect_pong()
    stays = dial(MONITOR).hello(name="stays")
    stays.expect_pong()
    cid = monitor.entry("goes")["cid"]
    client.leave()
    gone = monitor.closed("goes", "subs=1")
    assert gone["reason"] == "Client Closed" and gone["cid"] == cid
    assert moment(gone["start"]) <= moment(gone["last_activity"]) <= moment(gone["stop"]) <= time.time() + 1
    assert gone["subscriptions"] == 2 and sorted(gone["subscriptions_list"]) == ["left.behind", "x"]
    names = {entry.get("name"): "stop" in entry for entry in monitor.connections("state=any")}
    assert names["goes"] is True and names["stays"] is False
    assert "goes" not in [entry.get("name") for entry in monitor.connections()]


def test_reasons(dial: Dial, named: Monitor) -> None:
    """26, 29: why it was closed."""
    wrong = dial(USERS).send_connect(verbose=False, user="mallory", name="stranger", **{"pass": "s3cret-m"})
    wrong.expect_eof(b"-ERR 'Authorization Violation'\r\n")
    entry = named.closed("stranger")
    assert entry["reason"] == "Authentication Failure" and entry["authorized_user"] == "mallory"
    assert "account" not in entry
    dial(USERS).hello(name="large", **BOB).send(b"PUB x 9999999\r\n").read_eof()
    assert named.closed("large")["reason"] == "Maximum Message Payload Exceeded"


def test_stale_connection(dial: Dial) -> None:
    """28."""
    config = MONITOR + '\nping_interval: "300ms"'
    monitor = Monitor(dial.server(config))
    dial(config, pings=True).send_connect(verbose=False, name="mute").read_eof()
    assert monitor.closed("mute")["reason"] == "Stale Connection"
    varz = monitor.json("/varz")
    assert varz["stale_connections"] == 1 and varz["stale_connection_stats"]["clients"] == 1


def test_slow_consumer(dial: Dial) -> None:
    """27, 58: and monitoring answers meanwhile."""
    config = MONITOR + "\nmax_pending: 1048576\nmax_payload: 262144"
    monitor = Monitor(dial.server(config))
    slow = dial(config).hello(name="slow").send(b"SUB flood 1\r\n").expect_pong()
    fast = dial(config).hello(name="fast")
    message = b"PUB flood 262144\r\n" + b"x" * 262144 + b"\r\n"
    for _ in range(200):
        fast.send(message).expect_pong()
        if not [entry for entry in monitor.connections() if entry["name"] == "slow"]:
            break
    entry = monitor.closed("slow")
    assert entry["reason"].startswith("Slow Consumer (")
    assert entry["pending_bytes"] > 0
    varz = monitor.json("/varz")
    assert varz["slow_consumers"] == 1 and varz["slow_consumer_stats"]["clients"] == 1
    slow.close()


def test_subscription_lists(dial: Dial, monitor: Monitor) -> None:
    """30."""
    client = dial(MONITOR).hello(name="lists")
    client.send(b"SUB one.* 1\r\nSUB two q 22\r\nUNSUB 22 9\r\nPUB two 0\r\n\r\n").expect(
        b"MSG two 22 0\r\n\r\n"
    )
    client.expect_pong()
    assert sorted(monitor.entry("lists", "subs=1")["subscriptions_list"]) == ["one.*", "two"]
    entry = monitor.entry("lists", "subs=detail")
    details = sorted(entry["subscriptions_list_detail"], key=lambda each: str(each["subject"]))
    assert details == [
        {"subject": "one.*", "sid": "1", "msgs": 0, "cid": entry["cid"]},
        {"subject": "two", "qgroup": "q", "sid": "22", "msgs": 1, "max": 9, "cid": entry["cid"]},
    ]
    plain = monitor.entry("lists")
    assert plain["subscriptions"] == 2 and not [key for key in plain if key.startswith("subscriptions_")]


def test_users(dial: Dial, named: Monitor) -> None:
    """31, 32, 33."""
    dial(USERS).hello(name="by.alice", **ALICE)
    dial(USERS).hello(name="by.bob", **BOB)
    assert not {"authorized_user", "account"} & set(named.entry("by.alice"))
    entry = named.entry("by.alice", "auth=1")
    assert entry["authorized_user"] == "alice" and "account" not in entry
    names = [entry.get("name") for entry in named.connections("user=bob")]
    assert "by.bob" in names and "by.alice" not in names
    assert "by.bob" in [entry.get("name") for entry in named.connections("acc=$G")]


def test_one_connection(dial: Dial, monitor: Monitor) -> None:
    """34, 35, 36."""
    dial(MONITOR).hello(name="one")
    dial(MONITOR).hello(name="two")
    cid = monitor.entry("one")["cid"]
    answer = monitor.json(f"/connz?cid={cid}")
    assert answer["limit"] == 1 and [entry["cid"] for entry in answer["connections"]] == [cid]
    unknown = monitor.json("/connz?cid=99999999")
    assert unknown["connections"] == [] and unknown["num_connections"] == 0
    nowhere = monitor.json("/connz?acc=ZZ")
    assert nowhere["connections"] is None and nowhere["server_id"] == "" and nowhere["total"] == 0


def falling(times: list[float]) -> bool:
    """Is each as late as the next, to the millisecond?"""
    return all(first > second - 0.001 for first, second in itertools.pairwise(times))


def test_sorting(dial: Dial, monitor: Monitor) -> None:
    """37, and all others."""
    subscribers = []
    for i in range(4):
        client = dial(MONITOR).hello(name=f"sorted.{i}")
        client.send(b"".join(b"SUB s.%d %d\r\n" % (n, n) for n in range(i))).expect_pong()
        client.send(b"PUB x 3\r\nabc\r\n" * (7 - i)).expect_pong()
        subscribers.append(client)
    dial(MONITOR).hello().send(b"PUB s.0 1\r\nx\r\nPUB s.2 9\r\n123456789\r\n").expect_pong()
    for i, client in enumerate(subscribers):
        client.expect(
            b"MSG s.0 0 1\r\nx\r\n" * (i > 0) + b"MSG s.2 2 9\r\n123456789\r\n" * (i > 2)
        ).expect_pong()
    descending = {
        "subs": "subscriptions",
        "pending": "pending_bytes",
        "msgs_to": "out_msgs",
        "msgs_from": "in_msgs",
        "bytes_to": "out_bytes",
        "bytes_from": "in_bytes",
    }
    for sort, field in descending.items():
        values = [entry[field] for entry in monitor.connections(f"sort={sort}")]
        assert values == sorted(values, reverse=True) and len(values) >= 5
    first = monitor.connections("sort=msgs_from&limit=1")
    assert [entry["in_msgs"] for entry in first] == [max(e["in_msgs"] for e in monitor.connections())]
    starts = [moment(entry["start"]) for entry in monitor.connections("sort=uptime")]
    assert falling(starts)
    activity = [moment(entry["last_activity"]) for entry in monitor.connections("sort=last")]
    assert falling(activity)
    for sort in ("cid", "start", "idle", "rtt"):
        assert len(monitor.connections(f"sort={sort}")) >= 5
    for client in subscribers:
        client.leave()
    monitor.until(
        lambda: len([e for e in monitor.connections("state=closed") if "sorted." in e.get("name", "")]) == 4
    )
    stops = [moment(entry["stop"]) for entry in monitor.connections("state=closed&sort=stop")]
    assert falling(stops)
    reasons = [entry["reason"] for entry in monitor.connections("state=closed&sort=reason")]
    assert reasons == sorted(reasons)


def test_what_a_client_says(dial: Dial, monitor: Monitor) -> None:
    """38, 39; and it cannot break the page or the JSON."""
    odd = 'a<b>&"\\\n\u2028\u00e9\U0001f600'
    dial(MONITOR).hello(name=odd, lang="py", version="1.2.3")
    entry = monitor.entry(odd)
    assert (entry["lang"], entry["version"], entry["kind"], entry["type"]) == (
        "py",
        "1.2.3",
        "Client",
        "nats",
    )
    assert b"a\\u003cb\\u003e\\u0026" in monitor.get("/connz").body
    assert UPTIME.fullmatch(entry["uptime"]) and UPTIME.fullmatch(entry["idle"])
    assert DURATION.fullmatch(entry["rtt"]), entry["rtt"]
    quiet = dial(MONITOR).hello()
    port = quiet.sock.getsockname()[1]
    (anonymous,) = [entry for entry in monitor.connections() if entry["port"] == port]
    assert not {"name", "lang", "version"} & set(anonymous) and anonymous["ip"] == "127.0.0.1"


def test_round_trip(dial: Dial, monitor: Monitor) -> None:
    """39: it is measured when the client answers PING."""
    client = dial(MONITOR, pings=True).send_connect(verbose=False, name="trip")
    client.expect(b"PING\r\n").send(b"PONG\r\n").expect_pong()
    rtt = monitor.entry("trip")["rtt"]
    assert DURATION.fullmatch(rtt) and rtt != "0s"


def test_last_activity(dial: Dial, monitor: Monitor) -> None:
    """59."""
    client = dial(MONITOR).hello(name="active")
    before = moment(monitor.entry("active")["last_activity"])
    monitor.until(lambda: time.time() > before + 0.05)
    client.expect_pong()
    assert abs(moment(monitor.entry("active")["last_activity"]) - before) < 0.02
    client.send(b"PUB x 0\r\n\r\n").expect_pong()
    published = moment(monitor.entry("active")["last_activity"])
    assert published > before + 0.02
    client.send(b"SUB news 1\r\n").expect_pong()
    monitor.until(lambda: time.time() > published + 0.05)
    dial(MONITOR).hello().send(b"PUB news 0\r\n\r\n").expect_pong()
    client.expect(b"MSG news 1 0\r\n\r\n")
    assert moment(monitor.entry("active")["last_activity"]) > published + 0.02


def test_few_closed_connections_are_kept(dial: Dial) -> None:
    """56, with fewer."""
    config = MONITOR + "\nmax_closed_clients: 4"
    monitor = Monitor(dial.server(config))
    for i in range(9):
        dial(config).hello(name=f"kept.{i}").leave()
    monitor.closed("kept.8")
    answer = monitor.json("/connz?state=closed")
    assert answer["total"] == 4
    assert [entry["name"] for entry in answer["connections"]] == [f"kept.{i}" for i in range(5, 9)]


# ---- the others ----


def test_sublists(dial: Dial, monitor: Monitor) -> None:
    """40, 41, 43."""
    before = monitor.json("/subsz")
    client = dial(MONITOR).hello(name="sublists")
    client.send(
        b"SUB foo.* 1\r\nSUB foo.> q 2\r\nSUB foo.bar 3\r\nSUB > 4\r\nSUB foo 5\r\nUNSUB 4 7\r\n"
    ).expect_pong()
    after = monitor.json("/subscriptionsz")
    assert after["num_subscriptions"] == before["num_subscriptions"] + 5
    assert after["num_inserts"] == before["num_inserts"] + 5 and after["total"] == 0
    cid = monitor.entry("sublists")["cid"]
    listed = monitor.json("/subsz?subs=1&test=foo.bar")
    ours = sorted((e for e in listed["subscriptions_list"] if e["cid"] == cid), key=lambda e: str(e["sid"]))
    assert [entry["subject"] for entry in ours] == ["foo.*", "foo.>", "foo.bar", ">"]
    assert ours[1] == {
        "account": "$G",
        "account_tag": "$G",
        "subject": "foo.>",
        "qgroup": "q",
        "sid": "2",
        "msgs": 0,
        "cid": cid,
    }
    assert ours[3]["max"] == 7
    everything = monitor.json("/subsz?subs=1")
    page = monitor.json("/subsz?subs=1&offset=2&limit=3")
    assert len(page["subscriptions_list"]) == 3 and page["total"] == everything["total"]
    assert len(everything["subscriptions_list"]) == everything["total"]
    client.send(b"UNSUB 1\r\nUNSUB 2\r\n").expect_pong()
    gone = monitor.json("/subsz")
    assert gone["num_removes"] == after["num_removes"] + 2
    assert gone["num_subscriptions"] == after["num_subscriptions"] - 2
    assert monitor.json("/subsz?acc=ZZ")["num_subscriptions"] == 0


def test_cache_statistics(dial: Dial, monitor: Monitor) -> None:
    for _ in range(3):
        dial(MONITOR).hello().send(b"SUB fan.out 1\r\n").expect_pong()
    before = monitor.json("/subsz")
    publisher = dial(MONITOR).hello()
    for i in range(20):
        publisher.send(b"PUB fan.out 0\r\n\r\nPUB fan.%d 0\r\n\r\n" % (i % 2)).expect_pong()
    after = monitor.json("/subsz")
    assert after["num_matches"] > before["num_matches"]
    assert after["num_cache"] >= 1 and after["max_fanout"] >= 1
    assert 0 <= after["cache_hit_rate"] <= 1 and after["avg_fanout"] > 0


def test_links(monitor: Monitor) -> None:
    """44."""
    assert monitor.json("/routez?subs=detail")["routes"] == [] and monitor.json("/routez")["num_routes"] == 0
    gateways = monitor.json("/gatewayz?accs=1")
    assert gateways["outbound_gateways"] == {} and gateways["inbound_gateways"] == {}
    assert monitor.json("/leafz")["leafs"] == [] and monitor.json("/leafz?subs=1")["leafnodes"] == 0
    assert monitor.json("/jsz")["disabled"] is True


def test_accounts(dial: Dial, monitor: Monitor) -> None:
    """45, 46."""
    accounts = monitor.json("/accountz")
    assert {"$G", "$SYS"} <= set(accounts["accounts"]) and accounts["system_account"] == "$SYS"
    dial(MONITOR).hello().send(b"SUB acc.x 1\r\nPUB acc.x 4\r\nfour\r\n").expect(b"MSG acc.x 1 4\r\nfour\r\n")
    detail = monitor.json("/accountz?acc=$G")["account_detail"]
    assert (
        detail["account_name"] == "$G" and detail["client_connections"] >= 1 and detail["subscriptions"] >= 1
    )
    assert monitor.json("/accountz?acc=$SYS")["account_detail"]["is_system"] is True
    used = {entry["acc"]: entry for entry in monitor.json("/accstatz")["account_statz"]}
    assert set(used) == {"$G"}
    assert used["$G"]["sent"]["msgs"] >= 1 and used["$G"]["received"]["bytes"] >= 4
    unused = {entry["acc"]: entry for entry in monitor.json("/accstatz?unused=1")["account_statz"]}
    assert set(unused) == {"$G", "$SYS"} and unused["$SYS"]["conns"] == 0


def test_health(dial: Dial, monitor: Monitor) -> None:
    """47."""
    for query in ("", "?js-enabled-only=true", "?js-server-only=1", "?details=true"):
        answer = monitor.get("/healthz" + query)
        assert (answer.status, answer.body) == (200, b'{"status":"ok"}')
    answer = monitor.get("/healthz?stream=x")
    assert answer.status == 400
    assert (
        answer.body
        == b'{"status":"error","error":"\\"account\\" must not be empty when checking stream health"}'
    )
    assert monitor.get("/healthz?consumer=x&details=1").json["errors"] == [
        {"type": "BAD_REQUEST", "error": '"stream" must not be empty when checking consumer health'}
    ]
    dial.server(MONITOR).log.wait_for(r'\[WRN\] Healthcheck failed: "\\"account\\" must')


# ---- HTTP ----


def test_unknown_paths(monitor: Monitor) -> None:
    """48."""
    for path in ("/nope", "/varz/", "/Varz", "/varz/x"):
        answer = monitor.get(path)
        assert (answer.status, answer.body) == (404, b"404 page not found\n")
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"


def test_form(monitor: Monitor) -> None:
    """49: who may read it; and how it is indented."""
    answer = monitor.get("/leafz?unknown=parameter")
    assert answer.headers["access-control-allow-origin"] == "*"
    form = r'\{\n  "server_id": "N[A-Z2-7]{55}",\n  "now": "[^"]+",\n  "leafnodes": 0,\n  "leafs": \[\]\n\}'
    assert re.fullmatch(form, answer.text)


def test_callback(monitor: Monitor) -> None:
    """50."""
    answer = monitor.get("/leafz?callback=some.fn_1")
    assert answer.headers["content-type"] == "application/javascript"
    assert "access-control-allow-origin" not in answer.headers
    assert answer.text.startswith("some.fn_1({\n") and answer.text.endswith("})")


def test_methods(monitor: Monitor) -> None:
    """53."""
    assert monitor.get("/varz", "POST", b"ignored").json["proto"] == 1
    head = monitor.get("/varz", "HEAD")
    assert (head.status, head.body) == (200, b"") and int(head.headers["content-length"]) > 500


def test_base_path(dial: Dial) -> None:
    """51."""
    config = MONITOR + "\nhttp_base_path: /mon"
    monitor = Monitor(dial.server(config))
    assert monitor.json("/mon/varz")["http_base_path"] == "/mon"
    assert monitor.get("/mon").status == 200
    for path in ("/varz", "/", "/mon/", "/monvarz"):
        assert monitor.get(path).status == 404, path
    assert monitor.json("/mon/varz")["http_req_stats"]["/varz"] == 2


def test_keep_alive(monitor: Monitor) -> None:
    request = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    last = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    assert monitor.raw(request * 2 + last).count(b'{"status":"ok"}') == 3


def test_no_secret_is_shown(dial: Dial, named: Monitor) -> None:
    """Not of users, not of tokens that were sent, not of those who failed."""
    dial(USERS).hello(name="secretive", **ALICE)
    wrong = dial(USERS).send_connect(
        verbose=False, user="eve", auth_token="s3cret-t", jwt="s3cret-j", **{"pass": "s3cret-e"}
    )
    wrong.read_eof()
    paths = ["/varz", "/subsz?subs=1", "/accountz?acc=$G", "/accstatz?unused=1", "/healthz", "/jsz", "/"]
    paths += [f"/connz?auth=1&subs=detail&state={state}" for state in ("open", "closed", "any")]
    if not dial.kind.real:
        paths += ["/processz?history=1", "/metrics"]
    for path in paths:
        assert b"s3cret" not in named.get(path).body, path
    assert "s3cret" not in dial.server(USERS).log.text


def test_port_in_use(dial: Dial, monitor: Monitor) -> None:
    server = launch(dial.kind, ["-a", "127.0.0.1", "-p", "-1", "-m", str(monitor.port)])
    try:
        server.log.wait_for(
            rf"\[FTL\] Can't start monitoring: can't listen to the monitor port: "
            rf"listen tcp 127\.0\.0\.1:{monitor.port}: bind: address already in use"
        )
        assert server.process.wait(20) == 1
    finally:
        server.destroy()


def test_silent_connections_lock_nobody_out(dial: Dial) -> None:
    """More connections than are served at once, of which none says anything."""
    server = start(dial.kind, MONITOR)
    with contextlib.ExitStack() as open_ones:
        monitor = Monitor(server)
        for _ in range(300):
            client = open_ones.enter_context(socket.create_connection(("127.0.0.1", monitor.port)))
            client.sendall(b"GET /varz HT")
        assert monitor.json("/varz")["connections"] == 0
    server.stop()


def test_raw_client_is_listed_before_it_connects(dial: Dial, monitor: Monitor) -> None:
    client: Raw = dial(MONITOR)
    port = client.sock.getsockname()[1]
    (entry,) = [entry for entry in monitor.connections() if entry["port"] == port]
    assert entry["subscriptions"] == 0 and "name" not in entry
