"""What a worker answers to collect-requests, one bounded step at a time.

op        of the request                                   parts
sublists  account (empty: all)                             JSON objects: sums of what is counted of accounts' sublists
select    states sort account cid user want now_ns         total so far (8 bytes) | keys
records   handles subs                                     records
subs      account test offset limit                        total so far (8 bytes) | records
waiting   account                                          records
publish   account subject payload                          none

To `facts` the worker has an answer when something happens (broker/system/facts.py).
"""

from __future__ import annotations

import json
import struct
import time
from collections import Counter
from collections.abc import Iterator
from typing import Final

from broker.core import Core
from broker.mesh.collect import Request
from broker.monitor.counted import add_sublists

TOTAL: Final = struct.Struct("=Q")
_ANY: Final = -1
_HANDLES_AT_ONCE: Final = 4096
_STEP: Final = 0.002  # seconds


def answer(core: Core, request: Request) -> Iterator[bytes]:
    """The parts of the answer. What this worker has never heard of gives none."""
    match request["op"]:
        case "sublists":
            yield from _sublists(core, request["account"])
        case "select":
            account = _account(core, request["account"])
            if account is not None:
                for keys, total in core.counters.select(
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
                yield from core.counters.records(handles[at : at + _HANDLES_AT_ONCE], request["subs"])
        case "publish":
            account = core.counters.account_id(request["account"])
            if account is not None:
                core.publish(account, _encode(request["subject"]), _encode(request["payload"]))
        case "subs":
            account = _account(core, request["account"])
            if account is not None:
                for records, total in core.counters.subscriptions(
                    account=account,
                    test=_encode(request["test"]),
                    offset=request["offset"],
                    limit=request["limit"],
                ):
                    yield TOTAL.pack(total) + records
        case "waiting":
            account = core.counters.account_id(request["account"])
            if account is not None:
                yield from core.counters.answers(account)


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _account(core: Core, name: str) -> int | None:
    """The id of the account to which a question is confined; None: it has none of its connections here."""
    return core.counters.account_id(name) if name else _ANY


def _sublists(core: Core, name: str) -> Iterator[bytes]:
    """Some accounts a step: how far the subjects of one fan out is not known before they are looked at."""
    if name:
        account = core.counters.account_id(name)
        found = core.counters.sublist_counts(account) if account is not None else None
        if found is not None:
            yield json.dumps(found).encode()
        return
    sums: Counter[str] = Counter()
    until = time.monotonic() + _STEP
    number = 0
    while (found := core.counters.sublist_counts(number)) is not None:
        add_sublists(sums, found)
        number += 1
        if time.monotonic() > until:
            yield json.dumps(sums).encode()
            sums.clear()
            until = time.monotonic() + _STEP
    yield json.dumps(sums).encode()
