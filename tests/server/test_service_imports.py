"""Services that cross accounts: requests go one way, their answers come back."""

from __future__ import annotations

import json
import re
import time
from typing import Any, Final

import pytest

from tests.harness import FOUR, Kind, Raw, start
from tests.server.crew import Crew
from tests.server.shared import Dial

CONFIG: Final = """server_name: here
accounts {
  EXP {
    users: [ { user: exp }, { user: strict, permissions: { publish: "ok" } }
             { user: responder, permissions: { publish: "ok", allow_responses: true } } ]
    exports: [
      { service: "plain.q" }
      { service: "two.*.*" }
      { service: "same.>" }
      { service: "stream.q", response_type: stream, threshold: "5s" }
      { service: "chunk.q", response_type: chunked }
      { service: "brief.q", threshold: "100ms" }
      { service: "mapped.svc" }
      { service: "priv.q", accounts: [IMP] }
      { service: "deep" }
    ]
    mappings { mapped.svc: remapped.svc }
  }
  MID {
    users: [ { user: mid } ]
    exports: [ { service: "hop" } ]
    imports: [ { service: { account: EXP, subject: deep }, to: hop } ]
  }
  IMP {
    users: [ { user: imp }, { user: limited, permissions: { publish: ["local"] } } ]
    imports: [
      { service: { account: EXP, subject: "plain.q" }, to: local }
      { service: { account: EXP, subject: "two.*.*" }, to: "x.$2.$1" }
      { service: { account: EXP, subject: "same.>" } }
      { service: { account: EXP, subject: "stream.q" } }
      { service: { account: EXP, subject: "chunk.q" } }
      { service: { account: EXP, subject: "brief.q" } }
      { service: { account: EXP, subject: "mapped.svc" } }
      { service: { account: EXP, subject: "priv.q" } }
      { service: { account: MID, subject: hop }, to: start }
    ]
    mappings { "map.local": local }
  }
  SHARE {
    users: [ { user: share } ]
    imports: [
      { service: { account: EXP, subject: "plain.q" }, share: true }
      { service: { account: MID, subject: hop }, share: true }
    ]
  }
}
"""
HEADERS: Final = {"headers": True, "no_responders": True}
REPLY: Final = re.compile(rb"^_R_\.[0-9A-Za-z]{6}\.[0-9A-Za-z]{6}$")


def as_user(dial: Dial, user: str, **options: object) -> Raw:
    """A client of this user that knows headers."""
    return dial(CONFIG).hello(user=user, **{**HEADERS, **options})


def serve(dial: Dial, *subjects: bytes, user: str = "exp", **options: object) -> Raw:
    """A responder that listens to these subjects, numbered from 1."""
    client = as_user(dial, user, **options)
    client.send(b"".join(b"SUB %s %d\r\n" % (what, number) for number, what in enumerate(subjects, 1)))
    return client.expect_pong()


def next_message(client: Raw) -> tuple[list[bytes], bytes, bytes]:
    """(subject, sid and reply, if any; headers; payload) of the next message."""
    words = client.read_until(b"\r\n").split()
    if words[0] == b"MSG":
        return words[1:-1], b"", client.take(int(words[-1]) + 2)[:-2]
    assert words[0] == b"HMSG", words
    size = int(words[-2])
    data = client.take(int(words[-1]) + 2)[:-2]
    return words[1:-2], data[:size], data[size:]


def info_of(headers: bytes) -> dict[str, Any]:
    """The only header of requests that says who asks."""
    found = re.findall(rb"^Nats-Request-Info: ([^\r]*)\r\n", headers, re.MULTILINE)
    assert len(found) == 1, headers
    fields: dict[str, Any] = json.loads(found[0])
    return fields


def ask(client: Raw, subject: bytes, payload: bytes = b"?", inbox: bytes = b"in.box") -> Raw:
    """Send a request."""
    return client.send(b"PUB %s %s %d\r\n%s\r\n" % (subject, inbox, len(payload), payload))


