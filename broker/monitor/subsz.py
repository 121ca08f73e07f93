"""/subsz: the sublists, and the subscriptions in pages."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

from broker.monitor.answers import TOTAL
from broker.monitor.asked import SubszOptions, page
from broker.monitor.connz import sub_entry
from broker.monitor.pace import each
from broker.monitor.query import QueryError
from broker.monitor.state import Server
from broker.records import SubRecord, read_subs

_STATS: Final = {
    "num_subscriptions": "held",
    "num_cache": "cache_entries",
    "num_inserts": "inserts",
    "num_removes": "removes",
    "num_matches": "matches",
}


async def subsz(server: Server, options: SubszOptions) -> dict[str, Any]:
    """The answer. Raises QueryError."""
    offset, limit = page(options.offset, options.limit)
    test, account = options.test, options.account
    if test and not _literal(test):
        raise QueryError(f"invalid test subject, must be valid publish subject: {test}")
    sums = await server.sublists(account)
    found: list[SubRecord] = []
    total = 0
    if options.subscriptions:
        found, total = await _page(server, account, test, offset, limit)
    fields = {
        **server.envelope(),
        **sublist_stats(sums),
        "total": total,
        "offset": offset,
        "limit": limit,
    }
    if found:
        fields["subscriptions_list"] = await each(found, lambda sub: sub_entry(sub, account=True))
    return fields


def sublist_stats(sums: Counter[str]) -> dict[str, Any]:
    """The numbers of one or several sublists."""
    matches, entries = sums["matches"], sums["cache_entries"]
    return {
        **{name: sums[ours] for name, ours in _STATS.items()},
        "cache_hit_rate": sums["cache_hits"] / matches if matches else 0.0,
        "max_fanout": sums["max_fanout"],
        "avg_fanout": sums["sum_fanout"] / entries if entries else 0.0,
    }


async def _page(
    server: Server, account: str, test: str, offset: int, limit: int
) -> tuple[list[SubRecord], int]:
    """The page of all workers' subscriptions one after the other, and how many there are."""
    found: list[SubRecord] = []
    total = 0
    for index in server.questions.workers():
        request = {
            "op": "subs",
            "account": account,
            "test": test,
            "offset": max(offset - total, 0),
            "limit": limit - len(found),
        }
        for parts in (await server.questions.ask_each({index: request})).values():
            for part in parts:
                found += await each(read_subs(part[TOTAL.size :]), lambda sub: sub)
            if parts:
                total += TOTAL.unpack_from(parts[-1])[0]
    return found, total


def _literal(subject: str) -> bool:
    """Is it a subject that may be published to?"""
    tokens = subject.split(".")
    return (
        all(tokens) and not any(token in ("*", ">") for token in tokens) and not set(subject) & set(" \t\r\n")
    )
