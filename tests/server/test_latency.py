"""Service latency: what an exporting account is told of requests to its services, and of their answers."""

from __future__ import annotations

import json
import re
import time
from typing import Any, Final

import pytest

from tests.harness import FOUR, Raw, start
from tests.server.crew import Crew
from tests.server.shared import Dial
from tests.server.test_service_imports import HEADERS, ask, next_message

CONFIG: Final = """server_name: here
accounts {
  EXP {
    users: [ { user: exp } ]
    exports: [
      { service: "q.*", latency: "lat.q" }
      { service: brief, latency: { sampling: "100%", subject: "lat.brief" }, threshold: "300ms" }
      { service: half, latency: { sampling: 50, subject: "lat.half" } }
      { service: asked, latency: { sampling: headers, subject: "lat.asked" } }
      { service: deep, latency: "lat.deep", threshold: "300ms" }
      { service: plain }
      { service: none, latency: "lat.none" }
      { stream: "lat.>" }
    ]
  }
  MID {
    users: [ { user: mid } ]
    exports: [ { service: hop, latency: "lat.hop" }, { service: nowhere, latency: "lat.nowhere" } ]
    imports: [
      { service: { account: EXP, subject: deep }, to: hop }
      { service: { account: EXP, subject: none }, to: nowhere }
    ]
  }
  IMP {
    users: [ { user: imp } ]
    imports: [
      { service: { account: EXP, subject: "q.*" } }
      { service: { account: EXP, subject: "brief" } }
      { service: { account: EXP, subject: "half" } }
      { service: { account: EXP, subject: "asked" } }
      { service: { account: EXP, subject: "plain" } }
      { service: { account: EXP, subject: "none" } }
      { service: { account: MID, subject: hop }, to: start }
      { service: { account: MID, subject: nowhere } }
    ]
  }
  SHARE { users: [ { user: share } ], imports: [ { service: { account: EXP, subject: "q.*" }, share: true } ] }
  OPS { users: [ { user: ops } ], imports: [ { stream: { account: EXP, subject: "lat.>" }, prefix: seen } ] }
}
"""
TYPE: Final = "io.nats.server.metric.v1.service_latency"
TRACKED: Final = re.compile(rb"^_R_\.\w{6}\.\w{6}\.4oLIRRnT\.T$")  # of the server's name
TIME: Final = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z$")


def client(dial: Dial, user: str, *subjects: bytes, **options: object) -> Raw:
    """A client with headers that listens to these subjects, numbered from 1."""
    found = dial(CONFIG).hello(user=user, **{**HEADERS, **options})
    found.send(b"".join(b"SUB %s %d\r\n" % (what, number) for number, what in enumerate(subjects, 1)))
    return found.expect_pong()


def metric(monitor: Raw, subject: bytes = b"lat.q") -> dict[str, Any]:
    """The next measurement, which has to be of this subject."""
    (found, *_), headers, payload = next_message(monitor)
    assert (found, headers) == (subject, b""), payload
    fields: dict[str, Any] = json.loads(payload)
    assert fields["type"] == TYPE and re.fullmatch(r"\w{22}", fields["id"])
    assert TIME.match(fields["timestamp"]) and TIME.match(fields["start"])
    return fields


def request(responder: Raw) -> bytes:
    """The reply subject of the next request, which has to be one that is measured."""
    reply = next_message(responder)[0][2]
    assert TRACKED.match(reply), reply
    return reply


def answer(responder: Raw, reply: bytes) -> None:
    """Answer a request."""
    responder.send(b"PUB %s 2\r\nok\r\n" % reply)


def assert_that_is_all(requester: Raw, monitor: Raw, responder: Raw) -> None:
    """Whatever the requester's requests to ``q`` led to has been seen: the next measurement is of one without a reply."""
    requester.send(b"PUB q.end 0\r\n\r\n")
    assert next_message(responder)[0][0] == b"q.end" and metric(monitor)["status"] == 400


