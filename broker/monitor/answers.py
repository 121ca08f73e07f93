"""What a worker answers to collect-requests, one bounded step at a time.

op        of the request                                   parts
accounts  fanout name (empty: all)                         JSON lists of accounts
select    states sort account cid user want now_ns              total so far (8 bytes) | keys
records   handles subs                                     records
subs      account test offset limit                        total so far (8 bytes) | records
publish   account subject payload                          none

To `facts` the worker has an answer when something happens (broker/system/facts.py).
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, Final

from broker.core import Core
from broker.mesh.collect import Request

TOTAL: Final = struct.Struct("=Q")
_ANY: Final = -1
_ACCOUNTS_AT_ONCE: Final = 32
_HANDLES_AT_ONCE: Final = 4096


def answer(core: Core, request: Request) -> Iterator[bytes]:
    """The parts of the answer. What this worker has never heard of gives none."""
    match request["op"]:
        case "accounts":
            yield from _accounts(core, request["name"], bool(request["fanout"]))
        case "select":
            account = _account(core, request["account"])
            if account is not None:
                for keys, total in core.select(
                    states=request["states"],
                    sort=request["sort"],
                    account=account,
                    cid=request["cid"],
                    user=_encode(request["user"]),
                    want=request["want"],
                    now_ns=request["now_ns"],
                ):
                    yield TOTAL.pack(total) + keys
        case "records":
            handles = request["handles"]
            for at in range(0, len(handles), _HANDLES_AT_ONCE):
                yield from core.records(handles[at : at + _HANDLES_AT_ONCE], request["subs"])
        case "publish":
            account = core.account_id(request["account"])
            if account is not None:
                core.publish(account, _encode(request["subject"]), _encode(request["payload"]))
        case "subs":
            account = _account(core, request["account"])
            if account is not None:
                for records, total in core.subscriptions(
                    account=account,
                    test=_encode(request["test"]),
                    offset=request["offset"],
                    limit=request["limit"],
                ):
                    yield TOTAL.pack(total) + records


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _account(core: Core, name: str) -> int | None:
    """The id of the account to which a question is confined; None: it has none of its connections here."""
    return core.account_id(name) if name else _ANY


def _accounts(core: Core, name: str, fanout: bool) -> Iterator[bytes]:
    if name:
        account = core.account_id(name)
        info = core.account_info(account, fanout) if account is not None else None
        if info is not None:
            yield json.dumps([asdict(info)]).encode()
        return
    number = 0
    while True:
        some: list[dict[str, Any]] = []
        while (
            len(some) < (1 if fanout else _ACCOUNTS_AT_ONCE)
            and (info := core.account_info(number, fanout)) is not None
        ):
            some.append(asdict(info))
            number += 1
        if not some:
            return
        yield json.dumps(some).encode()
