"""Rules of accounts that no other file is about, one by one: where exports, imports, mappings and permissions meet."""

from __future__ import annotations

import base64
import re
import time
from typing import Final

import pytest
from nacl.signing import SigningKey

from tests.harness import Raw
from tests.server.shared import Dial
from tests.server.test_auth import public_user
from tests.server.test_service_imports import HEADERS, REPLY, ask, info_of, next_message

KEY: Final = SigningKey(bytes(range(2, 34)))
# Importers come first: the order in the file does not matter.
CONFIG: Final = f"""server_name: here
accounts {{
  IMP {{
    users: [
      {{ user: imp }}
      {{ user: limited, permissions: {{ publish: loc, subscribe: ["in.>", "_end.>", "seen.>"] }} }}
      {{ user: careful, permissions: {{ subscribe: {{ deny: "in.no" }} }} }}
      {{ user: answerer, permissions: {{ publish: "nothing", allow_responses: true }} }}
      {{ nkey: {public_user(KEY)} }}
    ]
    imports: [
      {{ stream: {{ account: EXP, subject: both }} }}
      {{ service: {{ account: OTHER, subject: both }} }}
      {{ service: {{ account: EXP, subject: q }}, to: loc }}
      {{ service: {{ account: EXP, subject: shared }}, share: true }}
      {{ service: {{ account: EXP, subject: later }}, to: oth }}
      {{ service: {{ account: EXP, subject: "lat.$1" }}, to: "one.*" }}
      {{ service: {{ account: EXP, subject: "lat.>" }} }}
      {{ service: {{ account: EXP, subject: "lat.*" }} }}
      {{ service: {{ account: EXP, subject: "lat.two" }} }}
      {{ service: {{ account: EXP, subject: slow }} }}
      {{ service: {{ account: MID, subject: hop }} }}
      {{ service: {{ account: MID, subject: "h.*.b" }}, to: "z.*" }}
      {{ service: {{ account: SYSTEM, subject: of.system }} }}
      {{ stream: {{ account: EXP, subject: "s.>" }}, prefix: seen }}
      {{ stream: {{ account: EXP, subject: "t.*" }} }}
      {{ stream: {{ account: EXP, subject: t.a }} }}
      {{ stream: {{ account: EXP, subject: t.b }}, to: t.a }}
      {{ stream: {{ account: EXP, subject: name }} }}
      {{ stream: {{ account: OTHER, subject: name }} }}
      {{ stream: {{ account: EXP, subject: lit }}, to: "lit.$1" }}
    ]
    mappings {{ m: loc, n: oth }}
  }}
  MID {{
    users: [ {{ user: mid }} ]
    exports: [ {{ service: hop }}, {{ service: "h.*.*" }} ]
    imports: [
      {{ service: {{ account: EXP, subject: q }}, to: hop, share: true }}
      {{ service: {{ account: EXP, subject: "w.*.*" }}, to: "h.$2.$1" }}
    ]
  }}
  EXP {{
    users: [ {{ user: exp }}, {{ user: answers, permissions: {{ publish: ok, allow_responses: {{ max: 2, expires: "1m" }} }} }} ]
    exports: [
      {{ service: q }}, {{ service: shared }}, {{ service: later }}, {{ service: "lat.>" }}, {{ service: "w.*.*" }}
      {{ service: slow, response: stream, threshold: "800ms" }}
      {{ stream: both }}, {{ stream: "s.>" }}, {{ stream: "t.*" }}, {{ stream: name }}, {{ stream: lit }}
    ]
    imports: [ {{ stream: {{ account: EXP, subject: name }}, to: own.name }} ]
    mappings {{ later: q, "a.*": "s.$1" , "x.*": "pattern.$1", x.one: literal, "x.>": "rest.>" }}
  }}
  OTHER {{ users: [ {{ user: other }} ], exports: [ {{ service: both }}, {{ stream: name }} ] }}
  SYSTEM {{ users: [ {{ user: sys }} ], exports: [ {{ service: of.system }} ] }}
  SMALL {{
    users: [ {{ user: small, permissions: {{ publish: ok }} }} ]
    mappings {{ m: other, gone: {{ destination: gone, weight: 0 }} }}
  }}
}}
system_account: SYSTEM
no_auth_user: imp
"""
DENIED: Final = b"-ERR 'Permissions Violation for Publish to \"%s\"'\r\n"
RESERVED: Final = b"-ERR 'Permissions Violation for Publish with Reply of \"%s\"'\r\n"