def asker(dial: Dial, user: str = "imp") -> Raw:
    """A requester with an inbox."""
    return as_user(dial, user).send(b"SUB in.> 9\r\n").expect_pong()


@pytest.mark.parametrize(
    ("asked", "remote"),
    [
        (b"local", b"plain.q"),
        (b"x.9.8", b"two.8.9"),
        (b"same.a.b", b"same.a.b"),
        (b"mapped.svc", b"remapped.svc"),
        (b"map.local", b"plain.q"),
        (b"priv.q", b"priv.q"),
        (b"start", b"deep"),
    ],
)
def test_request_and_answer(dial: Dial, asked: bytes, remote: bytes) -> None:
    responder = serve(dial, remote)
    requester = ask(asker(dial), asked)
    (subject, sid, reply), headers, payload = next_message(responder)
    assert (subject, sid, payload) == (remote, b"1", b"?")
    assert REPLY.match(reply) and info_of(headers)["acc"] == "IMP"
    responder.send(b"PUB %s 2\r\nok\r\n" % reply)
    requester.expect(b"MSG in.box 9 2\r\nok\r\n")
    responder.send(b"PUB %s 4\r\nlate\r\n" % reply).expect_pong()
    requester.expect_pong()


def test_answer_keeps_its_headers(dial: Dial) -> None:
    responder = serve(dial, b"plain.q")
    requester = ask(asker(dial), b"local")
    reply = next_message(responder)[0][2]
    responder.send(b"HPUB %s 18 20\r\nNATS/1.0\r\nA: b\r\n\r\nok\r\n" % reply)
    requester.expect(b"HMSG in.box 9 18 20\r\nNATS/1.0\r\nA: b\r\n\r\nok\r\n")


def test_existing_headers_are_kept_and_the_forged_one_is_not(dial: Dial) -> None:
    responder = serve(dial, b"plain.q")
    requester = asker(dial)
    block = b'NATS/1.0\r\nA: b\r\nNats-Request-Info: {"acc":"ROOT"}\r\nC: d\r\n\r\n'
    requester.send(b"HPUB local in.box %d %d\r\n%s?\r\n" % (len(block), len(block) + 1, block))
    _, headers, payload = next_message(responder)
    assert headers.startswith(b"NATS/1.0\r\nA: b\r\nC: d\r\nNats-Request-Info: {") and payload == b"?"
    assert info_of(headers)["acc"] == "IMP" and b"ROOT" not in headers


def test_responder_without_headers(dial: Dial) -> None:
    responder = serve(dial, b"plain.q", b"deep", headers=False, no_responders=False)
    requester = ask(asker(dial), b"local", b"abc")
    assert next_message(responder)[1:] == (b"", b"abc")
    ask(requester, b"start", b"def")
    assert next_message(responder)[1:] == (b"", b"def")


def test_what_a_service_is_told(dial: Dial) -> None:
    responder = serve(dial, b"plain.q", b"deep")
    ask(asker(dial), b"local")
    assert set(info_of(next_message(responder)[1])) == {"acc", "rtt"}
    named = dial(CONFIG).hello(user="share", name="me", lang="py", version="1", **HEADERS)
    ask(named, b"plain.q")
    told = info_of(next_message(responder)[1])
    rtt, begin, cid = told.pop("rtt"), told.pop("start"), told.pop("id")
    assert rtt > 0 and begin.endswith("Z") and cid == named.info["client_id"]
    assert told == {
        "host": "127.0.0.1", "acc": "SHARE", "user": "share", "name": "me", "lang": "py", "ver": "1",
        "server": "here", "kind": "Client", "client_type": "nats",
    }  # fmt: skip


def test_chain_of_accounts(dial: Dial) -> None:
    responder = serve(dial, b"deep")
    requester = ask(asker(dial), b"start")
    _, headers, _ = next_message(responder)
    told = info_of(headers)
    assert (told["acc"], told["svc"]) == ("IMP", "MID") and set(told) == {"acc", "svc", "rtt"}
    ask(asker(dial, "share"), b"hop")
    told = info_of(next_message(responder)[1])
    assert (told["acc"], told["svc"], told["user"]) == ("SHARE", "MID", "share")
    requester.expect_pong()


