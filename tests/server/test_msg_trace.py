"""Traces of messages: what a message that asks for it goes through is told as one event."""

from __future__ import annotations

import json
import re
import time
from typing import Any, Final

import pytest

from tests.harness import FOUR, Raw, start
from tests.server.crew import Crew
from tests.server.shared import Dial

CONFIG: Final = """server_name: here
max_payload: 1000
accounts {
  EXP {
    users: [ { user: exp } ]
    exports: [
      { service: "open.q", allow_trace: true }
      { service: "dark.q" }
      { service: "map.q", allow_trace: true }
      { stream: "shown.>" }
      { stream: "quiet.>" }
      { stream: "traces" }
    ]
    mappings { "map.q": "mapped.q" }
  }
  MID {
    users: [ { user: mid } ]
    exports: [ { service: "hop", allow_trace: true }, { service: "darkhop", allow_trace: true } ]
    imports: [
      { service: { account: EXP, subject: "open.q" }, to: hop }
      { service: { account: EXP, subject: "dark.q" }, to: darkhop }
    ]
  }
  IMP {
    users: [
      { user: imp }
      { user: limited, permissions: { publish: { deny: ["tr.no", "no.pub"] }, subscribe: { deny: "filt.x" } } }
    ]
    imports: [
      { service: { account: EXP, subject: "open.q" }, to: local }
      { service: { account: EXP, subject: "dark.q" } }
      { service: { account: EXP, subject: "map.q" } }
      { service: { account: MID, subject: hop }, to: start }
      { service: { account: MID, subject: darkhop }, to: darkstart }
      { stream: { account: EXP, subject: "shown.>" }, prefix: in, allow_trace: true }
      { stream: { account: EXP, subject: "quiet.>" } }
      { stream: { account: EXP, subject: "traces" }, to: theirs }
    ]
    mappings { "m.a": "m.b", "m.l": "local" }
  }
  ALL {
    users: [ { user: all }, { user: tied, permissions: { publish: ["a", "in.box"] } } ]
    msg_trace: { dest: "acc.dest" }
    exports: [ { stream: "seen.>" } ]
    imports: [ { service: { account: EXP, subject: "open.q" } }, { service: { account: EXP, subject: "dark.q" } } ]
  }
  SEE { users: [ { user: see } ], imports: [ { stream: { account: ALL, subject: "seen.>" }, allow_trace: true } ] }
  SOME { users: [ { user: some } ], msg_trace: { dest: "acc.dest", sampling: 50 } }
}
"""
DEST: Final = b"Nats-Trace-Dest: tr.d\r\n"
ONLY: Final = b"Nats-Trace-Only: true\r\n"
PARENT: Final = b"traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n"
OFF: Final = b"Nats-Trace-Dest: trace disabled\r\n"
TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


def client(dial: Dial, user: str = "imp", *subjects: bytes, **options: object) -> Raw:
    """A client that knows headers and listens to these subjects, numbered from 1 (one may be ``subject queue``)."""
    found = dial(CONFIG).hello(user=user, headers=True, no_responders=True, **options)
    found.send(b"".join(b"SUB %s %d\r\n" % (what, number) for number, what in enumerate(subjects, 1)))
    return found.expect_pong()


def listener(dial: Dial, user: str = "imp", *subjects: bytes) -> Raw:
    """Somebody who hears of traces on ``tr.d`` and these subjects."""
    return client(dial, user, b"tr.d", *subjects, name="listener")


def block(headers: bytes) -> bytes:
    """A whole block of headers."""
    return b"NATS/1.0\r\n" + headers + b"\r\n"


def publish(
    publisher: Raw, subject: bytes, headers: bytes, payload: bytes = b"hi", reply: bytes = b""
) -> Raw:
    """Publish a message with headers."""
    whole = block(headers)
    target = b"%s %s" % (subject, reply) if reply else subject
    return publisher.send(
        b"HPUB %s %d %d\r\n%s%s\r\n" % (target, len(whole), len(whole) + len(payload), whole, payload)
    )


def message(raw: Raw) -> tuple[list[bytes], bytes, bytes]:
    """(subject, sid and reply, if any; headers; payload) of the next message."""
    words = raw.read_until(b"\r\n").split()
    if words[0] == b"MSG":
        return words[1:-1], b"", raw.take(int(words[-1]) + 2)[:-2]
    assert words[0] == b"HMSG", words
    size = int(words[-2])
    data = raw.take(int(words[-1]) + 2)[:-2]
    return words[1:-2], data[:size], data[size:]


