"""What a worker answers to questions of the system account about one client, or about subscribers.

op            of the request                    part
user          cid                                 JSON object: account, user, permissions
kick          cid                                 empty: it is closed
lame_duck     cid                                 "sent", or "not ready"
subscribers   account subject queue within        total so far (8 bytes)

A worker that the client is not connected to answers with no part.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

from broker.core import Core
from broker.mesh.collect import Request
from broker.monitor.answers import TOTAL

if TYPE_CHECKING:
    from broker.clients import Clients

SENT, NOT_READY = b"sent", b"not ready"


def answer(core: Core, clients: Clients, request: Request) -> Iterator[bytes]:
    """The parts of the answer. What this worker has never heard of gives none."""
    match request["op"]:
        case "user":
            facts = clients.user_of(request["cid"])
            if facts is not None:
                yield json.dumps(facts).encode()
        case "kick":
            if clients.kick(request["cid"]):
                yield b""
        case "lame_duck":
            told = clients.tell_lame_duck(request["cid"])
            if told is not None:
                yield SENT if told else NOT_READY
        case "subscribers":
            account = core.counters.account_id(request["account"])
            if account is not None:
                for _, total in core.counters.subscriptions(
                    account=account,
                    test=request["subject"].encode("utf-8", "surrogateescape"),
                    queue=request["queue"].encode("utf-8", "surrogateescape"),
                    within=request["within"],
                ):
                    yield TOTAL.pack(total)