@pytest.mark.parametrize("subject", [b"stream.q", b"chunk.q"])
def test_streamed_answers_end_with_an_empty_one(dial: Dial, subject: bytes) -> None:
    responder = serve(dial, subject)
    requester = ask(asker(dial), subject)
    reply = next_message(responder)[0][2]
    for payload in (b"1", b"2", b"3", b"", b"after"):
        responder.send(b"PUB %s %d\r\n%s\r\n" % (reply, len(payload), payload))
    requester.expect(b"".join(b"MSG in.box 9 1\r\n%d\r\n" % n for n in (1, 2, 3)) + b"MSG in.box 9 0\r\n\r\n")
    responder.expect_pong()
    requester.expect_pong()


def test_answer_after_the_threshold(dial: Dial) -> None:
    responder = serve(dial, b"brief.q")
    requester = ask(asker(dial), b"brief.q")
    late = next_message(responder)[0][2]
    time.sleep(0.3)  # nats-server forgets it between one and two thresholds later
    responder.send(b"PUB %s 4\r\nlate\r\n" % late).expect_pong()
    requester.expect_pong()
    ask(requester, b"brief.q")
    responder.send(b"PUB %s 2\r\nok\r\n" % next_message(responder)[0][2])
    requester.expect(b"MSG in.box 9 2\r\nok\r\n")


def test_a_dialog(dial: Dial) -> None:
    responder = serve(dial, b"plain.q", b"own.>")
    requester = ask(asker(dial), b"local")
    reply = next_message(responder)[0][2]
    responder.send(b"PUB %s own.inbox 5\r\nwhat?\r\n" % reply)
    (subject, _, back), _, payload = next_message(requester)
    assert (subject, payload) == (b"in.box", b"what?") and REPLY.match(back)
    requester.send(b"PUB %s 4\r\nthis\r\n" % back)
    responder.expect(b"MSG own.inbox 2 4\r\nthis\r\n")


def test_local_subscribers_get_the_request_too(dial: Dial) -> None:
    responder = serve(dial, b"plain.q")
    local = as_user(dial, "imp").send(b"SUB local 1\r\n").expect_pong()
    ask(asker(dial), b"local")
    local.expect(b"MSG local 1 in.box 1\r\n?\r\n")
    assert next_message(responder)[0][0] == b"plain.q"


def test_no_reply(dial: Dial) -> None:
    responder = serve(dial, b"plain.q")
    asker(dial).send(b"PUB local 1\r\n?\r\n").expect_pong()
    words, headers, payload = next_message(responder)
    assert (words, payload) == ([b"plain.q", b"1"], b"?") and info_of(headers)["acc"] == "IMP"


@pytest.mark.parametrize("subject", [b"local", b"x.1.2", b"start", b"none.at.all"])
def test_no_responders(dial: Dial, subject: bytes) -> None:
    size = 32 + len(subject)
    requester = ask(asker(dial), subject)
    requester.expect(
        b"HMSG in.box 9 %d %d\r\nNATS/1.0 503\r\nNats-Subject: %s\r\n\r\n\r\n" % (size, size, subject)
    ).expect_pong()


def test_permissions(dial: Dial) -> None:
    limited = as_user(dial, "limited").send(b"SUB in.> 9\r\n").expect_pong()
    limited.send(b"PUB plain.q 0\r\n\r\n").expect(
        b"-ERR 'Permissions Violation for Publish to \"plain.q\"'\r\n"
    ).expect_pong()
    strict = serve(dial, b"plain.q", user="strict")
    ask(limited, b"local")
    reply = next_message(strict)[0][2]
    strict.send(b"PUB %s 1\r\nx\r\n" % reply).expect(
        b"-ERR 'Permissions Violation for Publish to \"%s\"'\r\n" % reply
    ).expect_pong()
    strict.leave()
    responder = serve(dial, b"plain.q", user="responder")
    ask(limited, b"local")
    responder.send(b"PUB %s 1\r\nx\r\n" % next_message(responder)[0][2])
    limited.expect(b"MSG in.box 9 1\r\nx\r\n")