def traced(raw: Raw) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The request, and the steps in a fixed order without times and numbers of connections, of the next event."""
    _, _, payload = message(raw)
    event = json.loads(payload)
    assert set(event) == {"server", "request", "events"}, event
    assert event["server"]["name"] == "here" and event["server"]["seq"] > 0 and "ver" in event["server"]
    steps = []
    for step in event["events"]:
        assert TIME.fullmatch(step.pop("ts")), step
        if step["type"] in ("in", "eg"):
            assert step.pop("kind") == 0 and step.pop("cid") > 0
        steps.append(step)
    assert steps[0]["type"] == "in"
    return event["request"], [
        steps[0],
        *sorted(steps[1:], key=lambda one: (one["type"], json.dumps(one, sort_keys=True))),
    ]


def expect_no_trace(traces: Raw, publisher: Raw) -> None:
    """Nothing that ``publisher`` has sent so far was traced. Traces of one publisher come in order."""
    publish(publisher, b"end.of.it", DEST)
    subject = traced(traces)[1][0]["subj"]
    assert subject == "end.of.it"


def ingress(subject: str, account: str = "IMP", **more: str) -> dict[str, str]:
    """The first step."""
    return {"type": "in", "acc": account, "subj": subject, **more}


def egress(subscription: str, **more: str) -> dict[str, str]:
    """A copy for a subscriber."""
    return {"type": "eg", "sub": subscription, **more}


def crossing(account: str, subject: str, to: str) -> dict[str, str]:
    """A request or an answer goes into an account."""
    return {"type": "si", "acc": account, "from": subject, "to": to}


def test_the_event(dial: Dial) -> None:
    traces = listener(dial)
    publisher = client(dial, "imp", name="pub")
    subscriber = client(dial, "imp", b"a.*", name="sub")
    before = time.time()
    publish(publisher, b"a.b", DEST + b"X: 1\r\nx: 2\r\nX:  3 \r\nEmpty:\r\nUni: \xc3\xa9\xff<\r\n")
    assert message(subscriber)[0] == [b"a.b", b"1"]
    subject, headers, payload = message(traces)
    assert (subject, headers) == ([b"tr.d", b"1"], b"")
    event = json.loads(payload)
    assert list(event) == ["server", "request", "events"]
    assert {"name", "host", "id", "ver", "jetstream", "flags", "seq", "time"} <= set(event["server"])
    assert event["server"]["id"] == publisher.info["server_id"]
    assert event["request"] == {
        "header": {"Nats-Trace-Dest": ["tr.d"], "Uni": ["\xe9\ufffd<"], "X": ["1", "3"], "x": ["2"]},
        "msgsize": len(block(DEST + b"X: 1\r\nx: 2\r\nX:  3 \r\nEmpty:\r\nUni: \xc3\xa9\xff<\r\n")) + 2,
    }
    assert b"\\u003c" in payload  # as Go writes it
    first, second = event["events"]
    assert list(first) == ["type", "ts", "kind", "cid", "name", "acc", "subj"]
    assert list(second) == ["type", "ts", "kind", "cid", "name", "sub"]
    assert (first["cid"], first["name"]) == (publisher.info["client_id"], "pub")
    assert (second["cid"], second["name"], second["sub"]) == (subscriber.info["client_id"], "sub", "a.*")
    year = time.strftime("%Y-%m-%dT%H:%M", time.gmtime(before))
    assert first["ts"] >= year and second["ts"] >= first["ts"]


def test_verbose(dial: Dial) -> None:
    traces = listener(dial)
    publisher = dial(CONFIG).hello(user="imp", headers=True, verbose=True)
    publish(publisher, b"loud", DEST).expect(b"+OK\r\n")
    publish(publisher, b"loud", DEST + ONLY).expect(b"+OK\r\n")
    publish(publisher, b"loud", b"Nats-Trace-Dest: bad..dest\r\n" + ONLY).expect(b"+OK\r\n")
    assert traced(traces)[1] == traced(traces)[1] == [ingress("loud")]


def test_hundreds_of_subscriptions(dial: Dial) -> None:
    traces = listener(dial)
    subscribers = [client(dial, "imp", *[b"crowd.*"] * 200) for _ in range(3)]
    publish(client(dial), b"crowd.x", DEST + ONLY)
    assert traced(traces)[1] == [ingress("crowd.x"), *[egress("crowd.*")] * 600]
    for subscriber in subscribers:
        subscriber.expect_pong()


def test_many_subscribers(dial: Dial) -> None:
    traces = listener(dial)
    subscribers = [client(dial, "imp", b"many", b"*.* q") for _ in range(5)]
    publisher = client(dial)
    publish(publisher, b"many", DEST)
    assert traced(traces)[1] == [ingress("many"), *[egress("many")] * 5]
    publish(publisher, b"ma.ny", DEST)
    assert traced(traces)[1] == [ingress("ma.ny"), egress("*.*", queue="q")]
    for subscriber in subscribers:
        assert message(subscriber)[2] == b"hi"


def test_subscriber_without_headers(dial: Dial) -> None:
    traces = listener(dial)
    plain = dial(CONFIG).hello(user="imp").send(b"SUB pl 1\r\nSUB tr.d 2\r\n").expect_pong()
    publish(client(dial), b"pl", DEST)
    assert traced(traces)[1] == [ingress("pl"), egress("pl")]
    plain.expect(b"MSG pl 1 2\r\nhi\r\n")
    assert traced(plain)[1] == [ingress("pl"), egress("pl")]


def test_nobody_listens_to_the_trace(dial: Dial) -> None:
    subscriber = client(dial, "imp", b"alone")
    publish(client(dial), b"alone", b"Nats-Trace-Dest: nobody.there\r\n")
    assert message(subscriber) == ([b"alone", b"1"], block(b"Nats-Trace-Dest: nobody.there\r\n"), b"hi")


@pytest.mark.parametrize("only", [b"", ONLY])
def test_nobody_gets_the_message(dial: Dial, only: bytes) -> None:
    traces = listener(dial)
    requester = client(dial, "imp", b"in.box")
    publish(requester, b"void.here", DEST + only, reply=b"in.box")
    request, steps = traced(traces)
    assert steps == [ingress("void.here")] and request["msgsize"] == len(block(DEST + only)) + 2
    requester.expect(b"HMSG in.box 1 41 41\r\nNATS/1.0 503\r\nNats-Subject: void.here\r\n\r\n\r\n")


@pytest.mark.parametrize(
    ("value", "only"), [(b"1", True), (b"on", True), (b"TRUE", True), (b"yes", False), (b"0", False)]
)
def test_only_the_trace(dial: Dial, value: bytes, only: bool) -> None:
    traces = listener(dial)
    subscriber = client(dial, "imp", b"only", b"only q").watch()
    publisher = client(dial, "imp", b"in.box")
    publish(publisher, b"only", DEST + b"Nats-Trace-Only: %s\r\n" % value, reply=b"in.box")
    assert traced(traces)[1] == [ingress("only"), egress("only", queue="q"), egress("only")]
    publisher.expect_pong()  # no 503
    assert (subscriber.received_from(publisher) == b"") is only


def test_trace_only_leaves_no_mark(dial: Dial) -> None:
    traces = listener(dial)
    subscriber = client(dial, "imp", b"au").send(b"UNSUB 1 1\r\n").expect_pong()
    publisher = client(dial)
    for headers in (DEST + ONLY, DEST + ONLY, DEST):
        publish(publisher, b"au", headers)
        assert traced(traces)[1] == [ingress("au"), egress("au")]
    assert message(subscriber)[2] == b"hi"
    subscriber.expect_pong()


@pytest.mark.parametrize(
    ("headers", "delivered"),
    [
        (b"nats-trace-dest: tr.d\r\n", True),
        (b"Nats-Trace-Dest:\r\n", True),
        (b" Nats-Trace-Dest: tr.d\r\n", True),
        (b"Nats-Trace-Dest : tr.d\r\n", True),
        (b"X Nats-Trace-Dest: tr.d\r\n", True),
        (b"no colon\r\nNats-Trace-Dest: tr.d\r\n", True),
        (OFF, True),
        (OFF + DEST, True),
        (ONLY, True),
        (PARENT, True),
        (b"Nats-Trace-Dest: bad..dest\r\n", True),
        (b"Nats-Trace-Dest: bad..dest\r\n" + ONLY, False),
        (b"Nats-Trace-Dest: tr.*\r\n", True),
    ],
)
def test_not_traced(dial: Dial, headers: bytes, delivered: bool) -> None:
    traces = listener(dial)
    subscriber = client(dial, "imp", b"plain.m").watch()
    publisher = client(dial)
    publish(publisher, b"plain.m", headers)
    whole = block(headers)
    frame = b"HMSG plain.m 1 %d %d\r\n%shi\r\n" % (len(whole), len(whole) + 2, whole)
    assert subscriber.received_from(publisher) == (frame if delivered else b"")
    expect_no_trace(traces, publisher)
    if b"bad..dest" in headers:
        log = dial.server(CONFIG).log
        log.wait_for(r'\[ERR\].*Destination "bad..dest" is not valid, won\'t be able to trace events')


@pytest.mark.parametrize(
    "headers", [DEST + OFF, b"A: b\r\n" + DEST, b"Nats-Trace-Dest:   tr.d\r\n", DEST * 3]
)
def test_traced(dial: Dial, headers: bytes) -> None:
    traces = listener(dial)
    publish(client(dial), b"some.thing", headers)
    assert traced(traces)[1] == [ingress("some.thing")]


def test_own_message_without_echo(dial: Dial) -> None:
    traces = listener(dial)
    publish(client(dial, "imp", b"own", echo=False), b"own", DEST)
    assert traced(traces)[1] == [ingress("own"), egress("own", error="Not delivered because of no echo")]


@pytest.mark.parametrize("only", [b"", ONLY])
def test_subscription_denies_the_subject(dial: Dial, only: bytes) -> None:
    traces = listener(dial)
    subscriber = client(dial, "limited", b"filt.*")
    publish(client(dial), b"filt.x", DEST + only)
    denied = egress("filt.*", error="Not delivered because subscription denies this subject")
    assert traced(traces)[1] == [ingress("filt.x"), denied]
    subscriber.expect_pong()


def test_publisher_must_not_publish_there(dial: Dial) -> None:
    traces = listener(dial)
    publisher = client(dial, "limited")
    publish(publisher, b"no.pub", DEST)
    assert traced(traces)[1] == [
        ingress("no.pub", error='Permissions Violation for Publish to "no.pub"'),
    ]
    publisher.expect(b"-ERR 'Permissions Violation for Publish to \"no.pub\"'\r\n").expect_pong()
    publish(publisher, b"ok", DEST, reply=b"_R_.a.b")
    assert traced(traces)[1] == [
        ingress("ok", error='Permissions Violation for Publish with Reply of "_R_.a.b"'),
    ]


@pytest.mark.parametrize("dest", [b"tr.no", b"$NRG.x", b"_GR_.x.y"])
def test_publisher_must_not_publish_the_trace(dial: Dial, dest: bytes) -> None:
    traces = client(dial, "imp", b"tr.no", b"$NRG.x", b"tr.d")
    subscriber = client(dial, "imp", b"sub.j").watch()
    publisher = client(dial, "limited")
    publish(publisher, b"sub.j", b"Nats-Trace-Dest: %s\r\n" % dest)
    publisher.expect(b"-ERR 'Permissions Violation for Publish to \"%s\"'\r\n" % dest)
    assert subscriber.received_from(publisher) == b""
    expect_no_trace(traces, publisher)


def test_message_too_large(dial: Dial) -> None:
    traces = listener(dial)
    publisher = client(dial)
    publish(publisher, b"big", DEST, b"x" * 1000)
    publisher.expect(b"-ERR 'Maximum Payload Violation'\r\n")
    _, _, payload = message(traces)
    event = json.loads(payload)
    (step,) = event["events"]
    assert step["type"] == "in" and step["error"] == "maximum payload exceeded"
    assert event["request"]["msgsize"] == len(block(DEST)) + 1000


def test_mapped_subject(dial: Dial) -> None:
    traces = listener(dial)
    subscriber = client(dial, "imp", b"m.b")
    publisher = client(dial)
    publish(publisher, b"m.a", DEST)
    assert traced(traces)[1] == [ingress("m.a"), egress("m.b"), {"type": "sm", "to": "m.b"}]
    assert message(subscriber)[0] == [b"m.b", b"1"]


# -- accounts -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "way", "remote", "shown"),
    [
        (b"local", [("EXP", "local", "open.q")], b"open.q", True),
        (b"map.q", [("EXP", "map.q", "mapped.q")], b"mapped.q", True),
        (b"start", [("EXP", "hop", "open.q"), ("MID", "start", "hop")], b"open.q", True),
        (b"dark.q", [("EXP", "dark.q", "dark.q")], b"dark.q", False),
        (b"darkstart", [("EXP", "darkhop", "dark.q"), ("MID", "darkstart", "darkhop")], b"dark.q", False),
    ],
)
@pytest.mark.parametrize("reply", [b"in.box", b""])
def test_request(
    dial: Dial, asked: bytes, way: list[tuple[str, str, str]], remote: bytes, shown: bool, reply: bytes
) -> None:
    traces = listener(dial)
    theirs = listener(dial, "exp")
    responder = client(dial, "exp", remote, name="resp")
    requester = client(dial, "imp", b"in.box")
    publish(requester, asked, DEST + b"X: y\r\n", reply=reply)
    steps = [crossing(*one) for one in way]
    seen = [egress(remote.decode(), acc="EXP", name="resp")] if shown else []
    assert traced(traces)[1] == [ingress(asked.decode()), *seen, *steps]
    words, headers, payload = message(responder)
    assert words[0] == remote and payload == b"hi" and b"X: y\r\n" in headers
    assert (OFF in headers) is not shown and (DEST in headers) is shown
    if reply:
        responder.send(b"PUB %s 2\r\nok\r\n" % words[2])
        requester.expect(b"MSG in.box 1 2\r\nok\r\n")
    expect_no_trace(theirs, responder)


@pytest.mark.parametrize(
    ("asked", "way", "shown"),
    [
        (b"local", [("EXP", "local", "open.q")], True),
        (b"dark.q", [("EXP", "dark.q", "dark.q")], False),
        (b"darkstart", [("EXP", "darkhop", "dark.q"), ("MID", "darkstart", "darkhop")], False),
    ],
)
def test_only_the_trace_of_a_request(
    dial: Dial, asked: bytes, way: list[tuple[str, str, str]], shown: bool
) -> None:
    traces = listener(dial)
    responder = client(dial, "exp", b"open.q", b"dark.q").watch()
    requester = client(dial, "imp", b"in.box")
    publish(requester, asked, DEST + ONLY, reply=b"in.box")
    seen = [egress("open.q", acc="EXP")] if shown else []
    assert traced(traces)[1] == [ingress(asked.decode()), *seen, *[crossing(*one) for one in way]]
    words, headers, _ = message(requester)
    assert words == [b"in.box", b"1"] and headers.startswith(b"NATS/1.0 503\r\nNats-Subject: " + asked)
    assert responder.received_from(client(dial, "exp")) == b""


@pytest.mark.parametrize(("asked", "remote"), [(b"local", b"open.q"), (b"start", b"open.q")])
@pytest.mark.parametrize("only", [b"", ONLY])
def test_answer(dial: Dial, asked: bytes, remote: bytes, only: bytes) -> None:
    """The trace of an answer ends where it leaves the responder's account."""
    traces = listener(dial, "exp")
    responder = client(dial, "exp", remote)
    requester = client(dial, "imp", b"in.box").watch()
    requester.send(b"PUB %s in.box 0\r\n\r\n" % asked)
    reply = message(responder)[0][2]
    publish(responder, reply, DEST + only)
    _, steps = traced(traces)
    assert steps[0] == ingress(reply.decode(), "EXP") and len(steps) == 2
    assert steps[1]["type"] == "si" and steps[1]["from"] == reply.decode()
    if asked == b"local":
        assert (steps[1]["acc"], steps[1]["to"]) == ("IMP", "in.box")
    if not only:
        whole = block(OFF)
        requester.expect(b"HMSG in.box 1 %d %d\r\n%shi\r\n" % (len(whole), len(whole) + 2, whole))
    requester.expect_pong()


