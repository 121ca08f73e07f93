"""What a user may publish and subscribe: section 10 of the client protocol."""

from __future__ import annotations

import time
from typing import Final

import pytest

from tests.harness import Raw
from tests.server.shared import Dial

PUBLISH: Final = b"-ERR 'Permissions Violation for Publish to \"%s\"'\r\n"
SUBSCRIBE: Final = b"-ERR 'Permissions Violation for Subscription to \"%s\"'\r\n"
QUEUE: Final = b'-ERR \'Permissions Violation for Subscription to "%s" using queue "%s"\'\r\n'

CONFIG: Final = """authorization {
  default_permissions: { publish: "default.>", subscribe: ["default.>", "_INBOX.>"] }
  users: [
    { user: admin, permissions: {} }
    { user: usual }
    { user: pubonly, permissions: { publish: "p.*" } }
    { user: subonly, permissions: { subscribe: "s.*" } }
    { user: lists, permissions: { publish: ["p.a", "p.b.>"], subscribe: ["s.a", "s.b.>", "_INBOX.>"] } }
    { user: both, permissions: {
        publish: { allow: ["x.>"], deny: ["x.no.*", "x.deny"] }
        subscribe: { allow: ["x.>"], deny: ["x.no.*", "x.deny"] } } }
    { user: denied, permissions: { publish: { deny: ["secret.>", "foo.*"] }, subscribe: { deny: ["secret.>", "foo.*"] } } }
    { user: mute, permissions: { publish: { deny: ">" } } }
    { user: deaf, permissions: { subscribe: { deny: ">" } } }
    { user: empty, permissions: { publish: [], subscribe: { allow: [], deny: [] } } }
    { user: text, permissions: { publish: ["foo.*"], subscribe: ["foo.>", "bar.*"] } }
    { user: q1, permissions: { subscribe: ["foo", "_end.>"] } }
    { user: q2, permissions: { subscribe: "foo v1" } }
    { user: q3, permissions: { subscribe: ["foo", "foo v1"] } }
    { user: q4, permissions: { subscribe: { allow: ["foo", "bar"], deny: "foo dq" } } }
    { user: q5, permissions: { subscribe: ["foo v2.*", "bar.> >"] } }
    { user: q6, permissions: { subscribe: { allow: "foo.*", deny: ["foo.secret", "foo.a *.prod"] } } }
    { user: one, permissions: { subscribe: "r.>", allow_responses: true } }
    { user: default, permissions: { subscribe: "r.>", allow_responses: { max: 0, expires: "0s" } } }
    { user: three, permissions: { subscribe: "r.>", publish: "own.>", allow_responses: { max: 3, expires: "1m" } } }
    { user: brief, permissions: { subscribe: "r.>", allow_responses: { max: -1, expires: "150ms" } } }
    { user: endless, permissions: { subscribe: "r.>", allow_responses: { max: -1, expires: "-1m" } } }
    { user: banned, permissions: { subscribe: "r.>", publish: { deny: "_INBOX.>" }, allow_responses: true } }
  ]
}"""


def as_user(dial: Dial, user: str, **options: object) -> Raw:
    """A verbose client of this user."""
    return dial(CONFIG).hello(user=user, **{"verbose": True, **options})