def client(dial: Dial, user: str, *subscriptions: bytes) -> Raw:
    """A client with headers and these subscriptions (subject, or subject and queue), numbered from 1."""
    found = dial(CONFIG).hello(user=user, **HEADERS)
    return found.send(
        b"".join(b"SUB %s %d\r\n" % (s, n) for n, s in enumerate(subscriptions, 1))
    ).expect_pong()


def say(publisher: Raw, *subjects: bytes) -> None:
    """Publish these, and wait until the server has them."""
    publisher.send(b"".join(b"PUB %s 1\r\n!\r\n" % subject for subject in subjects)).expect_pong()


def asked(responder: Raw) -> tuple[bytes, bytes]:
    """(subject, reply) of the next request."""
    subject, _, reply = next_message(responder)[0]
    assert REPLY.match(reply)
    return subject, reply


def answer(responder: Raw, reply: bytes, payload: bytes = b"ok") -> None:
    """Answer a request."""
    responder.send(b"PUB %s %d\r\n%s\r\n" % (reply, len(payload), payload)).expect_pong()


def test_what_comes_as_a_stream_asks_no_service(dial: Dial) -> None:
    service, importer = client(dial, "other", b"both"), client(dial, "imp", b"both", b"in.>")
    say(client(dial, "exp"), b"both")
    importer.expect(b"MSG both 1 1\r\n!\r\n")
    ask(importer, b"both").expect(b"MSG both 1 in.box 1\r\n?\r\n")
    (_, _, reply), headers, payload = next_message(service)  # the first that comes
    assert payload == b"?" and info_of(headers)["acc"] == "IMP"
    answer(service, reply)
    importer.expect(b"MSG in.box 2 2\r\nok\r\n")


@pytest.mark.parametrize(
    ("asks", "heard"),
    [
        (b"one.x", [b"lat.$1"]),
        (b"lat.one", [b"lat.one"] * 2),  # once for each import
        (b"lat.two", [b"lat.two"] * 3),
        (b"lat.a.b", [b"lat.a.b"]),
        (b"lat.*", [b"lat.*"] * 2),
    ],
)
def test_imports_that_overlap(dial: Dial, asks: bytes, heard: list[bytes]) -> None:
    service, importer = client(dial, "exp", b"lat.>"), client(dial, "imp", b"in.>")
    ask(importer, asks)
    ask(importer, b"one.end")
    found = [asked(service) for _ in [*heard, None]]
    assert [subject for subject, _ in found] == [*heard, b"lat.$1"]


def test_streams_that_overlap(dial: Dial) -> None:
    importer = client(dial, "imp", b"t.*")
    exporter = client(dial, "exp")
    say(exporter, b"t.a")
    importer.expect(b"MSG t.a 1 1\r\n!\r\n" * 2)
    say(exporter, b"t.b", b"t.c")
    found = [next_message(importer)[0][0] for _ in range(3)]
    assert sorted(found) == [b"t.a", b"t.b", b"t.c"]


def test_two_streams_of_one_name(dial: Dial) -> None:
    importer, own = client(dial, "imp", b"name"), client(dial, "exp", b"own.name")
    say(client(dial, "exp"), b"name")
    importer.expect(b"MSG name 1 1\r\n!\r\n")
    own.expect(b"MSG own.name 1 1\r\n!\r\n")
    say(client(dial, "other"), b"name")
    importer.expect(b"MSG name 1 1\r\n!\r\n").expect_pong()
    own.expect_pong()


def test_a_literal_that_looks_like_a_reference(dial: Dial) -> None:
    importer = client(dial, "imp", b"lit.$1", b"lit.*")
    say(client(dial, "exp"), b"lit")
    assert sorted(next_message(importer)[0] for _ in range(2)) == [[b"lit.$1", b"1"], [b"lit.$1", b"2"]]


@pytest.mark.parametrize("subscription", [b"in.box", b"in.*", b"in.box g"])
def test_an_answer_for_which_nobody_has_waited_on_is_lost(dial: Dial, subscription: bytes) -> None:
    service, importer = client(dial, "exp", b"q"), client(dial, "imp", subscription)
    ask(importer, b"loc").send(b"UNSUB 1\r\n").expect_pong()
    late = asked(service)[1]
    importer.send(b"SUB in.> 2\r\n").expect_pong()
    answer(service, late, b"late")
    ask(importer, b"loc")
    answer(service, asked(service)[1])
    importer.expect(b"MSG in.box 2 2\r\nok\r\n")