def test_an_answered_request(dial: Dial) -> None:
    monitor = client(dial, "exp", b"lat.>")
    responder = client(dial, "exp", b"q.*", name="shop", lang="py", version="1")
    requester = client(dial, "imp", b"in.>", name="secret")
    ask(requester, b"q.a")
    reply = request(responder)
    time.sleep(0.02)  # so long the service takes
    answer(responder, reply)
    requester.expect(b"MSG in.box 1 2\r\nok\r\n")
    told = metric(monitor)
    assert list(told) == [
        "type", "id", "timestamp", "status", "requestor", "responder", "start", "service", "system", "total",
    ]  # fmt: skip
    assert told["status"] == 200 and told["start"] < told["timestamp"]
    assert list(told["requestor"]) == ["acc", "rtt"] and told["requestor"]["acc"] == "IMP"
    by = told["responder"]
    assert TIME.match(by.pop("start"))
    rtt = by.pop("rtt")
    assert by == {
        "host": "127.0.0.1", "id": responder.info["client_id"], "acc": "EXP", "user": "exp", "name": "shop",
        "lang": "py", "ver": "1", "server": "here", "kind": "Client", "client_type": "nats",
    }  # fmt: skip
    service, system, total = told["service"], told["system"], told["total"]
    assert service + rtt >= 20_000_000 and service >= 0 and system >= 0
    # A service that took less time than a round trip to the responder counts as none.
    assert total == told["requestor"]["rtt"] + service + rtt + system or service == 0
    answer(responder, reply)  # once too often
    assert_that_is_all(requester, monitor, responder)


def test_a_requestor_that_is_shared(dial: Dial) -> None:
    monitor = client(dial, "exp", b"lat.>")
    responder = client(dial, "exp", b"q.*")
    requester = client(dial, "share", b"in.>", name="me")
    ask(requester, b"q.a")
    answer(responder, request(responder))
    by = metric(monitor)["requestor"]
    assert by.pop("rtt") > 0 and TIME.match(by.pop("start"))
    assert by == {
        "host": "127.0.0.1", "id": requester.info["client_id"], "acc": "SHARE", "user": "share", "name": "me",
        "server": "here", "kind": "Client", "client_type": "nats",
    }  # fmt: skip


def test_a_service_that_is_not_measured(dial: Dial) -> None:
    monitor = client(dial, "exp", b"lat.>")
    responder = client(dial, "exp", b"plain", b"q.*")
    requester = client(dial, "imp", b"in.>")
    ask(requester, b"plain")
    reply = next_message(responder)[0][2]
    assert re.fullmatch(rb"_R_\.\w{6}\.\w{6}", reply)
    answer(responder, reply)
    requester.expect(b"MSG in.box 1 2\r\nok\r\n")
    assert_that_is_all(requester, monitor, responder)


def unanswered(told: dict[str, Any], status: int, description: str) -> None:
    """Check a measurement of a request that nobody answered."""
    assert list(told) == [
        "type", "id", "timestamp", "status", "description", "requestor", "start", "service", "system", "total",
    ]  # fmt: skip
    assert (told["status"], told["description"]) == (status, description)
    assert (told["requestor"]["acc"], told["service"], told["system"], told["total"]) == ("IMP", 0, 0, 0)


def test_a_request_without_reply(dial: Dial) -> None:
    monitor = client(dial, "exp", b"lat.>")
    responder = client(dial, "exp", b"q.*")
    client(dial, "imp").send(b"PUB q.a 1\r\n?\r\n")
    assert len(next_message(responder)[0]) == 2
    unanswered(metric(monitor), 400, "Bad Request")


def test_nobody_serves(dial: Dial) -> None:
    monitor = client(dial, "exp", b"lat.>")
    requester = client(dial, "imp", b"in.>")
    ask(requester, b"none")
    requester.expect(b"HMSG in.box 1 36 36\r\nNATS/1.0 503\r\nNats-Subject: none\r\n\r\n\r\n")
    unanswered(metric(monitor, b"lat.none"), 503, "Service Unavailable")
    requester.send(b"PUB none 0\r\n\r\n")
    unanswered(metric(monitor, b"lat.none"), 400, "Bad Request")


def test_the_threshold(dial: Dial) -> None:
    monitor = client(dial, "exp", b"lat.>")
    responder = client(dial, "exp", b"brief", b"q.*")
    requester = client(dial, "imp", b"in.>")
    ask(requester, b"brief")
    reply = request(responder)
    unanswered(metric(monitor, b"lat.brief"), 504, "Service Timeout")
    answer(responder, reply)  # too late
    responder.expect_pong()
    requester.expect_pong()
    assert_that_is_all(requester, monitor, responder)


@pytest.mark.parametrize("how", ["unsubscribes", "leaves", "is full"])
def test_the_requestor_waits_no_longer(dial: Dial, how: str) -> None:
    monitor = client(dial, "exp", b"lat.>")
    responder = client(dial, "exp", b"q.*")
    requester = client(dial, "imp", b"in.>")
    ask(requester, b"q.a")
    reply = request(responder)
    if how == "unsubscribes":
        requester.send(b"UNSUB 1\r\n")
    elif how == "leaves":
        requester.leave()
    else:
        requester.send(b"UNSUB 1 1\r\nPUB in.other 0\r\n\r\n").expect(b"MSG in.other 1 0\r\n\r\n")
    unanswered(metric(monitor), 408, "Request Timeout")
    answer(responder, reply)
    assert_that_is_all(client(dial, "imp"), monitor, responder)