@pytest.mark.parametrize(
    ("user", "allowed", "refused"),
    [
        ("admin", ["a", "default.a", ">"], []),
        ("usual", ["default.a", "default.a.b", "default.*"], ["a", "default", "defaults.a"]),
        ("pubonly", ["p.a", "p.*"], ["p", "p.a.b", "x"]),
        ("subonly", ["a", "s.a", "x.y.z"], []),
        ("lists", ["p.a", "p.b.c", "p.b.c.d"], ["p.b", "p.c", "p.a.b", "s.a"]),
        ("both", ["x.a", "x.no", "x.no.a.b", "x.a.b"], ["x.no.a", "x.deny", "x.no.*", "y", "x"]),
        ("denied", ["a", "secret", "foo", "foo.a.b"], ["secret.a", "secret.a.b", "foo.a", "foo.*", "foo.>"]),
        ("mute", [], ["a", "a.b", "_INBOX.x"]),
        ("deaf", ["a"], []),
        ("empty", ["a", "a.b"], []),
        ("text", ["foo.a", "foo.*", "foo.>"], ["foo.a.b", "foo", "*"]),
    ],
)
def test_publish(dial: Dial, user: str, allowed: list[str], refused: list[str]) -> None:
    client = as_user(dial, user, headers=True)
    for subject in (text.encode() for text in allowed):
        client.send(b"PUB %s 1\r\nx\r\n" % subject).expect(b"+OK\r\n")
        client.send(b"HPUB %s re.ply 12 12\r\nNATS/1.0\r\n\r\n\r\n" % subject).expect(b"+OK\r\n")
    for subject in (text.encode() for text in refused):
        client.send(b"PUB %s 1\r\nx\r\n" % subject).expect(PUBLISH % subject)
        client.send(b"HPUB %s 12 12\r\nNATS/1.0\r\n\r\n\r\n" % subject).expect(PUBLISH % subject)
    client.expect_pong()


def test_refused_publish_reaches_nobody(dial: Dial) -> None:
    listener = as_user(dial, "admin", verbose=False).send(b"SUB > 1\r\n").expect_pong().watch()
    client = as_user(dial, "pubonly", verbose=False).send(
        b"PUB x 0\r\n\r\nPUB p.a 0\r\n\r\nPUB p.a.b 0\r\n\r\n"
    )
    client.expect(PUBLISH % b"x" + PUBLISH % b"p.a.b").expect_pong()
    listener.expect(b"MSG p.a 1 0\r\n\r\n")


@pytest.mark.parametrize(
    ("user", "allowed", "refused"),
    [
        ("admin", ["a", ">", "_INBOX.x"], []),
        ("usual", ["default.a", "default.>", "default.*", "_INBOX.x"], ["a", ">", "default", "*"]),
        ("pubonly", ["a", ">", "p.a"], []),
        ("subonly", ["s.a", "s.*"], ["s", "s.a.b", ">", "*.a"]),
        ("lists", ["s.a", "s.b.c", "s.b.*", "s.b.>"], ["s.b", "s.*", "s.>", "p.a"]),
        ("both", ["x.a", "x.>", "x.*", "x.no", "x.no.a.b"], ["x.no.a", "x.no.*", "x.deny", "y", ">"]),
        ("denied", ["a", ">", "*", "secret", "foo.a.b"], ["secret.a", "secret.>", "foo.a", "foo.*"]),
        ("mute", ["a", ">"], []),
        ("deaf", [], ["a", ">", "*", "_INBOX.x"]),
        ("empty", ["a", ">"], []),
        ("text", ["foo.a", "foo.*", "foo.>", "bar.a", "bar.*", "bar.>"], [">", "*", "*.a", "bar.a.b", "foo"]),
    ],
)
def test_subscribe(dial: Dial, user: str, allowed: list[str], refused: list[str]) -> None:
    client = as_user(dial, user)
    for subject in (text.encode() for text in allowed):
        client.send(b"SUB %s 1\r\nUNSUB 1\r\nSUB %s q 1\r\nUNSUB 1\r\n" % (subject, subject)).expect(
            b"+OK\r\n" * 4
        )
    for subject in (text.encode() for text in refused):
        client.send(b"SUB %s 1\r\n" % subject).expect(SUBSCRIBE % subject)
        client.send(b"SUB %s q 1\r\n" % subject).expect(QUEUE % (subject, b"q"))
    client.expect_pong()


