"""Accounts from a configuration: who is in which, that they are apart, and their limits."""

from __future__ import annotations

import os
import signal
from typing import Final

import pytest

from tests.harness import FOUR, Kind, Raw, start
from tests.server.crew import together
from tests.server.shared import Dial

ACCOUNTS: Final = """accounts {
  A {
    users: [
      { user: a, password: a }
      { user: a_own, permissions: { publish: "own" } }
      { user: a_free, permissions: {} }
    ]
    default_permissions: { publish: "default.>", subscribe: ["default.>", "_end.>"] }
  }
  B { users: [ { user: b }, { user: b2 } ] }
  SYSTEM { users: [ { user: sys } ] }
  EMPTY {}
}
system_account: SYSTEM
authorization { users: [ { user: g } ] }
no_auth_user: b
"""
LIMITS: Final = """accounts {
  FEW { users: [ { user: few } ], limits { max_connections: 2 } }
  NONE { users: [ { user: none } ], limits { max_conn: 0 } }
  SMALL { users: [ { user: small } ], limits { max_payload: 16, max_subs: 3 } }
  LARGE { users: [ { user: large } ], limits { max_payload: 1000000, max_subscriptions: 1000000 } }
  BELOW { users: [ { user: below } ], limits { max_conn: -2 } }
  EMPTY { users: [ { user: empty } ], limits { max_payload: -5 } }
  UNLIMITED { users: [ { user: unlimited } ], limits { max_conn: -1, max_subs: -1, max_payload: -1 } }
  HUGE { users: [ { user: huge } ], limits { max_conn: 2147483648, max_subs: 9000000000, max_payload: 4294967296 } }
  ASKED { users: [ { user: asked } ], exports: [ { service: q } ], limits { max_conn: 1, max_subs: 1 } }
  ASKING { users: [ { user: asking } ], imports: [ { service: { account: ASKED, subject: q } } ]
           limits { max_conn: 1, max_subs: 1 } }
}
max_payload: 1000
max_subscriptions: 5
"""
NKEY: Final = "UBO2MQV67TQTVIRV3XFTEZOACM4WLOCMCDMAWN5QVN5PI2N6JHTVDRON"
FULL: Final = b"-ERR 'maximum account active connections exceeded'\r\n"


def as_user(dial: Dial, user: str, config: str = ACCOUNTS, **options: object) -> Raw:
    """A client of this user, ready for ``received_from``."""
    password = {"pass": "a"} if user == "a" else {}
    return dial(config).hello(user=user, **password, **options)


def remote_account(client: Raw, **options: object) -> dict[str, object]:
    """What a client is told after its CONNECT."""
    client.send_connect(verbose=False, pedantic=False, protocol=1, **options)
    return client.send(b"PING\r\n").expect(b"PONG\r\n").expect_info()


@pytest.mark.parametrize(
    ("user", "account"), [("a", "A"), ("b", "B"), ("b2", "B"), ("g", "$G"), ("sys", "SYSTEM"), ("", "B")]
)
def test_users_are_told_their_account(dial: Dial, user: str, account: str) -> None:
    password = {"pass": "a"} if user == "a" else {}
    info = remote_account(dial(ACCOUNTS), user=user, **password)
    assert info["remote_account"] == account
    assert info.get("acc_is_sys", False) is (account == "SYSTEM")


def test_accounts_are_apart(dial: Dial) -> None:
    everyone = [as_user(dial, user).send(b"SUB > 1\r\n").expect_pong() for user in ("b", "b2", "g", "sys")]
    for number, user in enumerate(("a_free", "b", "g", "sys")):
        as_user(dial, user).send(b"PUB crossing %d\r\n%s\r\n" % (1, b"%d" % number)).expect_pong()
    seen = [client.send(b"PUB end 0\r\n\r\n").read_until(b"end 1 0\r\n\r\n") for client in everyone]
    wanted = [b"1", b"1", b"2", b"3"]
    for number, (data, expected) in enumerate(zip(seen, wanted, strict=True)):
        payloads = [line for line in data.split(b"\r\n") if line in (b"0", b"1", b"2", b"3")]
        assert payloads == [expected], f"client {number}: {data!r}"


def test_guest_without_connect_is_in_his_account(dial: Dial) -> None:
    guest = dial(ACCOUNTS).send(b"SUB s 1\r\nPING\r\n").expect(b"+OK\r\nPONG\r\n")
    as_user(dial, "g").send(b"PUB s 1\r\ng\r\n").expect_pong()
    as_user(dial, "b2").send(b"PUB s 1\r\nb\r\n")
    guest.expect(b"MSG s 1 1\r\nb\r\n")