def test_somebody_else_waits_for_the_answer(dial: Dial) -> None:
    monitor = client(dial, "exp", b"lat.>")
    responder = client(dial, "exp", b"q.*")
    other = client(dial, "imp", b"in.>")
    requester = client(dial, "imp")
    ask(requester, b"q.a")
    reply = request(responder)
    requester.leave()
    answer(responder, reply)
    other.expect(b"MSG in.box 1 2\r\nok\r\n")
    told = metric(monitor)
    assert (told["status"], told["requestor"]["acc"], told["responder"]["user"]) == (200, "IMP", "exp")
    assert told["requestor"]["rtt"] > 0


def ask_with(requester: Raw, subject: bytes, lines: bytes) -> None:
    """Send a request with these headers."""
    block = b"NATS/1.0\r\n%s\r\n" % lines
    requester.send(b"HPUB %s in.box %d %d\r\n%s?\r\n" % (subject, len(block), len(block) + 1, block))


@pytest.mark.parametrize(
    ("lines", "kept"),
    [
        (b"Uber-Trace-Id: 1:2:3:1\r\nuberctx-a-b: c\r\nOther: x\r\nUberctx-d: e\r\n",
         {"Uber-Trace-Id": ["1:2:3:1"], "Uberctx-A-B": ["c"], "Uberctx-D": ["e"]}),
        (b"X-B3-Sampled: 1\r\nX-B3-SpanId: s\r\nX-B3-TraceId: t\r\nX-B3-ParentSpanId: p\r\nB3: 1\r\n",
         {"X-B3-Parentspanid": ["p"], "X-B3-Sampled": ["1"], "X-B3-Spanid": ["s"], "X-B3-Traceid": ["t"]}),
        (b"X-B3-TraceId:  a \r\n  b\t\r\nX-B3-TraceId: c\r\n", {"X-B3-Traceid": ["a b", "c"]}),
        (b"b3: a-b-1-d\r\nX-B3-SpanId: s\r\n", {"B3": ["a-b-1-d"]}),
        (b"B3:\r\n", {"B3": [""]}),
        (b"tracestate: x=<&>\r\ntraceparent: 00-4b-00-01\r\ntracestate: \xc3\xa4\xff\r\n",
         {"Traceparent": ["00-4b-00-01"], "Tracestate": ["x=<&>", "\u00e4\ufffd"]}),
        (b"Uber-Trace-Id: 1:2:3:2\r\nX-B3-Sampled: 1\r\n", None),
        (b"X-B3-Sampled: 0\r\nX-B3-TraceId: t\r\n", None),
        (b"B3: 0\r\nTraceparent: 00-4b-00-01\r\n", None),
        (b"B3: a-b-0-d\r\n", None),
        (b"Traceparent: 00-4b-00-00\r\n", None),
        (b"Traceparent: 00-4b-00-81\r\n", None),
        (b"X-B3-TraceId: t\r\nno header\r\n", None),
        (b"X-B3-TraceId: t\r\nA: \x01\r\n", None),
        (b"Other: x\r\n", None),
    ],
)  # fmt: skip
def test_headers_that_ask_for_it(dial: Dial, lines: bytes, kept: dict[str, list[str]] | None) -> None:
    monitor = client(dial, "exp", b"lat.>")
    responder = client(dial, "exp", b"asked", b"q.*")
    requester = client(dial, "imp", b"in.>")
    ask_with(requester, b"asked", lines)
    (_, _, reply), headers, _ = next_message(responder)
    assert all(line in headers.splitlines() for line in lines.splitlines() if b":" in line)
    assert bool(TRACKED.match(reply)) == (kept is not None)
    answer(responder, reply)
    requester.expect(b"MSG in.box 1 2\r\nok\r\n")
    if kept is not None:
        told = metric(monitor, b"lat.asked")
        assert told["header"] == kept and list(told["header"]) == sorted(kept)
        assert list(told).index("header") == list(told).index("responder") + 1
    assert_that_is_all(requester, monitor, responder)


def test_a_share_of_the_requests(dial: Dial) -> None:
    responder = client(dial, "exp", b"half")
    requester = client(dial, "imp", b"in.>")
    number = 400
    for _ in range(number):
        ask(requester, b"half")
    found = sum(bool(TRACKED.match(next_message(responder)[0][2])) for _ in range(number))
    assert 0.35 * number < found < 0.65 * number
    for _ in range(20):
        ask_with(requester, b"half", b"B3: 1\r\n")
        request(responder)