@pytest.mark.parametrize("only", [b"", ONLY])
def test_stream_import(dial: Dial, only: bytes) -> None:
    traces = listener(dial, "exp")
    subscriber = client(dial, "imp", b"in.shown.a", b"in.shown.b q", b"quiet.*").watch()
    publisher = client(dial, "exp")
    for subject, to, seen in (
        (b"shown.a", "in.shown.a", [egress("shown.a", acc="IMP")]),
        (b"shown.b", "in.shown.b", [egress("shown.b", acc="IMP", queue="q")]),
        (b"quiet.a", "quiet.a", []),
    ):
        publish(publisher, subject, DEST + only)
        assert traced(traces)[1] == [
            ingress(subject.decode(), "EXP"),
            *seen,
            {"type": "se", "acc": "IMP", "to": to},
        ]
        if not only:
            assert message(subscriber)[0][0] == to.encode()
    subscriber.expect_pong()


def test_trace_is_a_stream_that_others_import(dial: Dial) -> None:
    traces = client(dial, "imp", b"theirs")
    publish(client(dial, "exp"), b"x", b"Nats-Trace-Dest: traces\r\n")
    assert traced(traces)[1] == [ingress("x", "EXP")]


# -- the account's destination --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "yes"),
    [
        (PARENT, True),
        (b"A: b\r\nTraceParent: 00-4b-00-01\r\n", True),
        (b"traceparent: 00-4b-00-7F\r\n", True),
        (b"traceparent: 00-4b-00-0f\r\n", True),
        (b"traceparent: 00-4b-00-00\r\n", False),
        (b"traceparent: 00-4b-00-02\r\n", False),
        (b"traceparent: 00-4b-00-f1\r\n", False),
        (b"traceparent: 00-4b-00-1\r\n", False),
        (b"traceparent: 00-4b-00-0g\r\n", False),
        (b"traceparent: 4b-00-01\r\n", False),
        (b"traceparent: 00-4b-00-00\r\n" + PARENT, True),
        (OFF + PARENT, False),
        (PARENT + ONLY, True),
    ],
)
def test_traceparent(dial: Dial, headers: bytes, yes: bool) -> None:
    traces = client(dial, "all", b"acc.dest")
    subscriber = client(dial, "all", b"a.b")
    publisher = client(dial, "all")
    publish(publisher, b"a.b", headers)
    assert message(subscriber)[1:] == (block(headers), b"hi")
    if yes:
        assert traced(traces)[1] == [ingress("a.b", "ALL"), egress("a.b")]
    publish(publisher, b"end.of.it", PARENT)
    assert traced(traces)[1] == [ingress("end.of.it", "ALL")]