def test_queue_groups_share_requests(dial: Dial) -> None:
    members = [as_user(dial, "exp").send(b"SUB same.* q 1\r\n").expect_pong() for _ in range(3)]
    requester = asker(dial)
    number = 300
    for _ in range(number):
        ask(requester, b"same.a")
    requester.expect_pong()
    answered = [0, 0, 0]
    while sum(answered) < number:
        for which, member in enumerate(members):
            data = member.expect_after(b"PONG\r\n")
            answered[which] += len(re.findall(rb"^HMSG same\.a 1 _R_", data, re.MULTILINE))
    assert sum(answered) == number and all(50 <= count <= 150 for count in answered), answered


def test_across_workers() -> None:
    server = start(FOUR, CONFIG)
    crew = Crew(server)
    try:
        requesters = crew.place(0, 1, 2, 3, user="imp", **HEADERS)
        responders = crew.place(0, 1, 2, 3, user="exp", **HEADERS)
        for number, client in enumerate(requesters):
            client.send(b"SUB in.%d 9\r\n" % number).expect_pong()
        for responder in responders:
            responder.send(b"SUB deep 1\r\nSUB own.> 2\r\n").expect_pong()
            for number, requester in enumerate(requesters):
                ask(requester, b"start", b"?" * 2000, b"in.%d" % number)
                (_, _, reply), headers, payload = next_message(responder)
                assert payload == b"?" * 2000 and info_of(headers)["svc"] == "MID"
                responder.send(b"HPUB %s own.in 12 14\r\nNATS/1.0\r\n\r\nok\r\n" % reply)
                (subject, _, back), headers, payload = next_message(requester)
                assert (subject, headers, payload) == (b"in.%d" % number, b"NATS/1.0\r\n\r\n", b"ok")
                requester.send(b"PUB %s 3\r\nbye\r\n" % back)
                responder.expect(b"MSG own.in 2 3\r\nbye\r\n")
                responder.send(b"PUB %s 2\r\nno\r\n" % reply).expect_pong()
                requester.expect_pong()
            responder.send(b"UNSUB 1\r\nUNSUB 2\r\n").expect_pong()
        crew.close()
        server.stop()
    finally:
        server.destroy()


@pytest.mark.parametrize("queue", [b"", b"g "])
def test_streams_take_no_requests(kind: Kind, queue: bytes) -> None:
    """Who imports as a stream what is a service, too, is no responder, wherever he is; one who comes is found."""
    server = start(
        kind,
        """accounts {
          EXP { users: [ { user: exp } ], exports: [ { service: q }, { stream: q } ] }
          IMP { users: [ { user: imp } ], imports: [ { service: { account: EXP, subject: q } } ] }
          WATCH { users: [ { user: watch } ], imports: [ { stream: { account: EXP, subject: q } } ] }
        }""",
    )
    crew = Crew(server)
    last = max(kind.workers - 1, 0)
    try:
        requester, other, responder = (crew.place(at, user=user, **HEADERS)[0] for at, user in (
            (0, "imp"), (0, "exp"), (last, "exp")))  # fmt: skip
        watchers = crew.place(0, last, user="watch", **HEADERS)
        for watcher in watchers:
            watcher.send(b"SUB q %s1\r\n" % queue).expect_pong()
        requester.send(b"SUB in.> 9\r\n").expect_pong()
        nobody = b"HMSG in.box 9 33 33\r\nNATS/1.0 503\r\nNats-Subject: q\r\n\r\n\r\n"
        for _ in range(3):
            ask(requester, b"q").expect(nobody).expect_pong()
        other.send(b"SUB in.> 9\r\n")
        ask(other, b"q").expect_pong()  # no request that crosses: the watchers have it
        deadline = time.monotonic() + 20.0
        seen, wanted = 0, 1 if queue else len(watchers)
        while not kind.real and seen < wanted and time.monotonic() < deadline:
            seen += sum(b"MSG q" in watcher.expect_after(b"PONG\r\n") for watcher in watchers)
        responder.send(b"SUB q %s1\r\n" % queue).expect_pong()
        for _ in range(20):
            ask(requester, b"q")
            responder.send(b"PUB %s 2\r\nok\r\n" % next_message(responder)[0][2])
            requester.expect(b"MSG in.box 9 2\r\nok\r\n")
        responder.send(b"UNSUB 1\r\n").expect_pong()
        while not ask(requester, b"q").expect_after(b"PONG\r\n"):
            assert time.monotonic() < deadline  # until the requester's worker has heard of it
        ask(requester, b"q").expect(nobody).expect_pong()
        assert kind.real or seen == wanted
        crew.close()
        server.stop()
    finally:
        server.destroy()


