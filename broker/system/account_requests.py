"""What is asked of one account: ``$SYS.REQ.ACCOUNT.<account>.<what>``.

The subject says which account is meant, whatever the body says of it: an account that was given such a subject can learn nothing
of another one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from broker.monitor import asked
from broker.monitor.accounts import accountz, accstatz
from broker.monitor.connz import connz
from broker.monitor.links import leafz
from broker.monitor.query import QueryError
from broker.monitor.subsz import subsz
from broker.system.zed import Body, Context, NoOptions, Silence, Zed

ALL: Final = "PING"  # in the place of an account


async def _subsz(context: Context, account: str, options: asked.SubszOptions) -> Any:
    return await subsz(context.server, replace(options, account=account, subscriptions=True))


async def _connz(context: Context, account: str, options: asked.ConnzOptions) -> Any:
    return await connz(context.server, replace(options, acc=account))


async def _leafz(context: Context, account: str, options: asked.LeafzOptions) -> Any:
    return await leafz(context.server, replace(options, account=account))


async def _jsz(context: Context, account: str, options: asked.JSzOptions) -> Any:
    raise QueryError("jetstream not enabled")


async def _info(context: Context, account: str, options: NoOptions) -> Any:
    return (await accountz(context.server, asked.AccountzOptions(account)))["account_detail"]


async def _statz(context: Context, account: str, options: asked.AccountStatzOptions) -> Any:
    answer = await accstatz(context.server, replace(options, accounts=(account,)))
    if not answer["account_statz"] and not options.include_unused:
        raise Silence
    return answer


async def all_statz(context: Context, options: asked.AccountStatzOptions) -> Any:
    """``$SYS.REQ.ACCOUNT.PING.STATZ``."""
    return await accstatz(context.server, options)


STATZ_BODY: Final = Body("AccountStatzEventOptions", asked.AccountStatzOptions)

_TABLE: Final[Mapping[str, tuple[Body, Any]]] = {
    "SUBSZ": (Body("SubszEventOptions", asked.SubszOptions), _subsz),
    "CONNZ": (Body("ConnzEventOptions", asked.ConnzOptions), _connz),
    "LEAFZ": (Body("LeafzEventOptions", asked.LeafzOptions), _leafz),
    "JSZ": (Body("JszEventOptions", asked.JSzOptions), _jsz),
    "INFO": (Body("AccInfoEventOptions"), _info),
    "STATZ": (STATZ_BODY, _statz),
}
NAMES: Final = tuple(_TABLE)


def of_account(name: str, account: str) -> Zed:
    """What answers this request about this account."""
    body, answer = _TABLE[name]

    async def confined(context: Context, options: Any) -> Any:
        return await answer(context, account, options)

    return Zed(body, confined)
