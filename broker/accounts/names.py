"""Which accounts a server has. All its processes have to agree on that, so it is decided here alone."""

from __future__ import annotations

import secrets
import string
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from broker.options import NkeyUser, Options, User
from broker.options.model import GLOBAL_ACCOUNT, Secret

DEFAULT_SYSTEM_ACCOUNT: Final = "$SYS"


def system_account(options: Options) -> str:
    """The name of the system account; empty if there is none."""
    if options.system_account:
        return options.system_account
    return "" if options.no_system_account else DEFAULT_SYSTEM_ACCOUNT


def account_names(options: Options) -> list[str]:
    """Every account, the global one first."""
    names = [GLOBAL_ACCOUNT, *(account.name for account in options.accounts)]
    system = system_account(options)
    return names if not system or system in names else [*names, system]


def account_places(options: Options) -> dict[str, int]:
    """Where in the shared page each account is counted: those that are there, and those that a reload has removed."""
    return options.places or {name: place for place, name in enumerate(account_names(options))}


def new_places(old: Mapping[str, int], names: Sequence[str]) -> dict[str, int]:
    """``old``, with places for those of ``names`` that have none. A place stays with its name as long as the server runs:
    processes that learn of a reload at different times never mean different accounts by it."""
    places = dict(old)
    for name in names:
        places.setdefault(name, len(places))
    return places


def room_for(places: Mapping[str, int]) -> int:
    """How many places a page needs for these."""
    return len(places)


def guest_name() -> str:
    """A name for ``with_implied_user``, the same for all processes of a server as long as it runs."""
    return "nats-" + "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(8))


def with_implied_user(options: Options, name: str) -> Options:
    """Options in which whoever may come in without credentials has a user, called ``name`` if none is configured.

    A configuration that speaks of the system account alone closes the server to those who say who they are and are not,
    but to nobody else: a user is made up for whoever says nothing.
    """
    system = system_account(options)
    others = [account for account in options.accounts if account.name != system]
    users: list[User | NkeyUser] = [*options.users, *options.nkeys]
    alone = options.accounts and not others and not options.username and options.token is None
    if not alone or options.no_auth_user or any(user.account != system for user in users):
        return options
    guest = User(name, Secret(name))
    return replace(options, users=[*options.users, guest], no_auth_user=name, implied_user=True)