def test_headers_do_not_matter_if_all_are_measured(dial: Dial) -> None:
    monitor = client(dial, "exp", b"lat.>")
    responder = client(dial, "exp", b"q.*")
    requester = client(dial, "imp", b"in.>")
    ask_with(requester, b"q.a", b"X-B3-Sampled: 1\r\n")
    answer(responder, request(responder))
    assert "header" not in metric(monitor)


def test_a_chain_of_accounts(dial: Dial) -> None:
    monitor, middle = client(dial, "exp", b"lat.>"), client(dial, "mid", b"lat.>")
    responder = client(dial, "exp", b"deep")
    requester = client(dial, "imp", b"in.>")
    ask(requester, b"start")
    answer(responder, request(responder))
    requester.expect(b"MSG in.box 1 2\r\nok\r\n")
    inner, outer = metric(monitor, b"lat.deep"), metric(middle, b"lat.hop")
    for told in (inner, outer):
        assert (told["status"], told["requestor"]["acc"], told["responder"]["acc"]) == (200, "IMP", "EXP")
    assert inner["id"] != outer["id"]
    # Nobody waits any more. That is the end of it for the account in the middle; but a responder may still answer.
    ask(requester, b"start")
    reply = request(responder)
    requester.send(b"UNSUB 1\r\n").expect_pong()
    unanswered(metric(middle, b"lat.hop"), 408, "Request Timeout")
    answer(responder, reply)
    assert metric(monitor, b"lat.deep")["status"] == 200
    ask(requester, b"start")
    request(responder)
    unanswered(metric(monitor, b"lat.deep"), 504, "Service Timeout")


def test_nobody_at_the_end_of_the_chain(dial: Dial) -> None:
    monitor, middle = client(dial, "exp", b"lat.>"), client(dial, "mid", b"lat.>")
    ask(client(dial, "imp", b"in.>"), b"nowhere")
    unanswered(metric(monitor, b"lat.none"), 503, "Service Unavailable")
    unanswered(metric(middle, b"lat.nowhere"), 503, "Service Unavailable")


def test_queue_group(dial: Dial) -> None:
    monitor = client(dial, "exp", b"lat.>")
    members = [dial(CONFIG).hello(user="exp", **HEADERS).send(b"SUB q.* g 1\r\n").expect_pong() for _ in "ab"]
    requester = client(dial, "imp", b"in.>")
    number = 40
    for _ in range(number):
        ask(requester, b"q.a")
    answered: dict[int, int] = {}
    while sum(answered.values()) < number:
        for member in members:
            replies = re.findall(rb"^HMSG q\.a 1 (_R_\S+)", member.expect_after(b"PONG\r\n"), re.MULTILINE)
            cid = member.info["client_id"]
            answered[cid] = answered.get(cid, 0) + len(replies)
            for reply in replies:
                answer(member, reply)
    told: dict[int, int] = dict.fromkeys(answered, 0)
    for _ in range(number):
        told[metric(monitor)["responder"]["id"]] += 1
    assert told == answered and min(told.values()) > 0


def test_every_request_is_told_of_once(dial: Dial) -> None:
    """Many at a time: some have no reply subject, some are answered (some of them twice), some are not."""
    monitor = client(dial, "exp", b"lat.>")
    members = [
        dial(CONFIG).hello(user="exp", **HEADERS).send(b"SUB brief g 1\r\n").expect_pong() for _ in range(4)
    ]
    requesters = [client(dial, "imp", b"in.%d" % number) for number in range(4)]
    leaver = client(dial, "imp", b"in.leaver")
    rounds = 50
    for _ in range(rounds):
        for number, requester in enumerate(requesters):
            ask(requester, b"brief", b"answer", b"in.%d" % number)
            ask(requester, b"brief", b"twice", b"in.%d" % number)
            ask(requester, b"brief", b"nothing", b"in.%d" % number)
            requester.send(b"PUB brief 1\r\n!\r\n")
        ask(leaver, b"brief", b"nothing", b"in.leaver")
    heard = 0
    while heard < rounds * 17:
        for member in members:
            data = member.expect_after(b"PONG\r\n")
            heard += len(re.findall(rb"^HMSG brief 1", data, re.MULTILINE))
            for reply, what in re.findall(
                rb"^HMSG brief 1 (_R_\S+) .*\r\n(?:.+\r\n)+\r\n(\w+)", data, re.MULTILINE
            ):
                for _ in range((b"nothing", b"answer", b"twice").index(what)):
                    answer(member, reply)
    leaver.leave()
    told: dict[int, int] = {}
    ids: set[str] = set()
    for _ in range(rounds * 17):
        one = metric(monitor, b"lat.brief")
        told[one["status"]] = told.get(one["status"], 0) + 1
        ids.add(one["id"])
    late = told.pop(504) - rounds * 4  # perhaps the machine was so busy that some had to wait too long
    assert told.pop(400) == rounds * 4 and late >= 0
    assert told.pop(200) + told.pop(408, 0) + late == rounds * 9 and not told
    assert len(ids) == rounds * 17
    for _ in range(8):  # nothing more comes
        requesters[0].send(b"PUB brief 0\r\n\r\n")
        assert metric(monitor, b"lat.brief")["status"] == 400