def test_the_last_answer_that_a_subscription_takes(dial: Dial) -> None:
    service, importer = client(dial, "exp", b"q"), client(dial, "imp", b"in.box")
    importer.send(b"UNSUB 1 1\r\n")
    ask(importer, b"loc")
    answer(service, asked(service)[1])
    importer.expect(b"MSG in.box 1 2\r\nok\r\n").send(b"PUB in.box 0\r\n\r\n").expect_pong()


def test_replies_of_services_are_subjects_like_others(dial: Dial) -> None:
    """To publish and to subscribe; and what is none of a request reaches nobody in another account."""
    listener, service = client(dial, "exp", b"_R_.>"), client(dial, "exp", b"q")
    foreign = client(dial, "imp", b"_R_.>", b"in.>")
    say(client(dial, "imp"), b"_R_.abcdef.ghijkl")
    foreign.expect(b"MSG _R_.abcdef.ghijkl 1 1\r\n!\r\n")
    say(service, b"_R_.abcdef.ghijkl")
    listener.expect(b"MSG _R_.abcdef.ghijkl 1 1\r\n!\r\n")
    ask(foreign, b"loc")
    reply = asked(service)[1]
    answer(service, reply)
    listener.expect(b"MSG %s 1 2\r\nok\r\n" % reply)
    foreign.expect(b"MSG in.box 2 2\r\nok\r\n")


def test_sharing_further_along_tells_the_server_alone(dial: Dial) -> None:
    service = client(dial, "exp", b"q")
    ask(client(dial, "imp"), b"hop")
    told = info_of(next_message(service)[1])
    assert told.pop("rtt") > 0 and told == {"acc": "IMP", "svc": "MID", "server": "here"}
    ask(client(dial, "mid"), b"hop")
    told = info_of(next_message(service)[1])
    assert (told["acc"], told["user"], told["server"], "svc" in told) == ("MID", "mid", "here", False)


def test_the_system_account_is_told_the_server(dial: Dial) -> None:
    service = client(dial, "sys", b"of.system")
    ask(client(dial, "imp"), b"of.system")
    told = info_of(next_message(service)[1])
    assert told.pop("rtt") > 0 and told == {"acc": "IMP", "server": "here"}


def test_a_user_with_a_key_is_called_by_it(dial: Dial) -> None:
    service, requester = client(dial, "exp", b"shared"), dial(CONFIG)
    signature = base64.b64encode(bytes(KEY.sign(requester.info["nonce"].encode()).signature)).decode()
    requester.hello(nkey=public_user(KEY), sig=signature, user="not I", name="n", **HEADERS)
    ask(requester, b"shared")
    told = info_of(next_message(service)[1])
    assert (told["acc"], told["user"], told["name"], told["id"]) == (
        "IMP", public_user(KEY), "n", requester.info["client_id"],
    )  # fmt: skip


def test_a_guest_has_the_imports_of_his_account(dial: Dial) -> None:
    service = client(dial, "exp", b"q")
    guest = dial(CONFIG).send(b"SUB in.box 1\r\nPUB loc in.box 1\r\n?\r\n").expect(b"+OK\r\n+OK\r\n")
    answer(service, asked(service)[1])
    guest.expect(b"MSG in.box 1 2\r\nok\r\n")
    for account in ("EXP", "IMP"):  # nobody chooses one
        dial(CONFIG).send_connect(verbose=False, account=account).expect_eof(
            b"-ERR 'Authorization Violation'\r\n"
        )


def test_mapping_then_permission_then_import_then_mapping(dial: Dial) -> None:
    service, limited = client(dial, "exp", b"q"), client(dial, "limited", b"in.>")
    for subject in (b"loc", b"m"):
        ask(limited, subject)
        answer(service, asked(service)[1])
        limited.expect(b"MSG in.box 1 2\r\nok\r\n")
    for subject in (b"oth", b"n"):
        ask(limited, subject).expect(DENIED % b"oth").expect_pong()
    ask(client(dial, "imp"), b"n")
    assert asked(service)[0] == b"q"  # by the exporter's mapping


def test_a_refusal_names_what_the_mapping_made(dial: Dial) -> None:
    small = client(dial, "small", b"re.>")
    for line, error in (
        (b"PUB other _R_.x 0", DENIED % b"other"),
        (b"PUB ok _R_.x 0", RESERVED % b"_R_.x"),
        (b"PUB ok $JS.ACK.x 0", RESERVED % b"$JS.ACK.x"),
        (b"PUB ok _GR_.x 0", RESERVED % b"_GR_.x"),
        (b"PUB m re.x 0", DENIED % b"other"),
        (b"PUB gone re.x 0", DENIED % b""),
    ):
        small.send(line + b"\r\n\r\n").expect(error).expect_pong()


