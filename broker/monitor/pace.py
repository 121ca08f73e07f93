"""Long work in short pieces: a hundred thousand connections keep the gateway neither from others nor from its heartbeat."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Final, TypeVar

AT_ONCE: Final = 256

Item = TypeVar("Item")
Made = TypeVar("Made")


async def each(items: Iterable[Item], make: Callable[[Item], Made]) -> list[Made]:
    """What ``make`` makes of every item; others have their turn in between."""
    made: list[Made] = []
    for item in items:
        made.append(make(item))
        if len(made) % AT_ONCE == 0:
            await asyncio.sleep(0)
    return made
