"""Who may come in without credentials: every way of saying who may, with every way of having accounts."""

from __future__ import annotations

import re
from typing import Final

import pytest

from tests.harness import Raw, start
from tests.server.shared import Dial

AUTHORIZATION: Final = {
    "": "",
    "user": "authorization { user: u, password: p }",
    "token": "authorization { token: t }",
    "users": "authorization { users: [ { user: g, password: g } ] }",
}
ACCOUNTS: Final = {
    "": "",
    "$SYS": "accounts { $SYS { users: [ { user: admin, password: x } ] } }",
    "$SYS, empty": "accounts { $SYS {} }",
    "other $SYS": "accounts { S { users: [ { user: admin, password: x } ] } }\nsystem_account: S",
    "A": "accounts { A { users: [ { user: a, password: a } ] } }",
    "A, empty": "accounts { A {} }",
    "A and $SYS": "accounts { A { users: [ { user: a, password: a } ] }\n $SYS { users: [ { user: admin, password: x } ] } }",
}
CLOSED: Final = "closed"
OPEN: Final = "open"  # to everybody, whatever they say about themselves
# What the configuration says about users, about accounts, and no_auth_user: the account of a guest, or CLOSED or OPEN.
MATRIX: Final = {
    ("", "", ""): OPEN,
    ("", "$SYS", ""): "$G",
    ("", "$SYS, empty", ""): "$G",
    ("", "other $SYS", ""): "$G",
    ("", "A", ""): CLOSED,
    ("", "A, empty", ""): OPEN,
    ("", "A and $SYS", ""): CLOSED,
    ("user", "", ""): CLOSED,
    ("user", "$SYS, empty", ""): CLOSED,
    ("user", "A, empty", ""): CLOSED,
    ("token", "", ""): CLOSED,
    ("token", "$SYS, empty", ""): CLOSED,
    ("token", "A, empty", ""): CLOSED,
    ("users", "", ""): CLOSED,
    ("users", "$SYS", ""): CLOSED,
    ("users", "$SYS, empty", ""): CLOSED,
    ("users", "other $SYS", ""): CLOSED,
    ("users", "A", ""): CLOSED,
    ("users", "A, empty", ""): CLOSED,
    ("users", "A and $SYS", ""): CLOSED,
    ("", "A", "a"): "A",
    ("", "A and $SYS", "a"): "A",
    ("", "$SYS", "admin"): "$SYS",
    ("users", "", "g"): "$G",
    ("users", "A", "g"): "$G",
    ("users", "A", "a"): "A",
    ("users", "$SYS", "admin"): "$SYS",
}


def config_of(authorization: str, accounts: str, guest: str) -> str:
    """The configuration of a case."""
    line = f"no_auth_user: {guest}" if guest else ""
    return f"{AUTHORIZATION[authorization]}\n{ACCOUNTS[accounts]}\n{line}\n"


def account_of(client: Raw, **options: object) -> str:
    """The account into which this CONNECT leads; empty: it is refused."""
    client.send_connect(verbose=False, protocol=1, **options).send(b"PING\r\n")
    line = client.read_until(b"\r\n")
    if line == b"PONG\r\n":
        return str(client.expect_info()["remote_account"])
    assert line == b"-ERR 'Authorization Violation'\r\n"
    client.expect_eof()
    return ""


@pytest.mark.parametrize("case", MATRIX, ids=lambda case: "/".join(case))
def test_guests(dial: Dial, case: tuple[str, str, str]) -> None:
    if dial.kind.workers > 1:
        pytest.skip("one worker decides as another does")
    expected = MATRIX[case]
    server = start(dial.kind, config_of(*case))

    def client() -> Raw:
        return Raw(server.port)

    try:
        guest = client()
        assert bool(guest.info.get("auth_required")) is (expected != OPEN and not case[2])
        account = "$G" if expected == OPEN else "" if expected == CLOSED else expected
        assert account_of(guest) == account
        silent = client().send(b"SUB s 1\r\nPING\r\n")
        if account:
            silent.expect(b"+OK\r\nPONG\r\n")
        else:
            silent.expect_eof(b"-ERR 'Authorization Violation'\r\n")
        # Whoever says who he is must be that, even where others need not say.
        mistaken = "$G" if expected == OPEN else ""
        assert account_of(client(), user="admin", **{"pass": "wrong"}) == mistaken
        assert account_of(client(), user="nobody") == mistaken
        assert account_of(client(), auth_token="wrong") == mistaken
        assert account_of(client(), user="", **{"pass": "x"}) == mistaken
        if "$SYS" in case[1] and "empty" not in case[1]:
            name = "S" if case[1].startswith("other") else "$SYS"
            assert account_of(client(), user="admin", **{"pass": "x"}) == name
        server.stop()
    finally:
        server.destroy()


def test_a_guest_who_comes_in_another_way(dial: Dial) -> None:
    """He is a user with all that holds for one."""
    config = "authorization { users: [ { user: w, allowed_connection_types: [WEBSOCKET] }, { user: a } ] }\nno_auth_user: w"
    dial(config).send_connect().expect_eof(b"-ERR 'Authorization Violation'\r\n")
    if dial.kind.real:
        pytest.skip("nats-server before 2.14.3 lets him in if he does not introduce himself")
    for first in (b"SUB s 1\r\n", b"PUB s 0\r\n\r\n", b"PING\r\n"):
        dial(config).send(first).expect_eof(b"-ERR 'Authorization Violation'\r\n")
    dial(config).hello(user="a")


@pytest.mark.parametrize("guest", ["nobody", "a"])
@pytest.mark.parametrize("accounts", ["", "$SYS"])
def test_no_such_guest(dial: Dial, accounts: str, guest: str) -> None:
    with pytest.raises(AssertionError) as failure:
        start(dial.kind, config_of("users", accounts, guest))
    assert f'no_auth_user: "{guest}" not present as user or nkey' in str(failure.value)


@pytest.mark.parametrize("authorization", ["user", "token"])
@pytest.mark.parametrize("accounts", ["$SYS", "other $SYS", "A and $SYS"])
def test_one_user_and_accounts(dial: Dial, authorization: str, accounts: str) -> None:
    with pytest.raises(AssertionError) as failure:
        start(dial.kind, config_of(authorization, accounts, ""))
    # nats-server reads the blocks in any order, and so may see the accounts' users before or after.
    what = "single user/pass" if authorization == "user" else "token"
    assert re.search(f"Can not have a {what} and (accounts|a users array)", str(failure.value))
