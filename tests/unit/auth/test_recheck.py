"""What becomes of clients when the users change."""

from __future__ import annotations

import pytest

from broker.auth import Authenticator, Fate, fate
from broker.options import NkeyUser, Options, Permissions, Secret, SubjectList, User

KEY = "UBVBWLQEFAMYZZZX7X644KDFTDOHSHISN6MUT2GW4RULOUCW7WPXBYMM"
ANN = User("ann", Secret("a"))
NARROW = Permissions(subscribe=SubjectList(allow=["x"]))


def judge(old: Options, new: Options, label: str) -> Fate:
    return fate(Authenticator(old), Authenticator(new), label)[0]


def users(*some: User | NkeyUser, **others: object) -> Options:
    return Options(
        users=[user for user in some if isinstance(user, User)],
        nkeys=[user for user in some if isinstance(user, NkeyUser)],
        **others,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        (users(ANN), Fate.STAYS),
        (users(User("ann", Secret("a"), NARROW)), Fate.STAYS),
        (users(User("ann", Secret("b"))), Fate.CHECK),
        (users(User("ann", Secret("a"), connection_types=frozenset({"WEBSOCKET"}))), Fate.CHECK),
        (users(User("ann", Secret("a"), account="A")), Fate.GONE),
        (users(User("bob", Secret("a"))), Fate.GONE),
        (users(NkeyUser(KEY)), Fate.GONE),
        (Options(), Fate.GONE),
    ],
)
def test_a_user(after: Options, expected: Fate) -> None:
    assert judge(users(ANN), after, "$G/user:ann") is expected


def test_an_nkey() -> None:
    label = f"$G/nkey:{KEY}"
    assert judge(users(NkeyUser(KEY)), users(NkeyUser(KEY, NARROW)), label) is Fate.STAYS
    assert judge(users(NkeyUser(KEY)), users(ANN), label) is Fate.GONE


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (Options(), Options(), Fate.STAYS),
        (Options(), users(ANN), Fate.CHECK),
        (Options(), Options(token=Secret("t")), Fate.CHECK),
        (Options(token=Secret("t")), Options(token=Secret("t")), Fate.STAYS),
        (Options(token=Secret("t")), Options(token=Secret("u")), Fate.CHECK),
        (
            Options(username="u", password=Secret("p")),
            Options(username="u", password=Secret("q")),
            Fate.CHECK,
        ),
        (
            Options(username="u", password=Secret("p")),
            Options(username="v", password=Secret("p")),
            Fate.CHECK,
        ),
    ],
)
def test_clients_that_are_none_of_the_users(before: Options, after: Options, expected: Fate) -> None:
    assert judge(before, after, "$G/token") is expected


def test_no_auth_user_changes() -> None:
    bob = User("bob", Secret("b"))
    before, after = users(ANN, bob, no_auth_user="ann"), users(ANN, bob, no_auth_user="bob")
    assert judge(before, after, "") is Fate.CHECK
