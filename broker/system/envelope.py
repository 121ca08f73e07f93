"""How an answer is wrapped: who answers, and what, or why not."""

from __future__ import annotations

from typing import Any

from broker.monitor.encode import compact, compact_slowly
from broker.system.info import ServerInfo

BAD_REQUEST, FAILED = 400, 500


async def wrapped(info: ServerInfo, data: Any, name: str = "data") -> bytes:
    """An answer with ``data``. Its number is taken when the rest is done, because it is to be sent at once."""
    text = await compact_slowly(data)
    return f'{{"server":{compact(info.block())},"{name}":{text}}}'.encode()


def bare(info: ServerInfo) -> bytes:
    """What was asked for has been done, and there is nothing to say of it."""
    return compact({"server": info.block()}).encode()


def failure(info: ServerInfo, code: int, description: str, **data: None) -> bytes:
    """An answer that is none. ``data=None``: which shows that there might have been one."""
    return compact(
        {"server": info.block(), **data, "error": {"code": code, "description": description}}
    ).encode()