def test_a_client_cannot_use_a_reply_of_services(dial: Dial) -> None:
    as_user(dial, "imp").send(b"PUB local _R_.abc.def 0\r\n\r\n").expect(
        b"-ERR 'Permissions Violation for Publish with Reply of \"_R_.abc.def\"'\r\n"
    ).expect_pong()


def test_one_local_subject_for_two_services(dial: Dial) -> None:
    config = """accounts {
      A { users: [ { user: a } ], exports: [ { service: q } ] }
      B { users: [ { user: b } ], exports: [ { service: q } ] }
      C { users: [ { user: c } ]
          imports: [ { service: { account: A, subject: q } }, { service: { account: B, subject: q } } ] }
    }"""
    servers = [dial(config).hello(user=user, **HEADERS).send(b"SUB q 1\r\n").expect_pong() for user in "ab"]
    requester = dial(config).hello(user="c", **HEADERS).send(b"SUB in.> 9\r\n").expect_pong()
    ask(requester, b"q")
    for server in servers:
        server.send(b"PUB %s 1\r\nx\r\n" % next_message(server)[0][2])
    requester.expect(b"MSG in.box 9 1\r\nx\r\n" * 2)


def test_import_of_oneself_ends(dial: Dial) -> None:
    config = """accounts { A { users: [ { user: a } ]
      exports: [ { service: q } ], imports: [ { service: { account: A, subject: q } } ] } }"""
    client = dial(config).hello(user="a", **HEADERS).send(b"SUB q 1\r\n").expect_pong()
    client.send(b"PUB q 1\r\n?\r\n")
    assert [next_message(client)[2] for _ in range(2)] == [b"?", b"?"]
    client.expect_pong()


@pytest.mark.parametrize(
    ("imports", "text"),
    [
        ("{ service: { account: E, subject: x } }", "service import not authorized"),
        ("{ service: { account: E, subject: 'pos.E.req' } }", "service import not authorized"),
        ("{ service: { account: E, subject: 'a.*' }, to: x }",
         'from "x" to "a.*": invalid mapping destination: not using all of the token wildcard(s) in x'),
        ("{ service: { account: E, subject: 'a.b' }, to: x }\n{ service: { account: E, subject: 'a.c' }, to: x }",
         'Duplicate service import subject "x", previously used in import for account "E", subject "a.b"'),
        ("{ service: { account: X, subject: a } }", '"X" account not defined for service import'),
    ],
)  # fmt: skip
def test_refused(dial: Dial, imports: str, text: str) -> None:
    config = f"""accounts {{
      E {{ exports: [ {{ service: "a.*" }}, {{ service: "pos.*.req", account_token_position: 2 }} ] }}
      F {{ imports: [ {imports} ] }}
    }}"""
    with pytest.raises(AssertionError) as failure:
        start(dial.kind, config)
    assert text in str(failure.value)


def test_cycle(dial: Dial) -> None:
    config = """accounts {
      A { exports: [ { service: s } ], imports: [ { service: { account: B, subject: s } } ] }
      B { exports: [ { service: s } ], imports: [ { service: { account: A, subject: s } } ] }
    }"""
    with pytest.raises(AssertionError) as failure:
        start(dial.kind, config)
    assert 'Error adding service import "s": import forms a cycle' in str(failure.value)