@pytest.mark.parametrize(
    ("user", "allowed", "refused"),
    [
        ("a", "default.x", "own"),
        ("a_own", "own", "default.x"),
        ("a_free", "default.x", None),
        ("b", "own", None),
    ],
)
def test_default_permissions_are_for_users_without_their_own(
    dial: Dial, user: str, allowed: str, refused: str | None
) -> None:
    client = as_user(dial, user).send(b"PUB %s 0\r\n\r\n" % allowed.encode()).expect_pong()
    if refused:
        client.send(b"PUB %s 0\r\n\r\n" % refused.encode())
        client.expect(
            b"-ERR 'Permissions Violation for Publish to \"%s\"'\r\n" % refused.encode()
        ).expect_pong()


def test_a_second_connect_moves_to_another_account(dial: Dial) -> None:
    mover = as_user(dial, "b").send(b"SUB s 1\r\n").expect_pong()
    mover.hello(user="g").send(b"SUB s 2\r\n").expect_pong()
    as_user(dial, "b2").send(b"PUB s 1\r\nb\r\n").expect_pong()
    as_user(dial, "g").send(b"PUB s 1\r\ng\r\n").expect_pong()
    mover.expect(b"MSG s 2 1\r\ng\r\n").expect_pong()


def test_only_the_system_account_has_users(dial: Dial) -> None:
    config = "accounts { $SYS { users: [ { user: admin, password: x } ] } }"
    stranger = dial(config)
    assert stranger.info["auth_required"] is True
    assert remote_account(stranger)["remote_account"] == "$G"
    info = remote_account(dial(config), user="admin", **{"pass": "x"})
    assert (info["remote_account"], info["acc_is_sys"]) == ("$SYS", True)
    dial(config).send_connect(verbose=False, user="admin", **{"pass": "y"}).expect_eof(
        b"-ERR 'Authorization Violation'\r\n"
    )


class TestLimits:
    """Account limits; the least of the account's and the server's holds."""

    def test_connections(self, dial: Dial) -> None:
        first, second = (as_user(dial, "few", LIMITS) for _ in range(2))
        log = dial.server(LIMITS).log
        since = log.mark()
        for _ in range(3):
            dial(LIMITS).send_connect(user="few", protocol=1).expect_eof(FULL)
        log.wait_for(r"cid:\d+ - maximum account active connections exceeded$", since=since)
        first.leave()
        third = as_user(dial, "few", LIMITS)
        dial(LIMITS).send_connect(user="few").expect_eof(FULL)
        second.expect_pong()
        third.expect_pong()
        as_user(dial, "small", LIMITS)

    @pytest.mark.parametrize("user", ["none", "below"])
    def test_no_connections(self, dial: Dial, user: str) -> None:
        dial(LIMITS).send_connect(user=user, verbose=False).expect_eof(FULL)

    def test_no_payload(self, dial: Dial) -> None:
        as_user(dial, "empty", LIMITS).send(b"PUB s 1\r\n").expect_eof(
            b"-ERR 'Maximum Payload Violation'\r\n"
        )

    @pytest.mark.parametrize("user", ["unlimited", "huge"])
    def test_no_limits_but_the_servers(self, dial: Dial, user: str) -> None:
        if dial.kind.real and user == "huge":
            pytest.skip("nats-server reads 2147483648 as -2147483648")
        clients = [as_user(dial, user, LIMITS) for _ in range(3)]
        subscriptions = b"".join(b"SUB s.%d %d\r\n" % (number, number) for number in range(5))
        clients[0].send(subscriptions).expect_pong()
        clients[0].send(b"SUB more 9\r\n").expect(b"-ERR 'maximum subscriptions exceeded'\r\n").expect_pong()
        clients[1].send(b"PUB s.1 1000\r\n%s\r\n" % (b"x" * 1000)).expect_pong()
        clients[2].send(b"PUB s.1 1001\r\n").expect_eof(b"-ERR 'Maximum Payload Violation'\r\n")

    def test_imports_take_no_place(self, dial: Dial) -> None:
        asked = as_user(dial, "asked", LIMITS, headers=True).send(b"SUB q 1\r\n").expect_pong()
        asking = as_user(dial, "asking", LIMITS).send(b"SUB in.> 1\r\nPUB q in.box 1\r\n?\r\n").expect_pong()
        reply = asked.read_until(b"\r\n").split()[3]
        asked.read_until(b"?\r\n")
        asked.send(b"PUB %s 2\r\nok\r\n" % reply).expect_pong()
        asking.expect(b"MSG in.box 1 2\r\nok\r\n").expect_pong()

    def test_payload(self, dial: Dial) -> None:
        assert dial(LIMITS).info["max_payload"] == 1000
        client = dial(LIMITS)
        assert remote_account(client, user="small")["max_payload"] == 16
        client.send(b"PUB s 16\r\n0123456789abcdef\r\n").expect_pong()
        log = dial.server(LIMITS).log
        since = log.mark()
        client.send(b"PUB s 17\r\n0123456789abcdefg\r\n").expect_eof(b"-ERR 'Maximum Payload Violation'\r\n")
        log.wait_for(r'cid:\d+ - "SMALL/user:small" - maximum payload exceeded: 17 vs 16$', since=since)

    def test_payload_of_the_server_is_less(self, dial: Dial) -> None:
        client = dial(LIMITS)
        assert remote_account(client, user="large")["max_payload"] == 1000
        client.send(b"PUB s 1001\r\n").expect_eof(b"-ERR 'Maximum Payload Violation'\r\n")

    @pytest.mark.parametrize(("user", "limit"), [("small", 3), ("large", 5)])
    def test_subscriptions(self, dial: Dial, user: str, limit: int) -> None:
        client = as_user(dial, user, LIMITS)
        client.send(b"".join(b"SUB s.%d %d\r\n" % (i, i) for i in range(limit))).expect_pong()
        client.send(b"SUB more 9\r\n").expect(b"-ERR 'maximum subscriptions exceeded'\r\n").expect_pong()
        client.send(b"PUB more 0\r\n\r\nUNSUB 1\r\nSUB more 9\r\nPUB more 0\r\n\r\n").expect(
            b"MSG more 9 0\r\n\r\n"
        )


