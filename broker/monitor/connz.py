"""/connz: the connections, in pages.

In two steps, so that only what is shown is told: every worker sorts and sends the keys of its first connections, the page is cut
from all of them, and then each worker describes its part of the page.
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any, Final

from broker.accounts.names import account_names
from broker.mesh.collect import Request
from broker.monitor.answers import TOTAL
from broker.monitor.asked import ALL, CLOSED, OPEN, ConnzOptions, page
from broker.monitor.encode import time_text, uptime_text
from broker.monitor.pace import each, some
from broker.monitor.query import QueryError
from broker.monitor.state import Server
from broker.options.gotext import format_duration
from broker.options.sharing import tokens_collide
from broker.protocol.errors import reason_text
from broker.records import ConnRecord, Key, Sort, State, SubRecord, read_keys, read_pieces

_STATES: Final = {OPEN: State.OPEN, CLOSED: State.CLOSED, ALL: State.OPEN | State.CLOSED}
_SORTS: Final = {
    "": Sort.CID,
    "cid": Sort.CID,
    "start": Sort.CID,
    "subs": Sort.SUBS,
    "pending": Sort.PENDING,
    "msgs_to": Sort.OUT_MSGS,
    "msgs_from": Sort.IN_MSGS,
    "bytes_to": Sort.OUT_BYTES,
    "bytes_from": Sort.IN_BYTES,
    "last": Sort.LAST,
    "idle": Sort.IDLE,
    "uptime": Sort.UPTIME,
    "stop": Sort.STOP,
    "reason": Sort.CID,  # in the order of texts, which only we know
    "rtt": Sort.RTT,
}
_ALL: Final = 1 << 32
_AT_ONCE: Final = 256  # connections whose subscriptions are looked at before others have their turn

# What a client's description may hold, in the order in which it is shown.
_OF_CLIENT: Final = ("name", "lang", "version", "tls_version", "tls_cipher_suite")
_OF_CLIENT_AUTH: Final = ("tls_peer_certs",)


async def connz(server: Server, options: ConnzOptions) -> dict[str, Any]:
    """The answer. Raises QueryError."""
    sort, account, wanted_subject = options.sort, options.acc, options.filter_subject
    offset, limit = page(options.offset, options.limit)
    state = _STATES.get(options.state)
    if sort not in _SORTS:
        raise QueryError(f"invalid sorting option: {sort}")
    if sort in ("stop", "reason") and state != State.CLOSED:
        raise QueryError(f"sort by {sort} only valid on closed connections")
    if wanted_subject and not account:
        raise QueryError("filter by subject only valid with account filtering")
    if state is None:
        return _envelope(server, [], 0, offset, limit)
    if options.cid:
        limit = 1
    if account and account not in account_names(server.options):
        return {**_envelope(server, [], 0, offset, limit), "server_id": "", "connections": None}
    now = time.time_ns()
    selection: Request = {
        "op": "select",
        "states": int(state),
        "sort": int(_SORTS[sort]),
        "account": account,
        "cid": options.cid,
        "user": options.user,
        "now_ns": now,
        # More than all there can be is all; and of closed ones the oldest may have to go first.
        "want": min(offset + limit, _ALL) if state == State.OPEN and not wanted_subject else _ALL,
    }
    keys, total = await _select(server, selection)
    if state != State.OPEN:  # one that was closed while we looked may have been seen twice
        keys = list({key[1]: (key, index) for key, index in keys}.values())
        keys, total = _newest(keys, total, server.options.max_closed_clients)
    if sort == "reason":
        keys.sort(key=lambda entry: (reason_text(entry[0][4]), entry[0][1]))
    else:
        keys.sort()
    if options.mqtt_client:  # there are none
        keys = []
    if wanted_subject:
        keys = await _with_subject(server, keys, wanted_subject)
    subs = options.subscriptions or options.subscriptions_detail
    records = await _describe(server, keys[offset : offset + limit], subs)
    connections = await _entries(records, now, options)
    return _envelope(server, connections, total, offset, limit)


_Chosen = tuple[Key, int]  # a connection, and its worker


async def _select(server: Server, selection: Request) -> tuple[list[_Chosen], int]:
    keys: list[_Chosen] = []
    total = 0
    for index, parts in (await server.questions.ask(selection)).items():
        if parts:
            total += TOTAL.unpack_from(parts[-1])[0]
        keys += [(key, index) for part in parts for key in read_keys(part[TOTAL.size :])]
    return keys, total


def _newest(keys: list[_Chosen], total: int, most: int) -> tuple[list[_Chosen], int]:
    """Every worker remembers as many closed connections as the server shall show: of all, the newest count."""
    closed = [entry for entry in keys if entry[0][3]]
    surplus = len(closed) - max(most, 0)
    if surplus <= 0:
        return keys, total
    closed.sort(key=lambda entry: entry[0][3])
    dropped = {entry[0][1] for entry in closed[:surplus]}
    return [entry for entry in keys if entry[0][1] not in dropped], total - surplus


async def _with_subject(server: Server, keys: list[_Chosen], subject: str) -> list[_Chosen]:
    """Those with a subscription that may meet this subject. Looked at in portions: with their subscriptions they are large."""
    found: list[_Chosen] = []
    tokens = subject.split(".")
    for at in range(0, len(keys), _AT_ONCE):
        portion = keys[at : at + _AT_ONCE]
        cids: set[int] = set()
        for record in await _describe(server, portion, True):
            if await some(record.subs, lambda sub: tokens_collide(sub.subject.split("."), tokens)):
                cids.add(record.cid)
        found += [entry for entry in portion if entry[0][1] in cids]
    return found


async def _describe(server: Server, page: list[_Chosen], subs: bool) -> list[ConnRecord]:
    """The records of a page, in its order. A connection that has closed in the meantime is missing."""
    requests: dict[int, Request] = {}
    for (_, _, handle, _, _), index in page:
        request = requests.setdefault(index, {"op": "records", "handles": [], "subs": subs})
        request["handles"].append(handle)
    known: dict[int, ConnRecord] = {}
    for parts in (await server.questions.ask_each(requests)).values():
        known.update(await each(read_pieces(parts), lambda record: (record.cid, record)))
    return [known[key[1]] for key, _ in page if key[1] in known]


def _envelope(
    server: Server, connections: list[dict[str, Any]], total: int, offset: int, limit: int
) -> dict[str, Any]:
    return {
        **server.envelope(),
        "num_connections": len(connections),
        "total": total,
        "offset": offset,
        "limit": limit,
        "connections": connections,
    }


async def _entries(records: list[ConnRecord], now: int, options: ConnzOptions) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = []
    for record in records:
        entries.append(await _entry(record, now, options))
        if len(entries) % _AT_ONCE == 0:
            await asyncio.sleep(0)
    return entries


async def _entry(r: ConnRecord, now: int, options: ConnzOptions) -> dict[str, Any]:
    auth, detail = options.auth, options.subscriptions_detail
    about: dict[str, Any] = json.loads(r.about) if r.about else {}
    end = r.stop_ns or now
    fields: dict[str, Any] = {
        "cid": r.cid,
        "kind": "Client",
        "type": "nats",
        "ip": r.ip,
        "port": r.port,
        "start": time_text(r.start_ns),
        "last_activity": time_text(r.last_ns),
    }
    if r.stop_ns:
        fields["stop"] = time_text(r.stop_ns)
        fields["reason"] = reason_text(r.reason)
    fields |= {
        "rtt": format_duration(_round_trip(r.rtt_ns) / 1e9),
        "uptime": uptime_text(end - r.start_ns),
        "idle": uptime_text(end - r.last_ns),
        "pending_bytes": r.pending,
        "in_msgs": r.in_msgs,
        "out_msgs": r.out_msgs,
        "in_bytes": r.in_bytes,
        "out_bytes": r.out_bytes,
    }
    if r.stalls:
        fields["stalls"] = r.stalls
    fields["subscriptions"] = r.nsubs
    _copy(about, _OF_CLIENT, fields)
    if auth:
        _copy(about, _OF_CLIENT_AUTH, fields)
    _copy(about, ("tls_first",), fields)
    if auth:
        if r.user:
            fields["authorized_user"] = r.user
        if r.account and r.account != "$G":
            fields["account"] = r.account
    if options.subscriptions and not detail and r.subs:
        fields["subscriptions_list"] = await each(r.subs, lambda sub: sub.subject)
    if detail and r.subs:
        closed = bool(r.stop_ns)
        fields["subscriptions_list_detail"] = await each(r.subs, lambda sub: sub_entry(sub, account=closed))
    if auth:
        _copy(about, ("issuer_key",), fields)
        if r.account:
            fields["name_tag"] = r.account
    return fields


def _round_trip(ns: int) -> int:
    """Of less than a millisecond, whole microseconds."""
    return ns - ns % 1_000 if 1_000 < ns < 1_000_000 else ns


def _copy(source: dict[str, Any], names: tuple[str, ...], to: dict[str, Any]) -> None:
    for name in names:
        if name in source:
            to[name] = source[name]


def sub_entry(sub: SubRecord, account: bool) -> dict[str, Any]:
    """One subscription with details."""
    fields: dict[str, Any] = {}
    if account:
        fields |= {"account": sub.account, "account_tag": sub.account}
    fields["subject"] = sub.subject
    if sub.queue:
        fields["qgroup"] = sub.queue
    fields |= {"sid": sub.sid, "msgs": sub.msgs}
    if sub.max:
        fields["max"] = sub.max
    fields["cid"] = sub.cid
    return fields