def test_own_destination_comes_first(dial: Dial) -> None:
    traces = client(dial, "all", b"mine")
    publish(client(dial, "all"), b"a.b", PARENT + b"Nats-Trace-Dest: mine\r\n")
    assert traced(traces)[1] == [ingress("a.b", "ALL")]


def test_account_destination_needs_no_permission(dial: Dial) -> None:
    traces = client(dial, "all", b"acc.dest")
    publisher = client(dial, "tied")
    publish(publisher, b"a", PARENT)
    assert traced(traces)[1] == [ingress("a", "ALL")]
    publish(publisher, b"b", PARENT)
    violation = 'Permissions Violation for Publish to "b"'
    assert traced(traces)[1] == [ingress("b", "ALL", error=violation)]
    publisher.expect(f"-ERR '{violation}'\r\n".encode())
    publish(publisher, b"a", PARENT + b"Nats-Trace-Dest: mine\r\n")
    publisher.expect(b"-ERR 'Permissions Violation for Publish to \"mine\"'\r\n").expect_pong()


@pytest.mark.parametrize("only", [b"", ONLY])
def test_traceparent_crosses(dial: Dial, only: bytes) -> None:
    """What Nats-Trace-Only says counts beside Nats-Trace-Dest alone; beyond where the trace ends nobody else shall trace it."""
    traces = client(dial, "all", b"acc.dest")
    responder = client(dial, "exp", b"open.q", b"dark.q")
    watcher = client(dial, "see", b"seen.a", name="see")
    publisher = client(dial, "all")
    publish(publisher, b"open.q", PARENT + only)
    assert traced(traces)[1] == [
        ingress("open.q", "ALL"),
        egress("open.q", acc="EXP"),
        crossing("EXP", "open.q", "open.q"),
    ]
    assert OFF not in message(responder)[1]
    publish(publisher, b"dark.q", PARENT + only)
    assert traced(traces)[1] == [ingress("dark.q", "ALL"), crossing("EXP", "dark.q", "dark.q")]
    _, headers, payload = message(responder)
    assert (
        headers.startswith(b"NATS/1.0\r\n" + PARENT + only)
        and headers.endswith(OFF + b"\r\n")
        and payload == b"hi"
    )
    publish(publisher, b"seen.a", PARENT + only)
    export = {"type": "se", "acc": "SEE", "to": "seen.a"}
    assert traced(traces)[1] == [ingress("seen.a", "ALL"), egress("seen.a", acc="SEE", name="see"), export]
    assert message(watcher)[1:] == (block(PARENT + only), b"hi")


