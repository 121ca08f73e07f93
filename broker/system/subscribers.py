"""How many subscriptions a subject meets: ``$SYS.DEBUG.SUBSCRIBERS``, and what servers ask each other for it."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Final

from broker.monitor.answers import TOTAL
from broker.monitor.state import Server
from broker.options.sharing import has_wildcard
from broker.system.gojson import MAX_BODY, JsonError, Shape, decode, shape_of

_TYPE: Final = "accNumSubsReq"


@dataclass(slots=True, frozen=True)
class Wanted:
    """Subscriptions in an account to a subject or, of a pattern, to what it covers; in a queue group, if one is named."""

    acc: str = ""
    subject: str = ""
    queue: str | None = None


_SHAPES: Final[dict[type, Shape]] = {Wanted: shape_of(_TYPE, Wanted)}


def of_text(account: str, body: bytes) -> Wanted:
    """``subject [queue]``."""
    if len(body) > MAX_BODY:
        return Wanted(account)  # no subject is as long
    words = body.strip().decode("utf-8", "surrogateescape").split(" ")
    return Wanted(account, words[0], words[1] if len(words) > 1 else None)


def of_server(body: bytes) -> Wanted:
    """Another server's question; the queue is base64 in it. Raises JsonError."""
    wanted: Wanted = decode(body, f"server.{_TYPE}", _SHAPES)[Wanted]
    if wanted.queue is None:
        return wanted
    try:
        queue = base64.b64decode(wanted.queue, validate=True).decode("utf-8", "surrogateescape")
    except binascii.Error:
        raise JsonError("illegal base64 data at input byte 0") from None
    return Wanted(wanted.acc, wanted.subject, queue)


async def count(server: Server, wanted: Wanted) -> int:
    """How many there are on this server."""
    pattern = has_wildcard(wanted.subject)
    if not wanted.subject or not wanted.acc or (wanted.queue == "" and not pattern):
        return 0
    question = {
        "op": "subscribers",
        "account": wanted.acc,
        "subject": wanted.subject,
        "queue": wanted.queue or "",
        "within": pattern,
    }
    answers = await server.questions.ask(question)
    return sum(int(TOTAL.unpack(parts[-1])[0]) for parts in answers.values() if parts)