@pytest.mark.parametrize(
    ("user", "subject", "queue", "allowed"),
    [
        ("q1", "foo", "", True),
        ("q1", "foo", "v1", True),
        ("q2", "foo", "", False),
        ("q2", "foo", "v1", True),
        ("q2", "foo", "v2", False),
        ("q3", "foo", "", True),
        ("q3", "foo", "v1", True),
        ("q3", "foo", "v2", False),
        ("q4", "foo", "", True),
        ("q4", "foo", "dq", False),
        ("q4", "foo", "other", True),
        ("q4", "bar", "dq", True),
        ("q5", "foo", "", False),
        ("q5", "foo", "v1", False),
        ("q5", "foo", "v2", False),
        ("q5", "foo", "v2.a", True),
        ("q5", "foo", "v2.a.b", False),
        ("q5", "bar.a", "any", True),
        ("q5", "bar.a", "", False),
        ("q6", "foo.a", "", True),
        ("q6", "foo.a", "x", True),
        ("q6", "foo.a", "x.prod", False),
        ("q6", "foo.b", "x.prod", True),
        ("q6", "foo.secret", "", False),
        ("q6", "foo.secret", "x", False),
    ],
)
def test_queue_forms(dial: Dial, user: str, subject: str, queue: str, allowed: bool) -> None:
    client = as_user(dial, user).send(f"SUB {subject} {queue} 1\r\n".encode())
    if allowed:
        client.expect(b"+OK\r\n")
    elif queue:
        client.expect(QUEUE % (subject.encode(), queue.encode()))
    else:
        client.expect(SUBSCRIBE % subject.encode())
    client.expect_pong()


def test_denied_subjects_are_filtered_at_delivery(dial: Dial) -> None:
    client = (
        as_user(dial, "denied", verbose=False).send(b"SUB secret.> 1\r\n").expect(SUBSCRIBE % b"secret.>")
    )
    client.watch().send(b"SUB *.a 1\r\nSUB *.a.b 2\r\n").expect_pong()
    publisher = as_user(dial, "admin", verbose=False)
    for subject in (b"secret.a", b"foo.a", b"secret.a.b", b"other.a", b"foo.a.b"):
        publisher.send(b"PUB %s 0\r\n\r\n" % subject)
    assert client.received_from(publisher) == b"MSG other.a 1 0\r\n\r\nMSG foo.a.b 2 0\r\n\r\n"


def test_denied_member_is_passed_over(dial: Dial) -> None:
    denied = as_user(dial, "denied", verbose=False).watch().send(b"SUB *.a g 1\r\n").expect_pong()
    other = as_user(dial, "admin", verbose=False).watch().send(b"SUB *.a g 2\r\n").expect_pong()
    publisher = as_user(dial, "admin", verbose=False).send(b"PUB secret.a 0\r\n\r\n" * 50)
    # One that was picked for a worker where nobody may have it takes a way of its own, so a marker could overtake it.
    other.expect(b"MSG secret.a 2 0\r\n\r\n" * 50)
    assert other.received_from(publisher) == b""
    assert denied.received_from(publisher) == b""


def test_denied_member_is_passed_over_for_one_beside_a_publisher_without_echo(dial: Dial) -> None:
    publisher = as_user(dial, "admin", verbose=False, echo=False).send(b"SUB *.a g 1\r\n").expect_pong()
    members = [
        as_user(dial, "admin", verbose=False).watch() for _ in range(8)
    ]  # one of them on the publisher's worker
    for _ in range(8):
        as_user(dial, "denied", verbose=False).send(b"SUB *.a g 1\r\n").expect_pong()
    for member in members:
        member.send(b"SUB *.a g 2\r\n").expect_pong()
        publisher.send(b"PUB secret.a 0\r\n\r\n" * 20).expect_pong()
        member.expect(b"MSG secret.a 2 0\r\n\r\n" * 20)
        assert member.received_from(publisher) == b""
        member.send(b"UNSUB 2\r\n").expect_pong()
    publisher.expect_pong()