def test_sampling(dial: Dial) -> None:
    """Of many messages about half are traced; the others tell servers behind us that they are not."""
    traces = client(dial, "some", b"acc.dest", b"tr.d")
    subscriber = client(dial, "some", b"a")
    publisher = client(dial, "some")
    for _ in range(200):
        publish(publisher, b"a", PARENT)
    seen = [message(subscriber)[1] for _ in range(200)]
    off = seen.count(block(PARENT + OFF))
    assert off + seen.count(block(PARENT)) == 200 and 60 <= off <= 140
    for _ in range(200 - off):
        traced(traces)
    expect_no_trace(traces, publisher)


# -- several workers ------------------------------------------------------------------------------------------------------


def test_one_event_over_all_workers() -> None:
    """Who listens where makes no difference: plain subscribers, a group that is elsewhere, services and their streams."""
    server = start(FOUR, CONFIG)
    crew = Crew(server)
    try:
        publisher, *others = crew.place(0, 0, 1, 2, 3, user="imp", headers=True, no_responders=True)
        (responder,) = crew.place(2, user="exp", headers=True, no_responders=True)
        traces = others[2]
        for other in others:
            other.send(b"SUB all 1\r\nSUB quiet.a 2\r\n").expect_pong()
        traces.send(b"SUB all q 3\r\nSUB tr.d 4\r\n").expect_pong()
        responder.send(b"SUB open.q 1\r\nSUB tr.d 2\r\n").expect_pong()
        for only in (b"", ONLY):
            publish(publisher, b"all", DEST + only)
            copies = [egress("all", queue="q"), *[egress("all")] * 4]
            skip(traces, 0 if only else 2)
            assert traced(traces)[1] == [ingress("all"), *copies]
        publish(publisher, b"local", DEST)
        steps = [ingress("local"), egress("open.q", acc="EXP"), crossing("EXP", "local", "open.q")]
        assert traced(traces)[1] == steps
        skip(responder, 1)
        publish(responder, b"quiet.a", DEST)
        exports = [{"type": "se", "acc": "IMP", "to": "quiet.a"}] * 4
        assert traced(responder)[1] == [ingress("quiet.a", "EXP"), *exports]
        for other in others[:2]:
            skip(other, 2)
        server.check()
    finally:
        crew.close()
        server.stop()


