"""What services are told about who asks: the parts of the header Nats-Request-Info that are known beforehand.

The data plane puts the header of each request together: what the connection shows, account, round trip time, and these.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

from broker.accounts.names import account_names, system_account
from broker.options import NkeyUser, Options, User
from broker.protocol.connect import Connect

_json: Final = json.JSONEncoder(ensure_ascii=False).encode
_REDACTED: Final = "[REDACTED]"


def request_labels(options: Options, numbers: dict[str, int], server_name: str) -> tuple[dict[int, str], str]:
    """(names of accounts, the server), as JSON."""
    names = {number: _json(name) for name, number in numbers.items()}
    where = _fields({"server": server_name})
    if options.cluster is not None:
        where += _fields({"cluster": options.cluster.name})
    return names, where


def user_name(user: User | NkeyUser | None, connect: Connect) -> str:
    """What a client's user is called where it is shown."""
    if user is not None:
        return user.nkey if isinstance(user, NkeyUser) else user.name
    return connect.nkey or connect.user or (_REDACTED if connect.auth_token else "")


def issuer_key(user: User | NkeyUser | None) -> str:
    """Who vouches for a client with an nkey: without claims that is its account. Nobody does for others."""
    return user.account if isinstance(user, NkeyUser) else ""


def sharing_accounts(options: Options) -> frozenset[str]:
    """The accounts whose clients are shown to services: all, where there is a system account, which each may ask."""
    if system_account(options):
        return frozenset(account_names(options))
    return frozenset(
        account.name for account in options.accounts if any(one.share for one in account.imports)
    )


def identity(connect: Connect, user: User | NkeyUser | None) -> bytes:
    """A client for services that may know who asks: what it has said of itself, which follows the account."""
    about = {
        "user": user_name(user, connect),
        "name": connect.name,
        "lang": connect.lang,
        "ver": connect.version,
        "issuer_key": issuer_key(user),
    }
    return _fields(about).encode("utf-8", "replace")


def _fields(values: Mapping[str, object]) -> str:
    return "".join(f",{_json(key)}:{_json(value)}" for key, value in values.items() if value)