def test_refused_subscription_does_not_exist(dial: Dial) -> None:
    client = as_user(dial, "subonly", verbose=False).send(b"SUB x 1\r\n").expect(SUBSCRIBE % b"x")
    client.send(b"SUB s.a 1\r\nPUB x 0\r\n\r\nPUB s.a 0\r\n\r\n").expect(b"MSG s.a 1 0\r\n\r\n").expect_pong()


class TestResponses:
    """``allow_responses``: whoever receives a request may answer it, and nothing else."""

    @staticmethod
    def pair(dial: Dial, user: str) -> tuple[Raw, Raw]:
        """A requester with an inbox, and a responder that has received one request."""
        requester = as_user(dial, "admin", verbose=False).watch().send(b"SUB _INBOX.> 1\r\n").expect_pong()
        responder = as_user(dial, user, verbose=False).send(b"SUB r.a 1\r\n").expect_pong()
        requester.send(b"PUB r.a _INBOX.x 0\r\n\r\n")
        responder.expect(b"MSG r.a 1 _INBOX.x 0\r\n\r\n")
        return requester, responder

    @pytest.mark.parametrize("user", ["one", "default"])
    def test_one_answer(self, dial: Dial, user: str) -> None:
        requester, responder = self.pair(dial, user)
        responder.send(b"PUB _INBOX.x 1\r\na\r\nPUB _INBOX.x 1\r\nb\r\n").expect(
            PUBLISH % b"_INBOX.x"
        ).expect_pong()
        requester.expect(b"MSG _INBOX.x 1 1\r\na\r\n").expect_pong()

    def test_nothing_else(self, dial: Dial) -> None:
        _, responder = self.pair(dial, "one")
        for subject in (b"_INBOX.y", b"own.a", b"r.a"):
            responder.send(b"PUB %s 0\r\n\r\n" % subject).expect(PUBLISH % subject)
        responder.expect_pong()

    def test_each_request_has_its_answer(self, dial: Dial) -> None:
        requester, responder = self.pair(dial, "one")
        requester.send(b"PUB r.a _INBOX.y 0\r\n\r\nPUB r.a _INBOX.z 0\r\n\r\n")
        responder.expect(b"MSG r.a 1 _INBOX.y 0\r\n\r\nMSG r.a 1 _INBOX.z 0\r\n\r\n")
        responder.send(b"PUB _INBOX.z 0\r\n\r\nPUB _INBOX.x 0\r\n\r\nPUB _INBOX.y 0\r\n\r\n").expect_pong()
        requester.expect(b"MSG _INBOX.z 1 0\r\n\r\nMSG _INBOX.x 1 0\r\n\r\nMSG _INBOX.y 1 0\r\n\r\n")

    def test_maximum_and_own_rights(self, dial: Dial) -> None:
        requester, responder = self.pair(dial, "three")
        responder.send(b"PUB own.a 0\r\n\r\n" + b"PUB _INBOX.x 0\r\n\r\n" * 4 + b"PUB own.a 0\r\n\r\n")
        responder.expect(PUBLISH % b"_INBOX.x").expect_pong()
        requester.expect(b"MSG _INBOX.x 1 0\r\n\r\n" * 3).expect_pong()

    def test_expiry(self, dial: Dial) -> None:
        start = time.monotonic()
        requester, responder = self.pair(dial, "brief")
        answers = 0
        while responder.send(b"PUB _INBOX.x 0\r\n\r\nPING\r\n").read_until(b"PONG\r\n") == b"PONG\r\n":
            answers += 1
        assert 0.15 <= time.monotonic() - start < 3.0
        assert (
            requester.received_from(as_user(dial, "admin", verbose=False))
            == b"MSG _INBOX.x 1 0\r\n\r\n" * answers
        )

    def test_endless(self, dial: Dial) -> None:
        requester, responder = self.pair(dial, "endless")
        responder.send(b"PUB _INBOX.x 0\r\n\r\n" * 200).expect_pong()
        requester.expect(b"MSG _INBOX.x 1 0\r\n\r\n" * 200)

    def test_answers_pass_even_where_publishing_is_denied(self, dial: Dial) -> None:
        requester, responder = self.pair(dial, "banned")
        responder.send(b"PUB _INBOX.x 0\r\n\r\nPUB other 0\r\n\r\nPUB _INBOX.x 0\r\n\r\n")
        responder.expect(PUBLISH % b"other" + PUBLISH % b"_INBOX.x").expect_pong()
        requester.expect(b"MSG _INBOX.x 1 0\r\n\r\n").expect_pong()

    def test_many_unanswered_requests(self, dial: Dial) -> None:
        requester, responder = self.pair(dial, "one")
        for start in range(0, 5000, 500):
            some = range(start, start + 500)
            requester.send(b"".join(b"PUB r.a _INBOX.n.%d 0\r\n\r\n" % i for i in some))
            responder.expect(b"".join(b"MSG r.a 1 _INBOX.n.%d 0\r\n\r\n" % i for i in some))
        responder.send(b"PUB _INBOX.n.4999 0\r\n\r\nPUB _INBOX.n.0 0\r\n\r\n").expect_pong()
        requester.expect(b"MSG _INBOX.n.4999 1 0\r\n\r\nMSG _INBOX.n.0 1 0\r\n\r\n")

    def test_request_through_a_queue_group(self, dial: Dial) -> None:
        requester = as_user(dial, "admin", verbose=False).send(b"SUB _INBOX.> 1\r\n").expect_pong()
        responder = as_user(dial, "one", verbose=False).send(b"SUB r.q workers 1\r\n").expect_pong()
        requester.send(b"PUB r.q _INBOX.q 0\r\n\r\n")
        responder.expect(b"MSG r.q 1 _INBOX.q 0\r\n\r\n").send(b"PUB _INBOX.q 0\r\n\r\n").expect_pong()
        requester.expect(b"MSG _INBOX.q 1 0\r\n\r\n")


