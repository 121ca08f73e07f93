"""Which accounts a server has. All its processes have to agree on that, so it is decided here alone."""

from __future__ import annotations

import secrets
import string
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
    """Every account, the global one first. The position is the account's place in the shared page."""
    names = [GLOBAL_ACCOUNT, *(account.name for account in options.accounts)]
    system = system_account(options)
    return names if not system or system in names else [*names, system]


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
