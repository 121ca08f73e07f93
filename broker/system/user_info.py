"""``$SYS.REQ.USER.INFO``: who am I, and what may I do? Asked by clients of any account, answered to them alone.

Who asks is what the data plane says in the header Nats-Request-Info, which no client can write; the rest is known to the
worker that the client is connected to.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

from broker.monitor.state import Server
from broker.system.zed import Silence

_INFO: Final = re.compile(
    rb"\r\nNats-Request-Info:[ \t]*+([^\r]*+)\r\n"
)  # never back: system users write it themselves
MOST_INFO: Final = 64 * 1024  # bytes; more than a client can have said of itself


def requester(headers: bytes) -> dict[str, Any]:
    """What is said of who asks; nothing of a user of the system account who does not come through an import. Raises Silence for
    what the server never says."""
    found = _INFO.search(headers)
    if found is None:
        return {}
    if len(found[1]) > MOST_INFO:
        raise Silence
    try:
        fields = json.loads(found[1])
    except (ValueError, RecursionError):
        raise Silence from None
    if not isinstance(fields, dict):
        raise Silence
    return fields


def text_of(fields: dict[str, Any], name: str) -> str:
    """A text of the header."""
    value = fields.get(name)
    return value if isinstance(value, str) else ""


async def user_info(server: Server, headers: bytes) -> dict[str, Any]:
    """The answer. Raises Silence if the client is not one of ours."""
    asks = requester(headers)
    account = text_of(asks, "acc")
    fields: dict[str, Any] = {"user": text_of(asks, "user"), "account": account}
    if account:
        fields["account_name"] = account
    cid = asks.get("id")
    if not isinstance(cid, int) or isinstance(cid, bool) or not 0 < cid < 1 << 64:
        return fields
    for parts in (await server.questions.ask({"op": "user", "cid": cid})).values():
        for part in parts:
            known = json.loads(part)
            if known.pop("account") == account:
                return {**fields, **known}
    raise Silence