def test_violation_names_the_reply_subject(dial: Dial) -> None:
    client = as_user(dial, "pubonly").send(b"PUB p.a _R_.x 0\r\n\r\n")
    client.expect(b"-ERR 'Permissions Violation for Publish with Reply of \"_R_.x\"'\r\n").expect_pong()


def test_no_notice_for_a_refused_request(dial: Dial) -> None:
    client = as_user(dial, "lists", verbose=False, headers=True, no_responders=True)
    client.send(b"SUB _INBOX.x 1\r\nPUB x _INBOX.x 0\r\n\r\n").expect(PUBLISH % b"x").expect_pong()


def test_violations_name_all_of_long_names(dial: Dial) -> None:
    """However long a name is, the error line holds it."""
    user = (
        'users: [ {user: a, password: a, permissions: {publish: {deny: "no.>"}, subscribe: {deny: "no.>"}}} ]'
    )
    client = dial(f"authorization {{ {user} }}").hello(user="a", **{"pass": "a"})
    name, group = b"no." + b"n" * 1500, b"g" * 900
    client.send(b"PUB %s 0\r\n\r\n" % name).expect(
        b"-ERR 'Permissions Violation for Publish to \"%s\"'\r\n" % name
    )
    client.send(b"PUB x _R_.%s 0\r\n\r\n" % name).expect(
        b"-ERR 'Permissions Violation for Publish with Reply of \"_R_.%s\"'\r\n" % name
    )
    client.send(b"SUB %s 1\r\n" % name).expect(
        b"-ERR 'Permissions Violation for Subscription to \"%s\"'\r\n" % name
    )
    client.send(b"SUB %s %s 1\r\n" % (name, group)).expect(
        b'-ERR \'Permissions Violation for Subscription to "%s" using queue "%s"\'\r\n' % (name, group)
    )
    client.expect_pong()
