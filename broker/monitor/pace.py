"""Long work in short pieces: a hundred thousand connections keep the gateway neither from others nor from its heartbeat."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Final, TypeVar

AT_ONCE: Final = 0.002  # seconds of work before others have their turn
_LOOK: Final = 8  # items between two looks at the clock

Item = TypeVar("Item")
Made = TypeVar("Made")


async def each(items: Iterable[Item], make: Callable[[Item], Made]) -> list[Made]:
    """What ``make`` makes of every item, each of which costs little; others have their turn in between."""
    made: list[Made] = []
    until = time.monotonic() + AT_ONCE
    for item in items:
        made.append(make(item))
        if len(made) % _LOOK == 0 and time.monotonic() > until:
            await asyncio.sleep(0)
            until = time.monotonic() + AT_ONCE
    return made


async def some(items: Iterable[Item], test: Callable[[Item], bool]) -> bool:
    """Whether any item passes the test; others have their turn in between."""
    until = time.monotonic() + AT_ONCE
    for number, item in enumerate(items, 1):
        if test(item):
            return True
        if number % _LOOK == 0 and time.monotonic() > until:
            await asyncio.sleep(0)
            until = time.monotonic() + AT_ONCE
    return False