def test_results_can_be_imported(dial: Dial) -> None:
    monitor = client(dial, "ops", b"seen.>")
    responder = client(dial, "exp", b"q.*")
    client(dial, "imp").send(b"PUB q.a 0\r\n\r\n")
    next_message(responder)
    unanswered(metric(monitor, b"seen.lat.q"), 400, "Bad Request")


def test_across_workers() -> None:
    server = start(FOUR, CONFIG)
    crew = Crew(server)
    try:
        requesters = crew.place(0, 1, 2, 3, user="imp", **HEADERS)
        responders = crew.place(0, 1, 2, 3, user="exp", name="shop", **HEADERS)
        (monitor,) = crew.place(2, user="exp", **HEADERS)
        (everything,) = crew.place(3, user="exp", **HEADERS)
        monitor.send(b"SUB lat.> 1\r\n").expect_pong()
        everything.send(b"SUB _R_.> 1\r\n").expect_pong()
        for number, client in enumerate(requesters):
            client.send(b"SUB in.%d 9\r\n" % number).expect_pong()
        seen: set[str] = set()
        for responder in responders:
            responder.send(b"SUB q.* 1\r\n").expect_pong()
            for number, requester in enumerate(requesters):
                ask(requester, b"q.a", b"?" * 3000, b"in.%d" % number)
                reply = request(responder)
                time.sleep(0.005)
                responder.send(b"HPUB %s in.back 12 14\r\nNATS/1.0\r\n\r\nok\r\n" % reply)
                assert next_message(requester)[1:] == (b"NATS/1.0\r\n\r\n", b"ok")
                # What the workers tell each other of the responder is nobody else's business.
                everything.expect(b"HMSG %s 1 in.back 12 14\r\nNATS/1.0\r\n\r\nok\r\n" % reply)
                told = metric(monitor)
                by = told["responder"]
                assert (told["status"], by["id"], by["name"]) == (200, responder.info["client_id"], "shop")
                assert told["service"] + by["rtt"] >= 5_000_000 and told["service"] <= told["total"]
                responder.send(b"PUB %s 2\r\nno\r\n" % reply).expect_pong()
                everything.expect(b"MSG %s 1 2\r\nno\r\n" % reply)
                assert_that_is_all(requester, monitor, responder)
                seen.add(told["id"])
            responder.send(b"UNSUB 1\r\n").expect_pong()
        assert len(seen) == 16
        crew.close()
        server.stop()
    finally:
        server.destroy()


@pytest.mark.parametrize(
    ("service", "text"),
    [
        ('"lat.*" }, { service: q, latency: lat.q', '"q" on subject "lat.q": invalid publish subject'),
        ("q, latency: q", '"q" on subject "q": invalid publish subject'),
        ('q, latency: "lat.*"', '"q" on subject "lat.*": invalid publish subject'),
        ('q, latency: ""', '"q" on subject "": invalid publish subject'),
        ("q, latency: r, response: stream", '"q" on subject "r": bad service response type'),
        ("q, latency: { sampling: headers, subject: r }, response: chunked",
         '"q" on subject "r": bad service response type'),
    ],
)  # fmt: skip
def test_refused(dial: Dial, service: str, text: str) -> None:
    with pytest.raises(AssertionError) as failure:
        start(dial.kind, f"accounts {{ A {{ exports: [ {{ service: {service} }} ] }} }}")
    assert f"Error adding service latency sampling for {text}" in str(failure.value)


def test_a_later_service_may_cover_the_results(dial: Dial) -> None:
    config = 'accounts { A { exports: [ { service: q, latency: lat.q }, { service: "lat.*" } ] } }'
    start(dial.kind, config).stop()