@pytest.mark.parametrize(
    ("published", "expected"),
    [(b"x.one", b"literal"), (b"x.two", b"pattern.two"), (b"a.b", b"s.b"), (b"later", b"q")],
)
def test_a_mapping_of_the_subject_itself_comes_first(dial: Dial, published: bytes, expected: bytes) -> None:
    if dial.kind.real and published.startswith(b"x."):
        pytest.skip("nats-server takes mappings in any order")
    listener = client(dial, "exp", b">")
    say(client(dial, "exp"), published)
    listener.expect(b"MSG %s 1 1\r\n!\r\n" % expected)


def test_what_is_mapped_is_seen_as_a_stream(dial: Dial) -> None:
    importer = client(dial, "imp", b"seen.s.b")
    say(client(dial, "exp"), b"a.b")
    importer.expect(b"MSG seen.s.b 1 1\r\n!\r\n")


def test_a_denied_inbox_hears_no_answer(dial: Dial) -> None:
    service, careful = client(dial, "exp", b"q"), client(dial, "careful", b"in.*")
    for inbox in (b"in.no", b"in.yes"):
        ask(careful, b"loc", b"?", inbox)
        answer(service, asked(service)[1])
    careful.expect(b"MSG in.yes 1 2\r\nok\r\n")


def test_rights_to_respond_hold_for_both_ends(dial: Dial) -> None:
    """The responder may answer twice, but the server takes one; whoever asked may answer the answer."""
    service, importer = client(dial, "answers", b"q", b"re"), client(dial, "imp", b"in.>")
    ask(importer, b"loc")
    reply = asked(service)[1]
    service.send(b"PUB %s re 1\r\n1\r\nPUB %s re 1\r\n2\r\nPUB %s re 1\r\n3\r\n" % (reply, reply, reply))
    service.expect(DENIED % reply).expect_pong()
    (_, _, back), _, payload = next_message(importer)
    assert payload == b"1" and REPLY.match(back)
    answer(importer, back, b"thanks")
    service.expect(b"MSG re 2 6\r\nthanks\r\n").expect_pong()
    importer.expect_pong()


def test_a_stream_grants_a_response_within_the_importers_account(dial: Dial) -> None:
    """The reply is as it was published, so whoever answers it does so in his own account."""
    exporter, other = client(dial, "exp", b"re"), client(dial, "imp", b"re")
    answerer = client(dial, "answerer", b"seen.s.x")
    exporter.send(b"PUB s.x re 1\r\n?\r\n").expect_pong()
    answerer.expect(b"MSG seen.s.x 1 re 1\r\n?\r\n")
    answerer.send(b"PUB re 1\r\n!\r\nPUB re 1\r\n!\r\n").expect(DENIED % b"re").expect_pong()
    other.expect(b"MSG re 1 1\r\n!\r\n").expect_pong()
    exporter.expect_pong()


def test_wildcards_through_a_chain(dial: Dial) -> None:
    service, importer = client(dial, "exp", b"w.>"), client(dial, "imp", b"in.>")
    ask(importer, b"z.a")
    subject, reply = asked(service)
    assert subject == b"w.b.a"
    answer(service, reply)
    importer.expect(b"MSG in.box 1 2\r\nok\r\n")


def test_each_answer_of_a_stream_starts_the_threshold_anew(dial: Dial) -> None:
    """What is idle for 800 ms is forgotten between one and two of that; these answers take three."""
    service, importer = client(dial, "exp", b"slow"), client(dial, "imp", b"in.>")
    ask(importer, b"slow")
    reply = asked(service)[1]
    start = time.monotonic()
    number = 0
    while time.monotonic() - start < 2.4:
        number += 1
        answer(service, reply, b"%d" % number)
        importer.expect(b"MSG in.box 1 %d\r\n%d\r\n" % (len(str(number)), number))
        time.sleep(0.1)
    answer(service, reply, b"")
    importer.expect(b"MSG in.box 1 0\r\n\r\n")
    answer(service, reply, b"after")
    importer.expect_pong()


def test_replies_of_an_account_begin_alike(dial: Dial) -> None:
    service, importer = client(dial, "exp", b"q"), client(dial, "imp")
    found: set[bytes] = set()
    for _ in range(20):
        ask(importer, b"loc")
        found.add(asked(service)[1])
    assert len(found) == 20 and len({reply[:11] for reply in found}) == 1
    assert all(re.fullmatch(rb"_R_\.[0-9A-Za-z]{6}\.[0-9A-Za-z]{6}", reply) for reply in found)