def test_order_over_workers() -> None:
    """A trace does not overtake another one that waits for what another worker has to tell."""
    server = start(FOUR, CONFIG)
    crew = Crew(server)
    try:
        publisher, subscriber = crew.place(0, 1, user="imp", headers=True)
        subscriber.send(b"SUB far 1\r\nSUB tr.d 2\r\nUNSUB 1 100\r\n").expect_pong()
        for _ in range(50):
            publish(publisher, b"far", DEST + ONLY)
            publish(publisher, b"nobody", DEST)
        for _ in range(50):
            assert traced(subscriber)[1] == [ingress("far"), egress("far")]
            assert traced(subscriber)[1] == [ingress("nobody")]
        server.check()
    finally:
        crew.close()
        server.stop()


def skip(raw: Raw, number: int) -> None:
    """Some messages that are not looked at."""
    for _ in range(number):
        assert message(raw)[2] == b"hi"


# -- settings -------------------------------------------------------------------------------------------------------------


def test_no_system_account(dial: Dial) -> None:
    """A server that publishes nothing of its own publishes no traces, either."""
    config = "no_system_account: true"
    traces = dial(config).hello(headers=True).send(b"SUB tr.d 1\r\n").expect_pong()
    publisher = dial(config).hello(headers=True)
    publish(
        publisher, b"x", DEST
    ).expect_pong().expect_pong()  # the second one is certainly handled after the message
    traces.expect_pong()
