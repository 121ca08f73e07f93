"""/accountz and /accstatz: the accounts, and what goes through them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from broker.monitor.account_detail import sharing_fields
from broker.monitor.asked import AccountStatzOptions, AccountzOptions
from broker.monitor.encode import time_text
from broker.monitor.pace import each
from broker.monitor.query import QueryError
from broker.monitor.state import Server
from broker.monitor.subsz import sublist_stats
from broker.records import AnswerRecord, read_answers

MAX_RESPONSES: Final = 10_000
_SERVICE: Final = 2  # its name among nats-server's kinds of exports is not shown here, but its number


async def accountz(server: Server, options: AccountzOptions) -> dict[str, Any]:
    """The answer. Raises QueryError."""
    name = options.account
    fields = server.envelope()
    if server.system_account:
        fields["system_account"] = server.system_account
    if not name:
        return {**fields, "accounts": server.accounts.names()}
    if name not in server.accounts:
        raise QueryError(f"Account {name} does not exist")
    sums = await server.sublists(name)
    detail: dict[str, Any] = {"account_name": name, "update_time": time_text(server.loaded_ns)}
    if name == server.system_account:
        detail["is_system"] = True
    detail |= {
        "expired": False,
        "complete": True,
        "jetstream_enabled": False,
        "leafnode_connections": 0,
        "client_connections": sums["conns"],
        "subscriptions": sums["held"],
        **sharing_fields(server.options, name),
        "name_tag": name,
        "sublist_stats": sublist_stats(sums),
    }
    if responses := await _responses(server, name):
        detail["responses"] = responses
    return {**fields, "account_detail": detail}


async def _responses(server: Server, name: str) -> dict[str, dict[str, Any]]:
    """The answers that other accounts wait for, by the subject on which they are expected here.

    No more than ``MAX_RESPONSES``: an account whose services do not answer has them without end, and nobody reads all.
    """
    found: dict[str, dict[str, Any]] = {}
    for index in server.questions.workers():
        answers = await server.questions.ask_each({index: {"op": "waiting", "account": name}})
        for part in (part for parts in answers.values() for part in parts):
            if len(found) >= MAX_RESPONSES:
                return found
            records = await each(read_answers(part), lambda record: record)
            found.update((record.name, _response(record)) for record in records[: MAX_RESPONSES - len(found)])
    return found


def _response(record: AnswerRecord) -> dict[str, Any]:
    return {
        "subject": record.reply,
        "account": record.account,
        "to": record.name,
        "local_subject": record.name,
        "type": _SERVICE,
        "invalid": False,
        "share": record.share,
        "tracking": record.tracked,
    }


async def accstatz(server: Server, options: AccountStatzOptions) -> dict[str, Any]:
    """The answer."""
    accounts = server.accounts
    names = [name for name in dict.fromkeys(options.accounts or accounts.names()) if name in accounts]

    def entry(name: str) -> dict[str, Any] | None:
        sums = accounts.of(name)
        return account_stat(name, sums) if options.include_unused or sums["conns"] else None

    found = await each(names, entry)
    return {**server.envelope(), "account_statz": [one for one in found if one is not None]}


def account_stat(name: str, sums: Mapping[str, int]) -> dict[str, Any]:
    """The numbers of one account."""
    return {
        "acc": name,
        "name": name,
        "conns": sums["conns"],
        "leafnodes": 0,
        "total_conns": sums["conns"],
        "num_subscriptions": sums["held"],
        "sent": _traffic(sums["out_msgs"], sums["out_bytes"]),
        "received": _traffic(sums["in_msgs"], sums["in_bytes"]),
        "slow_consumers": sums["slow_consumers"],
    }


def _traffic(msgs: int, size: int) -> dict[str, Any]:
    def of_links() -> dict[str, int]:
        return {"msgs": 0, "bytes": 0}

    return {"msgs": msgs, "bytes": size, "gateways": of_links(), "routes": of_links(), "leafs": of_links()}