def test_connections_are_counted_exactly_over_all_workers() -> None:
    config = "accounts { A { users: [ { user: a } ], limits { max_connections: 7 } } }"
    server = start(FOUR, config)
    clients: list[Raw] = []
    try:
        for _ in range(3):
            clients += [Raw(server.port, timeout=60.0) for _ in range(20)]

            def connect(client: Raw) -> bool:
                client.send_connect(user="a", verbose=False).send(b"PING\r\n")
                return client.read_until(b"\r\n") == b"PONG\r\n"

            admitted = together([lambda client=client: connect(client) for client in clients])
            assert 1 <= sum(admitted) <= 7
            late = Raw(server.port, timeout=60.0)
            for _ in range(sum(admitted), 7):  # places that were left by those that raced
                clients.append(late)
                assert connect(late)
                late = Raw(server.port, timeout=60.0)
            late.send_connect(user="a", verbose=False).expect_eof(FULL)
            while clients:
                clients.pop().leave()
        server.stop()
    finally:
        server.destroy()


def test_a_worker_that_dies_gives_its_places_back() -> None:
    server = start(FOUR, "accounts { A { users: [ { user: a } ], limits { max_connections: 4 } } }")
    try:
        clients = [Raw(server.port).hello(user="a") for _ in range(4)]
        Raw(server.port).send_connect(user="a", verbose=False).expect_eof(FULL)
        victim = server.worker_of(clients[0].sock)
        mark = server.log.mark()
        os.kill(victim, signal.SIGKILL)
        server.log.wait_for(r"Worker \d+ \(pid \d+\) is ready", since=mark)
        Raw(server.port).hello(user="a")
        server.stop(allow="was killed")
    finally:
        server.destroy()


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ("system_account: X", "error resolving system account: account missing"),
        ("accounts { A {} }\nsystem_account: X", "error resolving system account: account missing"),
        ('accounts { "$G" {} }', '"$G" is a Reserved Account'),
        (
            "accounts { A { users: [ {user: a} ] }\n B { users: [ {user: a} ] } }",
            'Duplicate user "a" detected',
        ),
        (
            "accounts { A { users: [ {user: a} ] } }\nauthorization { users: [ {user: a} ] }",
            'Duplicate user "a" detected',
        ),
        (
            f"accounts {{ A {{ users: [ {{nkey: {NKEY}}} ] }}\n B {{ users: [ {{nkey: {NKEY}}} ] }} }}",
            f'Duplicate nkey "{NKEY}" detected',
        ),
    ],
)
def test_bad_starts(kind: Kind, config: str, text: str) -> None:
    with pytest.raises(AssertionError) as failure:
        start(kind, config)
    assert text in str(failure.value)


def test_accounts_by_their_names(dial: Dial) -> None:
    """They have no users, so everybody is in the global one."""
    config = "accounts: [A, B]"
    client = dial(config)
    assert "auth_required" not in client.info
    assert remote_account(client, user="A")["remote_account"] == "$G"
    dial(config).send_connect(verbose=False, account="A").expect_eof(b"-ERR 'Authorization Violation'\r\n")
